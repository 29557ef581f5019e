"""Progress with rate and time left: bars on a terminal, an occasional line if the output goes to a file.

Below the bars stands what the work came to so far. The work of one process shares the display. A worker has none. With and without one, whoever runs the work gets the lines and the bars too
(`also_to`).
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Protocol

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Column
from rich.text import Text

LINE_EVERY_S = 30.0
RATE_OVER_S = 60.0
"""Rate and time left are those of the last so many seconds, from the first finished unit on: before it the model is loaded."""
RATE_FROM_S = 5.0
"""Seconds after the first finished unit before a rate is shown: the first units come all together."""
FORETOLD_FROM = 0.02
"""Share of the work after which the remaining time is estimated: a search's first replies come late, and all together."""


class Mirror(Protocol):
    """Shows a bar elsewhere, too."""

    def show(self, share: float, text: str, last: bool = False) -> None:
        """Show the share of the work that is done (0 to 1), and the same as a line."""


_shown: "Progress | Console | None" = None
_logs: list[Callable[[str], None]] = []
_mirrors: list[Callable[[], Mirror]] = []


def also_to(log: Callable[[str], None], mirror: Callable[[], Mirror]) -> None:
    """From now on, `log` gets each line too, and each new bar has a `mirror`."""
    _logs.append(log)
    _mirrors.append(mirror)


def _log(text: str) -> None:
    for log in _logs:
        log(text)


class Figures(Protocol):
    """What a piece of work came to so far: in words (empty: nothing yet), and as rich shows it below the bars."""

    def text(self, last: bool = False) -> str:
        """In words, for a line; `last`: for the work's last line."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """For a terminal."""


class _Panel:
    """Below the bars: the figures of the work that was advanced last."""

    current: Figures | None = None

    def __rich__(self) -> "Figures | Text":
        return self.current or Text()


_panel = _Panel()


class _Rate(ProgressColumn):
    """Units per second, as `Bar.rate` gives it."""

    def render(self, task: Task) -> Text:
        """See ProgressColumn."""
        speed = task.fields["bar"].rate()
        return Text(f"{speed:.2f}/s" if speed else "", style="progress.data.speed")


class _Left(ProgressColumn):
    """Time left by that rate."""

    def render(self, task: Task) -> Text:
        """See ProgressColumn."""
        rate = task.fields["bar"].rate()
        left = (
            str(timedelta(seconds=round((task.remaining or 0) / (rate or 1)))) if rate or task.finished else "-:--:--"
        )
        return Text(left, style="progress.remaining")


@contextmanager
def show(console: Console) -> Iterator[None]:
    """Show the progress of all work that begins in the body."""
    global _shown
    _panel.current = None
    whole = Column(no_wrap=True)
    columns = (
        TextColumn("{task.description}", markup=False, table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")),
        BarColumn(bar_width=10),
        MofNCompleteColumn(table_column=whole),
        _Rate(table_column=whole),
        TimeElapsedColumn(table_column=whole),
        _Left(table_column=whole),
    )
    try:
        if console.is_terminal:
            progress = Progress(*columns, console=console, expand=True)
            with Live(Group(progress, _panel), console=console, refresh_per_second=4):
                _shown = progress
                yield
        else:
            _shown = console
            yield
    finally:
        _shown = None


def is_shown() -> bool:
    """Whether there is a display."""
    return _shown is not None


def tell(text: str) -> None:
    """Show a line above the bars, if there is a display, and write it to the log, if there is one."""
    _log(text)
    show_line(text)


def show_line(text: str) -> None:
    """Show a line above the bars, if there is a display."""
    console = _shown.console if isinstance(_shown, Progress) else _shown
    if console is not None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)


class Bar:
    """Progress of one piece of work towards `total`, in the unit of `advance`; says nothing without a display and a log."""

    def __init__(self, description: str, total: int, figures: Figures | None = None) -> None:
        self._display = _shown
        self._description, self._total, self._done = description, total, 0
        self._began = self._told = time.monotonic()
        self._marks: deque[tuple[float, int]] = deque()
        self._lock = threading.Lock()  # the display asks for the rate on a thread of its own
        self._ended: float | None = None
        self._elsewhere = [mirror() for mirror in _mirrors]
        self._figures = figures
        _panel.current = figures or _panel.current
        self._task = (
            self._display.add_task(description, total=total, bar=self) if isinstance(self._display, Progress) else None
        )

    def advance(self, by: int = 1) -> None:
        """Add `by` finished units."""
        self._done += by
        self._marks.append((time.monotonic(), self._done))
        _panel.current = self._figures or _panel.current
        if isinstance(self._display, Progress) and self._task is not None:
            self._display.advance(self._task, by)
        self.tell_if_due()

    def tell_if_due(self) -> None:
        """Show a line if the last one was long ago and the work goes on; called also for what is less than a unit."""
        with self._lock:
            due = self._ended is None and self._done < self._total and time.monotonic() - self._told >= LINE_EVERY_S
            if due:
                self._told = time.monotonic()
        if due:
            self._tell()

    def finish(self) -> None:
        """Mark the work as done, whatever the total was."""
        self._total, self._ended = self._done, time.monotonic()
        if isinstance(self._display, Progress) and self._task is not None:
            self._display.update(self._task, total=self._done, completed=self._done)
        if _panel.current is self._figures:
            _panel.current = None
        if self._done:
            self._tell(last=True)

    def rate(self) -> float | None:
        """Finished units a second, see RATE_OVER_S, and of all when it ended; None at first, and after a minute without a finished unit."""
        if self._ended is not None:
            return self._done / (self._ended - self._began) if self._ended > self._began else None
        now = time.monotonic()
        with self._lock:
            while len(self._marks) > 1 and self._marks[1][0] <= now - RATE_OVER_S:
                self._marks.popleft()
            if not self._marks or now - self._marks[0][0] < RATE_FROM_S:
                return None
            since, before = self._marks[0]
        return (self._done - before) / (now - since) or None

    def _tell(self, last: bool = False) -> None:
        took = time.monotonic() - self._began
        rate = self.rate() or (self._done / took if took else 0.0)
        foretold = FORETOLD_FROM * self._total <= self._done < self._total and rate
        left = f", {(self._total - self._done) / rate:.0f} s left" if foretold else ""
        text = f"{self._description}: {self._done}/{self._total} in {took:.0f} s, {rate:.2f}/s{left}"
        text += f"; {figures}" if self._figures and (figures := self._figures.text(last)) else ""
        if isinstance(self._display, Progress) and not (last and self._figures):  # the bar shows it
            _log(text)
        else:
            tell(text)
        for mirror in self._elsewhere:
            mirror.show(self._done / self._total if self._total else 1.0, text, last)
