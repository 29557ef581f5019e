"""Reading the exit survey, two ways: a pattern over a sampled answer, or the expected value over the allowed answers.

Generic: the domain's `Survey` says what is allowed, and the domain maps a value to a reward. Asks no model.
"""

import math
import re
from collections.abc import Sequence

from engage.dialogue import Reaction
from engage.domains import Survey

_WORDS = {
    "nothing": 0.0, "none": 0.0, "zero": 0.0, "a": 1.0, "an": 1.0, "one": 1.0, "half a": 0.5, "half an": 0.5, "two": 2.0,
    "three": 3.0, "four": 4.0, "five": 5.0, "six": 6.0, "seven": 7.0, "eight": 8.0,
}  # fmt: skip


def read_pattern(survey: Survey, text: str) -> Reaction:
    """The first pattern that matches (the paper's way); value None where none does or the number is off the survey's scale."""
    for pattern in survey.patterns:
        match = re.search(pattern, text, re.IGNORECASE)
        if match:
            return Reaction("pattern", text, _on_scale(survey, _number(match, survey)))
    return Reaction("pattern", text, None)


def read_expected(survey: Survey, logprobs: Sequence[float]) -> Reaction:
    """Σ p·value, p the softmax of the choices' log-likelihoods (natural log, the survey's order); value None if all are −inf."""
    top = max(logprobs)
    if top == -math.inf:
        return Reaction("expected", "", None)
    weights = [math.exp(logprob - top) for logprob in logprobs]
    probabilities = tuple(weight / sum(weights) for weight in weights)
    value = sum(p * v for p, v in zip(probabilities, survey.choices.values(), strict=True))
    likeliest = max(zip(probabilities, survey.choices, strict=True), key=lambda pair: pair[0])[1]
    return Reaction("expected", likeliest, value, probabilities)


def _number(match: re.Match[str], survey: Survey) -> float:
    groups = match.groupdict()
    word = re.sub(r"\s+", " ", groups["value"].lower())
    unit = (groups.get("unit") or "").lower()
    if word in _WORDS:
        number = _WORDS[word]
    elif re.fullmatch(r"[\d.]+", word):
        number = float(word)
    else:
        return 0.0  # "not giving", "don't donate": the survey's patterns name refusals only where refusal is nothing
    return number * survey.scale.get(unit.rstrip("s") or unit, survey.scale.get("", 1.0))


def _on_scale(survey: Survey, value: float) -> float | None:
    low, high = min(survey.choices.values()), max(survey.choices.values())
    return value if low <= value <= high else None
