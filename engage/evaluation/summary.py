"""Summarises a night: what each stage did, what it means, and which commands show more. The text is Markdown that reads well on a terminal."""

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from engage.engines.prices import dollars
from engage.evaluation.collected import Collected, drawn_in_words
from engage.evaluation.judgement import Comparisons
from engage.evaluation.promotion import Verdict
from engage.masking import mask_urls
from engage.pages import counted
from engage.stats import Comparison
from engage.training import LEAST_SCENARIOS, MEASURED_PAIRS, Candidate, PairSet

FEW_PAIRS = 16
FEW_SET_ASIDE = 8
MANY_FLIPS = 0.1
"""Share of first draws with users speaking as assistants; above it the summary begins with a warning."""


@dataclass(frozen=True)
class Aligned:
    """Result of the stage `align`: the pair set and the candidate; None if there was no pair to train on."""

    pairs: PairSet
    candidate: Candidate | None


@dataclass(frozen=True)
class Judged:
    """Result of the stage `evaluation`; `page` is the path of its report, `failed` maps a scenario to the reason why its dialogues failed.

    `notes` are sentences about challengers of earlier nights and about the scenarios. `ground` is the digest of what the dialogues were held
    on: gains of different grounds cannot be compared.
    """

    incumbent: str
    verdict: Verdict
    page: str
    comparisons: Comparisons = field(default_factory=dict)
    failures: Sequence[str] = ()
    failed: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    ground: str = ""


@dataclass(frozen=True)
class Night:
    """Results of a whole cycle by stage; `text` is the summary in plain words."""

    cycle_id: str
    collected: Collected
    aligned: Aligned
    judged: Judged
    text: str


@dataclass(frozen=True)
class Places:
    """Addresses for the next steps: the home (None: the commands use it by default) and MLflow."""

    home: str | None
    tracking_uri: str


class SaysItself(Protocol):
    """A flow's result with its own summary in plain words."""

    @property
    def text(self) -> str:
        """The text that the command prints."""
        ...


Stage = Collected | Aligned | Judged | SaysItself


def night_text(cycle_id: str, collected: Collected, aligned: Aligned, judged: Judged, places: Places) -> str:
    """All stages of a night on one page."""
    happened = _items([*_collect_lines(cycle_id, collected), *_align_lines(aligned), *_cost_lines(collected, aligned)])
    warning = _role_warning(collected)
    lines = [f"# Cycle {cycle_id}{warning and f': {warning}'}", "", *happened, "", *_evaluation_lines(cycle_id, judged)]
    return "\n".join([*lines, "", *_next_steps(cycle_id, places)])


def stage_text(cycle_id: str, stage: Stage, places: Places) -> str:
    """The summary of one stage; a whole night and an experiment bring their own text."""
    if not isinstance(stage, Collected | Aligned | Judged):
        return stage.text
    return "\n".join([*stage_lines(cycle_id, stage), "", *_next_steps(cycle_id, places)])


def stage_lines(cycle_id: str, stage: Collected | Aligned | Judged) -> list[str]:
    """The summary of one stage, without the next steps."""
    if isinstance(stage, Collected):
        warning = _role_warning(stage)
        lines = [*_collect_lines(cycle_id, stage), *_cost_lines(stage)]
        return [*([warning, ""] if warning else []), *_items(lines)]
    return _items(_align_lines(stage)) if isinstance(stage, Aligned) else _evaluation_lines(cycle_id, stage)


def _items(lines: Sequence[str]) -> list[str]:
    return [f"- {line}" for line in lines]


def _collect_lines(cycle_id: str, collected: Collected) -> list[str]:
    lines = []
    for row in collected.rewards:
        reward = "no readable reward" if row.reward_mean is None else f"mean reward {row.reward_mean:.3f}"
        lines.append(f"{row.domain}: {row.trees} trees, {row.simulations} simulated conversations, {reward}.")
    if not collected.rewards:
        lines.append("No search was completed.")
    if collected.drawn:
        lines.append(f"Each tree drew its user: {drawn_in_words(collected.drawn)}.")
    if collected.prompted:
        lines.append(collected.prompted)
    if collected.crises:
        lines.append(
            f"In {collected.crises} conversations the user spoke of self-harm. They ended with a referral to crisis help and are "
            "not used for training."
        )
    if collected.unspoken:
        reasons = ", ".join(f"{reason} {count}" for reason, count in collected.unspoken.items())
        lines.append(
            f"{sum(collected.unspoken.values())} conversations ended because the model gave no usable turn ({reasons}). They have "
            "no reward."
        )
    if spoke := collected.users_as_assistants:
        lines.append(
            f"The simulated users spoke like an assistant in {spoke} of {spoke.turns} first draws. Such turns were drawn again."
        )
    if collected.unsearched:
        lines.append(
            f"{collected.unsearched} scenarios were not searched because the budget (collect.budget) was used up. To continue, run the "
            f"same command with --cycle {cycle_id} and a larger budget."
        )
    return [*lines, *failed_lines(cycle_id, collected.failed, "of the search")]


