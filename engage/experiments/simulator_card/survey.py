"""Whether a simulator's answer to the exit survey predicts what people really did, and whether a regular expression predicts it better."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from engage.corpora import HumanDialogue
from engage.dialogue import Reaction
from engage.domains import Domain, load_domain, reward_of
from engage.domains.rules.money import stated_sum
from engage.stats import Estimate, auc, estimate, mean, rate, spearman

Figures = dict[str, Estimate]
BINS, LEAST_IN_BIN = 5, 4


def calibration(
    dialogues: Sequence[HumanDialogue],
    readings: Mapping[str, Reaction],
    seed: int = 0,
    from_words: Mapping[str, float] = MappingProxyType({}),
) -> Figures:
    """Predicted against actual outcomes, over dialogues with a readable answer.

    `actual`, `predicted` and `bias` (predicted − actual) are means in the survey's unit; `auc_EVENT` ranks by the predicted
    reward. If the survey asks for dollars, `stated_auc_EVENT` ranks the same dialogues by the amount that the user states (none: 0),
    and `auc_gain_EVENT` is the paired difference. `words_spearman` and `words_auc_EVENT` use `from_words`, the outcomes predicted from
    the user's words alone, by scenario id; it must have every dialogue.
    """
    read = [human for human in dialogues if _value(human, readings) is not None]
    predicted, actual = outcomes(read, readings)
    domains = {human.domain for human in read}
    words = np.array([from_words.get(human.scenario_id, np.nan) for human in read])
    figures: Figures = {
        "actual": mean(actual, seed),
        "predicted": mean(predicted, seed),
        "bias": mean(predicted - actual, seed),
        "spearman": estimate(len(read), spearman(predicted, actual), seed),
    }
    if from_words:
        figures["words_spearman"] = estimate(len(read), spearman(words, actual), seed)
    if len(domains) != 1:
        return figures
    domain = load_domain(domains.pop())
    score = _rewards(domain, predicted)
    sums = None
    if (most := domain.largest_sum) is not None:
        sums = [stated_sum(human.dialogue, most) for human in read]
        figures["stated"] = rate([one is not None for one in sums], [1] * len(read), seed)
    stated = None if sums is None else np.array([one or 0.0 for one in sums])
    for name, (_, is_so) in domain.outcomes.items():
        happened = np.array([is_so(value) for value in actual], dtype=bool)
        figures |= _told_apart(name, happened, score, stated, seed)
        if from_words:
            allowed = domain.survey.choices.values()  # a regression goes beyond them
            rewards = _rewards(domain, np.clip(words, min(allowed), max(allowed)))
            figures[f"words_auc_{name}"] = estimate(len(read), auc(rewards, happened), seed)
    return figures


def _rewards(domain: Domain, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The rewards of survey values; NaN if there is none."""
    return np.array([np.nan if (reward := reward_of(domain, value)) is None else reward for value in values.tolist()])


def _told_apart(
    name: str,
    happened: NDArray[np.bool_],
    score: NDArray[np.float64],
    stated: NDArray[np.float64] | None,
    seed: int,
) -> Figures:
    by_score = auc(score, happened)
    figures = {f"auc_{name}": estimate(len(happened), by_score, seed)}
    if stated is not None:
        by_sum = auc(stated, happened)
        figures[f"stated_auc_{name}"] = estimate(len(happened), by_sum, seed)
        figures[f"auc_gain_{name}"] = estimate(len(happened), lambda counts: by_score(counts) - by_sum(counts), seed)
    return figures


def outcomes(
    dialogues: Sequence[HumanDialogue], readings: Mapping[str, Reaction]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Predicted and actual values in the survey's unit, for the dialogues with a readable answer."""
    pairs = [(value, human.outcome) for human in dialogues if (value := _value(human, readings)) is not None]
    table = np.array(pairs, dtype=float).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def _value(human: HumanDialogue, readings: Mapping[str, Reaction]) -> float | None:
    reaction = readings.get(human.scenario_id)
    return None if reaction is None else reaction.value


@dataclass(frozen=True)
class Bin:
    """Dialogues with similar predictions: their mean prediction and their mean real outcome."""

    predicted: float
    actual: Estimate


def reliability(predicted: NDArray[np.float64], actual: NDArray[np.float64], seed: int = 0) -> list[Bin]:
    """Bins of equal size by rising prediction: BINS of them if each has at least LEAST_IN_BIN dialogues, otherwise fewer."""
    count = min(BINS, len(predicted) // LEAST_IN_BIN)
    if count == 0:
        return []
    order = np.argsort(predicted, kind="stable")
    return [Bin(float(predicted[part].mean()), mean(actual[part], seed)) for part in np.array_split(order, count)]
