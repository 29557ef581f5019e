"""The command `engage`. Imports a flow only when a command needs it, because prefect alone takes seconds to import."""

import atexit
import contextlib
import errno
import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from engage.errors import EngageError, Interrupted
from flows.cli.bench import bench_app
from flows.cli.experiment import experiment_app
from flows.cli.interrupts import asked, leave_at_once, listening
from flows.cli.options import (
    AnyLanguage,
    CycleProfile,
    DomainModules,
    Profile,
    Settings,
    Verbose,
    console,
    errors,
)
from flows.cli.pairs import pairs_app
from flows.cli.profiles import Asked
from flows.cli.showing import protect_streams, visible
from flows.cli.simulator import simulator_app

app = typer.Typer(
    help="Find the replies that leave users better off, and train a language model to give them.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
scenarios_app = typer.Typer(no_args_is_help=True, help="Scenarios: list, validate, import from human corpora.")
app.add_typer(scenarios_app, name="scenarios")
app.add_typer(simulator_app, name="simulator")
app.add_typer(pairs_app, name="pairs")
app.add_typer(bench_app, name="bench")
app.add_typer(experiment_app, name="experiment")

INTERRUPTED = 130

CycleId = Annotated[
    str | None, typer.Option("--cycle", help="id of the cycle; an existing cycle is resumed, with its own settings")
]


@app.command()
def nightly(
    profile: CycleProfile = None,
    set_: Settings = None,
    cycle: CycleId = None,
    domain_module: DomainModules = None,
    verbose: Verbose = False,
) -> None:
    """One full cycle: collect, align, evaluate."""
    _run_flow("nightly", Asked.by(profile, set_, domain_module), cycle, verbose)


@app.command()
def collect(
    profile: CycleProfile = None,
    set_: Settings = None,
    cycle: CycleId = None,
    domain_module: DomainModules = None,
    verbose: Verbose = False,
) -> None:
    """Search simulated conversations and store every tree."""
    _run_flow("collect", Asked.by(profile, set_, domain_module), cycle, verbose)


@app.command()
def align(
    profile: CycleProfile = None,
    set_: Settings = None,
    cycle: CycleId = None,
    domain_module: DomainModules = None,
    verbose: Verbose = False,
) -> None:
    """Extract pairs and train a candidate (from the latest cycle, or from --cycle)."""
    _run_flow("align", Asked.by(profile, set_, domain_module), cycle, verbose, must_exist=True)


@app.command()
def evaluate(
    profile: CycleProfile = None,
    set_: Settings = None,
    cycle: CycleId = None,
    domain_module: DomainModules = None,
    verbose: Verbose = False,
) -> None:
    """Compare base, champion and candidate on held-out scenarios (for the latest cycle, or for --cycle)."""
    _run_flow("evaluation", Asked.by(profile, set_, domain_module), cycle, verbose, must_exist=True)


@app.command()
def sql(
    statement: Annotated[str | None, typer.Argument(help="a SELECT")] = None,
    name: Annotated[str | None, typer.Option("--name", help="run a named query; --list shows the names")] = None,
    param: Annotated[
        list[str] | None, typer.Option("--param", help="name=value, a parameter of the named query")
    ] = None,
    format_: Annotated[str, typer.Option("--format", help="table, csv or json")] = "table",
    list_: Annotated[bool, typer.Option("--list", help="list the named queries")] = False,
) -> None:
    """Query the store, read-only."""
    from flows.cli.inspecting import show_query

    show_query(console, statement, name, param or [], format_, list_)


@app.command()
def doctor(profile: Profile = "laptop", set_: Settings = None) -> None:
    """Check packages, engine, models, memory and disk, and say how to fix what is missing."""
    from flows.cli.doctor import examine

    if not examine(console, profile, set_ or []):
        raise typer.Exit(1)


@app.command()
def settings(
    section: Annotated[
        str | None, typer.Argument(help="a section, such as search or align.dpo, or one setting; all by default")
    ] = None,
    profile: Annotated[
        str | None, typer.Option("--profile", "-p", help="show only what this profile changes, by name or path")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="print a JSON list instead of a table")] = False,
) -> None:
    """List the settings with type, default, range and description, or what a profile changes."""
    from flows.cli.settings import show_settings

    show_settings(console, section, profile, json_)


@app.command()
def schedule(
    at: Annotated[str, typer.Option("--at", help="time of day, HH:MM, in the local time zone")] = "02:00",
    profile: Profile = "laptop",
    set_: Settings = None,
    domain_module: DomainModules = None,
) -> None:
    """Schedule `nightly` as a deployment on the configured Prefect server."""
    from flows.cli.scheduling import schedule_nightly

    schedule_nightly(console, at, profile, set_ or [], domain_module or [])


