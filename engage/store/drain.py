"""Moves the outbox into the database, a batch of files per transaction, so that a tree is stored completely or not at all.

After a kill at any point, the next drain stores what is missing and nothing twice: a file is removed only after its rows are
committed, and stored records are skipped.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engage.errors import StoreError
from engage.store.database import writing
from engage.store.measures import measured
from engage.store.outbox import Kind, NewerFile, Outbox, kind_of
from engage.store.queries import first_line, statement

FILES_PER_TRANSACTION = 64
_log = logging.getLogger(__name__)


def drain(outbox: Outbox, database: Path, wait_s: float) -> int:
    """Store the outbox's files; returns the numbers of new trees and dialogues. On StoreError the rest stays in the outbox.

    Unreadable files are renamed to `*.damaged` and named in a warning with the reason. A file of a newer engage stays and is named in
    another warning. The other files are stored.
    """
    outbox.sweep()
    pending = outbox.pending()
    stored, damaged, newer = 0, list[str](), list[str]()
    for start in range(0, len(pending), FILES_PER_TRANSACTION):
        tables = _read(outbox, pending[start : start + FILES_PER_TRANSACTION], damaged, newer)
        stored += _store(outbox, tables, database, wait_s, damaged)
    if newer:
        _log.warning("%d outbox file(s) of a newer engage wait until it drains them, such as %s", len(newer), newer[0])
    if damaged:
        more = f" and {len(damaged) - 3} more" if len(damaged) > 3 else ""
        _log.warning("%d outbox file(s) set aside as *.damaged: %s%s", len(damaged), "; ".join(damaged[:3]), more)
    return stored


def _read(outbox: Outbox, paths: Sequence[Path], damaged: list[str], newer: list[str]) -> dict[Path, Any]:
    """The existing files as tables; unreadable ones are renamed, those of a newer engage stay."""
    tables = {}
    for path in paths:
        try:
            table = outbox.read(path)
        except NewerFile as error:
            newer.append(str(error))
            continue
        except ValueError as error:
            outbox.set_aside(path)
            damaged.append(f"{path} ({error})")
            continue
        if table is not None:
            tables[path] = table
    return tables


def _store(outbox: Outbox, tables: dict[Path, Any], database: Path, wait_s: float, damaged: list[str]) -> int:
    """Store files in one transaction. If the data of one does not fit, use one transaction per file and rename that file."""
    import duckdb

    if not tables:
        return 0
    try:
        with writing(database, wait_s) as connection:
            new = _insert_trees(connection, [t for path, t in tables.items() if kind_of(path) is Kind.TREE])
            new += _insert_dialogues(connection, [t for path, t in tables.items() if kind_of(path) is Kind.DIALOGUES])
            _insert_judgements(connection, [t for path, t in tables.items() if kind_of(path) is Kind.JUDGEMENT])
    except (duckdb.IntegrityError, StoreError) as error:
        if not _is_of_data(error):
            raise
        if len(tables) > 1:
            return sum(_store(outbox, {path: table}, database, wait_s, damaged) for path, table in tables.items())
        (path,) = tables
        outbox.set_aside(path)
        damaged.append(f"{path} ({first_line(error)})")
        return 0
    for path in tables:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"{path}: is stored, but cannot be removed: {error.strerror}") from error
    return new


def _is_of_data(error: Exception) -> bool:
    """Whether rows are refused because of their data: a duplicate key, a null, a number too large, text that is not UTF-8."""
    import duckdb

    of_data = (duckdb.IntegrityError, duckdb.DataError, duckdb.InvalidInputException)
    return isinstance(error, of_data) or isinstance(error.__cause__, of_data)


def _insert_trees(connection: Any, tables: Sequence[Any]) -> int:
    by_id = {table["tree_id"][0].as_py(): table for table in tables}
    known = connection.execute("select tree_id from tree where tree_id in (select unnest($ids))", {"ids": list(by_id)})
    for (tree_id,) in known.fetchall():
        del by_id[tree_id]
    if by_id:
        _register(connection, "incoming_tree", list(by_id.values()))
        connection.execute(f"create temp table incoming_trajectory as {statement('unpack', 'tree_trajectory')}")
        connection.execute(f"create temp view incoming_call as {statement('unpack', 'tree_call')}")
        _insert(connection, "tree", "node", "visit")
        _insert_trajectories(connection)
        _warn_of_strangers(connection)
    return len(by_id)


def _warn_of_strangers(connection: Any) -> None:
    """One line about new trees of a cycle or a scenario that this database lacks: a file of another home, perhaps.

    They are stored, so that `engage forget` and SQL find them. Dialogues are not asked: `engage chat` keeps its own without a cycle.
    """
    strange = connection.execute(
        "select tree_id from incoming_tree where cycle_id not in (select cycle_id from cycle) "
        "or scenario_id not in (select scenario_id from scenario) order by tree_id"
    ).fetchall()
    if strange:
        told = "%d tree(s) stored of a cycle or scenario that this home lacks, such as %s: is the file another home's?"
        _log.warning(told, len(strange), strange[0][0])


def _insert_dialogues(connection: Any, tables: Sequence[Any]) -> int:
    if not tables:
        return 0
    _register(connection, "incoming_dialogue", tables)
    connection.execute(f"create temp table incoming_trajectory as {statement('unpack', 'dialogue_trajectory')}")
    connection.execute(f"create temp view incoming_call as {statement('unpack', 'dialogue_call')}")
    return _insert_trajectories(connection)


def _insert_judgements(connection: Any, tables: Sequence[Any]) -> None:
    if tables:
        _register(connection, "incoming_judgement", tables)
        _insert(connection, "judgement")


def _insert_trajectories(connection: Any) -> int:
    answers = connection.execute(statement("unpack", "measured_answer")).fetchall()
    connection.register("incoming_measure", measured(answers))
    _insert(connection, "trajectory", "turn", "reaction", "engine_call")
    connection.unregister("incoming_measure")
    (count,) = connection.execute("select count(*) from incoming_trajectory").fetchone()
    connection.execute("drop view incoming_call")
    connection.execute("drop table incoming_trajectory")
    return int(count)


def _register(connection: Any, name: str, tables: Sequence[Any]) -> None:
    import pyarrow as pa

    connection.register(name, pa.concat_tables(tables))


def _insert(connection: Any, *names: str) -> None:
    for name in names:
        connection.execute(f"insert into {name} by name {statement('unpack', name)}")
