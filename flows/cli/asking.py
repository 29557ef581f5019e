"""Answers `engage sql`: a statement, a named query, or what can be asked."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from engage.errors import ConfigError, QueryError
from engage.files.reading import Unreadable, decode
from engage.home import Home
from flows.cli.inspecting import print_rows
from flows.cli.options import errors

KINDS = {"table": "Tables", "view": "Views", "macro": "Macros"}


@dataclass(frozen=True)
class Question:
    """What `engage sql` was given. `statement` is the name of a table with `schema`, and `-` for standard input."""

    statement: str | None = None
    file: str | None = None
    name: str | None = None
    params: Sequence[str] = ()
    form: str = "table"
    listing: bool = False
    show: str | None = None
    schema: bool = False
    live: bool = False


def answer(console: Console, asked: Question) -> None:
    """Print the answer as a table, CSV or JSON; standard output contains nothing else."""
    if asked.form not in {"table", "csv", "json"}:
        raise ConfigError(f"--format {asked.form!r} is not known; use table, csv or json")
    if asked.listing:
        return _print_list(console)
    if asked.show is not None:
        from engage.store import named_query

        return print(named_query(asked.show).sql, end="")
    if asked.schema:
        return _print_schema(console, asked.statement, asked.form)
    _print_answer(console, asked)


def _print_answer(console: Console, asked: Question) -> None:
    from flows.cli.reading import store_to_read

    if sum(given is not None for given in (asked.statement, asked.file, asked.name)) != 1:
        raise QueryError("give a SELECT, --file FILE or --name NAME (`engage sql --list` shows the names)")
    store = store_to_read(Home.from_env(), asked.live, tell)
    query = asked.name if asked.name is not None else _statement(asked.statement, asked.file)
    if asked.name is None and (note := store.mixed(query)):
        tell(note)
    with store.stream(query, _parameters(asked.params), named=asked.name is not None) as (columns, rows):
        print_rows(console, columns, rows, asked.form)


def tell(sentence: str) -> None:
    """Print a note on standard error."""
    errors.print(sentence, markup=False, highlight=False, soft_wrap=True)


def _statement(statement: str | None, file: str | None) -> str:
    """The SELECT itself, that of a file, or that on standard input (`-`)."""
    if statement not in (None, "-"):
        return str(statement)
    name = "standard input" if file in (None, "-") else str(file)
    try:
        return decode(sys.stdin.buffer.read() if file in (None, "-") else Path(name).read_bytes())
    except OSError as error:
        raise QueryError(f"{name}: cannot be read: {error.strerror}") from error
    except (Unreadable, UnicodeDecodeError) as error:
        reason = str(error) if isinstance(error, Unreadable) else "is not UTF-8 text"
        raise QueryError(f"{name}: {reason}") from error


def _parameters(params: Sequence[str]) -> dict[str, str]:
    parsed = {}
    for param in params:
        key, separator, value = param.partition("=")
        if not separator:
            raise QueryError(f"--param {param!r}: write name=value, such as cycle=2026-11-24-020000")
        parsed[key] = value
    return parsed


def _print_list(console: Console) -> None:
    """The named queries below the question that they answer, each with its grain and parameters."""
    from engage.store import QUESTIONS, inspections

    for question in QUESTIONS:
        console.print(question, style="bold underline", highlight=False)
        for name, found in inspections().items():
            if found.question != question:
                continue
            console.print(Padding(Text(name, style="bold"), (1, 0, 0, 2)), highlight=False)
            console.print(Padding(Text(found.grain), (0, 0, 0, 4)), highlight=False)
            for parameter, meaning in found.own_parameters.items():
                console.print(Padding(Text(f"--param {parameter}=… {meaning}", style="dim"), (0, 0, 0, 4)))
        console.print()
    console.print(
        "Run one with `engage sql --name NAME`. Most answer for the latest cycle; `--param cycle=ID` names another. "
        "`engage sql --show NAME` prints one, to start a query of your own from. The tables: `engage sql --schema`.",
        highlight=False,
    )


def _print_schema(console: Console, table: str | None, form: str) -> None:
    """What there is to query, or the columns of one table or view."""
    from engage.store import describe

    found = describe()
    if table is None:
        rows = [(one.kind, one.name, one.meaning) for one in found]
        if form != "table":
            return print_rows(console, ["kind", "name", "meaning"], rows, form)
        for kind, title in KINDS.items():
            console.print(title, style="bold underline", highlight=False)
            for _, name, meaning in [row for row in rows if row[0] == kind]:
                console.print(Text(name, style="bold"), highlight=False)
                console.print(Padding(Text(meaning), (0, 0, 0, 2)), highlight=False)
            console.print()
        return console.print("The columns of one: `engage sql --schema NAME`.", highlight=False)
    one = next((one for one in found if one.name == table.lower()), None)
    if one is None:
        known = ", ".join(one.name for one in found if one.kind != "macro")
        raise QueryError(f"there is no table or view {table!r:.80}; use one of {known}")
    if form != "table":
        return print_rows(console, ["column", "type", "meaning"], one.columns, form)
    console.print(Text(f"{one.kind} {one.name}", style="bold"), highlight=False)
    console.print(Padding(Text(one.meaning), (0, 0, 1, 2)), highlight=False)
    for column, kind, meaning in one.columns:
        console.print(Text.assemble((column, "bold"), f"  {kind.lower()}"), highlight=False)
        console.print(Padding(Text(meaning), (0, 0, 0, 4)), highlight=False)
    return None
