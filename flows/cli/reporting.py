"""Writes pages about a cycle that is stored: the page of the night, and the page of one scenario."""

import contextlib
import re
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from engage.domains import allow_modules
from engage.errors import ConfigError, QueryError, StoreError
from engage.files.digest import digest
from engage.files.writing import write_whole
from engage.home import Home


def write_report(
    console: Console,
    cycle: str | None,
    scenario: str | None,
    out: Path | None,
    show: bool,
    domain_modules: Sequence[str],
) -> None:
    """Write the page of a night or of a scenario, print its path, and open it in a browser if asked to."""
    from engage.evaluation.night_page import night_page, scenario_page
    from engage.keeping.at_work import unfinished
    from engage.store import Outbox, TrajectoryStore
    from engage.training import latest_candidate

    if out is not None and out.is_dir():
        raise ConfigError(f"--out {out} is a folder; name a file in it")
    allow_modules(domain_modules)
    home = Home.from_env()
    store = TrajectoryStore(home.database)
    with contextlib.suppress(
        StoreError
    ):  # judgements of a review that was killed, say; without them the page is right as well
        store.drain(Outbox(home.outbox))
    cycle_id = cycle or store.latest_cycle()
    if cycle_id is None:
        raise QueryError(f"{home.database}: no cycle has been run yet; run `make run` or `engage nightly`")
    folder = home.cycle(cycle_id)
    if scenario is None:
        candidate = latest_candidate(folder, home.find)
        page = night_page(
            store, cycle_id, folder, Path(candidate.adapter) if candidate else None, unfinished(home, cycle_id)
        )
        path = out or folder / "report.html"
    else:
        page = scenario_page(store, cycle_id, scenario)
        path = out or folder / f"scenario-{_file_name(scenario)}.html"
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
