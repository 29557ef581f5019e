"""Paired comparison of two policies on the same scenarios: numbers in, numbers out.

Scenarios are the unit of evidence: dialogues of one scenario are averaged first, and intervals resample scenarios.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from engage.stats.bootstrap import RESAMPLES, mean_interval, resamples
from engage.stats.finite import is_finite

Rewards = Mapping[str, float | Sequence[float | None] | None]
"""By scenario id: the reward of its dialogue, or of its dialogues in seed order; None if the reaction was unreadable."""


@dataclass(frozen=True)
class Comparison:
    """Candidate against base on the same scenarios with the same seeds; rewards in [0, 1].

    `n` scenarios count; `n_unreadable` dialogue pairs were left out because one of the two reactions could not be read or is
    missing. `low` and `high` bound the mean paired difference at `confidence` (None below two scenarios). `relative` is the
    difference over the base's mean (None where that is 0), `win_rate` the share of scenarios where the candidate is better,
    ties as half. `p_value` is two-sided, from flipping the signs of the differences.
    """

    n: int
    n_unreadable: int
    mean_base: float | None
    mean_candidate: float | None
    difference: float | None
    low: float | None
    high: float | None
    confidence: float
    relative: float | None
    win_rate: float | None
    p_value: float | None


def paired_comparison(base: Rewards, candidate: Rewards, confidence: float = 0.95, seed: int = 0) -> Comparison:
    """Compare by scenario; dialogues are paired by their place in the list, and only pairs that could both be read count.

    The interval is a BCa bootstrap over scenarios (`mean_interval`). The same `seed` gives the same numbers.
    """
    pairs, unreadable = paired_means(base, candidate)
    if not pairs:
        return Comparison(0, unreadable, None, None, None, None, None, confidence, None, None, None)
    left, right = np.array(list(pairs.values())).T
    differences = right - left
    low, high = mean_interval(differences, confidence, seed)
    mean_base, difference = float(left.mean()), float(differences.mean())
    return Comparison(
        n=len(pairs),
        n_unreadable=unreadable,
        mean_base=mean_base,
        mean_candidate=float(right.mean()),
        difference=difference,
        low=low,
        high=high,
        confidence=confidence,
        relative=difference / mean_base if mean_base > 0 else None,
        win_rate=float(((differences > 0) + 0.5 * (differences == 0)).mean()),
        p_value=_sign_flip_p(differences, confidence, seed),
    )


def paired_means(base: Rewards, candidate: Rewards) -> tuple[dict[str, tuple[float, float]], int]:
    """Per scenario the mean reward of both sides over the dialogues readable on both; and the number of dialogue pairs left out."""
    means: dict[str, tuple[float, float]] = {}
    unreadable = 0
    for scenario in sorted({*base, *candidate}):
        left, right = _as_list(base.get(scenario)), _as_list(candidate.get(scenario))
        size = max(len(left), len(right))
        rows = zip(left + [None] * (size - len(left)), right + [None] * (size - len(right)), strict=True)
        readable = [(one, other) for one, other in rows if is_finite(one) and is_finite(other)]
        unreadable += size - len(readable)
        if readable:
            means[scenario] = fmean(one for one, _ in readable), fmean(other for _, other in readable)
    return means, unreadable


def _as_list(rewards: float | Sequence[float | None] | None) -> list[float | None]:
    return list(rewards) if isinstance(rewards, Sequence) else [rewards]


def _sign_flip_p(differences: NDArray[np.float64], confidence: float, seed: int) -> float:
    """Share of sign patterns whose mean is at least as far from 0: all patterns if they are few, else a draw of them.

    scipy's permutation_test gives the same exact P; for a draw it takes nine times as long (16 s for 400,000 patterns of 200 scenarios).
    """
    size = len(differences)
    observed = abs(differences.sum()) - 1e-9
    if 2**size <= RESAMPLES + 1:
        patterns = (np.arange(2**size)[:, None] >> np.arange(size)) & 1
        return float((abs((2 * patterns - 1) @ differences) >= observed).mean())
    random, draws, hits = np.random.default_rng(seed), resamples(confidence), 0
    for start in range(0, draws, 10_000):
        signs = random.choice((-1.0, 1.0), (min(10_000, draws - start), size))
        hits += int((abs(signs @ differences) >= observed).sum())
    return (hits + 1) / (draws + 1)
