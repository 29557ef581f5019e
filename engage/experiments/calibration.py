"""Calibration of the stated P(Q⁺ > Q⁻) against fresh rollouts: bins, expected calibration error, intervals. Pure functions."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from engage.experiments.value_check import Difference
from engage.stats import CONFIDENCE, Estimate, divided, estimates

OUTCOMES = ("sign", "posterior", "posterior_stated")
_IMAGINED = 2_000
"""Number of simulated outcome sets under an exactly right P; they show the error that chance alone causes."""
_NORMAL = NormalDist()


@dataclass(frozen=True)
class PairCheck:
    """One re-rolled pair: the search's statement (`p_greater`, `q_gap` in reward) and the result of fresh rollouts.

    `p_bin` and `domain` are its stratum, which has `stratum_pairs` pairs in the cycle; `difference` is chosen minus rejected.
    """

    domain: str
    scenario_id: str
    p_bin: int
    stratum_pairs: int
    p_greater: float
    q_gap: float
    difference: Difference

    @property
    def sign(self) -> float:
        """1 if the fresh difference has the stated sign, 0 if it has the other, 0.5 if it is 0."""
        return 0.5 + 0.5 * float(np.sign(self.difference.mean))

    @property
    def posterior(self) -> float:
        """P(true fresh difference > 0) under a flat prior and normal noise: the evidence of the rollouts alone."""
        return _NORMAL.cdf(self.difference.mean / self.difference.standard_error)

    @property
    def stated_sd(self) -> float | None:
        """The sd of the stated belief about the gap, N(q_gap, sd²), from p_greater = Φ(q_gap/sd); None if the belief is undefined."""
        p = min(self.p_greater, 1 - 1e-9)
        return self.q_gap / _NORMAL.inv_cdf(p) if self.q_gap > 0 and p > 0.5 else None

    @property
    def posterior_stated(self) -> float:
        """P(true fresh difference > 0) with the stated belief as the prior.

        If the belief is right, its mean over pairs is the stated P, even with few rollouts. With few rollouts it depends mostly on
        the prior, which is what it should check.
        """
        sd = self.stated_sd
        if sd is None:
            return self.posterior
        weight, fresh = 1 / sd**2, 1 / self.difference.standard_error**2
        mean = (weight * self.q_gap + fresh * self.difference.mean) / (weight + fresh)
        return _NORMAL.cdf(mean * math.sqrt(weight + fresh))


@dataclass(frozen=True)
class Bin:
    """Pairs whose stated P lies in [low, high): mean stated P, mean outcomes, and their `share` of the cycle's pairs."""

    low: float
    high: float
    pairs: int
    share: float
    stated: float
    outcomes: dict[str, float]


@dataclass(frozen=True)
class CalibrationError:
    """Expected calibration error of one outcome, and `excess`: mean stated − mean outcome, above 0 if P is overconfident.

    Intervals at `CONFIDENCE` resample scenarios with all their pairs. With few pairs the error is above 0 by chance alone:
    `if_calibrated` is its mean, and `if_calibrated_high` its upper limit, if the stated P is exactly right.
    """

    ece: float
    low: float
    high: float
    excess: float
    excess_low: float
    excess_high: float
    if_calibrated: float
    if_calibrated_high: float


@dataclass(frozen=True)
class BeliefCheck:
    """The stated belief about a pair's gap, N(q_gap, sd²), against the fresh difference; pairs are weighted as in `reliability`.

    `gap_ratio` is mean fresh difference / mean stated gap; below 1 the stated gaps are too large. With z = (fresh − q_gap) /
    √(sd² + standard error²), `bias` is the mean of z in standard deviations, and `spread` the mean of z². If the belief is right
    they are 1, 0 and 1, even with few rollouts (z² slightly above 1 with very few). This is valid only if the number of rollouts
    was fixed in advance. The sign of a difference needs many rollouts. Intervals resample scenarios; `n` is their number.
    """

    gap_ratio: Estimate
    bias: Estimate
    spread: Estimate


@dataclass(frozen=True)
class Reliability:
    """`precise` is the number of pairs with a precise difference; all figures include the other pairs too."""

    pairs: int
    scenarios: int
    precise: int
    bins: tuple[Bin, ...]
    errors: dict[str, CalibrationError]
    belief: BeliefCheck


def reliability(checks: Sequence[PairCheck], seed: int = 0) -> Reliability | None:
    """Stated P against each of `OUTCOMES`; None without pairs.

    Strata are sampled evenly. So a pair's weight is the number of pairs that its stratum (bin and domain) has in the cycle, divided
    by the number sampled from it. The error is Σ over ten bins of [0.5, 1) of (weight of the bin)·|mean stated − mean outcome|
    (Naeini et al. 2015).
    """
    if not checks:
        return None
    world = _World(checks, seed)
    bins = tuple(_bin(checks, world, place) for place in range(10) if (world.place == place).any())
    precise = sum(check.difference.is_precise for check in checks)
    errors = world.errors({name: _outcome(checks, name) for name in OUTCOMES})
    belief = _belief(checks, world, seed)
    return Reliability(len(checks), len({check.scenario_id for check in checks}), precise, bins, errors, belief)