@scenarios_app.command("list")
def list_scenarios(
    source: Annotated[
        list[str] | None, typer.Argument(help="shipped domain names or files; all shipped by default")
    ] = None,
    domain_module: DomainModules = None,
) -> None:
    """Count scenarios by domain, split and difficulty."""
    from flows.cli.inspecting import show_scenarios

    show_scenarios(console, source or [], domain_module or [])


@scenarios_app.command("validate")
def validate_scenarios(
    file: Annotated[Path, typer.Argument(help="a JSON Lines file")],
    any_language: AnyLanguage = False,
    domain_module: DomainModules = None,
) -> None:
    """Check a scenario file line by line; exit code 2 if a line is invalid."""
    from flows.cli.inspecting import validate_file

    if not validate_file(console, file, any_language, domain_module or []):
        raise typer.Exit(2)


@scenarios_app.command("import")
def import_corpus(
    corpus: Annotated[str, typer.Argument(help="esconv or p4g")],
    path: Annotated[Path, typer.Argument(help="the corpus's file or folder")],
    out: Annotated[Path | None, typer.Option("--out", help="scenario file to write; default: CORPUS.jsonl")] = None,
    any_language: AnyLanguage = False,
    donation_unit: Annotated[
        str | None, typer.Option("--donation-unit", help="unit of the donations in p4g: dollars or cents")
    ] = None,
) -> None:
    """Turn a human corpus into scenarios, and report what was used and what was left out."""
    from flows.cli.inspecting import import_scenarios

    import_scenarios(console, corpus, path, out or Path(f"{corpus}.jsonl"), any_language, donation_unit)


def _run_flow(stage: str, asked: Asked, cycle: str | None, verbose: bool, must_exist: bool = False) -> None:
    from flows.cli.running import run_stage

    text = run_stage(console, stage, asked, cycle, verbose, must_exist)
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def main() -> None:
    """Entry point. Prints one sentence and exits with 2 after a user's mistake, 1 after a failure, 130 after Ctrl-C, 143 after SIGTERM."""
    try:
        protect_streams()
        code = _run()
    except KeyboardInterrupt:  # before or after the signal handlers are in place
        errors.print("interrupted")
        code = INTERRUPTED
    sys.exit(code)


def command() -> None:
    """The script `engage`: run `main`, then exit without delay."""
    try:
        main()
    except SystemExit as stop:
        leave_at_once(stop.code if isinstance(stop.code, int) else 0)
        if isinstance(stop.code, int) and stop.code:
            _leave(stop.code)
        raise


def _leave(code: int) -> NoReturn:
    """Exit after a failure without finalising the interpreter: DuckDB would print a list of leaks below the error message."""
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _run() -> int:
    """Return the command's exit code; typer turns Ctrl-C into 130 and returns typer.Exit's code."""
    broken = next((argument for argument in sys.argv if not argument.isascii() and _is_broken(argument)), None)
    if broken is not None:
        errors.print(f"{broken!a}: not valid UTF-8", markup=False, highlight=False)
        return 2
    with listening() as interrupts:
        try:
            code = _answer()
        except BaseException:
            if not interrupts.asked:  # after a signal any error is its consequence
                raise
            code = INTERRUPTED
        interrupts.end()
        if code == INTERRUPTED or (code and interrupts.asked):
            errors.print(interrupts.sentence(), markup=False, highlight=False, soft_wrap=True)
            return interrupts.code
        return code


def _answer() -> int:
    """Run the command and report an error in one sentence; Ctrl-C is not reported here."""
    try:
        code = app(prog_name="engage", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except (KeyboardInterrupt, typer.Abort, Interrupted):
        return INTERRUPTED
    except (
        BrokenPipeError
    ):  # the reader of a pipe, such as `head`, has enough; typer exits with 1 where it meets this itself
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except SystemExit as stop:
        if isinstance(stop.__context__, BrokenPipeError):  # how typer itself ends where a pipe's reader has enough
            return 1
        errors.print(f"an imported module ended the program (sys.exit({stop.code!r})); the command did not finish")
        return 1
    except EngageError as error:
        if asked():
            return INTERRUPTED
        errors.print(str(error), markup=False, highlight=False, soft_wrap=True)
        return error.exit_code
    except OSError as error:
        if error.filename is not None or error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):
            raise
        errors.print(f"the output cannot be written: {error.strerror}; write it elsewhere, or free some space")
        return 1
    except Exception as error:
        show = getattr(error, "show", None)  # click's own usage errors know how to show themselves
        if show is None:
            raise
        if isinstance(said := getattr(error, "message", None), str):
            error.message = visible(said)  # type: ignore[attr-defined]
        show()
        return int(getattr(error, "exit_code", 2))


def _is_broken(argument: str) -> bool:
    """Whether the argument contains bytes that are not valid UTF-8; it could be neither printed nor stored."""
    try:
        argument.encode()
    except UnicodeEncodeError:
        return True
    return False
