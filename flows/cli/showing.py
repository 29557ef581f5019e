"""Makes foreign text (file names, ids, output of models and servers) safe to show on a terminal.

Characters that move the cursor, change colours, write to the clipboard or change the writing direction are shown as escapes, such as
`\\x1b` or `\\u202e`. Files and pipes get CSV and JSON unchanged; in tables, messages and progress the characters are always escaped.
"""

import contextlib
import json
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from engage.visible import STEERING
from engage.visible import visible as visible

_ANY_WIDTH = 10_000


def visible_json(text: str) -> str:
    """The same for JSON; the result is equivalent JSON, because JSON strings allow such escapes."""
    return STEERING.sub(
        lambda match: match[0] if match["flag"] or match[0] == "\r" else json.dumps(match[0])[1:-1], text
    )


class Terminal(Console):
    """rich's console for untrusted text: nothing is read as markup, emoji code or escape sequence."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"markup": False, "emoji": False, "highlight": False, **settings})

    def render_str(self, text: str, **settings: Any) -> Text:
        """Escape the text before it is measured and wrapped."""
        return super().render_str(visible(text), **settings)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Escape text that does not come from a plain string, such as a bar's description."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)


def print_table(console: Console, table: Table) -> None:
    """Print a table if the longest word of every column fits; otherwise one `column: value` line per cell, as `print_cells` does."""
    if table.__rich_measure__(console, console.options.update(max_width=_ANY_WIDTH)).minimum <= console.width:
        console.print(table)
    else:
        columns = [column.header for column in table.columns]
        print_cells(console, columns, zip(*(column.cells for column in table.columns), strict=True))


def print_cells(console: Console, columns: Sequence[Any], rows: Iterable[Sequence[Any]]) -> None:
    """Print one `column: value` line per cell, as psql does, with a rule before each row."""
    margin = max(len(str(name)) for name in columns)
    for row in rows:
        console.rule(style="dim")
        for name, value in zip(columns, row, strict=True):
            console.print(f"{name!s:>{margin}}: {value}", markup=False, highlight=False, soft_wrap=True)


class VisibleOut:
    """Standard output for a CSV writer: unchanged in a file or a pipe, escaped on a terminal."""

    def write(self, text: str) -> int:
        """Write like a file."""
        return sys.stdout.write(visible(text) if sys.stdout.isatty() else text)


def protect_streams() -> None:
    """Escape log records, warnings and tracebacks of this process too.

    A stream that the caller closed becomes the null device: the next file to be opened would get its number and its text.
    Bytes that are no text are read as escapes, such as `\\xff`: whoever types them is asked again.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115  # for the rest of the process
    with contextlib.suppress(AttributeError):  # a stream of a test's has no encoding to change
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
        sys.stdin.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    make, form = logging.getLogRecordFactory(), warnings.formatwarning

    def record(*args: Any, **kwargs: Any) -> logging.LogRecord:
        made = make(*args, **kwargs)
        with contextlib.suppress(Exception):  # a message that does not format is reported by logging itself
            said = made.getMessage()
            if (shown := visible(said)) != said:
                made.msg, made.args = shown, ()
            if made.exc_info and made.exc_info[0] is not None:
                made.exc_text = visible("".join(traceback.format_exception(*made.exc_info))).rstrip()
        return made

    def warning(*args: Any, **kwargs: Any) -> str:
        return visible(form(*args, **kwargs))

    def uncaught(kind: type[BaseException], error: BaseException, trace: Any) -> None:
        sys.stderr.write(visible("".join(traceback.format_exception(kind, error, trace))))

    logging.setLogRecordFactory(record)
    warnings.formatwarning = warning
    sys.excepthook = uncaught
