"""How well predictions order the scored turns *within* their dialogues, alone and beyond what came before. Numbers in, numbers out.

A score says much about who gives it: some people never give less than 4. Only the order within a dialogue says something of the turns.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engage.experiments.feedback.plan import ScoredTurn
from engage.stats import Estimate, divided, estimate, ratio

LEAST_SCORES = 3
"""Least number of scores of a dialogue that counts."""
_TINY = 1e-9

Values = NDArray[np.float64]
"""A prediction per scored turn; NaN if there is none."""


@dataclass(frozen=True)
class Agreement:
    """Rank correlations of predictions and scores; their intervals resample dialogues.

    `within`: Spearman's within each dialogue, averaged with the number of its scores as weights. `given`: the same for what is left of
    both after a regression on the score before and the turn's number.
    """

    within: Estimate
    given: Estimate


def agreement(turns: Sequence[ScoredTurn], predicted: Values, seed: int = 0) -> Agreement:
    """Both correlations, over dialogues of at least LEAST_SCORES scores that are not all alike.

    A dialogue in which all predictions are alike counts as a correlation of 0. Ranks are standardised within each dialogue; in
    `given` they are those of turns that have a score before, and the two slopes are common to all dialogues (fitted again in each
    resample), because five scores of one dialogue cannot tell them.
    """
    whole = [(_columns(own, values)[:, :2], len(own)) for own, values in _dialogues(turns, predicted)]
    products = [float((columns[:, 0] * columns[:, 1]).sum()) for columns, _ in whole]
    within = ratio(products, [count for _, count in whole], seed)
    later = [
        _columns(*zip(*kept, strict=True))
        for own, values in _dialogues(turns, predicted)
        if len(kept := [(turn, value) for turn, value in zip(own, values, strict=True) if turn.previous is not None])
        > 1
    ]
    moments = np.array([columns.T @ columns for columns in later if columns[:, 1].any()]).reshape(-1, 4, 4)
    return Agreement(within, estimate(len(moments), lambda counts: _partial(counts, moments), seed))


def mean_within(turns: Sequence[ScoredTurn], predicted: Values) -> float:
    """`Agreement.within` without its interval; NaN without a dialogue that counts."""
    own = [(_columns(part, values), len(part)) for part, values in _dialogues(turns, predicted)]
    products = sum(float((columns[:, 0] * columns[:, 1]).sum()) for columns, _ in own)
    return float(divided(products, sum(count for _, count in own)))


def _dialogues(turns: Sequence[ScoredTurn], predicted: Values) -> list[tuple[Sequence[ScoredTurn], Sequence[float]]]:
    """The scored turns of each dialogue that counts, with their predictions."""
    grouped: dict[str, list[tuple[ScoredTurn, float]]] = {}
    for turn, value in zip(turns, predicted.tolist(), strict=True):
        if not np.isnan(value):
            grouped.setdefault(turn.dialogue, []).append((turn, value))
    return [
        ([turn for turn, _ in own], [value for _, value in own])
        for own in grouped.values()
        if len(own) >= LEAST_SCORES and len({turn.score for turn, _ in own}) > 1
    ]


def _columns(turns: Sequence[ScoredTurn], predicted: Sequence[float]) -> NDArray[np.float64]:
    """Ranks of prediction, score, score before and turn's number, shape (turns, 4): mean 0 and variance 1, or all 0 if they are alike."""
    from scipy.stats import rankdata

    before = [turn.score if turn.previous is None else turn.previous for turn in turns]
    columns = np.array(
        [np.round(predicted, 12), [turn.score for turn in turns], before, [turn.number for turn in turns]], dtype=float
    )
    ranks = rankdata(columns, axis=1).T
    centred = ranks - ranks.mean(0)
    spread = centred.std(0)
    return np.where(spread > _TINY, centred / np.where(spread > _TINY, spread, 1.0), 0.0)


def _partial(counts: NDArray[np.float64], moments: NDArray[np.float64]) -> NDArray[np.float64]:
    """Correlation of the first two columns given the other two, from each dialogue's products of columns, for each row of counts."""
    summed = np.tensordot(counts, moments, axes=1)
    slopes = np.linalg.pinv(summed[:, 2:, 2:]) @ summed[:, 2:, :2]
    rest = summed[:, :2, :2] - summed[:, :2, 2:] @ slopes
    alive = (rest[:, 0, 0] > _TINY * summed[:, 0, 0]) & (rest[:, 1, 1] > _TINY * summed[:, 1, 1])
    scale = np.sqrt(np.where(alive, rest[:, 0, 0] * rest[:, 1, 1], 0.0))
    return np.asarray(divided(rest[:, 0, 1], scale))
