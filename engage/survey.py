"""The exit survey: what is asked, what may be answered, and what number a text states on its scale. Asks no model."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_WORDS = {
    "nothing": 0.0, "none": 0.0, "zero": 0.0, "a": 1.0, "an": 1.0, "one": 1.0, "half": 0.5, "half a": 0.5, "half an": 0.5, "two": 2.0,
    "three": 3.0, "four": 4.0, "five": 5.0, "six": 6.0, "seven": 7.0, "eight": 8.0,
}  # fmt: skip


@dataclass(frozen=True)
class Survey:
    """The exit survey: asked of the user alone, after the dialogue.

    `choices` maps each allowed answer (a distinct single token: a digit) to its value on the domain's scale. `patterns` are
    tried in order on a free answer (regular expressions, case ignored); the first named group `value` that matches is the
    number, and `scale` turns it into the domain's unit by the name of a second group, `unit` (lower case, '' without one).
    What `asides` match is taken out before: numbers that are no answer, such as the ends of the scale.
    """

    question: str
    choices: Mapping[str, float]
    patterns: tuple[str, ...]
    scale: Mapping[str, float]
    asides: tuple[str, ...] = ()


def stated_value(survey: Survey, text: str, patterns: Sequence[str]) -> float | None:
    """The number that the first matching pattern finds in a text, in the survey's unit; None without one on its scale."""
    text = text.replace("’", "'")
    for aside in survey.asides:
        text = re.sub(aside, " ", text, flags=re.IGNORECASE)
    for pattern in patterns:
        match = re.search(pattern, text, re.IGNORECASE)
        if match:
            return _on_scale(survey, _number(match, survey))
    return None


def _number(match: re.Match[str], survey: Survey) -> float:
    groups = match.groupdict()
    word = re.sub(r"\s+", " ", groups["value"].lower())
    unit = (groups.get("unit") or "").lower()
    if word in _WORDS:
        number = _WORDS[word]
    elif re.fullmatch(r"[\d.]+", word):
        number = float(word) if word.count(".") <= 1 and word != "." else math.nan
    else:
        return 0.0  # "not giving", "don't donate": the survey's patterns name refusals only where refusal is nothing
    return number * survey.scale.get(unit.rstrip("s") or unit, survey.scale.get("", 1.0))


def _on_scale(survey: Survey, value: float) -> float | None:
    low, high = min(survey.choices.values()), max(survey.choices.values())
    return value if low <= value <= high else None
