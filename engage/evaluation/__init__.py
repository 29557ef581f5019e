"""Judging a candidate: which users it talks with, paired comparison, signs of reward hacking, promotion, the report."""

from engage.evaluation.comparison_config import ComparisonConfig, PolicyName
from engage.evaluation.divergence import mean_divergence
from engage.evaluation.hacking import Replies, distinct_2, hacking_failures, hacking_rates, text_metrics
from engage.evaluation.held_out import HeldOutDialogue, by_scenario
from engage.evaluation.plots import (
    q_gap_histogram,
    reliability,
    reward_by_turn,
    reward_comparison,
)
from engage.evaluation.promotion import (
    ALL,
    Verdict,
    candidate_alpha,
    compare_domains,
    decide,
)
from engage.evaluation.report import DomainReport, report
from engage.evaluation.simulators import SEARCH_SIMULATOR, check_adapters, simulators
from engage.evaluation.strata import MIN_STRATUM, StratumRow, compare_strata
from engage.stats import Comparison, Rewards, paired_comparison

__all__ = [
    "ALL",
    "MIN_STRATUM",
    "SEARCH_SIMULATOR",
    "Comparison",
    "ComparisonConfig",
    "DomainReport",
    "HeldOutDialogue",
    "PolicyName",
    "Replies",
    "Rewards",
    "StratumRow",
    "Verdict",
    "by_scenario",
    "candidate_alpha",
    "check_adapters",
    "compare_domains",
    "compare_strata",
    "decide",
    "distinct_2",
    "hacking_failures",
    "hacking_rates",
    "mean_divergence",
    "paired_comparison",
    "q_gap_histogram",
    "reliability",
    "report",
    "reward_by_turn",
    "reward_comparison",
    "simulators",
    "text_metrics",
]
