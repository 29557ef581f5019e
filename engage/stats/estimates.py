"""Numbers with 95 % intervals, and rank statistics. The unit (a dialogue, a scenario) is what is resampled."""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

CONFIDENCE = 0.95
RESAMPLES = 1_999
LEAST_DEFINED = 0.9
"""Share of resamples on which a statistic has to exist (both outcomes drawn, say) for its interval to mean anything."""

Statistic = Callable[[NDArray[np.intp]], float]
"""From indices of dialogues (with repeats, in a resample) to a number; NaN where there is none."""


@dataclass(frozen=True)
class Estimate:
    """A number from `n` dialogues with the bounds of its interval; None where it does not exist."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0


def estimate(n: int, statistic: Statistic, seed: int = 0) -> Estimate:
    """The statistic over all of `n` dialogues, with its percentile bootstrap interval."""
    from scipy.stats import bootstrap

    if n == 0 or math.isnan(value := float(statistic(np.arange(n)))):
        return Estimate(n=n)
    if n < 2:
        return Estimate(value, n=n)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of resamples without a value, which are counted below
        drawn = bootstrap(
            (np.arange(n),),
            statistic,
            vectorized=False,
            method="percentile",
            n_resamples=RESAMPLES,
            rng=np.random.default_rng(seed),
        ).bootstrap_distribution
    if np.isfinite(drawn).mean() < LEAST_DEFINED:
        return Estimate(value, n=n)
    low, high = np.nanquantile(drawn, ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2))
    return Estimate(value, float(low), float(high), n)


def jackknife(n: int, statistic: Statistic) -> Estimate:
    """The same for a statistic that repeated dialogues would distort, as they do a count of distinct words.

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
    told = np.asarray(values, dtype=float)
    return estimate(len(told), lambda index: float(told[index].mean()), seed)


def ratio(above: ArrayLike, below: ArrayLike, seed: int = 0) -> Estimate:
    """Sum over sum, such as questions per turn: dialogues of more turns count more."""
    upper, lower = np.asarray(above, dtype=float), np.asarray(below, dtype=float)
    return estimate(len(lower), lambda index: divided(float(upper[index].sum()), float(lower[index].sum())), seed)


def rate(hits: ArrayLike, sizes: ArrayLike, seed: int = 0) -> Estimate:
    """Share of `hits` among all of `sizes`, both per dialogue.

    Where none or all of them hit, resampling would show no doubt: then the interval is Clopper and Pearson's, the dialogues
    counted as the trials.
    """
    from scipy.stats import binomtest

    found = ratio(hits, sizes, seed)
    if found.value not in (0.0, 1.0):
        return found
    bounds = binomtest(round(found.value) * found.n, found.n).proportion_ci(CONFIDENCE)
    return Estimate(found.value, float(bounds.low), float(bounds.high), found.n)


def share(hits: int, of: int) -> Estimate:
    """Share of `hits` among `of` independent trials with Wilson's interval; no number where `of` is 0."""
    from scipy.stats import binomtest

    if not of:
        return Estimate()
    bounds = binomtest(hits, of).proportion_ci(CONFIDENCE, method="wilson")
    return Estimate(hits / of, float(bounds.low), float(bounds.high), of)


def divided(above: float, below: float) -> float:
    """The quotient, NaN over 0."""
    return above / below if below else math.nan


def auc(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    """Chance that a positive case scores above a negative one, ties as half (Mann–Whitney); NaN without both."""
    from scipy.stats import rankdata

    ones = int(positive.sum())
    zeros = len(positive) - ones
    if not ones or not zeros:
        return math.nan
    return float((rankdata(scores)[positive].sum() - ones * (ones + 1) / 2) / (ones * zeros))


def spearman(left: NDArray[np.float64], right: NDArray[np.float64]) -> float:
    """Rank correlation, NaN where one side is constant."""
    from scipy.stats import rankdata

    if len(left) < 2 or np.ptp(left) == 0 or np.ptp(right) == 0:
        return math.nan
    return float(np.corrcoef(rankdata(left), rankdata(right))[0, 1])
