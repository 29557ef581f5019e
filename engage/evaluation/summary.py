"""A night in plain words: what each stage did, what it means, and how to look further; Markdown that a terminal shows as well."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from engage.evaluation.collected import Collected
from engage.evaluation.judgement import Comparisons
from engage.evaluation.promotion import Verdict
from engage.masking import mask_urls
from engage.stats import Comparison
from engage.training import Candidate, PairSet

FEW_PAIRS = 16
MANY_FLIPS = 0.1
"""Share of first draws in which users may speak as assistants before the first line says so."""


@dataclass(frozen=True)
class Aligned:
    """What the stage `align` made: the pair set, and the candidate, None where there was no pair to train on."""

    pairs: PairSet
    candidate: Candidate | None


@dataclass(frozen=True)
class Judged:
    """What the stage `evaluation` found; `page` is its report, `failed` maps a scenario to why its dialogues failed for good."""

    incumbent: str
    verdict: Verdict
    page: str
    comparisons: Comparisons = field(default_factory=dict)
    failures: Sequence[str] = ()
    failed: Mapping[str, str] = field(default_factory=dict)

    def metrics(self) -> dict[str, float | None]:
        """The rewards of the cycle's own run, by MLflow's names."""
        found: dict[str, float | None] = {}
        for simulator, by_domain in self.comparisons.items():
            for domain, one in by_domain.items():
                place = f"{simulator.replace(' ', '_')}/{domain}"
                found |= {f"reward_difference/{place}": one.difference, f"reward_base/{place}": one.mean_base}
        return found


@dataclass(frozen=True)
class Night:
    """A whole cycle, stage by stage; `text` says in plain words what happened."""

    cycle_id: str
    collected: Collected
    aligned: Aligned
    judged: Judged
    text: str


@dataclass(frozen=True)
class Places:
    """Where a reader may look further: the home, None where the commands find it without being told, and MLflow's address."""

    home: str | None
    tracking_uri: str


class SaysItself(Protocol):
    """What a flow returns that says in plain words what happened."""

    @property
    def text(self) -> str:
        """What the command shows."""
        ...


Stage = Collected | Aligned | Judged | SaysItself


def night_text(cycle_id: str, collected: Collected, aligned: Aligned, judged: Judged, places: Places) -> str:
    """All stages of a night on one page."""
    happened = _items([*_collect_lines(cycle_id, collected), *_align_lines(aligned)])
    warning = _role_warning(collected)
    lines = [f"# Cycle {cycle_id}{warning and f': {warning}'}", "", *happened, "", *_evaluation_lines(cycle_id, judged)]
    return "\n".join([*lines, "", *_next_steps(cycle_id, places)])


def stage_text(cycle_id: str, stage: Stage, places: Places) -> str:
    """The same for one stage alone; a whole night, or an experiment, says itself what happened."""
    if not isinstance(stage, Collected | Aligned | Judged):
        return stage.text
    if isinstance(stage, Collected):
        warning = _role_warning(stage)
        lines = [*([warning, ""] if warning else []), *_items(_collect_lines(cycle_id, stage))]
    else:
        lines = _items(_align_lines(stage)) if isinstance(stage, Aligned) else _evaluation_lines(cycle_id, stage)
    return "\n".join([*lines, "", *_next_steps(cycle_id, places)])


def _items(lines: Sequence[str]) -> list[str]:
    return [f"- {line}" for line in lines]


def _collect_lines(cycle_id: str, collected: Collected) -> list[str]:
    lines = []
    for row in collected.rewards:
        reward = "no readable reward" if row.reward_mean is None else f"mean reward {row.reward_mean:.3f}"
        lines.append(f"{row.domain}: {row.trees} trees, {row.simulations} simulated conversations, {reward}.")
    if not collected.rewards:
        lines.append("No tree was searched whole.")
    if collected.crises:
        lines.append(
            f"In {collected.crises} conversations the user spoke of harming themselves: they ended with a referral, and "
            "nothing is learnt from them."
        )
    if collected.unspoken:
        reasons = ", ".join(f"{reason} {count}" for reason, count in collected.unspoken.items())
        lines.append(
            f"{sum(collected.unspoken.values())} conversations ended because a turn could not be drawn ({reasons}): they have no "
            "reward."
        )
    if spoke := collected.users_as_assistants:
        lines.append(
            f"The simulated users spoke as the assistant in {spoke} of {spoke.turns} first draws; such a turn is drawn again."
        )
    if collected.unsearched:
        lines.append(
            f"The budget (collect.budget) left {collected.unsearched} scenarios unsearched; the same command with "
            f"--cycle {cycle_id} and a larger one goes on."
        )
    return [*lines, *_failed_lines(cycle_id, collected.failed, "of the search")]


