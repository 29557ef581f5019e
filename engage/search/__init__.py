"""i×MCTS: the tree, the selection rule, early stop, many searches at once, the budget, and the record of a tree."""

from engage.search.budget import (
    NO_COUNTS,
    BudgetConfig,
    Spent,
    affordable_trees,
    extra_scenarios,
    forecast,
    forecast_text,
    pilot_size,
    waves,
)
from engage.search.collect import (
    METHOD_VERSION,
    Adapters,
    BatchResult,
    gather,
    hold_dialogues,
    search_scenarios,
)
from engage.search.imcts import Search, SearchConfig
from engage.search.tree import CHATS, DialogueRecord, ForkRecord, TreeRecord
from engage.search.watch import TalkLimits, TalkWatch

__all__ = [
    "CHATS",
    "METHOD_VERSION",
    "NO_COUNTS",
    "Adapters",
    "BatchResult",
    "BudgetConfig",
    "DialogueRecord",
    "ForkRecord",
    "Search",
    "SearchConfig",
    "Spent",
    "TalkLimits",
    "TalkWatch",
    "TreeRecord",
    "affordable_trees",
    "extra_scenarios",
    "forecast",
    "forecast_text",
    "gather",
    "hold_dialogues",
    "pilot_size",
    "search_scenarios",
    "waves",
]
