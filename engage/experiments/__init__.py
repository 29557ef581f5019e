"""Experiments, which no night needs: the comparison of policies, the value check, the simulator card, the leaning of a policy."""

from engage.experiments.calibration import PairCheck, reliability
from engage.experiments.comparison import (
    FROM_SEARCH,
    NO_PAIR,
    TRAINED,
    ComparisonResult,
    PolicyChecks,
    PolicyRow,
    Recovery,
    TrainedPolicy,
    dialogues_of,
    mean_measures,
    recovered,
    thinking_of,
    wanted,
)
from engage.experiments.comparison_figures import compare_policies, comparison_metrics, stored_figures
from engage.experiments.comparison_report import ComparisonPage, comparison_page
from engage.experiments.inference import adversary, adversary_label
from engage.experiments.rerolls import KeptRollouts, Roller, SpokenReply
from engage.experiments.value_check import ValueCheckConfig, fresh_difference, search_shifts
from engage.experiments.value_check_figures import Sampled, credit_figures, credit_metrics
from engage.experiments.value_check_page import (
    CheckedValues,
    CreditFigures,
    credit_lines,
    credit_page,
    stated_against_fresh,
)

__all__ = [
    "FROM_SEARCH",
    "NO_PAIR",
    "TRAINED",
    "CheckedValues",
    "ComparisonPage",
    "ComparisonResult",
    "CreditFigures",
    "KeptRollouts",
    "PairCheck",
    "PolicyChecks",
    "PolicyRow",
    "Recovery",
    "Roller",
    "Sampled",
    "SpokenReply",
    "TrainedPolicy",
    "ValueCheckConfig",
    "adversary",
    "adversary_label",
    "compare_policies",
    "comparison_metrics",
    "comparison_page",
    "credit_figures",
    "credit_lines",
    "credit_metrics",
    "credit_page",
    "dialogues_of",
    "fresh_difference",
    "mean_measures",
    "recovered",
    "reliability",
    "search_shifts",
    "stated_against_fresh",
    "stored_figures",
    "thinking_of",
    "wanted",
]
