"""The comments of tables, views, macros and columns, taken from the `--` comments of sql/schema/ and sql/score/.

The lines on top of a file describe what it makes. A comment at the end of a column's line describes the column; in a view the last such
line counts, because that is the final select's. A column without one has the comment of the first file that describes a column of its
name: a name means the same everywhere, unless a comment says otherwise.
"""

import itertools
import re
from typing import Any

from engage.store.queries import statements

_MADE = re.compile(r"^create (?:table if not exists|or replace (?P<kind>view|macro)) (?P<name>\w+)", re.MULTILINE)
_TABLE_COLUMN = re.compile(r"^    (\w+) .*?-- (.+)$", re.MULTILINE)
_VIEW_COLUMN = re.compile(r"(\w+),?\s+-- (.+)$", re.MULTILINE)


def heading(sql: str) -> list[str]:
    """The comment lines on top of a statement, without their dashes."""
    lines = itertools.takewhile(lambda line: line.startswith("--"), sql.splitlines())
    return [line.removeprefix("--").strip() for line in lines]


def add_comments(connection: Any) -> None:
    """Give every table, view, macro and column of the store its comment; they must have been created already."""
    columns: dict[str, list[str]] = {}
    for table, column in connection.execute(
        "select table_name, column_name from duckdb_columns() where not internal and database_name = current_database() "
        "order by table_name, column_index"
    ).fetchall():
        columns.setdefault(table, []).append(column)
    commands: list[str] = []
    known: dict[str, str] = {}
    for kind, name, what, described in _described():
        commands.append(f"comment on {kind} {name} is {_quoted(what)}")
        for column in columns.get(name, []) if kind != "macro" else []:
            if column in described:
                known.setdefault(column, described[column])
            if text := described.get(column) or known.get(column):
                commands.append(f"comment on column {name}.{column} is {_quoted(text)}")
    connection.execute(";\n".join(commands))


def _described() -> list[tuple[str, str, str, dict[str, str]]]:
    """Kind, name, comment and described columns of what sql/schema/ and sql/score/ make, in the order in which it is made."""
    found = []
    for sql in statements("schema").values():
        made = _MADE.search(sql)
        assert made is not None, sql
        kind = made["kind"] or "table"
        pattern = _TABLE_COLUMN if kind == "table" else _VIEW_COLUMN
        found.append((kind, made["name"], " ".join(heading(sql)), dict(pattern.findall(sql))))
    for name, sql in statements("score").items():
        found.append(("view", name, " ".join(heading(sql)), dict(_VIEW_COLUMN.findall(sql))))
    return found


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
