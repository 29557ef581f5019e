"""Numbers with 95 % intervals, and rank statistics. Whole units (dialogues, scenarios) are resampled."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engage.stats.bootstrap import CONFIDENCE, Statistic, intervals


@dataclass(frozen=True)
class Estimate:
    """A number from `n` units with the bounds of its interval; None if it does not exist."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0


def estimate(n: int, statistic: Statistic, seed: int = 0) -> Estimate:
    """The statistic over all of `n` units, with its percentile bootstrap interval."""
    return estimates(n, statistic, 1, seed)[0]


def estimates(n: int, statistic: Statistic, figures: int, seed: int = 0) -> list[Estimate]:
    """The same for several figures from the same resamples."""
    values = [math.nan] * figures if n == 0 else [float(row[0]) for row in np.atleast_2d(statistic(np.ones((1, n))))]
    if all(map(math.isnan, values)):
        return [Estimate(n=n)] * figures
    bounds = intervals([n], statistic, figures, seed=seed)
    return [Estimate(n=n) if math.isnan(v) else Estimate(v, *b, n) for v, b in zip(values, bounds, strict=True)]


def jackknife(n: int, statistic: Callable[[NDArray[np.intp]], float]) -> Estimate:
    """The same for a statistic of the places of units that repeated ones would distort, as they do a count of distinct words.

    Interval: value ± t · standard error of the delete-one jackknife.
    """
    from scipy.stats import t

    if n == 0 or math.isnan(value := float(statistic(np.arange(n)))):
        return Estimate(n=n)
    if n < 3:
        return Estimate(value, n=n)
    without = np.array([statistic(np.delete(np.arange(n), left)) for left in range(n)])
    error = math.sqrt((n - 1) / n * float(((without - without.mean()) ** 2).sum()))
    if math.isnan(error):
        return Estimate(value, n=n)
    reach = float(t.ppf((1 + CONFIDENCE) / 2, n - 1)) * error
    return Estimate(value, value - reach, value + reach, n)


def mean(values: ArrayLike, seed: int = 0) -> Estimate:
    """Mean of one number per dialogue."""
    each = np.asarray(values, dtype=float)
    return estimate(len(each), lambda counts: counts @ each / len(each), seed)


def ratio(above: ArrayLike, below: ArrayLike, seed: int = 0) -> Estimate:
    """Sum over sum, such as questions per turn: dialogues of more turns count more."""
    upper, lower = np.asarray(above, dtype=float), np.asarray(below, dtype=float)
    return estimate(len(lower), lambda counts: divided(counts @ upper, counts @ lower), seed)


def rate(hits: ArrayLike, sizes: ArrayLike, seed: int = 0) -> Estimate:
    """Share of `hits` among all of `sizes`, both per dialogue.

    Where none or all of them hit, resampling would show no doubt: then the interval is Clopper and Pearson's, the dialogues
    counted as the trials.
    """
    from scipy.stats import binomtest

    share = ratio(hits, sizes, seed)
    if share.value not in (0.0, 1.0):
        return share
    bounds = binomtest(round(share.value) * share.n, share.n).proportion_ci(CONFIDENCE)
    return Estimate(share.value, float(bounds.low), float(bounds.high), share.n)


def share(hits: int, of: int) -> Estimate:
    """Share of `hits` among `of` independent trials with Wilson's interval; None if `of` is 0."""
    from scipy.stats import binomtest

    if not of:
        return Estimate()
    bounds = binomtest(hits, of).proportion_ci(CONFIDENCE, method="wilson")
    return Estimate(hits / of, float(bounds.low), float(bounds.high), of)


def divided(above: ArrayLike, below: ArrayLike) -> Any:
    """The quotient, element by element; NaN over 0."""
    upper, lower = np.asarray(above, dtype=float), np.asarray(below, dtype=float)
    return np.divide(upper, lower, out=np.full(np.broadcast(upper, lower).shape, np.nan), where=lower != 0)


def auc(scores: NDArray[np.float64], positive: NDArray[np.bool_], unit: ArrayLike | None = None) -> Statistic:
    """Chance that a positive case scores above a negative one, ties as half (Mann–Whitney); NaN without both, and for a score of NaN.

    `unit` says to which unit (0, 1, …) each case belongs; without it each is one of its own. `sklearn.metrics.roc_auc_score` gives
    the same for one sample; here wins are summed between units once, so that a resample is two matrix products.
    """
    member = np.eye(len(scores)) if unit is None else np.eye(int(np.max(unit, initial=-1)) + 1)[np.asarray(unit)]
    above = np.sign(scores[positive][:, None] - scores[~positive][None, :]) / 2 + 0.5
    wins = member[positive].T @ above @ member[~positive]
    ones, zeros = member[positive].sum(axis=0), member[~positive].sum(axis=0)
    return lambda counts: divided(((counts @ wins) * counts).sum(axis=-1), (counts @ ones) * (counts @ zeros))


def spearman(left: NDArray[np.float64], right: NDArray[np.float64]) -> Statistic:
    """Rank correlation of two numbers per unit, as `scipy.stats.spearmanr` for all resamples at once; NaN if one side is constant."""
    orders = [np.sign(side[None, :] - side[:, None]) / 2 + 0.5 for side in (left, right)]  # 1 below, 0.5 equal, 0 above

    def statistic(counts: NDArray[np.float64]) -> NDArray[np.float64]:
        ranks = [counts @ order - counts.sum(axis=-1, keepdims=True) / 2 for order in orders]  # about their mean
        first, second, both = (
            (counts * a * b).sum(axis=-1) for a, b in ((ranks[0], ranks[0]), (ranks[1], ranks[1]), ranks)
        )
        return np.asarray(divided(both, np.sqrt(first * second)))

    return statistic
