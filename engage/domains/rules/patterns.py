"""What rules see of a text: its words, and lists of regular expressions that are looked for together, case ignored."""

import re
import unicodedata
from collections.abc import Iterable

_SAID = re.compile(r"\w|[:;=][-^']?[)(\]\[/|*]")


def matches_any(patterns: Iterable[str], text: str) -> bool:
    """Whether one of them is found in the text."""
    return any(re.search(pattern, text, re.IGNORECASE) for pattern in patterns)


def any_of(patterns: Iterable[str]) -> str:
    """One pattern for all of them, for SQL and for Python."""
    return "|".join(f"(?:{pattern})" for pattern in patterns)


def says_something(text: str) -> bool:
    """Whether it holds a letter, a digit, an emoji or a smiley; dots alone say nothing."""
    return _SAID.search(text) is not None or any(unicodedata.category(one) == "So" for one in text)


def words_of(text: str) -> list[str]:
    """Lower-case words of a text."""
    return re.findall(r"[\w']+", text.lower())
