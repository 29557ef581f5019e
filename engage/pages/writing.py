"""How a number, an interval, a table and a sentence are written in Markdown. A missing value is a dash."""

import re
from collections.abc import Iterable, Sequence

from engage.stats import Comparison, Estimate

DASH = "–"
_PIPE = re.compile(r"(?<!\\)\|")
"""A pipe that is not escaped yet."""


def number(value: float | None, shape: str = "{:.3f}") -> str:
    """A number in the given format, such as `{:.1%}` for a share."""
    return DASH if value is None else shape.format(value)


def signed(value: float | None, shape: str = "{:.3f}") -> str:
    """A number with its sign, for differences."""
    return number(value, shape.replace("{:", "{:+"))


def bounded(value: float | None, low: float | None, high: float | None, shape: str = "{:.3f}") -> str:
    """A number with its interval, `0.500 [0.400, 0.600]`; the number alone without bounds."""
    if value is None or low is None or high is None:
        return number(value, shape)
    return f"{shape.format(value)} [{shape.format(low)}, {shape.format(high)}]"


def estimate(value: Estimate | None, shape: str = "{:.3f}") -> str:
    """An estimate with its interval."""
    return DASH if value is None else bounded(value.value, value.low, value.high, shape)


def difference(paired: Comparison | None) -> str:
    """A paired difference with its interval; a dash without an interval, because the number alone would mislead."""
    if paired is None or paired.low is None or paired.high is None:
        return DASH
    return bounded(paired.difference, paired.low, paired.high, "{:+.3f}")


def counted(count: int, one: str) -> str:
    """A number and what it counts, in the plural unless it is 1."""
    return f"{count} {one}" if count == 1 else f"{count} {one}s"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], words: int = 1) -> str:
    """A table; its first `words` columns are text, the others are numbers and right-aligned. Names in cells cannot add columns or rows."""
    return "\n".join([_line(head), "|---" * words + "|---:" * (len(head) - words) + "|", *map(_line, rows)])


def _line(cells: Sequence[str]) -> str:
    whole = (_PIPE.sub(r"\\|", " ".join(cell.splitlines())) for cell in cells)
    return "".join(f"| {cell} " if cell else "| " for cell in whole) + "|"


def escaped(text: str) -> str:
    """Free text for a table cell, with Markdown's special characters escaped."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def spaced(name: str) -> str:
    """A name in the code as words, safe for a table cell."""
    return name.replace("_", " ").replace("|", "/")


def sentence(text: str) -> str:
    """The text with a capital letter and a full stop."""
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def page(parts: Iterable[str]) -> str:
    """Join paragraphs into a page."""
    return "\n\n".join(parts) + "\n"
