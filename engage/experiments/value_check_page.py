"""The credit check as one Markdown page, and its short form for the terminal."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engage.experiments.calibration import BeliefCheck, Bin, Reliability
from engage.experiments.value_check import NoiseFloor, SearchShift, ValueCheckConfig
from engage.pages import (
    BASE,
    CANDIDATE,
    DASH,
    MUTED,
    bounded,
    empty_figure,
    estimate,
    new_figure,
    number,
    page,
    table,
)

GOAL = 0.05
OUTCOME_WORDS = {
    "sign": "sign of the fresh difference",
    "posterior": "P(fresh difference > 0), rollouts alone",
    "posterior_stated": "P(fresh difference > 0), stated belief as prior",
}
ESTIMANDS = """The two values are not the same thing. The search states a reply's value *under the search policy*: simulations that go on
below it take replies that the search has found better. A fresh rollout has the value *under the policy without search*, which is
what the trained policy is compared with. A stated P may be right about the first and wrong about the second."""

BELIEF = """Of a pair the search states its gap as N(gap, sd²), and P(Q⁺ > Q⁻) follows from that. z is the fresh difference minus the stated
gap, over √(sd² + the rollouts' standard error²). Were the belief right, the three figures would be about 1, 0 and 1 with any number
of rollouts; the sign of a difference needs many. A ratio below 1 says that the gaps are too large (the replies chosen were lucky), a
mean z² above 1 that the search is surer of them than it may be."""


@dataclass(frozen=True)
class CreditFigures:
    """All that a check found; `spent` is the mean number of sampled user turns behind a reply in the search, by domain.

    `unreadable_pairs` have too few readable rollouts, `failed_pairs` were not rolled out to the end.
    """

    floors: Sequence[NoiseFloor]
    shifts: Sequence[SearchShift]
    spent: dict[str, float]
    reliability: Reliability | None
    rollouts: int
    unreadable_pairs: int
    failed_pairs: int


@dataclass(frozen=True)
class CheckedValues:
    """What a check found, in plain words and as figures; `failed` maps a scenario to why its rollouts failed for good."""

    text: str
    figures: CreditFigures
    failed: Mapping[str, str]

    @staticmethod
    def of(figures: CreditFigures, failed: Mapping[str, str], page: Path) -> "CheckedValues":
        """With the short form of the figures, what failed, and where the `page` is."""
        lines = credit_lines(figures)
        if failed:
            scenario, reason = min(failed.items())
            lines.append(f"{len(failed)} scenarios failed, {scenario} because: {reason}. The same command tries again.")
        return CheckedValues("\n".join([*lines, f"The page: {page}"]), figures, failed)


def credit_page(cycle_id: str, found: CreditFigures, check: ValueCheckConfig) -> str:
    """The whole page; `credit.png` lies beside it."""
    parts = [f"# Credit check of cycle {cycle_id}", *credit_lines(found), "## Noise floor", _floor_table(found)]
    parts += [
        f"Fresh rollouts of the policy without search: {check.turns} user turns a reply, {check.below} rollouts through each. "
        "Standard deviations in reward (0 to 1). The siblings' spread is what is left after the noise is taken out; the simulations "
        f"needed let each of two replies of the median true gap be told apart with probability 0.8 (interval over prefixes)."
    ]
    if found.reliability:
        parts += ["## Stated P(Q⁺ > Q⁻) against fresh re-rollouts", "![reliability](credit.png)"]
        parts += [_bin_table(found.reliability), _error_table(found.reliability), _how(found, found.reliability, check)]
        parts += ["## Stated gap against fresh differences", _belief_table(found.reliability.belief), BELIEF]
    return page([*parts, "## Two estimands", ESTIMANDS, _shift_table(found.shifts)])


def credit_lines(found: CreditFigures) -> list[str]:
    """The result in a few sentences."""
    lines = [_floor_sentence(floor, found.spent.get(floor.domain)) for floor in found.floors]
    lines += _pair_sentences(found.reliability) if found.reliability else ["No pair could be compared."]
    left = {
        "had too few readable rollouts": found.unreadable_pairs,
        "were not rolled out to the end": found.failed_pairs,
    }
    lines += [f"Left out: {count} pairs {why}." for why, count in left.items() if count]
    return [*lines, f"Fresh rollouts kept: {found.rollouts}."]


def _floor_sentence(floor: NoiseFloor, spent: float | None) -> str:
    has = "" if spent is None else f"; the search gave it {spent:.1f}"
    if math.isinf(floor.simulations_needed):
        needs = "no spread between siblings is seen above it, so no number of simulations is known to tell them apart"
    else:
        needs = f"siblings differ by {floor.sibling_sd:.4f}: a reply needs about {_needed(floor)} simulations"
    return f"{floor.domain}: one rollout of a reply has a standard deviation of {floor.rollout_sd:.4f}, {needs}{has}."


def _pair_sentences(reliability: Reliability) -> list[str]:
    told = reliability.belief.gap_ratio.value is not None
    return [_error_sentence(reliability), *([_belief_sentence(reliability.belief)] if told else [])]


def _error_sentence(reliability: Reliability) -> str:
    error = reliability.errors["sign"]
    if error.high <= GOAL:
        verdict = f"at most {GOAL}, as wanted"
    elif error.low > GOAL and reliability.errors["posterior_stated"].low > GOAL:  # not for imprecise signs alone
        verdict = f"above the {GOAL} that is wanted"
    else:
        verdict = f"not enough to say whether it is at most {GOAL}"
    excess = bounded(error.excess, error.excess_low, error.excess_high, "{:+.3f}")
    told = "over" if error.excess_low > 0 else "under" if error.excess_high < 0 else "neither over- nor under"
    return (
        f"Expected calibration error {bounded(error.ece, error.low, error.high)} on {reliability.pairs} pairs of "
        f"{reliability.scenarios} scenarios: {verdict}. Were P exactly right, so few pairs would show {error.if_calibrated:.3f} "
        f"(up to {error.if_calibrated_high:.3f}). On average P states {excess} more than agrees: "
        f"{told}confident as far as can be told. {reliability.precise} pairs have a difference three standard errors from 0."
    )


def _belief_sentence(belief: BeliefCheck) -> str:
    return (
        f"Fresh differences are {estimate(belief.gap_ratio, '{:.2f}')} of the stated gaps; from these they lie {estimate(belief.bias, '{:.2f}')} standard "
        f"deviations away on average, with a mean square of {estimate(belief.spread, '{:.2f}')} (a right belief: 1, 0 and 1)."
    )


def _belief_table(belief: BeliefCheck) -> str:
    rows = {
        "mean fresh difference / mean stated gap": (belief.gap_ratio, 1),
        "mean z": (belief.bias, 0),
        "mean z²": (belief.spread, 1),
    }
    cells = [[what, estimate(found, "{:.2f}"), str(right)] for what, (found, right) in rows.items()]
    return table(["figure", "value [interval]", "were the belief right"], cells)


def _floor_table(found: CreditFigures) -> str:
    head = [
        "domain",
        "prefixes",
        "replies",
        "rollouts (unreadable)",
        "mean reward",
        "one rollout",
        "from the user turn",
    ]
    head += ["below it", "between siblings", "median gap", "simulations needed", "spent"]
    return table(head, [_floor_row(one, found.spent.get(one.domain)) for one in found.floors])


def _floor_row(one: NoiseFloor, spent: float | None) -> list[str]:
    spread = (one.rollout_sd, one.turn_sd, one.below_sd, one.sibling_sd, one.median_gap)
    return [
        one.domain,
        str(one.prefixes),
        str(one.replies),
        f"{one.rollouts} ({one.unreadable})",
        number(one.reward_mean),
        *(number(value, "{:.4f}") for value in spread),
        _needed(one),
        number(spent, "{:.1f}"),
    ]


def _bin_table(reliability: Reliability) -> str:
    rows = [
        [
            f"{one.low:.2f} to {one.high:.2f}",
            str(one.pairs),
            number(one.share, "{:.1%}"),
            number(one.stated),
            *(number(one.outcomes[name]) for name in OUTCOME_WORDS),
        ]
        for one in reliability.bins
    ]
    return table(["stated P", "pairs", "share of the cycle's", "mean stated", *OUTCOME_WORDS.values()], rows)


def _error_table(reliability: Reliability) -> str:
    rows = [
        [
            OUTCOME_WORDS[name],
            bounded(found.ece, found.low, found.high),
            f"{number(found.if_calibrated)} (up to {number(found.if_calibrated_high)})" if name == "sign" else DASH,
            bounded(found.excess, found.excess_low, found.excess_high, "{:+.3f}"),
        ]
        for name, found in reliability.errors.items()
    ]
    return table(["outcome", "calibration error [interval]", "if P were right", "overconfidence [interval]"], rows)


def _how(found: CreditFigures, reliability: Reliability, check: ValueCheckConfig) -> str:
    wanted = ", ".join(f"{_count(floor.rollouts_for_precision)} in {floor.domain}" for floor in found.floors)
    return (
        f"{reliability.pairs} pairs, spread evenly over ten bins of the stated P and weighed by how many pairs of the cycle stand "
        f"there. Both replies were rolled out afresh, {check.rollouts} times each with seeds of its own; the difference of "
        f"{reliability.precise} pairs is three standard errors from 0 (one of the median true gap takes {wanted} rollouts), all count. Intervals are at "
        "95 % and resample scenarios. The sign of an imprecise difference, and what the rollouts alone tell, draw the outcome "
        "towards a half (P looks overconfident); with the stated belief as prior the outcome leans towards what was stated. The "
        "truth lies between them."
    )


def _shift_table(shifts: Sequence[SearchShift]) -> str:
    head = ["domain", "the search moved on through it", "replies", "value in the search − fresh value"]
    rows = []
    for one in shifts:
        error = "" if one.standard_error is None else f" ± {one.standard_error:.4f}"
        rows.append([one.domain, "yes" if one.on_spine else "no", str(one.replies), f"{one.mean:+.4f}{error}"])
    note = "± is one standard error over prefixes. The search moves on through the reply it visited most, often one that was lucky."
    return f"{table(head, rows, words=2)}\n\n{note}"


def _needed(floor: NoiseFloor) -> str:
    return f"{_count(floor.simulations_needed)} [{_count(floor.low)}, {_count(floor.high)}]"


def _count(number: float) -> str:
    return "no limit" if math.isinf(number) else f"{number:.0f}"


def stated_against_fresh(bins: Sequence[Bin]) -> Any:
    """Stated P(Q⁺ > Q⁻) against the share of pairs whose fresh difference agrees in sign; bars: Jeffreys' 95 % interval."""
    from scipy.stats import beta

    title = "Stated P against fresh re-rollouts\nnumbers: pairs of the bin; bars: 95 % interval of the share"
    figure, axes = new_figure(title, "stated P(Q⁺ > Q⁻) under the search policy", "share that agrees afresh")
    if not bins:
        return empty_figure(figure, axes, "no pair was re-rolled")
    stated, agreed = [one.stated for one in bins], [one.outcomes["sign"] for one in bins]
    counts = [(one.pairs * one.outcomes["sign"] + 0.5, one.pairs * (1 - one.outcomes["sign"]) + 0.5) for one in bins]
    limits = [beta.ppf([0.025, 0.975], *count) for count in counts]
    below = [max(0.0, share - low) for share, (low, _) in zip(agreed, limits, strict=True)]
    above = [max(0.0, high - share) for share, (_, high) in zip(agreed, limits, strict=True)]
    axes.plot([0.5, 1], [0.5, 1], color=MUTED, linestyle="--", linewidth=1, label="calibrated")
    axes.errorbar(stated, agreed, yerr=[below, above], color=CANDIDATE, marker="o", capsize=3, label="sign agrees")
    posterior = [one.outcomes["posterior_stated"] for one in bins]
    axes.plot(stated, posterior, color=BASE, marker="s", linewidth=1, label="posterior, stated belief as prior")
    for one, share in zip(bins, agreed, strict=True):
        axes.annotate(str(one.pairs), (one.stated, share), xytext=(6, -10), textcoords="offset points", fontsize=8)
    axes.set(xlim=(0.48, 1.02), ylim=(-0.02, 1.04))
    axes.legend(frameon=False, loc="lower right")
    return figure
