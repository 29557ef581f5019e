"""Keeping a home for months: prune old cycles, back up and restore, export a cycle, forget a person."""

from engage.keeping.backup import back_up, restore
from engage.keeping.exports import export_to
from engage.keeping.forgetting import Forgetting, forget, plan_forgetting
from engage.keeping.pruning import Pruning, plan_pruning, prune

__all__ = [
    "Forgetting",
    "Pruning",
    "back_up",
    "export_to",
    "forget",
    "plan_forgetting",
    "plan_pruning",
    "prune",
    "restore",
]
