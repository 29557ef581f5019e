"""The trajectories: DuckDB, the outbox before it, pair extraction. The only room that reads sql/ or opens DuckDB."""

from engage.store.database import reading, writing
from engage.store.outbox import Outbox
from engage.store.pair_config import PairConfig, deceptive_patterns
from engage.store.parquet import write_parquet
from engage.store.trajectory_store import WAIT_S, TrajectoryStore, inspections

__all__ = [
    "WAIT_S",
    "Outbox",
    "PairConfig",
    "TrajectoryStore",
    "deceptive_patterns",
    "inspections",
    "reading",
    "write_parquet",
    "writing",
]
