"""The commands that show what is there: `engage sql`, `show`, `tree`, `runs`, `nights`, `champions`, `plan`, `report`. Their bodies are imported when needed."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.options import CycleProfile, DomainModules, Settings, console
from flows.cli.profiles import Asked

Format = Annotated[str, typer.Option("--format", help="table, csv or json")]
Live = Annotated[
    bool, typer.Option("--live", help="read the store itself, not its copy of the latest night (read.duckdb)")
]


def sql(
    statement: Annotated[
        str | None, typer.Argument(help="a SELECT; - reads it from standard input; with --schema a table or view")
    ] = None,
    file: Annotated[
        str | None, typer.Option("--file", help="read the SELECT from a file, or - from standard input")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="run a named query; --list shows the names")] = None,
    param: Annotated[
        list[str] | None,
        typer.Option("--param", help="name=value, a parameter of the query ($name in it); null where none is given"),
    ] = None,
    format_: Format = "table",
    list_: Annotated[
        bool, typer.Option("--list", help="list the named queries by the question that they answer")
    ] = False,
    show_: Annotated[str | None, typer.Option("--show", help="print a named query, to start your own from")] = None,
    schema: Annotated[
        bool, typer.Option("--schema", help="say what the tables hold, or the columns of the table that is named")
    ] = False,
    live: Live = False,
) -> None:
    """Query what is stored, read-only: the copy that each night renews, or with --live the store."""
    from flows.cli.asking import Question, answer

    answer(console, Question(statement, file, name, param or [], format_, list_, show_, schema, live))


def show(
    dialogue: Annotated[str, typer.Argument(help="id of a dialogue, as queries print it, or its beginning")],
    domain_module: DomainModules = None,
    live: Live = False,
) -> None:
    """Print a dialogue: who the user is, what was said, what the user answered at the end, its place in its tree."""
    from flows.cli.dialogues import show_dialogue

    show_dialogue(console, dialogue, domain_module or [], live)


def tree(
    scenario: Annotated[str, typer.Argument(help="a searched scenario, or the beginning of its id")],
    cycle: Annotated[
        str | None, typer.Option("--cycle", help="the cycle; the latest that searched it by default")
    ] = None,
    domain_module: DomainModules = None,
    live: Live = False,
) -> None:
    """Print the search of a scenario as an indented tree, with visits, value and its error."""
    from flows.cli.dialogues import show_tree

    show_tree(console, scenario, cycle, domain_module or [], live)


def runs(format_: Format = "table") -> None:
    """List the cycles, newest first: gain with its interval, verdict, pairs, minutes; and where MLflow shows them."""
    from flows.cli.runs import show_runs

    show_runs(console, format_)


def nights(format_: Format = "table") -> None:
    """List the nights, newest first: stage reached, verdict, cost, and how to go on with one that was interrupted."""
    from flows.cli.runs import show_runs

    show_runs(console, format_, "nights")


def champions(format_: Format = "table") -> None:
    """List what was promoted, newest first: since when, by whom, the gain then and as judged again since, and the verdicts."""
    from flows.cli.runs import show_runs

    show_runs(console, format_, "champions")


def plan(
    gain: Annotated[float, typer.Option("--gain", help="true gain in reward to be shown, over 0 and at most 1")] = 0.05,
    profile: CycleProfile = None,
    set_: Settings = None,
    domain_module: DomainModules = None,
    json_: Annotated[bool, typer.Option("--json", help="print a JSON object instead of a table")] = False,
) -> None:
    """Say how many held-out scenarios and dialogues a comparison needs to show a gain, how long that takes, and what the present size shows."""
    from flows.cli.planning import show_plan

    show_plan(console, gain, Asked.by(profile, set_, domain_module), json_)


def report(
    cycle: Annotated[str | None, typer.Option("--cycle", help="id of the cycle; default: the latest")] = None,
    scenario: Annotated[
        str | None, typer.Option("--scenario", help="write the page of this scenario's tree instead of the night's")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="file to write; default: in the cycle's folder of the home")
    ] = None,
    open_: Annotated[bool, typer.Option("--open", help="open the page in a browser")] = False,
    domain_module: DomainModules = None,
) -> None:
    """Write the page of a night, or of one scenario: dialogues, the evidence tree, pairs and figures in one HTML file."""
    from flows.cli.reporting import write_report

    write_report(console, cycle, scenario, out, open_, domain_module or [])
