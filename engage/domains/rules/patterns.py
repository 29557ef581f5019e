"""Text patterns for the rules: words, and lists of regular expressions (case is ignored)."""

import re
import unicodedata
from collections.abc import Iterable

_SAID = re.compile(r"\w|[:;=][-^']?[)(\]\[/|*]")
LOOK_ALIKES = str.maketrans(
    "авеікмнорстухѕјһԁԛԝАВЕІКМНОРСТУХЅЈαεικνορτυχΑΒΕΖΗΙΚΜΝΟΡΤΥΧ" + "".join(map(chr, range(0xFF01, 0xFF5F))),
    "abeikmhopctyxsjhdqwABEIKMHOPCTYXSJaeikvoptuxABEZHIKMNOPTYX" + "".join(map(chr, range(0x21, 0x7F))),
)
"""Cyrillic, Greek and full-width characters to the Latin ones that they look like, one for one."""
_PLAIN = str.maketrans({**dict.fromkeys("’‘ʼ´`", "'"), **dict.fromkeys("*~\u115f\u1160\u3164"), "_": " "})


def plain(text: str) -> str:
    """The text as a keyboard types it, for a rule to read: without accents, emphasis and invisible characters, with single spaces.

    Printed apostrophes and letters that look like Latin ones (full width, Cyrillic, Greek) become those. Not for prompts or storage.
    """
    bare = text
    if not text.isascii():
        letters = unicodedata.normalize("NFKD", text.translate(_PLAIN)).translate(LOOK_ALIKES)
        bare = "".join(letter for letter in letters if unicodedata.category(letter) not in ("Mn", "Cf"))
    return " ".join(bare.translate(_PLAIN).split())


def matches_any(patterns: Iterable[str], text: str) -> bool:
    """Whether one of the patterns matches in the text, as it stands or in its plain form."""
    forms = {text, plain(text)}
    return any(re.search(pattern, form, re.IGNORECASE) for pattern in patterns for form in forms)


def any_of(patterns: Iterable[str]) -> str:
    """One pattern that matches if any of them does, for SQL and Python."""
    return "|".join(f"(?:{pattern})" for pattern in patterns)


def says_something(text: str) -> bool:
    """Whether the text has a letter, a digit, an emoji or a smiley."""
    return _SAID.search(text) is not None or any(unicodedata.category(one) == "So" for one in text)


def words_of(text: str) -> list[str]:
    """The words of a text in lower case."""
    return re.findall(r"[\w']+", text.lower())