def _role_warning(collected: Collected) -> str:
    """The warning for a night with too many users who speak as assistants; empty otherwise."""
    spoke = collected.users_as_assistants
    if not spoke or spoke.value <= MANY_FLIPS:
        return ""
    return (
        f"The simulated users speak as assistants in {spoke} of first draws. Do not trust this night's rewards: a prompted "
        "instruct model is a poor user. Train a simulator with `engage simulator train` and set engine.simulator_adapter."
    )


def failed_lines(cycle_id: str, failed: Mapping[str, str], where: str) -> list[str]:
    """How many scenarios failed, the first reason, and what to do; nothing if none did."""
    if not failed:
        return []
    scenario, reason = min(failed.items())
    scenarios = "1 scenario" if len(failed) == 1 else f"{len(failed)} scenarios"
    return [
        f"{scenarios} {where} failed; the reason for {scenario}: {reason}. "
        f"To try again, run the same command with --cycle {cycle_id}."
    ]


def _align_lines(aligned: Aligned) -> list[str]:
    counts = aligned.pairs.counts
    lines = [f"{counts['candidates']} candidate pairs, {counts['accepted']} accepted ({_drops(counts)})."]
    lines += [*_human_lines(aligned.pairs.human), *_earlier_lines(aligned.pairs)]
    if aligned.candidate is None:
        lines.append(
            "Nothing was trained, because no pair was accepted. Collect more trees, or lower the required gap (pairs.min_q_gap) or "
            "confidence (pairs.confidence)."
        )
        return lines
    figures = aligned.candidate.metrics
    if (trained := int(figures["pairs"])) < FEW_PAIRS:
        lines.append(f"DPO was trained on {trained} pairs, fewer than {FEW_PAIRS}: do not expect a measurable effect.")
    return [*lines, *_measured_lines(figures)]


def _measured_lines(figures: Mapping[str, float]) -> list[str]:
    """How far the training moved the policy; nothing for an adapter of an older version, which was not measured."""
    if "train/loss" not in figures:
        return []
    pairs, aside = int(figures["pairs"]), int(figures["pairs_held_out"])
    of = f"on {MEASURED_PAIRS} of its {pairs} pairs" if pairs > MEASURED_PAIRS else f"on its {pairs} pairs"
    lines = [f"After training, {of}: {_moved(figures, 'train')}."]
    if not aside:
        return [
            *lines,
            "No pairs were set aside to measure the training on: that needs accepted pairs of at least "
            f"{LEAST_SCENARIOS} scenarios, and align.held_out above 0.",
        ]
    of = f"{MEASURED_PAIRS} of {aside}" if aside > MEASURED_PAIRS else f"{aside}"
    lines.append(f"On {of} pairs of scenarios that were set aside: {_moved(figures, 'held_out')}.")
    if aside >= FEW_SET_ASIDE and figures["train/loss"] < _loss_before(figures) <= figures["held_out/loss"]:
        lines.append(
            "On the pairs set aside the loss did not fall: no sign that the training learnt anything that other scenarios share. Pairs of more "
            "scenarios (scenarios.per_domain, pairs.cycles) may help."
        )
    return lines


def _loss_before(figures: Mapping[str, float]) -> float:
    return figures.get("loss_before", math.log(2))


def _moved(figures: Mapping[str, float], kind: str) -> str:
    loss, accuracy, margin, kl = (figures[f"{kind}/{name}"] for name in ("loss", "accuracy", "margin", "kl"))
    return (
        f"loss {loss:.3f} ({_loss_before(figures):.3f} before), {accuracy:.0%} of them ranked as chosen, margin {margin:+.3f}, "
        f"KL to the start {kl:.2g} nats per token"
    )


