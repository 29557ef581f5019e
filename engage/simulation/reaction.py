"""Reading the exit survey, two ways: a pattern over a sampled answer, or the expected value over the allowed answers.

Generic: the domain's `Survey` says what is allowed, and the domain maps a value to a reward. Asks no model.
"""

import math
from collections.abc import Sequence

from engage.dialogue import Reaction
from engage.survey import Survey, stated_value


def without_value(reader: str, text: str) -> str:
    """Why a reaction has no value: completes "the exit survey was …"."""
    if reader == "unasked":
        return "not asked"
    if reader == "expected":
        return "asked, but the model gave no usable probabilities of the answers"
    return f"asked, but the answer could not be read: {text!r}" if text.strip() else "asked, but not answered"


def read_pattern(survey: Survey, text: str) -> Reaction:
    """The first pattern that matches (as in the paper); value None if none matches or the number is outside the survey's scale."""
    return Reaction("pattern", text, stated_value(survey, text, survey.patterns))


def read_expected(survey: Survey, logprobs: Sequence[float]) -> Reaction:
    """Σ p·value, with p the softmax of the choices' log-likelihoods (in the survey's order); value None if all are −inf or one is NaN."""
    top = max(logprobs, default=-math.inf)
    if top in (-math.inf, math.inf) or any(map(math.isnan, logprobs)):
        return Reaction("expected", "", None)
    weights = [math.exp(logprob - top) for logprob in logprobs]
    probabilities = tuple(weight / sum(weights) for weight in weights)
    value = sum(p * v for p, v in zip(probabilities, survey.choices.values(), strict=True))
    likeliest = max(zip(probabilities, survey.choices, strict=True), key=lambda pair: pair[0])[1]
    return Reaction("expected", likeliest, value, probabilities)
