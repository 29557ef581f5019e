"""The trajectory store: DuckDB, its outbox, and pair extraction. The only room that reads sql/ or opens DuckDB."""

from engage.store.cycle import SETTINGS, Cycle, absent, identity
from engage.store.database import reading, writing
from engage.store.outbox import Outbox
from engage.store.pair_config import PairConfig, deceptive_patterns
from engage.store.parquet import write_parquet
from engage.store.plan import Plan
from engage.store.trajectory_store import WAIT_S, TrajectoryStore, inspections

__all__ = [
    "SETTINGS",
    "WAIT_S",
    "Cycle",
    "Outbox",
    "PairConfig",
    "Plan",
    "TrajectoryStore",
    "absent",
    "deceptive_patterns",
    "identity",
    "inspections",
    "reading",
    "write_parquet",
    "writing",
]
