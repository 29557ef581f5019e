"""Statistics of the value check: the noise of one rollout, and whether the stated P(Q⁺ > Q⁻) is right. Pure functions.

There are two estimands. The search states a reply's value *under the search policy*: later simulations prefer better replies. A
fresh rollout measures its value *under the policy without search*. So a stated P can be right about the first difference and wrong
about the second; `SearchShift` is the distance between the two values.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from engage.stats import divided, interval

TOLD_APART = 0.8
PRECISE = 3.0
"""A difference is precise if it is at least this many standard errors from 0."""
_VARIANCE_FLOOR = 1e-6
"""Minimum variance, in squared reward, as in sql/score: equal rewards do not mean certainty."""
_NORMAL = NormalDist()
_MEDIAN_GAP = math.sqrt(2) * _NORMAL.inv_cdf(0.75)

Turns = Sequence[Sequence[float | None]]
"""Rewards below one reply: one list per fresh user turn, one reward per rollout through it; None if unreadable."""


class ValueCheckConfig(BaseModel):
    """How many fresh rollouts are made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pairs: int = Field(100, ge=1, le=100_000, description="number of pairs to re-roll, spread evenly over the stated P")
    prefixes: int = Field(
        12, ge=2, le=100_000, description="dialogue prefixes per domain that the noise floor is estimated from"
    )
    turns: int = Field(
        12, ge=2, le=10_000, description="fresh user turns per reply that the noise floor is estimated from"
    )
    below: int = Field(2, ge=2, le=100, description="rollouts per fresh user turn")
    rollouts: int = Field(32, ge=2, le=100_000, description="fresh rollouts per reply of a pair")


@dataclass(frozen=True)
class Difference:
    """Fresh mean of one reply minus that of the other, in reward; `count`: readable rollouts of the reply with fewer.

    The standard error is Welch's, with every reply's variance at least 1e-6.
    """

    mean: float
    standard_error: float
    count: int

    @property
    def is_precise(self) -> bool:
        """Whether the standard error is at most a third of the magnitude."""
        return self.standard_error * PRECISE <= abs(self.mean)


def fresh_difference(chosen: Sequence[float | None], rejected: Sequence[float | None]) -> Difference | None:
    """The difference from one rollout per fresh user turn (so they are independent); None with fewer than two readable ones on a side."""
    sides = [np.array([reward for reward in side if reward is not None]) for side in (chosen, rejected)]
    if min(len(side) for side in sides) < 2:
        return None
    variance = sum(max(float(side.var(ddof=1)), _VARIANCE_FLOOR) / len(side) for side in sides)
    return Difference(float(sides[0].mean() - sides[1].mean()), math.sqrt(variance), min(len(side) for side in sides))


@dataclass(frozen=True)
class NoiseFloor:
    """One domain's spread, in reward; see `noise_floor`. `low` and `high` bound `simulations_needed` (inf: no visible spread)."""

    domain: str
    prefixes: int
    replies: int
    rollouts: int
    unreadable: int
    reward_mean: float
    rollout_sd: float
    turn_sd: float
    below_sd: float
    sibling_sd: float
    median_gap: float
    simulations_needed: float
    low: float
    high: float

    @property
    def rollouts_for_precision(self) -> float:
        """Fresh rollouts per reply that reduce the standard error of the median gap g to g/3: n = 2·(3·rollout/g)²."""
        return 2 * (PRECISE * self.rollout_sd / self.median_gap) ** 2 if self.median_gap else math.inf


def noise_floor(domain: str, prefixes: Sequence[Sequence[Turns]], seed: int = 0) -> NoiseFloor | None:
    """A nested analysis of variance of fresh rollouts: siblings at a prefix > user turns below a reply > rollouts below a turn.

    `prefixes` holds, per prefix, its replies. A reward is prefix + reply + user turn + rest, so with K rollouts a turn, T turns a
    reply and mean squares: below² = mean square within a turn; turn² = (mean square of turn means) − below²/K; sibling² = (mean
    square of reply means at a prefix) − (mean square of turn means)/T, without the noise. All are at least 0. Each simulation goes
    through its own user turn: rollout² = turn² + below².

    How many simulations n each of two replies needs: true values spread by sibling are N(m, sibling²), so their gap is
    N(0, 2·sibling²) and its median magnitude g = √2 · 0.6745 · sibling. The difference of two means of n has variance
    2·rollout²/n. It has the right sign with probability Φ(g·√n / (√2·rollout)), which is 0.8 at
    n = 2·(0.8416·rollout/g)² = 1.557·(rollout/sibling)².

    Turns with an unreadable rollout are left out; None if nothing is left to compare. The interval resamples prefixes.
    """
    parts = [part for part in map(_sums_of_squares, prefixes) if part is not None]
    if not parts:
        return None
    sums = np.array(parts)
    rewards = [reward for replies in prefixes for turns in replies for turn in turns for reward in turn]
    readable = [reward for reward in rewards if reward is not None]
    below, turn, sibling = (math.sqrt(float(part)) for part in _components(sums.sum(axis=0)))
    needed = _simulations_needed(float(_sibling_share(sums.sum(axis=0))))
    bounds = interval([len(parts)], lambda counts: _sibling_share(counts @ sums), seed=seed)
    high, low = (needed if bound is None else _simulations_needed(bound) for bound in bounds)
    return NoiseFloor(
        domain=domain,
        prefixes=len(parts),
        replies=sum(map(len, prefixes)),
        rollouts=len(rewards),
        unreadable=len(rewards) - len(readable),
        reward_mean=float(np.mean(readable)),
        rollout_sd=math.hypot(turn, below),
        turn_sd=turn,
        below_sd=below,
        sibling_sd=sibling,
        median_gap=_MEDIAN_GAP * sibling,
        simulations_needed=needed,
        low=low,
        high=high,
    )


