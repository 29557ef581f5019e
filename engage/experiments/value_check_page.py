"""The value check (`engage experiment credit`) as one Markdown page, and its short form for the terminal."""

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
ESTIMANDS = """The two values differ by definition. The search states a reply's value *under the search policy*: later simulations
prefer the replies that looked better so far. A fresh rollout measures the value *under the policy without search*, the policy that
the trained one is compared with. A stated P can be right about the first value and wrong about the second."""

BELIEF = """For each pair the search states its gap as N(gap, sd²); P(Q⁺ > Q⁻) follows from it. z is (fresh difference − stated gap) /
√(sd² + the rollouts' standard error²). If the stated belief is right, the three figures are about 1, 0 and 1, even with few
rollouts; the sign of a difference needs many. A ratio below 1 means that the stated gaps are too large (the chosen replies were
lucky). A mean z² above 1 means that the search is too confident."""


@dataclass(frozen=True)
class CreditFigures:
    """All figures of a check; `spent` is the mean number of sampled user turns per reply in the search, by domain.

    `unreadable_pairs` have too few readable rollouts; rollouts of `failed_pairs` did not finish.
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
    """Results of a check as text and figures; `failed` maps a scenario to the reason why its rollouts failed."""

    text: str
    figures: CreditFigures
    failed: Mapping[str, str]

    @staticmethod
    def of(figures: CreditFigures, failed: Mapping[str, str], page: Path) -> "CheckedValues":
        """Build the text: the short form of the figures, the failures, and the path of the `page`."""
        lines = credit_lines(figures)
        if failed:
            scenario, reason = min(failed.items())
            lines.append(
                f"{len(failed)} scenarios failed; the reason for {scenario}: {reason}. To try again, run the same command."
            )
        return CheckedValues("\n".join([*lines, f"The page: {page}"]), figures, failed)


def credit_page(cycle_id: str, figures: CreditFigures, check: ValueCheckConfig) -> str:
    """The whole page; its plot `credit.png` is in the same folder."""
    parts = [f"# Credit check of cycle {cycle_id}", *credit_lines(figures), "## Noise floor", _floor_table(figures)]
    parts += [
        f"Fresh rollouts of the policy without search: {check.turns} user turns per reply, {check.below} rollouts per user turn. "
        'Standard deviations are in reward (0 to 1). The spread between siblings is what remains without the noise. "Simulations '
        'needed" is the number per reply that ranks two replies with the median true gap correctly with probability 0.8; the '
        "interval resamples prefixes."
    ]
    if figures.reliability:
        parts += ["## Stated P(Q⁺ > Q⁻) against fresh re-rollouts", "![reliability](credit.png)"]
        parts += [
            _bin_table(figures.reliability),
            _error_table(figures.reliability),
            _how(figures, figures.reliability, check),
        ]
        parts += ["## Stated gap against fresh differences", _belief_table(figures.reliability.belief), BELIEF]
    return page([*parts, "## Two estimands", ESTIMANDS, _shift_table(figures.shifts)])


def credit_lines(figures: CreditFigures) -> list[str]:
    """The result in a few sentences."""
    lines = [_floor_sentence(floor, figures.spent.get(floor.domain)) for floor in figures.floors]
    lines += [_error_sentence(figures.reliability)] if figures.reliability else ["No pair could be compared."]
    if figures.reliability and figures.reliability.belief.gap_ratio.value is not None:
        lines.append(_belief_sentence(figures.reliability.belief))
    left = {
        "had too few readable rollouts": figures.unreadable_pairs,
        "have unfinished rollouts": figures.failed_pairs,
    }
    lines += [f"Left out: {count} pairs {why}." for why, count in left.items() if count]
    return [*lines, f"Fresh rollouts used: {figures.rollouts}."]


def _floor_sentence(floor: NoiseFloor, spent: float | None) -> str:
    has = "" if spent is None else f"; the search used {spent:.1f}"
    if math.isinf(floor.simulations_needed):
        needs = "and no spread between siblings is visible above it, so the number of simulations needed is unknown"
    else:
        needs = (
            f"the spread between siblings is {floor.sibling_sd:.4f}: a reply needs about {_needed(floor)} simulations"
        )
    return f"{floor.domain}: one rollout of a reply has a standard deviation of {floor.rollout_sd:.4f}, {needs}{has}."


def _error_sentence(reliability: Reliability) -> str:
    error = reliability.errors["sign"]
    if error.high <= GOAL:
        verdict = f"at most {GOAL}, the goal"
    elif error.low > GOAL and reliability.errors["posterior_stated"].low > GOAL:  # not for imprecise signs alone
        verdict = f"above the goal of {GOAL}"
    else:
        verdict = f"too few pairs to decide whether it is at most {GOAL}"
    excess = bounded(error.excess, error.excess_low, error.excess_high, "{:+.3f}")
    confidence = (
        "overconfidence"
        if error.excess_low > 0
        else "underconfidence"
        if error.excess_high < 0
        else "no over- or underconfidence"
    )
    return (
        f"Expected calibration error {bounded(error.ece, error.low, error.high)} on {reliability.pairs} pairs of "
        f"{reliability.scenarios} scenarios: {verdict}. With so few pairs, even an exactly right P would show "
        f"{error.if_calibrated:.3f} (up to {error.if_calibrated_high:.3f}). Mean stated P minus the share of agreeing signs is "
        f"{excess}: {confidence} detected. In {reliability.precise} pairs the difference is at least three standard errors from 0."
    )


def _belief_sentence(belief: BeliefCheck) -> str:
    return (
        f"Mean fresh difference / mean stated gap is {estimate(belief.gap_ratio, '{:.2f}')}. In standard deviations, fresh minus stated "
        f"has mean {estimate(belief.bias, '{:.2f}')} and mean square {estimate(belief.spread, '{:.2f}')} (expected if the belief is right: 1, 0 and 1)."
    )


def _belief_table(belief: BeliefCheck) -> str:
    rows = {
        "mean fresh difference / mean stated gap": (belief.gap_ratio, 1),
        "mean z": (belief.bias, 0),
        "mean z²": (belief.spread, 1),
    }
    cells = [[what, estimate(value, "{:.2f}"), str(right)] for what, (value, right) in rows.items()]
    return table(["figure", "value [interval]", "expected if right"], cells)


def _floor_table(figures: CreditFigures) -> str:
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
    return table(head, [_floor_row(one, figures.spent.get(one.domain)) for one in figures.floors])


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
            bounded(error.ece, error.low, error.high),
            f"{number(error.if_calibrated)} (up to {number(error.if_calibrated_high)})" if name == "sign" else DASH,
            bounded(error.excess, error.excess_low, error.excess_high, "{:+.3f}"),
        ]
        for name, error in reliability.errors.items()
    ]
    return table(["outcome", "calibration error [interval]", "if P is right", "overconfidence [interval]"], rows)


def _how(figures: CreditFigures, reliability: Reliability, check: ValueCheckConfig) -> str:
    wanted = ", ".join(f"{_count(floor.rollouts_for_precision)} in {floor.domain}" for floor in figures.floors)
    return (
        f"{reliability.pairs} pairs, spread evenly over ten bins of the stated P; each bin is weighted by its share of the cycle's "
        f"pairs. Both replies were rolled out again, {check.rollouts} times each, with new seeds. The difference of "
        f"{reliability.precise} pairs is at least three standard errors from 0 (the median true gap needs {wanted} rollouts for that); "
        "all pairs count. Intervals are at 95 % and resample scenarios. The sign of an imprecise difference and the rollouts alone "
        "pull the outcome towards 0.5, so P looks overconfident. With the stated belief as prior, the outcome is pulled towards the "
        "stated P. The truth lies between."
    )


def _shift_table(shifts: Sequence[SearchShift]) -> str:
    head = ["domain", "on the search's spine", "replies", "value in the search − fresh value"]
    rows = []
    for one in shifts:
        error = "" if one.standard_error is None else f" ± {one.standard_error:.4f}"
        rows.append([one.domain, "yes" if one.on_spine else "no", str(one.replies), f"{one.mean:+.4f}{error}"])
    note = "± is one standard error over prefixes. The spine goes through the most visited reply, which was often a lucky one."
    return f"{table(head, rows, words=2)}\n\n{note}"


def _needed(floor: NoiseFloor) -> str:
    return f"{_count(floor.simulations_needed)} [{_count(floor.low)}, {_count(floor.high)}]"


def _count(number: float) -> str:
    return "no limit" if math.isinf(number) else f"{number:.0f}"


def stated_against_fresh(bins: Sequence[Bin]) -> Any:
    """Stated P(Q⁺ > Q⁻) against the share of pairs whose fresh difference agrees in sign; bars: Jeffreys' 95 % interval."""
    from scipy.stats import beta

    title = "Stated P against fresh re-rollouts\nnumbers: pairs of the bin; bars: 95 % interval of the share"
    figure, axes = new_figure(
        title, "stated P(Q⁺ > Q⁻) under the search policy", "share with the same sign in fresh rollouts"
    )
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
