"""MLflow: one run per cycle with a child run per stage, the run of all nights, the registry. No other room imports mlflow."""

from engage.tracking.client import Champion, CycleRun
from engage.tracking.dialogues import Conversation, Exchange
from engage.tracking.run import StageRun
from engage.tracking.text import version_facts
from engage.tracking.tracker import GROUND_TAG, NIGHTS, Tracker
from engage.tracking.training import run_training

__all__ = [
    "GROUND_TAG",
    "NIGHTS",
    "Champion",
    "Conversation",
    "CycleRun",
    "Exchange",
    "StageRun",
    "Tracker",
    "run_training",
    "version_facts",
]