def _sums_of_squares(replies: Sequence[Turns]) -> tuple[float, ...] | None:
    """One prefix: sum of squares and degrees of freedom below, between turns and between siblings; noise weight; rollouts a turn.

    The last two are such that totals over prefixes divide: (weight of a turn's mean square in the siblings' sum), K·(turn freedom).
    """
    tables = [[[r for r in turn if r is not None] for turn in turns if None not in turn and turn] for turns in replies]
    arrays = [np.array(table) for table in tables if len(table) >= 2]
    if len(arrays) < 2:
        return None
    reply_means = np.array([array.mean() for array in arrays])
    turn_freedom = sum(len(array) - 1 for array in arrays)
    return (
        sum(float(((array - array.mean(axis=1, keepdims=True)) ** 2).sum()) for array in arrays),
        sum(array.size - len(array) for array in arrays),
        sum(float(((array.mean(axis=1) - array.mean()) ** 2).sum()) for array in arrays),
        turn_freedom,
        float(((reply_means - reply_means.mean()) ** 2).sum()),
        len(arrays) - 1,
        sum(1 / len(array) for array in arrays) * (1 - 1 / len(arrays)),
        turn_freedom * arrays[0].shape[1],
    )


def _components(sums: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Variances below a turn, between turns and between siblings, from sums of shape (…, 8)."""
    below_sum, below_freedom, turn_sum, turn_freedom, sibling_sum, sibling_freedom, weight, turn_rollouts = np.moveaxis(
        sums, -1, 0
    )
    below = np.nan_to_num(divided(below_sum, below_freedom))
    turn_square = turn_sum / turn_freedom
    turn = np.maximum(0.0, turn_square - below * turn_freedom / turn_rollouts)
    return below, turn, np.maximum(0.0, (sibling_sum - turn_square * weight) / sibling_freedom)


def _sibling_share(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """The reply's share of the variance of one rollout plus its reply; always finite, unlike the simulations needed."""
    below, turn, sibling = _components(sums)
    return np.nan_to_num(divided(sibling, below + turn + sibling))


def _simulations_needed(share: float) -> float:
    return 2 * (_NORMAL.inv_cdf(TOLD_APART) / _MEDIAN_GAP) ** 2 * (1 - share) / share if share else math.inf


@dataclass(frozen=True)
class SearchShift:
    """Value in the search minus fresh value, in reward, over replies of one kind; the standard error is over prefixes."""

    domain: str
    on_spine: bool
    replies: int
    mean: float
    standard_error: float | None


def search_shifts(rows: Sequence[tuple[str, bool, str, float]]) -> list[SearchShift]:
    """Rows of (domain, whether the search moved on through the reply, prefix, value in the search − fresh mean)."""
    grouped: dict[tuple[str, bool], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for domain, on_spine, prefix, shift in rows:
        grouped[domain, on_spine][prefix].append(shift)
    by_kind = []
    for (domain, on_spine), by_prefix in sorted(grouped.items()):
        means = np.array([np.mean(shifts) for shifts in by_prefix.values()])
        error = float(means.std(ddof=1) / math.sqrt(len(means))) if len(means) > 1 else None
        replies = sum(map(len, by_prefix.values()))
        by_kind.append(SearchShift(domain, on_spine, replies, float(means.mean()), error))
    return by_kind


def by_domain(items: Mapping[str, Sequence[Sequence[Turns]]]) -> list[NoiseFloor]:
    """The noise floor by domain name, for domains that have one."""
    floors = (noise_floor(domain, prefixes) for domain, prefixes in sorted(items.items()))
    return [floor for floor in floors if floor is not None]
