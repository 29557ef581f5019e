"""How a benchmark shows its steps and its figures on a terminal."""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from flows.cli.showing import print_table

Rows = Sequence[Sequence[str]]


def show_figures(console: Console, title: str, rows: Rows, figures: Mapping[str, Any], as_json: bool) -> None:
    """Print a benchmark's figures as a table of two columns, or all of them as JSON."""
    if as_json:
        print(json.dumps({"bench": title, **figures}))
        return
    table = Table(title=title, show_header=False, title_justify="left")
    for name, value in rows:
        table.add_row(name, value)
    print_table(console, table)


@contextmanager
def told(console: Console) -> Iterator[Callable[[str, float], None]]:
    """Show the current step and its running time in one line; without a terminal, print one line per step."""
    for name in ("HF_HUB_DISABLE_PROGRESS_BARS", "TQDM_DISABLE"):
        os.environ.setdefault(name, "1")  # the libraries' own bars would break up this one
    if not console.is_terminal:
        said: set[str] = set()

        def say(what: str, share: float) -> None:
            if what not in said:
                said.add(what)
                console.print(f"{what} …", highlight=False, markup=False)

        yield say
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as display:
        task = display.add_task("starting", total=None)

        def tell(what: str, share: float) -> None:
            display.update(task, description=what, total=1.0 if share else None, completed=share)

        yield tell
