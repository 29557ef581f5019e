"""Numbers in, numbers out: what is a number, intervals, rank statistics."""

from engage.stats.estimates import (
    CONFIDENCE,
    Estimate,
    auc,
    divided,
    estimate,
    jackknife,
    mean,
    rate,
    ratio,
    share,
    spearman,
)
from engage.stats.finite import is_finite, odd_number, shown

__all__ = [
    "CONFIDENCE",
    "Estimate",
    "auc",
    "divided",
    "estimate",
    "is_finite",
    "jackknife",
    "mean",
    "odd_number",
    "rate",
    "ratio",
    "share",
    "shown",
    "spearman",
]
