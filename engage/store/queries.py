"""The SQL files as text, and the check of a user's own statement. Opens no database."""

import re
from functools import cache
from importlib import resources
from typing import Any

from engage.errors import QueryError

_ORDER = re.compile(r"^\d+_")


@cache
def statements(folder: str) -> dict[str, str]:
    """The statements of one folder of sql/ by name, in the order of the file names; `05_node.sql` is named `node`."""
    room = resources.files("sql") / folder
    return {
        _ORDER.sub("", name).removesuffix(".sql"): (room / name).read_text(encoding="utf-8") for name in _names(room)
    }


@cache
def migrations() -> dict[int, str]:
    """The statements of sql/migrations/ by the schema version that each leads to, in their order."""
    folder = resources.files("sql") / "migrations"
    return {int(name.partition("_")[0]): (folder / name).read_text(encoding="utf-8") for name in _names(folder)}


def _names(folder: Any) -> list[str]:
    return sorted(_file_name(file) for file in folder.iterdir() if _file_name(file).endswith(".sql"))


def _file_name(file: object) -> str:
    return str(getattr(file, "name", ""))


def statement(folder: str, name: str) -> str:
    """One statement; for an unknown name, QueryError lists the statements of the folder."""
    known = statements(folder)
    if name not in known:
        raise QueryError(f"there is no query {name!r}; use one of {', '.join(known)}")
    return known[name]


def parameters_of(sql: str) -> set[str]:
    """Names of the `$name` parameters of a statement that parses."""
    import duckdb

    return {name for parsed in duckdb.extract_statements(sql) for name in parsed.named_parameters}


def check_select(sql: str) -> None:
    """Accept exactly one read-only statement: select, with, from, values, describe, show, summarize or explain; else QueryError."""
    import duckdb

    try:
        parsed = duckdb.extract_statements(sql)
    except duckdb.Error as error:
        raise QueryError(f"the statement cannot be read: {first_line(error)}") from error
    if len(parsed) != 1:
        raise QueryError(f"write one statement, without others after a semicolon (got {len(parsed)})")
    kind = parsed[0].type.name
    if kind not in {"SELECT", "EXPLAIN"}:
        raise QueryError(f"the store is read only here: {kind.lower()} is refused, use select")
    if any(name.isdigit() for name in parsed[0].named_parameters):
        raise QueryError("write values in place of parameters such as ? and $1, or give them names, such as $cycle")


def first_line(error: Exception) -> str:
    """DuckDB's error message and the line that it points at, on one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and not set(line.strip()) <= {"^"}]
    return " ".join(lines) if lines else type(error).__name__
