"""How a number, an interval, a table and a sentence are written on a page of Markdown. What does not exist is a dash."""

from collections.abc import Iterable, Sequence

from engage.stats import Comparison, Estimate

DASH = "–"


def number(value: float | None, shape: str = "{:.3f}") -> str:
    """A number in the given format, such as `{:.1%}` for a share."""
    return DASH if value is None else shape.format(value)


def signed(value: float | None, shape: str = "{:.3f}") -> str:
    """A difference: the same with its sign."""
    return number(value, shape.replace("{:", "{:+"))


def bounded(value: float | None, low: float | None, high: float | None, shape: str = "{:.3f}") -> str:
    """A number with its interval, `0.500 [0.400, 0.600]`; the number alone where it has no bounds."""
    if value is None or low is None or high is None:
        return number(value, shape)
    return f"{shape.format(value)} [{shape.format(low)}, {shape.format(high)}]"


def estimate(found: Estimate | None, shape: str = "{:.3f}") -> str:
    """An estimate with its interval."""
    return DASH if found is None else bounded(found.value, found.low, found.high, shape)


def difference(found: Comparison | None) -> str:
    """A paired difference with its interval; a dash where it has none, because it says nothing then."""
    if found is None or found.low is None or found.high is None:
        return DASH
    return bounded(found.difference, found.low, found.high, "{:+.3f}")


def table(head: Sequence[str], rows: Iterable[Sequence[str]], words: int = 1) -> str:
    """A table whose first `words` columns are words; the others are numbers, to the right."""
    return "\n".join([_line(head), "|---" * words + "|---:" * (len(head) - words) + "|", *map(_line, rows)])


def _line(cells: Sequence[str]) -> str:
    return "".join(f"| {cell} " if cell else "| " for cell in cells) + "|"


def escaped(text: str) -> str:
    """What somebody said as the cell of a table: nothing in it is Markdown."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def spaced(name: str) -> str:
    """A name in the code as words; nothing of it ends a cell of a table."""
    return name.replace("_", " ").replace("|", "/")


def sentence(text: str) -> str:
    """With a capital letter and a full stop."""
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def page(parts: Iterable[str]) -> str:
    """Paragraphs as one page."""
    return "\n\n".join(parts) + "\n"
