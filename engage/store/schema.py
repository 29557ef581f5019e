"""The tables of a store: creates missing ones, and migrates older versions to the present one.

`sql/schema/` is today's shape, which a new store gets at once. A file of `sql/migrations/` leads a store to the version that
its number names; the highest number is today's version. A test keeps both ways equal. To add a column:

1. `sql/migrations/`, the next number: `alter table … add column …`, null allowed (DuckDB adds no other);
2. `sql/schema/`: the same column, last in its table, with its comment (unit, and what null means);
3. if it comes through the outbox: the field of the record, `since(…)` in `engage.store.outbox`, its next version, and `sql/unpack/`.

A view or macro needs no migration: it is replaced when its text changed. The comments of these files become the database's own
(`engage.store.comments`), so that `engage sql --schema` and any other DuckDB client show them.
"""

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from engage.errors import StoreError
from engage.store.comments import add_comments
from engage.store.queries import migrations, statements


def is_current(connection: Any, path: Path) -> bool:
    """Whether the store has the present tables, views and macros; False for an older store and for one without tables.

    StoreError for a store of a newer version and for a database of another program.
    """
    import duckdb

    try:  # alone it costs a third of the list of tables, and a store is opened for every query
        found = connection.execute("select version, definitions from schema_version").fetchall()
    except (duckdb.CatalogException, duckdb.BinderException):  # no such table, or of version 1
        found = []
    if found == [(newest_version(), _definitions())]:
        return True
    stored_version(connection, path)  # raises for what is no older store
    return False


def bring_up_to_date(connection: Any, path: Path) -> None:
    """Create or migrate all tables, views and macros within the caller's transaction; stored data stays. StoreError as `is_current`."""
    newest = newest_version()
    version = stored_version(connection, path)
    for number, sql in migrations().items():
        if version is not None and version < number:
            connection.execute(sql)
    for sql in statements("schema").values():
        connection.execute(sql)
    for name, select in statements("score").items():
        connection.execute(f"create or replace view {name} as {select}")
    add_comments(connection)
    connection.execute("delete from schema_version")
    connection.execute("insert into schema_version (version, definitions) values (?, ?)", [newest, _definitions()])


def newest_version() -> int:
    """The version of the tables that this engage makes."""
    return max(migrations())


def stored_version(connection: Any, path: Path) -> int | None:
    """The store's version; None for a database without a table, left by a process that was stopped early. StoreError as `is_current`."""
    rows = connection.execute("select table_name from duckdb_tables() where not temporary").fetchall()
    tables = {name for (name,) in rows}
    if not tables:
        return None
    found = connection.execute("select version from schema_version").fetchall() if "schema_version" in tables else []
    if len(found) != 1 or not isinstance(found[0][0], int):
        raise StoreError(f"{path}: a DuckDB database of another program; name another file or folder")
    (version,) = found[0]
    if version > max(migrations()):
        raise StoreError(
            f"{path}: written by a newer version of engage (schema {version}, this one knows {max(migrations())}); "
            "use that version, or name another ENGAGE_HOME"
        )
    return int(version)


@cache
def _definitions() -> str:
    texts = [*statements("schema").values(), *statements("score").values()]
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


@dataclass(frozen=True)
class Described:
    """A table, view or macro: what one row of it is, and its columns as (name, type, meaning); a macro has none."""

    kind: Literal["table", "view", "macro"]
    name: str
    meaning: str
    columns: tuple[tuple[str, str, str], ...] = ()


def describe() -> list[Described]:
    """Today's tables, views and macros, as their comments describe them; opens no store."""
    import duckdb

    with duckdb.connect() as connection:
        bring_up_to_date(connection, Path(":memory:"))
        made = connection.execute(
            "select 'table', table_name, comment from duckdb_tables() where not internal union all "
            "select 'view', view_name, comment from duckdb_views() where not internal union all "
            "select 'macro', function_name || '(' || array_to_string(parameters, ', ') || ')', comment from duckdb_functions() "
            "where not internal and function_type = 'macro' order by 1, 2"
        ).fetchall()
        columns = connection.execute(
            "select table_name, column_name, data_type, comment from duckdb_columns() where not internal order by column_index"
        ).fetchall()
    return [
        Described(kind, name, meaning or "", tuple(tuple(rest) for table, *rest in columns if table == name))
        for kind, name, meaning in made
    ]
