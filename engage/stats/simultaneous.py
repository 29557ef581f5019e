"""Several policies compared with one at once: intervals that hold for all of them together. Numbers in, numbers out."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engage.stats.bootstrap import CONFIDENCE, resamples
from engage.stats.paired import Comparison, Rewards, paired_comparison, paired_means

LEAST_SCENARIOS = 6
"""Fewer scenarios get no simultaneous bounds: too many of their resamples contain one scenario only."""
_BATCH = 1_000
"""Resamples at a time."""


@dataclass(frozen=True)
class Simultaneous:
    """One policy against the common one.

    `alone` has the interval of this comparison by itself. `low` and `high` bound the same mean difference so that, with the chance
    `alone.confidence`, the bounds of all policies hold together; None below LEAST_SCENARIOS.
    """

    alone: Comparison
    low: float | None
    high: float | None


def simultaneous_comparison(
    policies: Mapping[str, Rewards], against: str, confidence: float = CONFIDENCE, seed: int = 0
) -> dict[str, Simultaneous]:
    """Compare every other policy with `against`, by scenario and by place in the list of dialogues, as `paired_comparison` does.

    The simultaneous bounds are mean ± q · standard error. q is the quantile at `confidence` of the largest studentised deviation
    over the policies (max-t), where scenarios are resampled for all policies together. Policies may have different scenarios:
    each counts where it has one. KeyError if `against` is not one of the policies.
    """
    base = policies[against]
    others = {name: rewards for name, rewards in policies.items() if name != against}
    alone = {name: paired_comparison(base, rewards, confidence, seed) for name, rewards in others.items()}
    scenarios = sorted({scenario for rewards in policies.values() for scenario in rewards})
    table = np.full((len(scenarios), len(others)), np.nan)
    for column, rewards in enumerate(others.values()):
        means = paired_means(base, rewards)[0]
        for row, scenario in enumerate(scenarios):
            if scenario in means:
                before, after = means[scenario]
                table[row, column] = after - before
    compared = [column for column, found in enumerate(alone.values()) if found.n >= LEAST_SCENARIOS]
    bounds = dict(zip(compared, _bounds(table[:, compared], confidence, seed), strict=True)) if compared else {}
    return {
        name: Simultaneous(found, *bounds.get(column, (None, None)))
        for column, (name, found) in enumerate(alone.items())
    }


def _bounds(table: NDArray[np.float64], confidence: float, seed: int) -> list[tuple[float, float]]:
    """Simultaneous bounds of the columns' means; shape (scenarios, policies), NaN where a policy lacks a scenario."""
    random, size, draws = np.random.default_rng(seed), len(table), resamples(confidence)
    (centre,), (spread,) = _mean_and_error(np.ones((1, size)), table)
    largest = []
    for start in range(0, draws, _BATCH):
        counts = random.multinomial(size, np.full(size, 1 / size), min(_BATCH, draws - start)).astype(float)
        mean, error = _mean_and_error(counts, table)
        scale = np.where(error > 1e-12, error, spread)  # a resample of equal differences has no error of its own
        deviation = abs(mean - centre)
        t = np.divide(deviation, scale, out=np.zeros_like(deviation), where=scale > 1e-12)
        largest.append(np.nan_to_num(t).max(axis=1))
    reach = float(np.quantile(np.concatenate(largest), confidence)) * spread
    return [(float(low), float(high)) for low, high in zip(centre - reach, centre + reach, strict=True)]


def _mean_and_error(
    counts: NDArray[np.float64], table: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard error per resample (rows) and policy, over the scenarios that the policy has; NaN where it has none."""
    there = np.isfinite(table)
    values = np.where(there, table, 0.0)
    number = counts @ there.astype(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = counts @ values / number
        variance = np.maximum(counts @ values**2 / number - mean**2, 0.0) * number / (number - 1)
        return mean, np.sqrt(variance / number)
