"""The features of a turn for the role check: its word n-grams. Training and use share this code."""

import re
from functools import cache

from engage.simulation.roles.weights import CLASSES

LONGEST = 3
SHORT, TYPICAL = 35, 120
_SHORTENED = (
    ("can't", "can not"),
    ("won't", "will not"),
    ("n't", " not"),
    ("'m", " am"),
    ("'re", " are"),
    ("'ve", " have"),
    ("'ll", " will"),
    ("'d", " would"),
)
_EXPANSIONS = tuple((re.compile(rf"{short}\b"), long) for short, long in _SHORTENED)
HABITS = {
    "<lower case>": re.compile(r"^[a-z]"),
    "<lower i>": re.compile(r"\bi\b(?!\.)"),
    "<marks>": re.compile(r"[.!?]{2,}|,,|  | [,.?]|[.,!?][A-Za-z]"),
    "<smile>": re.compile(r"[:;]-?[)(DP]|\blol\b|\bhaha|<3"),
    "<capitals>": re.compile(r"\b[A-Z]{3,}\b"),
    "<chat>": re.compile(
        r"\b(?:dont|im|ive|cant|didnt|doesnt|thats|u|ur|youre|isnt|wont|gonna|wanna|yeah|yea|ok|hm+|uh|oh|haha|guess|kinda|pretty|stuff)\b",
        re.IGNORECASE,
    ),
    "<few words>": re.compile(r"^\W*(?:[A-Za-z'’]+\W*){0,4}$"),
}
"""Chat habits of people, by name; instruct models rarely have them."""
_TOKEN = re.compile(r"'s|[a-z]+|\d+|[?!.:$\[]")


def ngrams(text: str) -> set[str]:
    """The distinct features of a turn: n-grams of 1 to LONGEST tokens, n-grams of up to one token more over word classes, and HABITS.

    Tokens are lower-case words (contractions written out), `#` for a number, the characters ? ! . : $ [, and `^` and `$$` for the
    turn's beginning and end.
    """
    lowered = text.lower().replace("’", "'")
    for pattern, long in _EXPANSIONS:
        lowered = pattern.sub(long, lowered)
    tokens = ["^", *("#" if token.isdigit() else token for token in _TOKEN.findall(lowered)), "$$"]
    classes = _classes()
    classed = [classes.get(token, token) for token in tokens]
    habits = {name for name, habit in HABITS.items() if habit.search(text)}
    return _grams(tokens, LONGEST) | _grams(classed, LONGEST + 1) | habits


def _grams(tokens: list[str], longest: int) -> set[str]:
    return {
        " ".join(tokens[start : start + size])
        for size in range(1, longest + 1)
        for start in range(len(tokens) - size + 1)
    }


@cache
def _classes() -> dict[str, str]:
    """Word to class, from `classes.txt`."""
    lines = CLASSES.read_text(encoding="utf-8").splitlines()
    pairs = [line.partition(":") for line in lines if line and not line.startswith("#")]
    return {word: name for name, _, words in pairs for word in words.split()}


def length_scale(count: int) -> float:
    """Factor for the summed weights of `count` n-grams, so that long turns get no extreme sums.

    It is 1 at TYPICAL n-grams (about 18 words) and constant below SHORT.
    """
    return float((TYPICAL / max(count, SHORT)) ** 0.5)
