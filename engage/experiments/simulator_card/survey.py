"""Whether a simulator's answer to the exit survey tells what people really did, and whether a regular expression tells it better."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from engage.corpora import HumanDialogue
from engage.dialogue import Dialogue, Reaction, Role
from engage.domains import Domain, load_domain, reward_of
from engage.stats import Estimate, auc, estimate, mean, rate, spearman

Figures = dict[str, Estimate]
Event = Callable[[float], bool]
EVENTS: Mapping[str, Mapping[str, Event]] = MappingProxyType(
    {
        "persuasion": {"donated_a_quarter": lambda dollars: dollars >= 0.25, "donated": lambda dollars: dollars > 0},
        "emotional_support": {"released": lambda intensity: intensity <= 2},
    }
)
"""What an outcome is told apart by, in the survey's own unit."""
MAX_USD = 2.0
BINS, LEAST_IN_BIN = 5, 4

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


def stated_amount(dialogue: Dialogue) -> float | None:
    """The last amount of $2 at most that the user names, in dollars; None where they name none.

    "$0.50", "50 cents", ".5", "a dollar", "two bucks"; "half" is half of the $2 payment. Who names it for whom is not asked.
    """
    amounts = [
        amount
        for turn in dialogue.turns
        if turn.role is Role.USER
        for match in _AMOUNT.finditer(turn.text)
        if (amount := _dollars(match)) <= MAX_USD
    ]
    return amounts[-1] if amounts else None


def _dollars(match: re.Match[str]) -> float:
    found = {name: text for name, text in match.groupdict().items() if text is not None}
    if "half" in found:
        return MAX_USD / 2
    if "unit" in found:
        word = re.sub(r"[\s-]+", " ", found.get("word", "").lower())
        return (_NUMBERS[word] if word else _number(found["number"])) * _UNITS[found["unit"].lower()]
    if "cents" in found:
        return _number(found["cents"]) / 100
    return _number(found.get("dollars") or found.get("before") or found["bare"])


def _number(digits: str) -> float:
    return float(digits.replace(",", ""))


def calibration(
    dialogues: Sequence[HumanDialogue],
    readings: Mapping[str, Reaction],
    seed: int = 0,
    from_words: Mapping[str, float] = MappingProxyType({}),
) -> Figures:
    """Predicted against actual outcomes, where the answer could be read.

    `actual`, `predicted` and `bias` (predicted − actual) are means in the survey's unit; `auc_EVENT` ranks by the predicted
    reward. In persuasion `stated_auc_EVENT` ranks the same dialogues by the amount that the user states (none: 0), and
    `auc_gain_EVENT` is the paired difference. `words_spearman` and `words_auc_EVENT` are those of `from_words`, outcomes by scenario
    id predicted from the user's words alone; they need one for every dialogue.
    """
    read = [human for human in dialogues if _value(human, readings) is not None]
    predicted, actual = outcomes(read, readings)
    domains = {human.domain for human in read}
    words = np.array([from_words.get(human.scenario_id, np.nan) for human in read])
    figures: Figures = {
        "actual": mean(actual, seed),
        "predicted": mean(predicted, seed),
        "bias": mean(predicted - actual, seed),
        "spearman": estimate(len(read), lambda index: spearman(predicted[index], actual[index]), seed),
    }
    if from_words:
        figures["words_spearman"] = estimate(len(read), lambda index: spearman(words[index], actual[index]), seed)
    if len(domains) != 1:
        return figures
    domain = load_domain(domains.pop())
    score = _rewards(domain, predicted)
    stated = np.array([stated_amount(human.dialogue) or 0.0 for human in read])
    for name, event in EVENTS.get(domain.name, {}).items():
        happened = np.array([event(value) for value in actual], dtype=bool)
        figures |= _told_apart(name, happened, score, stated if domain.name == "persuasion" else None, seed)
        if from_words:
            figures[f"words_auc_{name}"] = _auc(_rewards(domain, words), happened, seed)
    if domain.name == "persuasion":
        figures["stated"] = rate([stated_amount(human.dialogue) is not None for human in read], [1] * len(read), seed)
    return figures


def _rewards(domain: Domain, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """NaN where there is none, as the statistics take it."""
    return np.array([np.nan if (reward := reward_of(domain, value)) is None else reward for value in values.tolist()])


def _told_apart(
    name: str,
    happened: NDArray[np.bool_],
    score: NDArray[np.float64],
    stated: NDArray[np.float64] | None,
    seed: int,
) -> Figures:
    figures = {f"auc_{name}": _auc(score, happened, seed)}
    if stated is not None:
        figures[f"stated_auc_{name}"] = _auc(stated, happened, seed)
        figures[f"auc_gain_{name}"] = estimate(
            len(happened), lambda index: auc(score[index], happened[index]) - auc(stated[index], happened[index]), seed
        )
    return figures


def _auc(score: NDArray[np.float64], happened: NDArray[np.bool_], seed: int) -> Estimate:
    return estimate(len(happened), lambda index: auc(score[index], happened[index]), seed)


def outcomes(
    dialogues: Sequence[HumanDialogue], readings: Mapping[str, Reaction]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Predicted and actual values in the survey's unit, of the dialogues whose answer could be read."""
    told = [(value, human.outcome) for human in dialogues if (value := _value(human, readings)) is not None]
    table = np.array(told, dtype=float).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def _value(human: HumanDialogue, readings: Mapping[str, Reaction]) -> float | None:
    reaction = readings.get(human.scenario_id)
    return None if reaction is None else reaction.value


@dataclass(frozen=True)
class Bin:
    """Dialogues of about the same prediction: their mean prediction, and what they really ended with."""

    predicted: float
    actual: Estimate


def reliability(predicted: NDArray[np.float64], actual: NDArray[np.float64], seed: int = 0) -> list[Bin]:
    """Bins of equal size by rising prediction, BINS of them where each has LEAST_IN_BIN dialogues, fewer otherwise."""
    count = min(BINS, len(predicted) // LEAST_IN_BIN)
    if count == 0:
        return []
    order = np.argsort(predicted, kind="stable")
    return [Bin(float(predicted[part].mean()), mean(actual[part], seed)) for part in np.array_split(order, count)]
