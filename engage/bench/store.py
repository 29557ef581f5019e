"""Measures the store: trees and nodes per second through outbox and drain, and pair extraction in SQL (in a process of its own)."""

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engage.bench.process import in_own_process
from engage.bench.store_filling import CYCLE_ID, OnProgress, copy_templates, insert_measured, search_templates
from engage.errors import ConfigError
from engage.search import SearchConfig
from engage.simulation import DialogueConfig
from engage.store import PairConfig, TrajectoryStore

TEMPLATES, REPEATS = 64, 4
SMALLEST, LARGEST = 1_000, 20_000_000


@dataclass(frozen=True)
class Extraction:
    """The cost of extracting all pairs: wall and processor seconds, and the peak memory of its process (10⁶ bytes)."""

    seconds: float
    cpu_s: float
    peak_mb: float


@dataclass(frozen=True)
class StoreFigures:
    """The figures of the bench; `inserted_rows` counts the rows of all tables."""

    trees: int
    nodes: int
    visits: int
    trees_per_s: float
    nodes_per_s: float
    inserted_rows: int
    put_s: float
    drain_s: float
    pairs: int
    accepted: int
    sql: Extraction

    def as_json(self) -> dict[str, Any]:
        """The fields by name; those of `sql` as `sql_seconds` and so on."""
        figures = asdict(self)
        return figures | {f"sql_{name}": value for name, value in figures.pop("sql").items()}


def bench_store(
    nodes: int, config: PairConfig, on_progress: OnProgress = lambda what, share: None, templates: int = TEMPLATES
) -> StoreFigures:
    """Measure on a temporary store of about `nodes` nodes; ConfigError if `nodes` is out of range."""
    if not SMALLEST <= nodes <= LARGEST:
        raise ConfigError(f"--nodes {nodes}: use a number from {SMALLEST} to {LARGEST}")
    with tempfile.TemporaryDirectory(prefix="engage-bench-") as name:
        folder = Path(name)
        store = TrajectoryStore(folder / "engage.duckdb")
        on_progress("searching on the scripted engine", 0.0)
        records = search_templates(templates, DialogueConfig(), SearchConfig())
        of_templates = sum(len(record.nodes) for record in records)
        repeats = max(1, min(REPEATS, nodes // of_templates))
        on_progress("inserting trees", 0.0)
        filling = insert_measured(store, folder, records, repeats)
        copies = max(0, round(nodes / of_templates) - repeats)
        if copies:
            copy_templates(store.path, len(records), copies, on_progress)
        on_progress("extracting pairs in SQL", 0.0)
        sql = in_own_process(store.score_pairs, CYCLE_ID, config)
        sizes = {
            table: int(store.select(f"select count(*) from {table}")[1][0][0]) for table in ("tree", "node", "visit")
        }
    return StoreFigures(
        trees=sizes["tree"],
        nodes=sizes["node"],
        visits=sizes["visit"],
        trees_per_s=filling.trees / (filling.put_s + filling.drain_s),
        nodes_per_s=filling.nodes / (filling.put_s + filling.drain_s),
        inserted_rows=filling.rows,
        put_s=filling.put_s,
        drain_s=filling.drain_s,
        pairs=sql.result["candidates"],
        accepted=sql.result["accepted"],
        sql=Extraction(sql.seconds, sql.cpu_s, sql.peak_mb),
    )
