"""Evidence for a gain that may be looked at after every batch of dialogues, and the level for an endless stream of candidates.

An *e-value* is a non-negative number whose mean is at most 1 if there is no gain: 20 is as rare as one chance in 20. E-values of successive
batches are multiplied, and the product may be looked at after every batch (it is a test supermartingale; Ramdas et al. 2023).
"""

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

EFFECTS = (0.7, 2.0)
"""Gains that the evidence bets on, in standard errors of one batch; half of the stake is put on each."""
_SERIES = 2.1097428
"""Sum of 1 / (k ln² k) over all k from 2."""


def batch_evidence(differences: ArrayLike) -> NDArray[np.float64]:
    """Log e-values of one batch, one per entry of EFFECTS: shape (…, scenarios) to (…, len(EFFECTS)).

    Sign-flip e-value (de la Peña 1999): the product over scenarios of exp(λx) / cosh(λx) = 1 + tanh(λx), where λ is the effect over
    the batch's root sum of squares. Its mean is at most 1 if each difference x is as likely −x, or if it is smaller than such a
    difference; the scenarios may differ, as long as tanh(λx) has no positive mean over them. A difference of 0 is no evidence.
    """
    x = np.asarray(differences, dtype=float)
    size = np.sqrt((x**2).sum(axis=-1, keepdims=True))
    bet = np.divide(x, size, out=np.zeros_like(x), where=size > 0)[..., None, :] * np.array(EFFECTS)[:, None]
    return np.asarray((bet - np.logaddexp(bet, -bet) + math.log(2)).sum(axis=-1))


def log_evidence(batches: ArrayLike) -> Any:
    """Log of the e-value of all batches together: their `batch_evidence`, summed, of shape (…, len(EFFECTS)), to (…)."""
    summed = np.asarray(batches, dtype=float)
    return np.logaddexp.reduce(summed, axis=-1) - math.log(summed.shape[-1])


def stream_level(number: Any, found: Any, alpha: float) -> Any:
    """The level of the challenge with this `number` (from 1), after `found` promotions: promote at an e-value of 1 / level or more.

    e-LOND (Xu & Ramdas 2024): α · γ(number) · (found + 1) with γ(k) ∝ 1 / ((k + 1) ln² (k + 1)), which adds up to 1. Among all
    promotions ever made, the expected share of false ones is at most `alpha`, however the challenges depend on each other.
    """
    return (
        alpha * (np.asarray(found) + 1) / (_SERIES * (np.asarray(number) + 1) * np.log(np.asarray(number) + 1.0) ** 2)
    )
