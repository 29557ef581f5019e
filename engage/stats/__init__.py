"""Statistics: checks for finite numbers, the bootstrap, intervals, rank statistics, paired comparison."""

from engage.stats.bootstrap import CONFIDENCE, MAX_RESAMPLES, Statistic, interval
from engage.stats.estimates import (
    Estimate,
    auc,
    divided,
    estimate,
    estimates,
    jackknife,
    mean,
    rate,
    ratio,
    share,
    spearman,
)
from engage.stats.evidence import BETS, batch_evidence, log_evidence, stream_level
from engage.stats.finite import is_finite, odd_number, shown
from engage.stats.paired import Comparison, Rewards, paired_comparison
from engage.stats.power import POWER, Spread, least_gain, power, scenarios_needed, spread
from engage.stats.reviewers import accuracies, dawid_skene, krippendorff_alpha
from engage.stats.simultaneous import LEAST_SCENARIOS, Simultaneous, simultaneous_comparison

__all__ = [
    "BETS",
    "CONFIDENCE",
    "LEAST_SCENARIOS",
    "MAX_RESAMPLES",
    "POWER",
    "Comparison",
    "Estimate",
    "Rewards",
    "Simultaneous",
    "Spread",
    "Statistic",
    "accuracies",
    "auc",
    "batch_evidence",
    "dawid_skene",
    "divided",
    "estimate",
    "estimates",
    "interval",
    "is_finite",
    "jackknife",
    "krippendorff_alpha",
    "least_gain",
    "log_evidence",
    "mean",
    "odd_number",
    "paired_comparison",
    "power",
    "rate",
    "ratio",
    "scenarios_needed",
    "share",
    "shown",
    "simultaneous_comparison",
    "spearman",
    "spread",
    "stream_level",
]
