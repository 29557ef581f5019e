"""Evidence for a gain that may be looked at after every batch of dialogues, and the level for an endless stream of candidates.

An *e-value* is a non-negative number whose mean is at most 1 if there is no gain: 20 is as rare as one chance in 20. E-values of successive
batches are multiplied, and the product may be looked at after every batch: it is a test supermartingale.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

BETS = (0.3, 0.95)
"""Stakes that the evidence bets on a gain: λ of 1 + λx. Half of the capital is put on each; below 1, so that no loss of 1 ruins it."""
_SERIES = 2.1097428
"""Sum of 1 / (k ln² k) over all k from 2."""


def batch_evidence(differences: ArrayLike) -> NDArray[np.float64]:
    """Log e-values of one batch, one per entry of BETS: shape (…, scenarios) to (…, len(BETS)); differences of rewards are in [−1, 1].

    A bet on bounded means (Waudby-Smith & Ramdas 2024): the product over scenarios of 1 + λx. Its mean is at most 1 if the true mean over
    these scenarios is at most 0, whatever the distribution, and however the scenarios differ (because a geometric mean is at most the
    arithmetic one). A difference of 0 is no evidence.
    """
    x = np.asarray(differences, dtype=float)
    return np.asarray(np.log1p(x[..., None, :] * np.array(BETS)[:, None]).sum(axis=-1))


def log_evidence(batches: ArrayLike) -> Any:
    """Log of the e-value of all batches together: their `batch_evidence`, summed, of shape (…, len(BETS)), to (…)."""
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
