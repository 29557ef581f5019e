"""Experiments, which no night needs: the comparison of policies, the value check, the simulator card."""

from engage.experiments.calibration import PairCheck, reliability
from engage.experiments.comparison import (
    BASE,
    FROM_SEARCH,
    NO_PAIR,
    TRAINED,
    ComparisonResult,
    PolicyChecks,
    PolicyRow,
    Recovery,
    TrainedPolicy,
    check_policy,
    dialogues_of,
    mean_measures,
    mean_reward,
    recovered,
    thinking_of,
    wanted,
)
from engage.experiments.comparison_figures import compare_policies, comparison_metrics, stored_figures
from engage.experiments.comparison_report import ComparisonPage, comparison_page
from engage.experiments.inference import adversary, adversary_label
from engage.experiments.rerolls import KeptRollouts, Roller, SpokenPair, SpokenReply, spoken_reply
from engage.experiments.value_check import Turns, ValueCheckConfig, by_domain, fresh_difference, search_shifts
from engage.experiments.value_check_figures import Sampled, credit_figures, credit_metrics
from engage.experiments.value_check_page import (
    CheckedValues,
    CreditFigures,
    credit_lines,
    credit_page,
    stated_against_fresh,
)

__all__ = [
    "BASE",
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
    "SpokenPair",
    "SpokenReply",
    "TrainedPolicy",
    "Turns",
    "ValueCheckConfig",
    "adversary",
    "adversary_label",
    "by_domain",
    "check_policy",
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
    "mean_reward",
    "recovered",
    "reliability",
    "search_shifts",
    "spoken_reply",
    "stated_against_fresh",
    "stored_figures",
    "thinking_of",
    "wanted",
]
