"""The store: trees and nodes per second through outbox and drain, and pair extraction in SQL against pandas.

Both extractions read the same database, each in a process of its own, and their pairs are compared row by row.
"""

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engage.bench.process import Measured, in_own_process
from engage.bench.store_filling import CYCLE_ID, OnProgress, copy_templates, insert_measured, search_templates
from engage.domains.rules.patterns import any_of
from engage.errors import ConfigError
from engage.scenario import SHIPPED
from engage.search import SearchConfig
from engage.simulation import DialogueConfig
from engage.store import WAIT_S, PairConfig, TrajectoryStore, deceptive_patterns, reading

TEMPLATES, REPEATS = 64, 4
SMALLEST, LARGEST = 1_000, 20_000_000
TOLERANCE = 1e-9
"""Largest difference of a figure between both extractions that counts as the same: rounding of sums in another order."""


@dataclass(frozen=True)
class Extraction:
    """One way of extracting all pairs: wall and processor seconds, and the largest memory of its process (10⁶ bytes)."""

    seconds: float
    cpu_s: float
    peak_mb: float


@dataclass(frozen=True)
class StoreFigures:
    """What was measured. `inserted_rows` counts all tables; ratios are pandas over SQL, above 1 where SQL is better.

    `pandas_load_s` of the pandas seconds went into reading the tables; `largest_difference` is over all figures of all pairs.
    """

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
    pandas: Extraction
    pandas_load_s: float
    ratio: float
    ratio_without_load: float
    ratio_cpu: float
    ratio_memory: float
    same_result: bool
    largest_difference: float

    def as_json(self) -> dict[str, Any]:
        """Flat: `sql_seconds`, `pandas_peak_mb` and so on."""
        figures = asdict(self)
        for way in ("sql", "pandas"):
            figures |= {f"{way}_{name}": value for name, value in figures.pop(way).items()}
        return figures


def bench_store(
    nodes: int, config: PairConfig, on_progress: OnProgress = lambda what, share: None, templates: int = TEMPLATES
) -> StoreFigures:
    """Measure on a throw-away store of about `nodes` nodes; ConfigError where that is no sensible size."""
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
        on_progress("extracting pairs with pandas", 0.0)
        other = _with_pandas(store.path, config, folder / "pairs.parquet")
        on_progress("comparing", 0.0)
        difference = largest_difference(store, folder / "pairs.parquet")
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
        sql=_extraction(sql),
        pandas=_extraction(other),
        pandas_load_s=other.result["load_s"],
        ratio=other.seconds / sql.seconds,
        ratio_without_load=(other.seconds - other.result["load_s"]) / sql.seconds,
        ratio_cpu=other.cpu_s / sql.cpu_s,
        ratio_memory=other.peak_mb / sql.peak_mb,
        same_result=difference is not None and difference <= TOLERANCE,
        largest_difference=-1.0 if difference is None else difference,
    )


def _with_pandas(database: Path, config: PairConfig, out: Path) -> Measured[dict[str, float]]:
    from engage.bench.pandas_pairs import extract_pairs

    found = {name: deceptive_patterns(name) for name in SHIPPED}
    patterns = {name: any_of(of_domain) for name, of_domain in found.items() if of_domain}
    return in_own_process(extract_pairs, database, CYCLE_ID, config, patterns, out)


def _extraction(measured: Measured[Any]) -> Extraction:
    return Extraction(measured.seconds, measured.cpu_s, measured.peak_mb)


def largest_difference(store: TrajectoryStore, other: Path) -> float | None:
    """Over all pairs and figures, between the stored pairs and a Parquet file of `pandas_pairs`.

    None where a pair is in one of them only, or where a fate (accepted, or the reason against it) or a count differs.
    """
    import pyarrow.parquet as pq

    with reading(store.path, WAIT_S) as connection:
        connection.register("pandas", pq.read_table(other))
        row = connection.execute(_COMPARING).fetchone()
    unlike, difference = row or (1, None)
    return None if unlike else float(difference or 0.0)


_COMPARING = """
select
    count(*) filter (
        where pair.tree_id is null or pandas.tree_id is null
        or coalesce(pair.drop_reason, '') <> pandas.drop_reason
        or pair.accepted <> (pandas.drop_reason = '')
        or pair.chosen_groups <> pandas.chosen_groups
        or pair.rejected_groups <> pandas.rejected_groups
    ),
    max(greatest(
        abs(pair.q_gap - pandas.q_gap), abs(pair.q_gap_raw - pandas.q_gap_raw), abs(pair.p_greater - pandas.p_greater)
    ))
from pair
full join pandas
    on pandas.tree_id = pair.tree_id
    and pandas.decision_id = pair.decision_id
    and pandas.chosen_id = pair.chosen_id
    and pandas.rejected_id = pair.rejected_id
"""
