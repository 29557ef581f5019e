"""The selection rule: pure functions of numbers, without a tree.

PUCT as in AlphaZero (Silver et al. 2018), Q normalised to the tree's own range as in MuZero (arXiv 1911.08265, appendix B).
First-play urgency: an unvisited child takes its parent's Q; the caller passes 0.5 before the first reward.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

MIN_RANGE = 1e-6


@dataclass(frozen=True, slots=True)
class Arm:
    """The numbers of one child: `visit_count` includes virtual visits; `q_value` in [0, 1], None before the first reward."""

    visit_count: int
    q_value: float | None
    prior: float


def normalise(q_value: float, q_min: float, q_max: float) -> float:
    """Q mapped to [0, 1] by the tree's own range; 0.5 for every Q while that range is below `MIN_RANGE`."""
    if q_max - q_min < MIN_RANGE:
        return 0.5
    return min(1.0, max(0.0, (q_value - q_min) / (q_max - q_min)))


def puct_score(arm: Arm, parent_visits: int, parent_q: float, q_min: float, q_max: float, c_puct: float) -> float:
    """Q + c·P·√N / (1 + n), with Q normalised; `parent_visits` counts virtual visits too."""
    q_value = parent_q if arm.q_value is None else arm.q_value
    exploration = c_puct * arm.prior * math.sqrt(parent_visits) / (1 + arm.visit_count)
    return normalise(q_value, q_min, q_max) + exploration


def select(arms: Sequence[Arm], parent_visits: int, parent_q: float, q_min: float, q_max: float, c_puct: float) -> int:
    """Index of the best arm; ties go to the lowest index. `arms` is not empty."""
    scores = [puct_score(arm, parent_visits, parent_q, q_min, q_max, c_puct) for arm in arms]
    return scores.index(max(scores))


def widened(visits: int, factor: float, exponent: float) -> int:
    """Children allowed after `visits` visits: ceil(k·(N+1)^α), progressive widening (Couëtoux et al. 2011)."""
    return math.ceil(factor * math.pow(visits + 1, exponent) - 1e-9)