def _human_lines(human: Mapping[str, int]) -> list[str]:
    if not human:
        return []
    left = _drops({name: count for name, count in human.items() if name not in {"dialogues", "places", "sampled"}})
    return [
        f"{human['accepted']} more pairs come from {human['dialogues']} successful human dialogues: the policy replied "
        f"at {human['sampled']} of {human['places']} places ({left})."
    ]


def _earlier_lines(pairs: PairSet) -> list[str]:
    """How many of the searches' pairs come from which nights, if earlier ones were asked for."""
    lines, count, own = [], sum(pairs.earlier.values()), pairs.counts["accepted"]
    if pairs.earlier:
        nights = counted(len(pairs.earlier), "earlier night")
        lines.append(
            f"{own + count} pairs from searches: {own} of tonight, {count} of {nights} ({', '.join(pairs.earlier)}). The values of earlier "
            "pairs are those under the policy of their night."
        )
    if pairs.left:
        lines.append(f"Left out: {'; '.join(f'{cycle} ({reason})' for cycle, reason in pairs.left.items())}.")
    return lines


def _cost_lines(collected: Collected, aligned: Aligned | None = None) -> list[str]:
    """What the night's searches cost in dollars, and each of their accepted pairs (neither earlier ones nor those from people); nothing without prices."""
    if collected.usd is None:
        return []
    accepted = aligned.pairs.counts.get("accepted", 0) if aligned else 0
    pair = f", {dollars(collected.usd / accepted)} for each accepted pair" if accepted else ""
    return [f"The searches cost {dollars(collected.usd)}{pair}, by the prices in engine.prices."]


def _drops(counts: Mapping[str, int]) -> str:
    drops = [f"{name} {count}" for name, count in counts.items() if name not in {"candidates", "accepted"} and count]
    return "dropped: " + ", ".join(drops) if drops else "none dropped"


def _evaluation_lines(cycle_id: str, judged: Judged) -> list[str]:
    lines = _items(failed_lines(cycle_id, judged.failed, "of the evaluation"))
    for simulator, by_domain in judged.comparisons.items():
        lines.append(f"- With the {simulator} simulator, on held-out scenarios:")
        lines += [f"  - {_comparison_line(domain, judged.incumbent, found)}" for domain, found in by_domain.items()]
    lines += _items([f"Failed check: {sentence}." for sentence in judged.failures])
    notes = [f"{note[0].upper()}{note[1:]}." for note in judged.notes]
    return [*lines, "", f"Verdict: {judged.verdict.reason}.", *notes]


def _comparison_line(domain: str, incumbent: str, found: Comparison) -> str:
    if found.difference is None or found.low is None or found.high is None:
        return f"{domain}: too few scenarios to compare ({found.n})."
    low, high = found.low, found.high
    meaning = "better" if low > 0 else "worse" if high < 0 else "no significant difference"
    return (
        f"{domain}: {incumbent} {found.mean_base:.3f}, candidate {found.mean_candidate:.3f}, difference "
        f"{found.difference:+.3f} ({found.confidence:.1%} interval {low:+.3f} to {high:+.3f}) on {found.n} "
        f"scenarios: {meaning}."
    )


def _next_steps(cycle_id: str, places: Places) -> list[str]:
    prefix = f"ENGAGE_HOME={shlex.quote(places.home)} " if places.home else ""
    return [
        "To see more:",
        "",
        f"    {prefix}.venv/bin/engage report --cycle {cycle_id} --open",
        f"    {prefix}.venv/bin/engage sql --name sibling_values --param cycle={cycle_id}",
        f"    {prefix}.venv/bin/engage sql --name transcript --param cycle={cycle_id}",
        f"    {prefix}.venv/bin/engage runs",
        f"    {mlflow_command(places.tracking_uri)}",
    ]


def mlflow_command(uri: str) -> str:
    """The command line that opens MLflow's pages on its database; an address that contains a password is not shown."""
    shown = shlex.quote(uri) if mask_urls(uri) == uri else '"$MLFLOW_TRACKING_URI"'
    return f".venv/bin/mlflow ui --backend-store-uri {shown} --host 127.0.0.1 --port 5000"
