"""Judging a candidate: which users it talks with, paired comparison, signs of reward hacking, promotion, the report."""

from engage.evaluation.alerts import AlertConfig, alerts
from engage.evaluation.challenge import Fate, Standing, fates, next_candidate, standing
from engage.evaluation.challengers import decided, kept_challenger
from engage.evaluation.champions import Reign, reigns, start_line, version_before
from engage.evaluation.collected import (
    Collected,
    FlipShare,
    end_reasons,
    read_collected,
    tokens_of,
    usd_of,
    users_as_assistants,
    values_by_exchange,
)
from engage.evaluation.comparison_config import ComparisonConfig, PolicyName
from engage.evaluation.conversations import conversations
from engage.evaluation.divergence import divergence_by_domain, mean_divergence
from engage.evaluation.ground import Ground, Half, compare_candidates, fixed_ground, ground_digest, validation_half
from engage.evaluation.hacking import Replies, distinct_2, hacking_failures, hacking_rates, text_metrics
from engage.evaluation.held_out import (
    ByDomain,
    BySimulator,
    HeldOutDialogue,
    HeldOutStore,
    by_scenario,
    evaluation_seeds,
    paired,
    policy_label,
    require_reward,
)
from engage.evaluation.held_out_config import HeldOutConfig
from engage.evaluation.judgement import NO_CANDIDATE, SCRIPTED, Incumbent, Judgement, judge_candidate
from engage.evaluation.logged import (
    champion_over_base,
    evaluation_metrics,
    evaluation_table,
    headline,
    look_of,
    record_evaluation,
    set_apart,
    store_evaluation,
)
from engage.evaluation.outcome_line import outcome_line
from engage.evaluation.plots import gains, q_gap_histogram, reliability, reward_by_turn
from engage.evaluation.promoting import finish_earlier, promote_by_person
from engage.evaluation.promotion import (
    ALL,
    NO_HELD_OUT,
    Evidence,
    Verdict,
    compare_domains,
    decide,
)
from engage.evaluation.report import DomainReport, report
from engage.evaluation.selection import Contender, Contest, hold_contest
from engage.evaluation.simulators import (
    SEARCH_SIMULATOR,
    check_adapters,
    deciding,
    prompted_users,
    simulators,
    users_identity,
)
from engage.evaluation.strata import MIN_STRATUM, StratumRow, compare_strata
from engage.evaluation.summary import (
    Aligned,
    Judged,
    Night,
    Places,
    failed_lines,
    mlflow_command,
    night_text,
    stage_lines,
    stage_text,
)
from engage.store import BASE

__all__ = [
    "ALL",
    "BASE",
    "MIN_STRATUM",
    "NO_CANDIDATE",
    "NO_HELD_OUT",
    "SCRIPTED",
    "SEARCH_SIMULATOR",
    "AlertConfig",
    "Aligned",
    "ByDomain",
    "BySimulator",
    "Collected",
    "ComparisonConfig",
    "Contender",
    "Contest",
    "DomainReport",
    "Evidence",
    "Fate",
    "FlipShare",
    "Ground",
    "Half",
    "HeldOutConfig",
    "HeldOutDialogue",
    "HeldOutStore",
    "Incumbent",
    "Judged",
    "Judgement",
    "Night",
    "Places",
    "PolicyName",
    "Reign",
    "Replies",
    "Standing",
    "StratumRow",
    "Verdict",
    "alerts",
    "by_scenario",
    "champion_over_base",
    "check_adapters",
    "compare_candidates",
    "compare_domains",
    "compare_strata",
    "conversations",
    "decide",
    "decided",
    "deciding",
    "distinct_2",
    "divergence_by_domain",
    "end_reasons",
    "evaluation_metrics",
    "evaluation_seeds",
    "evaluation_table",
    "failed_lines",
    "fates",
    "finish_earlier",
    "fixed_ground",
    "gains",
    "ground_digest",
    "hacking_failures",
    "hacking_rates",
    "headline",
    "hold_contest",
    "judge_candidate",
    "kept_challenger",
    "look_of",
    "mean_divergence",
    "mlflow_command",
    "next_candidate",
    "night_text",
    "outcome_line",
    "paired",
    "policy_label",
    "promote_by_person",
    "prompted_users",
    "q_gap_histogram",
    "read_collected",
    "record_evaluation",
    "reigns",
    "reliability",
    "report",
    "require_reward",
    "reward_by_turn",
    "set_apart",
    "simulators",
    "stage_lines",
    "stage_text",
    "standing",
    "start_line",
    "store_evaluation",
    "text_metrics",
    "tokens_of",
    "usd_of",
    "users_as_assistants",
    "users_identity",
    "validation_half",
    "values_by_exchange",
    "version_before",
]
