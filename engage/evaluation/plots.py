"""Figures of a cycle, with matplotlib and without a display. Each function returns a figure; the caller saves it."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from engage.pages import BASE, CANDIDATE, MUTED, empty_figure, new_figure
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


def reward_comparison(comparisons: Mapping[str, Comparison], base_name: str = "champion") -> Any:
    """Mean reward of base and candidate per domain; the bar on the candidate is the interval of the paired difference."""
    sure = next((f"{found.confidence:.4g}" for found in comparisons.values()), "")
    title = "Mean reward on held-out scenarios"
    if sure:
        title += f"\nblack: interval of the paired difference, confidence {sure}"
    figure, axes = new_figure(title, "", "mean reward (0 worst, 1 best)")
    shown = {name: found for name, found in comparisons.items() if found.difference is not None}
    if not shown:
        return empty_figure(figure, axes, "nothing could be compared")
    places = list(range(len(shown)))
    base = [found.mean_base or 0.0 for found in shown.values()]
    candidate = [found.mean_candidate or 0.0 for found in shown.values()]
    axes.bar([place - 0.2 for place in places], base, 0.38, color=BASE, label=base_name)
    axes.bar([place + 0.2 for place in places], candidate, 0.38, color=CANDIDATE, label="candidate")
    for place, found in zip(places, shown.values(), strict=True):
        _difference(axes, place, found)
    axes.set_xticks(places, [f"{name.replace('_', ' ')}\n{found.n} scenarios" for name, found in shown.items()])
    axes.set_ylim(0, 1.12)
    axes.legend(frameon=False, loc="upper right", ncols=2)
    return figure


def _difference(axes: Any, place: float, found: Comparison) -> None:
    """Base mean plus the interval of the difference, drawn on the candidate's bar, and the difference in figures."""
    top = found.mean_candidate or 0.0
    if (
        found.low is not None
        and found.high is not None
        and found.mean_base is not None
        and found.difference is not None
    ):
        below, above = max(0.0, found.difference - found.low), max(0.0, found.high - found.difference)
        axes.errorbar([place + 0.2], [top], yerr=[[below], [above]], color="black", capsize=4, linewidth=1)
        top += above
    text = f"{found.difference:+.3f}"
    axes.annotate(text, (place + 0.2, top), xytext=(0, 4), textcoords="offset points", ha="center", fontsize=9)


def reward_by_turn(rewards: Mapping[str, Mapping[int, Sequence[float]]]) -> Any:
    """Mean Q along the spine: per domain, exchange number (from 0) to the Q values of the prefixes there; grey band: quartiles."""
    import numpy as np

    title = "Value of the prefix along the searched dialogues"
    figure, axes = new_figure(title, "exchanges", "Q (mean reward, 0 to 1)")
    drawn = False
    for name, by_turn in rewards.items():
        turns = sorted(turn for turn, values in by_turn.items() if values)
        if not turns:
            continue
        drawn = True
        line = axes.plot(turns, [fmean(by_turn[turn]) for turn in turns], marker="o", label=name.replace("_", " "))[0]
        low, high = ([float(np.quantile(by_turn[turn], q)) for turn in turns] for q in (0.25, 0.75))
        axes.fill_between(turns, low, high, color=line.get_color(), alpha=0.12, linewidth=0)
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
        axes.errorbar(predicted, actual, yerr=bars, marker="o", capsize=3, linewidth=1, label=name)
        reach += [*predicted, *(low for _, _, low, _ in points if low is not None)]
        reach += [*actual, *(high for _, _, _, high in points if high is not None)]
    axes.axline((min(reach), min(reach)), slope=1.0, color=MUTED, linestyle="--", linewidth=1, label="as predicted")
    axes.legend(frameon=False)
    return figure
