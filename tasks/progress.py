"""Progress on the terminal: bars with rate and time left where the command line shows them, nothing elsewhere.

Tasks of one process share the display; a worker without a terminal has none, and Prefect's own logs tell what is under way.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

_shown: Progress | None = None


class _Rate(ProgressColumn):
    """Units per second since the bar began."""

    def render(self, task: Task) -> Text:
        """See ProgressColumn."""
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.2f}/s" if speed else "", style="progress.data.speed")


@contextmanager
def show(console: Console) -> Iterator[None]:
    """Show bars for whatever begins in the body."""
    global _shown
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, speed_estimate_period=120.0) as progress:
        _shown = progress
        try:
            yield
        finally:
            _shown = None


class Bar:
    """One bar; does nothing where no display is shown. `total` in the unit of `advance`."""

    def __init__(self, description: str, total: int) -> None:
        self._display = _shown
        self._task = self._display.add_task(description, total=total) if self._display else None

    def advance(self, by: int = 1) -> None:
        """`by` more are done."""
        if self._display and self._task is not None:
            self._display.advance(self._task, by)

    def finish(self) -> None:
        """Whatever the total was, it is done."""
        if self._display and self._task is not None:
            done = self._display.tasks[self._task].completed
            self._display.update(self._task, total=done)
