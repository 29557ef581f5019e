"""The comparison of candidate, champion and base, the verdict, and promotion in the registry."""

from dataclasses import asdict
from typing import Any

from prefect import task

from engage.config import CycleConfig, Home
from engage.domains import load_domain
from engage.evaluation import decide, hacking_failures, hacking_rates, night_alpha, paired_comparison, text_metrics
from engage.models import CARD_NAME, AdapterCard
from engage.plots import reward_comparison
from engage.store import TrajectoryStore
from tasks.comparing import SEARCH_SIMULATOR, as_metrics, assistant_replies, outcomes, policy_label
from tasks.cycle import Cycle
from tasks.tracking import Tracker


def latest_candidate(cycle: Cycle) -> str | None:
    """Folder of the adapter trained last in this cycle, None where none was."""
    cards = sorted((Home.from_env().cycle(cycle.cycle_id) / "align").glob(f"*/adapter/{CARD_NAME}"))
    newest = max(cards, key=lambda card: AdapterCard.read(card.parent).created_at, default=None)
    return str(newest.parent) if newest else None


@task(name="judge")
def judge(config: CycleConfig, cycle: Cycle, candidate: str | None, failed: dict[str, str]) -> dict[str, Any]:
    """Compare per domain, check for reward hacking, decide on promotion, and record all of it."""
    home = Home.from_env()
    store, tracker = TrajectoryStore(home.database), Tracker(home)
    alpha = night_alpha(tracker.nights() + 1, config.evaluation.alpha)
    labels = {"base": "base", "candidate": policy_label("candidate", candidate)}
    if cycle.champion_adapter:
        labels["champion"] = policy_label("champion", cycle.champion_adapter)
    incumbent = "champion" if cycle.champion_adapter else "base"
    rewards = {
        name: outcomes(store, cycle, label) for name, label in labels.items() if candidate or name != "candidate"
    }
    texts = {name: assistant_replies(store, cycle, labels[name]) for name in rewards}
    comparisons, failures = {}, {}
    for domain, base in sorted(rewards[incumbent].items()):
        if not candidate:
            continue
        comparisons[domain] = paired_comparison(base, rewards["candidate"][domain], confidence=1 - alpha)
        kind = load_domain(domain)
        failures[domain] = hacking_failures(kind, texts[incumbent][domain], texts["candidate"][domain])
    verdict = decide(None, [check for found in failures.values() for check in found], alpha) if candidate else None
    with tracker.stage(cycle.cycle_id, "evaluation") as run:
        for name, by_domain in texts.items():
            for domain, dialogues in by_domain.items():
                run.metrics(as_metrics(f"{name}/{domain}", text_metrics(dialogues)))
                run.metrics(as_metrics(f"{name}/{domain}/hacking", hacking_rates(load_domain(domain), dialogues)))
        for domain, comparison in comparisons.items():
            run.metrics(as_metrics(f"comparison/{domain}", asdict(comparison)))
        if comparisons:
            run.figure(reward_comparison(comparisons), "base_against_candidate")
    summary = {
        "simulator": SEARCH_SIMULATOR,
        "alpha": alpha,
        "incumbent": incumbent,
        "comparisons": {domain: asdict(comparison) for domain, comparison in comparisons.items()},
        "hacking_failures": {domain: [str(check) for check in found] for domain, found in failures.items()},
        "verdict": asdict(verdict) if verdict else {"promoted": False, "reason": "no candidate was trained"},
        "failed": failed,
    }
    store.add_evaluation(cycle.cycle_id, labels["candidate"], SEARCH_SIMULATOR, summary["comparisons"])
    return summary
