"""Writes pages about a cycle that is stored: the page of one scenario's search."""

import re
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from engage.domains import allow_modules
from engage.errors import ConfigError, QueryError
from engage.files.digest import digest
from engage.files.writing import write_whole
from engage.home import Home


def write_report(
    console: Console, cycle: str | None, scenario: str | None, out: Path | None, show: bool, domain_modules: Sequence[str]
) -> None:
    """Write the page of a scenario, print its path, and open it in a browser if asked to."""
    from engage.evaluation.night_page import scenario_page
    from engage.store import TrajectoryStore

    if scenario is None:
        raise ConfigError("name a scenario with --scenario; `engage sql --name tree_cost` lists them")
    allow_modules(domain_modules)
    home = Home.from_env()
    store = TrajectoryStore(home.database)
    cycle_id = cycle or store.latest_cycle()
    if cycle_id is None:
        raise QueryError(f"{home.database}: no cycle has been run yet; run `make run` or `engage nightly`")
    page = scenario_page(store, cycle_id, scenario)
    path = out or home.cycle(cycle_id) / f"scenario-{_file_name(scenario)}.html"
    try:
        write_whole(path, page)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}; name another file with --out") from error
    console.print(f"written to {path}", soft_wrap=True)
    if show and not webbrowser.open(path.absolute().as_uri()):
        console.print("no browser could be opened here; open the file in one", soft_wrap=True)


def _file_name(scenario: str) -> str:
    """The scenario's id as part of a file name; ids that differ have names that differ."""
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", scenario)[:80]
    return safe if safe == scenario else f"{safe}-{digest([scenario])[:8]}"
