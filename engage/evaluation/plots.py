"""Figures of a cycle, with matplotlib and without a display. Each function returns a figure; the caller saves it."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from engage.evaluation.promotion import ALL as ALL_SCENARIOS
from engage.pages import CANDIDATE, MUTED, as_text, bounded, empty_figure, new_figure
from engage.stats import Comparison


def q_gap_histogram(gaps: Sequence[float], threshold: float) -> Any:
    """Value gaps of all candidate pairs (0..1), those at or above the acceptance threshold in another colour."""
    figure, axes = new_figure("Value gaps of the candidate pairs", "q_gap: Q(chosen) − Q(rejected), in reward", "pairs")
    if not gaps:
        return empty_figure(figure, axes, "no pair")
    edges = _edges(max(*gaps, threshold), threshold)
    above = [gap for gap in gaps if gap >= threshold]
    below = [gap for gap in gaps if gap < threshold]
    axes.hist(
        [below, above],
        bins=edges,
        stacked=True,
        color=[MUTED, CANDIDATE],
        label=[f"below ({len(below)})", f"at or above ({len(above)})"],
    )
    axes.axvline(threshold, color="black", linestyle="--", linewidth=1, label=f"threshold {threshold:g}")
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.legend(frameon=False)
    return figure


def _edges(top: float, threshold: float) -> list[float]:
    """Edges of about twenty bins from 0 to beyond `top`; one bin starts at the threshold."""
    width = (top or 1.0) / 20
    if threshold > 0:
        width = threshold / max(1, round(threshold / width))
    return [width * step for step in range(math.floor(top / width + 1e-9) + 2)]


def gains(comparisons: Mapping[str, Mapping[str, Comparison]], incumbent: str = "champion") -> Any:
    """Forest plot: per simulator and domain the mean paired difference of the candidate's reward from the incumbent's, with its interval.

    A line at 0; filled where the interval excludes it. Comparisons without a difference are left out.
    """
    shown = {
        simulator: found
        for simulator, by_domain in comparisons.items()
        if (found := {name: one for name, one in by_domain.items() if one.difference is not None})
    }
    sure = next((f"{one.confidence:.4g}" for found in shown.values() for one in found.values()), "")
    title = f"Gain of the candidate over the {incumbent}" + (f"\nintervals at confidence {sure}" if sure else "")
    rows = sum(1 + len(found) for found in shown.values())
    figure, axes = new_figure(
        title, "difference of the mean reward on held-out scenarios", "", 1.6 + 0.42 * max(4, rows)
    )
    if not shown:
        return empty_figure(figure, axes, "nothing could be compared")
    axes.axvline(0, color="black", linewidth=1)
    labels: list[str] = []
    for simulator, found in shown.items():
        labels.append(f"{simulator} simulator")
        for name, one in found.items():
            _gain(axes, len(labels), one)
            labels.append(f"{'all scenarios' if name == ALL_SCENARIOS else name.replace('_', ' ')} ({one.n})")
    axes.set_yticks(range(len(labels)), [as_text(label) for label in labels])
    for text in axes.get_yticklabels():
        text.set_fontweight("bold" if text.get_text().endswith(" simulator") else "normal")
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.spines["left"].set_visible(False)
    reach = max(abs(edge or 0.0) for found in shown.values() for one in found.values() for edge in _ends(one))
    reach = max(1.15 * reach, 0.01)
    axes.set_xlim(-reach, reach)
    return figure


def _ends(one: Comparison) -> tuple[float | None, ...]:
    return one.low, one.difference, one.high


def _gain(axes: Any, place: int, one: Comparison) -> None:
    """One row: the difference as a point, its interval as a line, both in figures at the right edge."""
    low, middle, high = (one.difference if end is None else end for end in _ends(one))
    sure = one.low is not None and one.high is not None and (one.low > 0 or one.high < 0)
    axes.plot([low, high], [place, place], color=CANDIDATE, linewidth=2, solid_capstyle="butt")
    axes.plot([middle], [place], "o", color=CANDIDATE, markerfacecolor=CANDIDATE if sure else "white", markersize=7)
    axes.annotate(
        bounded(one.difference, one.low, one.high, "{:+.3f}"),
        (1.02, place),
        xycoords=("axes fraction", "data"),
        va="center",
        fontsize=9,
        annotation_clip=False,
    )


def reward_by_turn(rewards: Mapping[str, Mapping[int, Sequence[float]]]) -> Any:
    """Mean Q along the spine: per domain, exchanges held to the Q values of the prefixes there; grey band: quartiles. Exchanges count from 1."""
    import numpy as np

    title = "Value of the prefix along the searched dialogues"
    figure, axes = new_figure(title, "exchange", "Q (mean reward, 0 to 1)")
    drawn = False
    for name, by_turn in rewards.items():
        turns = sorted(turn for turn, values in by_turn.items() if values)
        if not turns:
            continue
        drawn = True
        places = [turn + 1 for turn in turns]
        line = axes.plot(
            places, [fmean(by_turn[turn]) for turn in turns], marker="o", label=as_text(name.replace("_", " "))
        )[0]
        low, high = ([float(np.quantile(by_turn[turn], q)) for turn in turns] for q in (0.25, 0.75))
        axes.fill_between(places, low, high, color=line.get_color(), alpha=0.12, linewidth=0)
    if not drawn:
        return empty_figure(figure, axes, "no search")
    axes.set_ylim(0, 1)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(frameon=False, title="mean; band: middle half")
    return figure


def reliability(bins: Mapping[str, Sequence[tuple[float, float, float | None, float | None]]], unit: str) -> Any:
    """Predicted against actual outcomes: per simulator, bins as (mean predicted, mean actual, its interval's bounds)."""
    title = "Exit survey: simulated against real outcomes\nbins of equally many dialogues; bars: 95 % interval"
    figure, axes = new_figure(title, f"predicted ({unit})", f"real ({unit})")
    if not any(bins.values()):
        return empty_figure(figure, axes, "too few dialogues")
    reach: list[float] = []
    for name, points in bins.items():
        if not points:
            continue
        predicted, actual = [point[0] for point in points], [point[1] for point in points]
        bars = [
            [max(0.0, point[1] - (point[1] if point[2] is None else point[2])) for point in points],
            [max(0.0, (point[1] if point[3] is None else point[3]) - point[1]) for point in points],
        ]
        axes.errorbar(predicted, actual, yerr=bars, marker="o", capsize=3, linewidth=1, label=as_text(name))
        reach += [*predicted, *(low for _, _, low, _ in points if low is not None)]
        reach += [*actual, *(high for _, _, _, high in points if high is not None)]
    axes.axline((min(reach), min(reach)), slope=1.0, color=MUTED, linestyle="--", linewidth=1, label="as predicted")
    axes.legend(frameon=False)
    return figure
