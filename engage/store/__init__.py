"""The trajectory store: DuckDB, its outbox, and pair extraction. The only room that reads sql/ or opens DuckDB."""

from engage.store.challenges import BASE, Challenge, Challenges, Gain, Promotion, State, champion_line
from engage.store.compaction import compact, free_share
from engage.store.copying import older_copies
from engage.store.cycle import SETTINGS, Cycle, absent, identity
from engage.store.database import reading, writing
from engage.store.health import health
from engage.store.inspections import QUESTIONS, Inspection, inspections, named_query
from engage.store.judgements import DECIDED, FAULTS, JudgementRecord, Verdict
from engage.store.keeping import count_rows, cycles_with, delete_rows, export_cycle, scenarios_from
from engage.store.outbox import Outbox, trajectory_id
from engage.store.pair_config import PairConfig, deceives, deceptive_patterns
from engage.store.parquet import write_parquet
from engage.store.plan import Plan
from engage.store.reader import WAIT_S
from engage.store.schema import Described, describe, newest_version
from engage.store.snapshot import write_snapshot
from engage.store.stored_dialogue import StoredDialogue, read_dialogue
from engage.store.trajectory_store import TrajectoryStore

__all__ = [
    "BASE",
    "DECIDED",
    "FAULTS",
    "QUESTIONS",
    "SETTINGS",
    "WAIT_S",
    "Challenge",
    "Challenges",
    "Cycle",
    "Described",
    "Gain",
    "Inspection",
    "JudgementRecord",
    "Outbox",
    "PairConfig",
    "Plan",
    "Promotion",
    "State",
    "StoredDialogue",
    "TrajectoryStore",
    "Verdict",
    "absent",
    "champion_line",
    "compact",
    "count_rows",
    "cycles_with",
    "deceives",
    "deceptive_patterns",
    "delete_rows",
    "describe",
    "export_cycle",
    "free_share",
    "health",
    "identity",
    "inspections",
    "named_query",
    "newest_version",
    "older_copies",
    "read_dialogue",
    "reading",
    "scenarios_from",
    "trajectory_id",
    "write_parquet",
    "write_snapshot",
    "writing",
]
