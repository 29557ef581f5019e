"""How often a panel's rule for its members holds a candidate back: one that gains alike with every member, and one that loses with one member.

Rewards are drawn as in `engage.bench.promotion`. Members share the scenarios' effects; the noise of their dialogues is independent.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import t

from engage.bench.promotion import Floats, World
from engage.evaluation.promotion import MOST_NIGHTS, WORST
from engage.stats import batch_evidence, log_evidence, stream_level

SEEN = ((1, 0.03, 0.03), (2, 0.03, 0.03), (3, 0.03, 0.03), (5, 0.03, 0.03), (3, 0.08, 0.08), (3, 0.08, -0.03))
"""Simulated cases: number of members, true gain (in reward) with all but the last of them, and with the last."""


@dataclass(frozen=True)
class Gate:
    """Shares of candidates: `held_back` when the evidence first sufficed, `promoted` within 60 nights; median nights to sufficient evidence and to promotion (None: never)."""

    members: int
    gain: float
    last_gain: float
    held_back: float
    promoted: float
    nights_evidence: float
    nights_promoted: float | None


def gate(members: int, gain: float, last_gain: float, candidates: int = 1000, seed: int = 0) -> Gate:
    """Simulate the first challenge of `candidates` homes, with one dialogue a night on each of 16 scenarios; gains are in reward."""
    world = World(candidates, seed=seed)
    scale = world.scenarios**0.5 / world.sd
    gains = np.array([gain] * (members - 1) + [last_gain])
    effects = [world.common + value * scale for value in gains]
    nightly = [np.stack([world.talk(one) for one in effects], axis=1) for _ in range(MOST_NIGHTS)]
    talks = np.stack(nightly, axis=1)  # candidates, nights, members, scenarios
    nights = np.arange(1, MOST_NIGHTS + 1)
    so_far = talks.cumsum(axis=1) / nights[:, None, None]
    evidence = log_evidence(batch_evidence(talks.mean(axis=2)).cumsum(axis=1))
    enough = evidence >= -np.log(stream_level(1, 0, 0.05))
    passes = enough & (_lower(so_far.mean(axis=2)) > 0)
    free = passes & (_lower(so_far) > WORST).all(axis=2)
    first, done = passes.argmax(axis=1), free.any(axis=1)
    seen = passes.any(axis=1)
    stopped = ~free[np.arange(candidates), first] & seen
    return Gate(
        members,
        gain,
        last_gain,
        float(stopped.sum() / max(1, seen.sum())),
        float(done.mean()),
        float(np.median(first[seen] + 1)) if seen.any() else float("nan"),
        float(np.median(free.argmax(axis=1)[done] + 1)) if done.any() else None,
    )


def _lower(means: Floats) -> Floats:
    """Lower ends of 95 % intervals over the last axis, the scenarios."""
    size = means.shape[-1]
    error = means.std(axis=-1, ddof=1) / size**0.5
    return np.asarray(means.mean(axis=-1) - t.ppf(0.975, size - 1) * error)
