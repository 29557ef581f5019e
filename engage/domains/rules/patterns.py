"""Text patterns for the rules: words, and lists of regular expressions (case is ignored)."""

import re
import unicodedata
from collections.abc import Iterable

_SAID = re.compile(r"\w|[:;=][-^']?[)(\]\[/|*]")


def matches_any(patterns: Iterable[str], text: str) -> bool:
    """Whether one of the patterns matches in the text."""
    return any(re.search(pattern, text, re.IGNORECASE) for pattern in patterns)


def any_of(patterns: Iterable[str]) -> str:
    """One pattern that matches if any of them does, for SQL and Python."""
    return "|".join(f"(?:{pattern})" for pattern in patterns)


def says_something(text: str) -> bool:
    """Whether the text has a letter, a digit, an emoji or a smiley."""
    return _SAID.search(text) is not None or any(unicodedata.category(one) == "So" for one in text)


def words_of(text: str) -> list[str]:
    """The words of a text in lower case."""
    return re.findall(r"[\w']+", text.lower())
