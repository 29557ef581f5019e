"""Reads a store by SQL: named queries and a user's own statements, as rows, as a stream, or as a pandas DataFrame.

Every call opens the file only while it works; StoreError if another program keeps it locked for longer than `wait_s`.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from engage.errors import QueryError
from engage.store.database import interruptible, reading
from engage.store.inspections import named_query
from engage.store.mixing import mixed
from engage.store.queries import check_select, first_line, parameters_of

WAIT_S = 30.0
_PIECE = 10_000
"""Rows that are fetched at a time."""


class StoreReader:
    """The reading side of a store; cheap to create."""

    def __init__(self, path: Path | str, wait_s: float = WAIT_S, on_wait: Callable[[str], None] | None = None) -> None:
        """`on_wait` gets a sentence when a read has waited two seconds for another program."""
        self.path = Path(path)
        self.wait_s = wait_s
        self.on_wait = on_wait

    def select(self, sql: str, params: Mapping[str, Any] | None = None) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Columns and rows of one read-only statement; its parameters (`$name`) that are not given are null.

        QueryError for any other statement, for files and functions outside the store, and for an unknown parameter.
        """
        return self._read(*_own(sql, params))

    def named(self, name: str, params: Mapping[str, Any] | None = None) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Columns and rows of a named query (sql/inspect/). `cycle` defaults to the latest one.

        QueryError for an unknown name or parameter, and for a cycle or trajectory that is not stored.
        """
        return self._read(*_named(name, params), named=True)

    def rows(self, name: str, params: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """A named query's rows by column name; see `named`."""
        columns, rows = self.named(name, params)
        return [dict(zip(columns, row, strict=True)) for row in rows]

    def frame(self, query: str, params: Mapping[str, Any] | None = None) -> Any:
        """A named query, or a read-only statement, as a pandas DataFrame; see `named` and `select`.

        Warns (UserWarning) if a statement's figures mix purposes, cycles, policies or simulators that it does not mention.
        """
        import pandas as pd

        if query.isidentifier():
            columns, rows = self.named(query, params)
        else:
            if note := self.mixed(query):
                warnings.warn(note, stacklevel=2)
            columns, rows = self.select(query, params)
        return pd.DataFrame(rows, columns=columns)

    def mixed(self, sql: str) -> str | None:
        """A sentence about rows that the statement's figures take together without mentioning it (see `engage.store.mixing`), else None."""
        check_select(sql)
        with self._connection() as connection:
            return mixed(connection, sql)

    @contextmanager
    def stream(
        self, query: str, params: Mapping[str, Any] | None = None, *, named: bool = False
    ) -> Iterator[tuple[list[str], Iterator[Any]]]:
        """The columns and an iterator over the rows of a statement, or of a query by its name; the file stays open for reading meanwhile.

        Errors as `named` and `select`, also while the rows are read.
        """
        sql, given = (_named if named else _own)(query, params)
        with self._connection(given, named) as connection:
            yield _columns(connection, sql, given), _rows(connection)

    def _read(
        self, sql: str, params: Mapping[str, Any] | None = None, named: bool = False
    ) -> tuple[list[str], list[tuple[Any, ...]]]:
        with self._connection(params or {}, named) as connection:
            return _columns(connection, sql, params or {}), list(_rows(connection))

    @contextmanager
    def _connection(self, params: Mapping[str, Any] = MappingProxyType({}), named: bool = False) -> Iterator[Any]:
        """The open store, if it knows the cycle among the parameters, and the trajectory that a named query calls `id`.

        DuckDB's errors are QueryError.
        """
        import duckdb

        try:
            with reading(self.path, self.wait_s, self.on_wait) as connection:
                for name in ("cycle", "id") if named else ("cycle",):
                    check_known(connection, name, params.get(name))
                yield connection
        except duckdb.Error as error:
            raise QueryError(f"the query fails: {first_line(error)}") from error


def _named(name: str, params: Mapping[str, Any] | None) -> tuple[str, dict[str, Any]]:
    """A named query's statement and all of its parameters."""
    sql = named_query(name).sql
    return sql, _filled(name, sql, params or {})


def _own(sql: str, params: Mapping[str, Any] | None) -> tuple[str, dict[str, Any]]:
    """The same of a user's own statement."""
    check_select(sql)
    return sql, _filled("the statement", sql, params or {})


def _filled(what: str, sql: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """A value for each parameter of the statement: None where none is given."""
    known = parameters_of(sql)
    for key in params:
        if key not in known:
            raise QueryError(f"{what} takes no parameter {key!r}; it takes {', '.join(sorted(known)) or 'none'}")
    return {key: params.get(key) for key in known}


def _columns(connection: Any, sql: str, params: Mapping[str, Any]) -> list[str]:
    """Run the statement; its rows follow from `_rows`."""
    interruptible(connection, lambda: connection.execute(sql, dict(params)))
    return [column[0] for column in connection.description]


def _rows(connection: Any) -> Iterator[tuple[Any, ...]]:
    while piece := interruptible(connection, lambda: connection.fetchmany(_PIECE)):
        yield from piece


def check_known(connection: Any, parameter: str, value: Any) -> None:
    """Raise QueryError if a cycle or trajectory given by name is not stored."""
    source = {"cycle": "cycle where cycle_id", "id": "trajectory where trajectory_id"}[parameter]
    if value is not None and not connection.execute(f"select 1 from {source} = ?", [value]).fetchone():
        raise QueryError(f"{parameter} {value!r} is not in the store")
