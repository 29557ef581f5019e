"""The command `engage`. Imports a flow only when a command needs it, because prefect alone takes seconds to import."""

from typing import Annotated

import typer

from engage.errors import ConfigError
from flows.cli.bench import bench_app
from flows.cli.experiment import experiment_app
from flows.cli.keeping import backup, export, forget, prune, restore
from flows.cli.looking import champions, nights, plan, report, runs, show, sql, tree
from flows.cli.options import (
    CycleProfile,
    DomainModules,
    Profile,
    Settings,
    Verbose,
    console,
)
from flows.cli.pairs import pairs_app
from flows.cli.profiles import Asked
from flows.cli.promoting import promote, rollback
from flows.cli.review import review
from flows.cli.scenarios import scenarios_app
from flows.cli.serving import merge, serve
from flows.cli.simulator import simulator_app
from flows.cli.talking import chat, fork

app = typer.Typer(
    help="Find the replies that leave users better off, and train a language model to give them.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
app.add_typer(scenarios_app, name="scenarios")
app.add_typer(simulator_app, name="simulator")
app.add_typer(pairs_app, name="pairs")
app.add_typer(bench_app, name="bench")
app.add_typer(experiment_app, name="experiment")
for act in (promote, rollback, merge, serve, prune, backup, restore, export, forget, review, chat, fork):
    app.command()(act)

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
def compare(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="cycles, registry versions or folders of adapters; the others are compared with the first"),
    ] = None,
    grid: Annotated[
        list[str] | None,
        typer.Option(
            "--grid", help="values of a setting to train with, such as 'align.dpo.beta=[0.1, 0.5]'; repeat for more"
        ),
    ] = None,
    profile: CycleProfile = None,
    set_: Settings = None,
    cycle: Annotated[
        str | None,
        typer.Option(
            "--cycle", help="the cycle whose trees and settings are used; default: the first named, else the latest"
        ),
    ] = None,
    domain_module: DomainModules = None,
    verbose: Verbose = False,
) -> None:
    """Compare candidates on the same held-out scenarios: trainings with other settings on one cycle, or those of finished cycles."""
    from flows.cli.comparing import run_compare

    text = run_compare(console, names or [], grid or [], Asked.by(profile, set_, domain_module), cycle, verbose)
    console.print(text, markup=False, highlight=False, soft_wrap=True)


for look in (sql, show, tree, runs, nights, champions, plan, report):
    app.command()(look)


@app.command()
def doctor(
    profile: Profile = "laptop",
    set_: Settings = None,
    json_: Annotated[bool, typer.Option("--json", help="print a JSON list instead of lines")] = False,
) -> None:
    """Check packages, machine, models, home, servers and schedules, and say how to fix what is missing; exit code 1 if something is."""
    from flows.cli.doctor import examine

    if not examine(console, profile, set_ or [], json_):
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
    at: Annotated[str | None, typer.Option("--at", help="time of day, HH:MM; default: 02:00")] = None,
    cron: Annotated[
        str | None, typer.Option("--cron", help="instead of --at: cron text, such as '0 2 * * 1-5'")
    ] = None,
    timezone: Annotated[
        str | None,
        typer.Option(
            "--timezone",
            help="IANA name, such as Europe/Berlin; default: that of the earlier schedule, else this machine's",
        ),
    ] = None,
    skip_if_running: Annotated[
        bool,
        typer.Option("--skip-if-running", help="leave a night out that is due while one runs; without it, it waits"),
    ] = False,
    notify: Annotated[
        str | None,
        typer.Option(
            "--notify",
            help="address of a webhook (Slack's JSON) for messages about nights; empty: none; default: as before",
        ),
    ] = None,
    profile: Profile = "laptop",
    set_: Settings = None,
    domain_module: DomainModules = None,
    list_: Annotated[bool, typer.Option("--list", help="show what is scheduled, and change nothing")] = False,
    pause: Annotated[bool, typer.Option("--pause", help="let the profile's schedule rest")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="let a paused schedule run again")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="delete the profile's schedule")] = False,
) -> None:
    """Schedule `nightly` as a deployment on the configured Prefect server, or list, pause, resume and remove schedules."""
    from flows.cli.schedules import change_schedule, show_schedules
    from flows.cli.scheduling import When, schedule_nightly

    changes = [name for name, wanted in {"pause": pause, "resume": resume, "remove": remove}.items() if wanted]
    if len(changes) + list_ > 1 or (
        (changes or list_) and (at or cron or timezone or skip_if_running or set_ or notify is not None)
    ):
        raise ConfigError("--list, --pause, --resume and --remove: give one of them, without a time or settings")
    if list_:
        show_schedules(console)
    elif changes:
        change_schedule(console, changes[0], profile)
    else:
        when = When(at, cron, timezone, skip_if_running, notify)
        schedule_nightly(console, when, profile, set_ or [], domain_module or [])


@app.command()
def up(
    prefect_port: Annotated[
        int | None,
        typer.Option("--prefect-port", min=1, max=65535, help="port of Prefect's server; default: 4200, or a free one"),
    ] = None,
    mlflow_port: Annotated[
        int | None,
        typer.Option("--mlflow-port", min=1, max=65535, help="port of MLflow's pages; default: 5000, or a free one"),
    ] = None,
) -> None:
    """Start Prefect's server, a worker and MLflow's pages on this machine; they outlive the command."""
    from flows.cli.services import start_services

    start_services(console, prefect_port, mlflow_port)


@app.command()
def down(force: Annotated[bool, typer.Option("--force", help="end them even while a night runs")] = False) -> None:
    """End what `engage up` started in this home."""
    from flows.cli.services import stop_services

    stop_services(console, force)


def _run_flow(stage: str, asked: Asked, cycle: str | None, verbose: bool, must_exist: bool = False) -> None:
    from flows.cli.running import run_stage

    text = run_stage(console, stage, asked, cycle, verbose, must_exist)
    console.print(text, markup=False, highlight=False, soft_wrap=True)
