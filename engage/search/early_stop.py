"""Decides whether a search root can stop early: its best reply is clearly better than its worst. Pure arithmetic on rewards."""

import math
from collections.abc import Sequence
from statistics import NormalDist, fmean, variance

LEAST_GROUPS = 2


def separated(groups: Sequence[Sequence[float]], confidence: float) -> bool:
    """Whether P(best mean > worst mean) ≥ `confidence` over replies, each given as the mean rewards of its user turns.

    Every reply needs at least two groups. The variance is pooled over the replies. The normal approximation and the test after every
    round overstate P, so choose a higher confidence than for accepting pairs.
    """
    if len(groups) < 2 or any(len(group) < LEAST_GROUPS for group in groups):
        return False
    freedom = sum(len(group) - 1 for group in groups)
    pooled = sum(variance(group) * (len(group) - 1) for group in groups) / freedom
    best, worst = max(groups, key=fmean), min(groups, key=fmean)
    gap = fmean(best) - fmean(worst)
    error = math.sqrt(pooled * (1 / len(best) + 1 / len(worst)))
    if error == 0.0:
        return False  # equal rewards give no estimate of the variance
    return gap > 0 and NormalDist().cdf(gap / error) >= confidence
