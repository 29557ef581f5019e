"""Finds sums of money in people's turns, in dollars."""

import re

from engage.dialogue import Dialogue, Role

_TENS = ("ten", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_NUMBERS = {
    **{word: float(n) for n, word in enumerate(("one", "two", "three", "four", "five", "six", "seven", "eight"), 1)},
    **{word: 10.0 * n for n, word in enumerate(_TENS, 1)},
    **{"a": 1.0, "an": 1.0, "half a": 0.5, "fifteen": 15.0, "seventy five": 75.0, "twenty five": 25.0},
}
_UNITS = {
    "dollar": 1.0,
    "buck": 1.0,
    "quarter": 0.25,
    "dime": 0.1,
    "nickel": 0.05,
    "cent": 0.01,
    "penny": 0.01,
    "pennie": 0.01,
}
_DIGITS = r"\d[\d,]*(?:\.\d+)?|\.\d+"
_WORDS = "|".join(sorted((word.replace(" ", r"[\s-]") for word in _NUMBERS), key=len, reverse=True))
_AMOUNT = re.compile(
    rf"\$\s*(?P<dollars>{_DIGITS})|(?P<before>{_DIGITS})\s*\$|(?P<cents>{_DIGITS})\s*¢"
    rf"|(?<![\w.])(?:(?P<number>{_DIGITS})\s*|(?P<word>{_WORDS})\s+)(?P<unit>{'|'.join(_UNITS)})s?\b"
    rf"|(?<![\w.])(?P<bare>[01]?\.\d\d?)(?![\w%])|\b(?P<half>half)\b",
    re.IGNORECASE,
)


def stated_sum(dialogue: Dialogue, most: float) -> float | None:
    """The last sum of at most `most` dollars that the user names; None if there is none.

    "$0.50", "50 cents", ".5", "a dollar", "two bucks"; "half" is half of `most`. It does not check who is to pay the sum.
    """
    amounts = [
        amount
        for turn in dialogue.turns
        if turn.role is Role.USER
        for match in _AMOUNT.finditer(turn.text)
        if (amount := _dollars(match, most)) <= most
    ]
    return amounts[-1] if amounts else None


def _dollars(match: re.Match[str], most: float) -> float:
    parts = {name: text for name, text in match.groupdict().items() if text is not None}
    if "half" in parts:
        return most / 2
    if "unit" in parts:
        word = re.sub(r"[\s-]+", " ", parts.get("word", "").lower())
        return (_NUMBERS[word] if word else _number(parts["number"])) * _UNITS[parts["unit"].lower()]
    if "cents" in parts:
        return _number(parts["cents"]) / 100
    return _number(parts.get("dollars") or parts.get("before") or parts["bare"])


def _number(digits: str) -> float:
    return float(digits.replace(",", ""))