def _role_warning(collected: Collected) -> str:
    """The first line of a night whose users were no users; empty for another one."""
    spoke = collected.users_as_assistants
    if not spoke or spoke.value <= MANY_FLIPS:
        return ""
    return (
        f"The simulated users speak as assistants in {spoke} of first draws. Do not trust this night's rewards: a prompted "
        "instruct model is no user. Train one with `engage simulator train` and set engine.simulator_adapter."
    )


def _failed_lines(cycle_id: str, failed: Mapping[str, str], where: str) -> list[str]:
    if not failed:
        return []
    scenario, reason = min(failed.items())
    scenarios = "1 scenario" if len(failed) == 1 else f"{len(failed)} scenarios"
    return [
        f"{scenarios} {where} failed, {scenario} because: {reason}. "
        f"The same command with --cycle {cycle_id} tries again."
    ]


def _align_lines(aligned: Aligned) -> list[str]:
    counts = aligned.pairs.counts
    lines = [f"{counts['candidates']} candidate pairs, {counts['accepted']} accepted ({_drops(counts)})."]
    lines += _human_lines(aligned.pairs.human)
    if aligned.candidate is None:
        lines.append(
            "Nothing was trained: collect more trees, or accept pairs of smaller gap (pairs.min_q_gap) or confidence "
            "(pairs.confidence)."
        )
    elif (trained := aligned.candidate.trained_pairs) < FEW_PAIRS:
        lines.append(
            f"DPO ran on {trained} pairs, fewer than {FEW_PAIRS}: expect no effect that can be told from zero."
        )
    return lines


def _human_lines(human: Mapping[str, int]) -> list[str]:
    if not human:
        return []
    left = _drops({name: count for name, count in human.items() if name not in {"dialogues", "places", "sampled"}})
    return [
        f"{human['accepted']} more pairs come from {human['dialogues']} human dialogues that went well: the policy was asked "
        f"at {human['sampled']} of {human['places']} places ({left})."
    ]


def _drops(counts: Mapping[str, int]) -> str:
    drops = [f"{name} {count}" for name, count in counts.items() if name not in {"candidates", "accepted"} and count]
    return "left out: " + ", ".join(drops) if drops else "none left out"


def _evaluation_lines(cycle_id: str, judged: Judged) -> list[str]:
    lines = _items(_failed_lines(cycle_id, judged.failed, "of the evaluation"))
    for simulator, by_domain in judged.comparisons.items():
        lines.append(f"- With the {simulator} simulator, on held-out scenarios:")
        lines += [f"  - {_comparison_line(domain, judged.incumbent, found)}" for domain, found in by_domain.items()]
    lines += _items([f"Failed check: {sentence}." for sentence in judged.failures])
    return [*lines, "", f"Verdict: {judged.verdict.reason}."]


def _comparison_line(domain: str, incumbent: str, found: Comparison) -> str:
    if found.difference is None or found.low is None or found.high is None:
        return f"{domain}: too few scenarios could be compared ({found.n})."
    low, high = found.low, found.high
    meaning = "better" if low > 0 else "worse" if high < 0 else "no difference that can be told from zero"
    return (
        f"{domain}: {incumbent} {found.mean_base:.3f}, candidate {found.mean_candidate:.3f}, difference "
        f"{found.difference:+.3f} ({found.confidence:.1%} interval {low:+.3f} to {high:+.3f}) on {found.n} "
        f"scenarios: {meaning}."
    )


def _next_steps(cycle_id: str, places: Places) -> list[str]:
    prefix = f"ENGAGE_HOME={shlex.quote(places.home)} " if places.home else ""
    uri = places.tracking_uri
    shown = shlex.quote(uri) if mask_urls(uri) == uri else '"$MLFLOW_TRACKING_URI"'  # it holds a password
    return [
        "Look further:",
        "",
        f"    {prefix}.venv/bin/engage sql --name sibling_values --param cycle={cycle_id}",
        f"    {prefix}.venv/bin/engage sql --name transcript --param cycle={cycle_id}",
        f"    .venv/bin/mlflow ui --backend-store-uri {shown} --host 127.0.0.1 --port 5000",
    ]
