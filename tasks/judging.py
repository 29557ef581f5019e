"""The comparison of candidate with base or champion, the verdict, and promotion in the registry."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from prefect import task

from engage.config import CycleConfig
from engage.domains import load_domain
from engage.errors import ConfigError
from engage.evaluation import (
    ALL,
    SEARCH_SIMULATOR,
    Comparison,
    DomainReport,
    Replies,
    Verdict,
    candidate_alpha,
    compare_domains,
    decide,
    hacking_failures,
    hacking_rates,
    report,
    reward_comparison,
    text_metrics,
)
from engage.files.digest import digest, key_settings
from engage.home import Home
from engage.search import METHOD_VERSION
from engage.store import TrajectoryStore
from tasks.comparing import (
    assistant_replies,
    dialogues_held,
    held_out,
    paired,
    policy_label,
)
from tasks.cycle import Cycle, worth_retrying
from tasks.tracking import StageRun, Tracker

ByDomain = dict[str, Mapping[str, Replies]]


def require_validation(config: CycleConfig) -> None:
    """ConfigError where a night would be judged, and promoted, on the test split: only experiments open it, and are counted."""
    if config.evaluation.split != "validation":
        raise ConfigError(
            "evaluation.split=test: nights are judged on validation; `engage experiment comparison` opens the test split"
        )


@task(name="judge", retries=3, retry_delay_seconds=20, retry_condition_fn=worth_retrying)
def judge(config: CycleConfig, cycle: Cycle, candidate: str | None, failed: dict[str, str]) -> dict[str, Any]:
    """Compare per domain, check for reward hacking, decide on promotion, and record all of it."""
    home = Home.from_env()
    store, tracker = TrajectoryStore(home.database), Tracker(home)
    incumbent = (
        ("champion", policy_label("champion", cycle.champion_adapter)) if cycle.champion_adapter else ("base", "base")
    )
    label = policy_label("candidate", candidate) if candidate else None
    look = _look(config, cycle, label) if label else None
    judged = tracker.judged(incumbent[1], (cycle.cycle_id, look)) if look else 0
    alpha = candidate_alpha(judged + 1, config.evaluation.alpha) if label else 1.0
    domains = {scenario.scenario_id: scenario.domain for scenario in held_out(config, cycle)}
    comparisons = _compare(config, cycle, domains, incumbent[1], label, 1 - alpha) if label else {}
    to_base = _compare(config, cycle, domains, "base", label, 1 - alpha) if label and cycle.champion_adapter else {}
    replies: ByDomain = {
        name: assistant_replies(store, cycle, list(domains), of) for name, of in (incumbent, ("candidate", label)) if of
    }
    reports = [_domain_report(domain, replies, incumbent[0], comparisons) for domain in sorted(set(domains.values()))]
    failures = _failures(replies, incumbent[0]) if label else []
    second = [found for simulator, found in comparisons.items() if simulator != SEARCH_SIMULATOR]
    verdict = decide(second[0] if second else None, failures, alpha) if label else None
    if verdict and verdict.promoted:
        verdict = _promote(tracker, cycle, tracker.version_of(Path(str(candidate))), verdict)
    with tracker.stage(cycle.cycle_id, "evaluation", look) as run:
        if second:
            run.params({"incumbent": incumbent[1]})
        _log(run, reports, comparisons, incumbent[0])
        _log_comparisons(run, "comparison_to_base", to_base)
    for simulator, found in comparisons.items():
        figures = {name: asdict(c) for name, c in found.items()}
        store.add_evaluation(cycle.cycle_id, config.evaluation.split, str(label), simulator, figures)
    pairs = _pair_counts(store, cycle)
    return {
        "incumbent": incumbent[0],
        "comparisons": {name: {of: asdict(c) for of, c in found.items()} for name, found in comparisons.items()},
        "failures": failures,
        "verdict": asdict(verdict)
        if verdict
        else {"promoted": False, "reason": "not promoted: no candidate was trained"},
        "page": report(f"Evaluation of cycle {cycle.cycle_id}", verdict, reports, pairs, incumbent[0], to_base),
        "failed": failed,
    }


def _promote(tracker: Tracker, cycle: Cycle, version: str, verdict: Verdict) -> Verdict:
    """Where the champion is still the one that was compared with; an older cycle says nothing about a newer champion."""
    champion = tracker.champion()
    now = champion.version if champion else None
    if now not in (cycle.champion_version, version):
        return Verdict(
            False, f"not promoted: the champion is version {now} by now, this cycle knew another; begin a new cycle"
        )
    tracker.promote(version)
    return verdict


def _look(config: CycleConfig, cycle: Cycle, label: str) -> str:
    """What tells one look at a candidate from another; each spends a part of the error rate."""
    settings = digest(key_settings(config.evaluation, exclude={"alpha"}))[:8]
    return f"{label} {settings}" + (f" method {METHOD_VERSION}" if cycle.is_older else "")


def _compare(
    config: CycleConfig, cycle: Cycle, domains: Mapping[str, str], before: str, after: str, confidence: float
) -> dict[str, dict[str, Comparison]]:
    """By simulator and domain; `domains` are those of the scenarios that count, by id."""
    sides = [dialogues_held(cycle, list(domains), label) for label in (before, after)]
    found = {}
    for simulator in config.simulators():
        base, candidate = paired(sides, simulator)
        found[simulator] = compare_domains(base, candidate, domains, confidence=confidence)
    return found


def _pair_counts(store: TrajectoryStore, cycle: Cycle) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for row in store.rows("pair_counts", {"cycle": cycle.cycle_id}):
        counts[row["fate"]] += row["pairs"]
    return dict(counts)


def _domain_report(
    domain: str, replies: ByDomain, incumbent: str, comparisons: dict[str, dict[str, Comparison]]
) -> DomainReport:
    before, after = (replies.get(name, {}).get(domain, {}) for name in (incumbent, "candidate"))
    kind = load_domain(domain)
    return DomainReport(
        domain,
        {simulator: found[domain] for simulator, found in comparisons.items() if domain in found},
        text_metrics(before),
        text_metrics(after),
        hacking_rates(kind, before),
        hacking_rates(kind, after),
    )


def _failures(replies: ByDomain, incumbent: str) -> list[str]:
    return [
        sentence
        for domain, before in replies[incumbent].items()
        for sentence in hacking_failures(load_domain(domain), before, replies["candidate"].get(domain, {}))
    ]


def _log(
    run: StageRun, reports: list[DomainReport], comparisons: dict[str, dict[str, Comparison]], incumbent: str
) -> None:
    for part in reports:
        sides = {
            incumbent: (part.text_base, part.hacking_base),
            "candidate": (part.text_candidate, part.hacking_candidate),
        }
        for name, (text, hacking) in sides.items():
            run.metrics({f"{name}/{part.domain}/{key}": value for key, value in text.items()})
            run.metrics({f"{name}/{part.domain}/hacking_{key}": value for key, value in hacking.items()})
    _log_comparisons(run, "comparison", comparisons)
    for simulator, by_domain in comparisons.items():
        shown = {name: comparison for name, comparison in by_domain.items() if name != ALL}
        run.figure(reward_comparison(shown, incumbent), f"base_against_candidate_{simulator.replace(' ', '_')}")


def _log_comparisons(run: StageRun, what: str, comparisons: Mapping[str, Mapping[str, Comparison]]) -> None:
    for simulator, by_domain in comparisons.items():
        for domain, comparison in by_domain.items():
            place = f"{what}/{simulator.replace(' ', '_')}/{domain}"
            numbers = {key: value for key, value in asdict(comparison).items() if isinstance(value, int | float)}
            run.metrics({f"{place}/{key}": value for key, value in numbers.items()})
