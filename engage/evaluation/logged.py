"""What MLflow and the store keep of an evaluation. A run's page shows few figures with plain names, one table of all, one figure of the gains.

The incumbent is called that, whether it is the base or a champion.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from engage.evaluation.conversations import conversations
from engage.evaluation.held_out import HeldOutStore, paired
from engage.evaluation.held_out_config import HeldOutConfig
from engage.evaluation.judgement import Comparisons, Incumbent, Judgement
from engage.evaluation.plots import gains
from engage.evaluation.promotion import ALL
from engage.evaluation.simulators import deciding, in_metrics
from engage.files.digest import digest, flat, key_settings
from engage.models import AdapterCard
from engage.search import METHOD_VERSION
from engage.stats import Comparison, paired_comparison
from engage.store import Cycle
from engage.tracking import GROUND_TAG, StageRun
from engage.workspace import Workspace

HEADLINE = ("gain", "gain_low", "gain_high", "reward_candidate", "reward_incumbent")


def headline(comparisons: Comparisons) -> dict[str, float | None]:
    """Gain, its interval and both rewards over all scenarios, with the deciding simulator; None where nothing was compared."""
    name = deciding(comparisons)
    one = comparisons[name].get(ALL) if name is not None else None
    fields = ("difference", "low", "high", "mean_candidate", "mean_base")
    return {figure: getattr(one, field, None) for figure, field in zip(HEADLINE, fields, strict=True)}


def record_evaluation(run: StageRun, found: Judgement, ground: str) -> None:
    """Record the evaluation with its run; `ground` is the digest of what it was held on."""
    run.params({"incumbent": found.incumbent.label} if found.label else {})
    run.newest(evaluation_metrics(found))
    promoted = "yes" if found.verdict.promoted else "no"
    run.tags({GROUND_TAG: ground, "verdict": found.verdict.reason, "promoted": promoted})
    run.table(evaluation_table(found), "evaluation.json")
    run.figure(gains(found.comparisons, found.incumbent.name), "gain")


def set_apart(adapter: str | None, evaluation: HeldOutConfig) -> dict[str, Any]:
    """What may set an evaluation apart from others of its cycle: how the candidate was trained, and the evaluation's own settings."""
    trained = AdapterCard.read(adapter).config if adapter else {}
    align = {name: trained[name] for name in ("dpo", "lora") if name in trained}
    return flat({"align": align, "evaluation": evaluation.model_dump(mode="json")})


def look_of(cycle: Cycle, label: str, evaluation: HeldOutConfig) -> str:
    """Identifies one evaluation of a candidate, which has a run of its own."""
    settings = digest(key_settings(evaluation, exclude={"alpha", "promotion"}))[:8]
    return f"{label} {settings}" + (f" method {METHOD_VERSION}" if cycle.is_older else "")


def store_evaluation(
    workspace: Workspace, held: HeldOutStore, found: Judgement, ground: str, split: str, dialogues: int
) -> None:
    """Keep the comparisons in the store, and at most `dialogues` of both sides as MLflow's conversations."""
    cycle_id = held.cycle.cycle_id
    for simulator, by_domain in found.comparisons.items():
        figures = {domain: asdict(comparison) for domain, comparison in by_domain.items()}
        workspace.store.add_evaluation(cycle_id, split, str(found.label), simulator, figures, ground)
    for side, policy in {"incumbent": found.incumbent.label, "candidate": found.label}.items():
        if policy and dialogues:
            told = conversations(held, policy, dialogues)
            workspace.tracker.conversations(cycle_id, side, policy, told)


def evaluation_metrics(found: Judgement) -> dict[str, float | None]:
    """The headline, and the gain by simulator and domain."""
    gain = {
        f"gain/{in_metrics(simulator)}/{domain}": one.difference
        for simulator, by_domain in found.comparisons.items()
        for domain, one in by_domain.items()
    }
    return {**headline(found.comparisons), **gain}


def evaluation_table(found: Judgement) -> list[dict[str, Any]]:
    """One row per measure, domain and simulator; measures of replies count the dialogues with all simulators."""
    rows = [
        _row(f"reward against {other}", simulator, domain, one.mean_base, one.mean_candidate, one)
        for other, comparisons in (("incumbent", found.comparisons), ("base", found.to_base))
        for simulator, by_domain in comparisons.items()
        for domain, one in by_domain.items()
    ]
    for part in found.reports:
        before = {**part.text_base, **_checks(part.hacking_base)}
        after = {**part.text_candidate, **_checks(part.hacking_candidate)}
        rows += [_row(name, "all", part.domain, before.get(name), after.get(name)) for name in {**before, **after}]
    return rows


def _row(
    measure: str, simulator: str, domain: str, before: float | None, after: float | None, one: Comparison | None = None
) -> dict[str, Any]:
    return {
        "measure": measure,
        "simulator": simulator,
        "domain": domain,
        "incumbent": before,
        "candidate": after,
        "difference": None if before is None or after is None else after - before,
        "low": one and one.low,
        "high": one and one.high,
        "confidence": one and one.confidence,
        "scenarios": one and one.n,
        "win_rate": one and one.win_rate,
        "p_value": one and one.p_value,
    }


def _checks(rates: Mapping[str, float]) -> dict[str, float]:
    return {f"replies with {check}": rate for check, rate in rates.items()}


def champion_over_base(held: HeldOutStore, simulators: Sequence[str]) -> float | None:
    """Mean reward of the champion at the cycle's start, minus the base's on the same dialogues, with the deciding simulator.

    None if there was no champion, or nothing to compare.
    """
    incumbent = Incumbent.of(held.cycle)
    simulator = deciding(simulators)
    if incumbent.label == "base" or simulator is None:
        return None
    base, champion = paired([held.dialogues(label) for label in ("base", incumbent.label)], simulator)
    return paired_comparison(base, champion).difference