class _World:
    """The pairs as arrays."""

    def __init__(self, checks: Sequence[PairCheck], seed: int) -> None:
        sampled = Counter((check.domain, check.p_bin) for check in checks)
        self.weight = np.array([check.stratum_pairs / sampled[check.domain, check.p_bin] for check in checks])
        self.stated = np.array([check.p_greater for check in checks])
        self.place = np.array([check.p_bin for check in checks])
        names = sorted({check.scenario_id for check in checks})
        self.scenario = np.array([names.index(check.scenario_id) for check in checks])
        self.seed = seed
        self.total = np.bincount(self.scenario, self.weight)
        imagined = np.random.default_rng(seed).random((_IMAGINED, len(checks))) < self.stated
        apart = (self.weight * (self.stated - imagined)) @ np.eye(10)[self.place]
        self.chance = np.abs(apart).sum(axis=1) / self.weight.sum()

    def errors(self, outcomes: Mapping[str, NDArray[np.float64]]) -> dict[str, CalibrationError]:
        """Interval of the error. The error is biased upwards, and resampling adds to the bias; so the interval is conservative.

        Its upper end is the upper quantile of the resamples. Its lower end is the basic one, 2·estimate − upper quantile (Davison &
        Hinkley 1997, 5.2), or 0 if a calibrated P would show as large an error by chance.
        """
        apart = np.zeros((len(outcomes), len(self.total), 10))  # by scenario and bin: weight · (stated − outcome)
        for table, outcome in zip(apart, outcomes.values(), strict=True):
            np.add.at(table, (self.scenario, self.place), self.weight * (self.stated - outcome))

        def figures(counts: NDArray[np.float64]) -> NDArray[np.float64]:
            sums, total = counts @ apart, counts @ self.total
            return np.concatenate([np.abs(sums).sum(axis=2), sums.sum(axis=2)]) / total

        intervals = estimates(len(self.total), figures, 2 * len(outcomes), self.seed)
        eces, excesses = intervals[: len(outcomes)], intervals[len(outcomes) :]
        return {name: self._error(*both) for name, *both in zip(outcomes, eces, excesses, strict=True)}

    def _error(self, ece: Estimate, excess: Estimate) -> CalibrationError:
        value, chance_high = ece.value or 0.0, float(np.quantile(self.chance, CONFIDENCE))
        high = max(value, ece.high or 0.0)
        return CalibrationError(
            ece=value,
            low=max(0.0, 2 * value - high) if value > chance_high else 0.0,
            high=high,
            excess=excess.value or 0.0,
            excess_low=_or(excess.low, excess.value),
            excess_high=_or(excess.high, excess.value),
            if_calibrated=float(self.chance.mean()),
            if_calibrated_high=chance_high,
        )


def _or(bound: float | None, value: float | None) -> float:
    """A single scenario has no interval; both bounds are then the value."""
    return float(value or 0.0) if bound is None else bound


def _belief(checks: Sequence[PairCheck], world: _World, seed: int) -> BeliefCheck:
    sums: dict[str, NDArray[np.float64]] = {}
    for check, weight in zip(checks, world.weight, strict=True):
        if (sd := check.stated_sd) is not None:
            fresh = check.difference
            z = (fresh.mean - check.q_gap) / math.hypot(sd, fresh.standard_error)
            sums.setdefault(check.scenario_id, np.zeros(5))
            sums[check.scenario_id] += weight * np.array([fresh.mean, check.q_gap, z, z**2, 1.0])
    fresh_gaps, gaps, apart, squares, weights = np.array(list(sums.values())).reshape(-1, 5).T
    above, below = np.array([fresh_gaps, apart, squares]), np.array([gaps, weights, weights])
    return BeliefCheck(*estimates(len(sums), lambda counts: divided(above @ counts.T, below @ counts.T), 3, seed))


def _bin(checks: Sequence[PairCheck], world: _World, place: int) -> Bin:
    inside = world.place == place
    weight = world.weight[inside]
    means = {name: float(np.average(_outcome(checks, name)[inside], weights=weight)) for name in OUTCOMES}
    return Bin(
        low=0.5 + place / 20,
        high=0.55 + place / 20,
        pairs=int(inside.sum()),
        share=float(weight.sum() / world.weight.sum()),
        stated=float(np.average(world.stated[inside], weights=weight)),
        outcomes=means,
    )


def _outcome(checks: Sequence[PairCheck], name: str) -> NDArray[np.float64]:
    return np.array([getattr(check, name) for check in checks], dtype=float)
