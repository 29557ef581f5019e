"""The rows that belong to cycles, or to scenarios, in every table: counted, deleted, or written as Parquet files.

Challenges, their batches and promotions outlive their cycle: how much evidence the next candidate needs follows from all of them.
"""

import uuid
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from engage.errors import StoreError
from engage.store.database import reading, writing

CYCLE, SCENARIO = "cycle_id", "scenario_id"
_PIECE = 100_000
"""Rows that are written at a time."""


def rows_of(by: str) -> dict[str, str]:
    """By table: the condition for rows of the cycles (or scenarios) whose ids are the parameter `$ids`. Dependent tables come first."""
    chosen = f"{by} in (select unnest($ids))"
    trees, dialogues = (f"(select {key} from {key[:-3]} where {chosen})" for key in ("tree_id", "trajectory_id"))
    found = {
        "turn": f"trajectory_id in {dialogues}",
        "reaction": f"trajectory_id in {dialogues}",
        "visit": f"tree_id in {trees}",
        "node": f"tree_id in {trees}",
        "engine_call": f"(origin_id in {trees} or origin_id in {dialogues})",
        "pair": chosen,
        "judgement": chosen,
        "trajectory": chosen,
        "tree": chosen,
    }
    own = {"evaluation": chosen, "earlier_spread": chosen, "cycle": chosen} if by == CYCLE else {"scenario": chosen}
    return found | own


def count_rows(path: Path, by: str, ids: Sequence[str], wait_s: float) -> dict[str, int]:
    """Numbers of rows of these cycles or scenarios, by table."""
    with reading(path, wait_s) as connection:
        return {
            table: connection.execute(f"select count(*) from {table} where {where}", {"ids": list(ids)}).fetchone()[0]
            for table, where in rows_of(by).items()
        }


def delete_rows(path: Path, by: str, ids: Collection[str], wait_s: float) -> None:
    """Delete the rows of these cycles or scenarios in one transaction. A forgotten scenario is also taken from the lists of challenges."""
    with writing(path, wait_s) as connection:
        for table, where in rows_of(by).items():
            connection.execute(f"delete from {table} where {where}", {"ids": list(ids)})
        if by == SCENARIO:
            connection.execute(
                "update challenge set scenarios = list_filter(scenarios, lambda one: not list_contains($ids, one)) "
                "where list_has_any(scenarios, $ids)",
                {"ids": list(ids)},
            )


def export_cycle(path: Path, cycle_id: str, out: Path, wait_s: float) -> dict[str, int]:
    """Write the cycle's rows as `out/TABLE.parquet`, with the scenarios that it used; returns the numbers of rows by table.

    Each file replaces an earlier one in one step. StoreError if the folder cannot be written.
    """
    used = "scenario_id in (select scenario_id from tree where {0} union select scenario_id from trajectory where {0})"
    chosen = f"{CYCLE} in (select unnest($ids))"
    more = {name: chosen for name in ("challenge", "challenge_batch", "promotion")}
    tables: Mapping[str, str] = {**rows_of(CYCLE), **more, "scenario": used.format(chosen)}
    try:
        out.mkdir(parents=True, exist_ok=True)
        with reading(path, wait_s) as connection:
            return {name: _export(connection, name, where, cycle_id, out) for name, where in sorted(tables.items())}
    except OSError as error:
        raise StoreError(f"{error.filename or out}: cannot be written: {error.strerror}") from error


def _export(connection: Any, table: str, where: str, cycle_id: str, out: Path) -> int:
    import pyarrow.parquet as pq

    found = connection.sql(f"select * from {table} where {where} order by rowid", params={"ids": [cycle_id]})
    batches, partial, rows = found.to_arrow_reader(_PIECE), out / f".{table}.{uuid.uuid4().hex}.partial", 0
    try:
        with pq.ParquetWriter(partial, batches.schema, compression="zstd") as writer:
            for batch in batches:
                writer.write_batch(batch)
                rows += batch.num_rows
        partial.replace(out / f"{table}.parquet")
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
    return rows


def scenarios_from(path: Path, source: str | None, scenario: str | None, wait_s: float) -> tuple[list[str], list[str]]:
    """Ids of the stored scenarios of this source, or with this id; and all sources."""
    with reading(path, wait_s) as connection:
        found = connection.execute(
            "select scenario_id from scenario where source = $source or scenario_id = $scenario order by 1",
            {"source": source, "scenario": scenario},
        ).fetchall()
        sources = connection.execute("select distinct source from scenario order by 1").fetchall()
    return [name for (name,) in found], [name for (name,) in sources]


def cycles_with(path: Path, scenario_ids: Sequence[str], wait_s: float) -> list[str]:
    """The cycles that searched one of these scenarios or talked in one."""
    with reading(path, wait_s) as connection:
        found = connection.execute(
            "select cycle_id from cycle where exists (select 1 from trajectory where trajectory.cycle_id = cycle.cycle_id "
            "and list_contains($ids, scenario_id)) order by rowid",
            {"ids": list(scenario_ids)},
        ).fetchall()
    return [name for (name,) in found]
