"""Runs a stage from the command line: loads the configuration, chooses the cycle's id, shows progress, reports failures in one sentence."""

import itertools
import logging
import os
import shlex
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from datetime import datetime
from typing import Any

from rich.console import Console

from engage.config import CycleConfig, load_cycle_scenarios
from engage.engines import close_engines
from engage.errors import ConfigError, EngageError, Interrupted, StoreError, engage_error
from engage.home import Home, check_cycle_id, check_place
from engage.masking import mask_setting
from flows.cli import interrupts
from flows.cli.inspecting import tell_unread
from flows.cli.prefect_server import start_server
from flows.cli.profiles import Asked
from flows.cli.started import use_own_server


def run_stage(
    console: Console,
    stage: str,
    asked: Asked,
    cycle: str | None,
    verbose: bool,
    must_exist: bool,
) -> str:
    """Run one flow in this process and return its summary. An EngageError raised in a task is raised unchanged."""
    from engage.evaluation import check_adapter_names

    if asked.profile is not None:
        asked.config()  # what is wrong with it is said before anything is looked up
    existing = find_cycle_id(cycle) if must_exist else cycle
    config = asked.config(existing)
    check_adapter_names(config.engine, config.evaluation)
    tell_unread(console, load_cycle_scenarios(config.scenarios, lambda left: _tell_left(console, left)))
    if stage in ("nightly", "collect", "align"):  # the comparison trains its own policies on human pairs
        for sentence in config.unused():
            console.print(sentence, soft_wrap=True)
    cycle_id = open_cycle(console, existing)
    with in_process(console, verbose, command_again(stage, asked, cycle_id)):
        from prefect import tags

        from engage.evaluation import stage_text
        from tasks.reporting import places

        with tags(f"cycle:{cycle_id}", *profile_tags(config)):
            return stage_text(cycle_id, _flow(stage)(config, cycle_id), places(Home.from_env()))


@contextmanager
def in_process(console: Console, verbose: bool, again: str) -> Iterator[None]:
    """Run a flow in the body, with Prefect's temporary server and the progress display; errors are raised as EngageError.

    `again` is the command line that resumes the run after Ctrl-C.
    """
    quieten(verbose)
    use_own_server()
    interrupts.go_on_with(again)
    try:
        from engage import progress
        from engage.keeping import at_work
        from tasks import run_log

        at_work.goes_on_with(again)
        start_server()
        quiet = nullcontext() if verbose else run_log.sent_only()
        with interrupts.through_flows(), quiet, nullcontext() if verbose else progress.show(console):
            yield
    except EngageError:
        raise
    except KeyboardInterrupt as error:
        raise Interrupted(interrupts.sentence()) from error
    except Exception as error:
        cause = engage_error(error)
        if cause is None:
            raise
        raise cause from error
    finally:
        close_engines()


def profile_tags(config: CycleConfig) -> list[str]:
    """The tag of Prefect's runs that names the profile; none for a configuration without one."""
    return [f"profile:{config.tracking.profile}"] if config.tracking.profile else []


def command_again(stage: str, asked: Asked, cycle_id: str, more: Sequence[str] = ()) -> str:
    """The command line that resumes the stage, ready to paste; passwords and keys in it are masked."""
    name = {"evaluation": "evaluate", "comparison": "experiment comparison"}.get(stage, stage)
    arguments = [*name.split(), *more, *map(mask_setting, asked.options), "--cycle", cycle_id]
    return ready_to_paste(arguments)


def ready_to_paste(arguments: Sequence[str]) -> str:
    """The command line of engage with these arguments, for the home of this one."""
    home = f"ENGAGE_HOME={shlex.quote(os.environ['ENGAGE_HOME'])} " if "ENGAGE_HOME" in os.environ else ""
    return f"{home}.venv/bin/engage {shlex.join(arguments)}"


def _tell_left(console: Console, left: Sequence[str]) -> None:
    console.print(f"invalid scenario lines that were skipped (scenarios.skip_invalid): {len(left)}", highlight=False)
    for problem in left:
        console.print(f"  {problem}", markup=False, highlight=False, soft_wrap=True)


def open_cycle(console: Console, cycle: str | None) -> str:
    """Make the home if it is missing and print it with the cycle's id, a new one for None; returns the id."""
    home = Home.from_env()
    home.make()
    cycle_id = check_cycle_id(new_cycle_id(home, datetime.now()) if cycle is None else cycle)
    check_place(home.cycle(cycle_id), folder=True)
    console.print(f"cycle {cycle_id} (home {home.path})", highlight=False, soft_wrap=True)
    return cycle_id


def find_cycle_id(cycle: str | None) -> str:
    """The id of a stored cycle; None means the latest. ConfigError if it is not stored."""
    from engage.store import Outbox, TrajectoryStore

    home = Home.from_env()
    store = TrajectoryStore(home.database)
    if cycle is None:
        with suppress(StoreError):  # locked by another program: waiting trees are stored later
            store.drain(Outbox(home.outbox))
        cycle = store.latest_cycle()
    known = store.cycle_ids()
    if cycle is None or not known:
        raise ConfigError("no cycle has been run yet; run `engage collect` or `engage nightly` first")
    if cycle not in known:
        _check_not_pruned(home, cycle)
        raise ConfigError(f"cycle {cycle!r} is not in the store; the latest cycles are {', '.join(known[:5])}")
    return cycle


def _check_not_pruned(home: Home, cycle_id: str) -> None:
    """ConfigError for a cycle that was pruned; nothing if MLflow, which knows it, is not available."""
    if home.own_tracking and not home.mlflow_file.exists():
        return
    quieten(verbose=False)
    from engage.keeping.pruning import check_not_pruned
    from engage.workspace import Workspace

    with suppress(StoreError):
        check_not_pruned(Workspace(home), cycle_id)


def require_begun() -> None:
    """ConfigError for a home in which nothing has been run: opening MLflow would make one where ENGAGE_HOME names a wrong folder."""
    home = Home.from_env()
    if home.own_tracking and not home.mlflow_file.exists() and not home.database.exists():
        raise ConfigError(f"{home.path}: no cycle has been run yet; run `engage nightly` first")


def new_cycle_id(home: Home, now: datetime) -> str:
    """A new id from the clock, unique even if two commands begin in one second or the clock is set back.

    Creating the cycle's folder reserves the id.
    """
    base = f"{now:%Y-%m-%d-%H%M%S}"
    for number in itertools.count(1):
        cycle_id = base if number == 1 else f"{base}-{number}"
        try:
            home.cycle(cycle_id).mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise ConfigError(f"{home.cycle(cycle_id)}: cannot be created: {error.strerror}") from error
        return cycle_id
    raise AssertionError("unreachable")


def _flow(stage: str) -> Callable[[CycleConfig, str], Any]:
    from flows.align import align
    from flows.collect import collect
    from flows.comparison import comparison
    from flows.evaluation import evaluation
    from flows.nightly import nightly

    flows: dict[str, Any] = {"collect": collect, "align": align, "evaluation": evaluation, "nightly": nightly}
    flows["comparison"] = comparison
    return flows[stage]


def quieten(verbose: bool) -> None:
    """Set the environment variables that prefect and the model libraries read when they are imported."""
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault(
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120"
    )  # a busy machine is slow to start it
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")  # its default of seven takes minutes
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TQDM_DISABLE", "1")  # a night shows only its own bars
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # a server's links among the night's lines
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if not verbose:
        os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")  # failures are reported in one sentence
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
        logging.getLogger("alembic").setLevel(logging.WARNING)
        if not sys.warnoptions:
            warnings.simplefilter("ignore")
