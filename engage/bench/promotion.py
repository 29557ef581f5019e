"""Simulated years of nights: how often a promotion rule is wrong, what that costs, and how long a true gain waits.

Rewards are drawn; no model runs. The unit of gains is the standard error of one night: with 16 scenarios and one dialogue on each, 0.25
standard deviations of a difference between two dialogues. Noise has the heavy tails of Student's t with 5 degrees of freedom, or is skewed: many
small gains and few large losses. Real differences (deployments/comparison/) have standard deviations of 0.05 to 0.23, of which 0 to 0.05 between
scenarios. The scenarios are the same in all
nights; each candidate's effect differs between them, half of that in the same way for all candidates of a history.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engage.evaluation.promotion import MOST_NIGHTS
from engage.stats import batch_evidence, log_evidence, stream_level

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
NIGHTS_A_YEAR = 365
MIX = {0.0: 0.70, 0.5: 0.06, 1.0: 0.06, 2.0: 0.06, -1.0: 0.12}
"""True gains of the nights' candidates over the champion of their time, in standard errors of a night, and their shares."""
GAINS = (0.5, 1.0, 2.0)
TAILS = 5


@dataclass
class World:
    """Histories side by side, each with its own scenarios; `between` is the standard deviation of effects between scenarios over that of a dialogue.

    `sd` is the latter, in rewards. With `skewed`, noise is 1/3 standard deviation up in nine of ten dialogues, and 3 down in one.
    """

    histories: int
    scenarios: int = 16
    between: float = 0.2
    seed: int = 0
    sd: float = 0.12
    skewed: bool = False
    random: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.seed)
        spread = self.between * self.scenarios**0.5
        self.spread = spread / 2**0.5
        self.common = self.random.normal(0, self.spread, (self.histories, self.scenarios))

    def candidates(self, gains: Floats) -> Floats:
        """True effects on the scenarios of one candidate per history: shape (histories, scenarios)."""
        own = self.random.normal(0, self.spread, self.common.shape)
        return np.asarray(gains[:, None] + self.common + own)

    def talk(self, effects: Floats) -> Floats:
        """One night's differences in rewards: the effects and the noise of fresh dialogues."""
        if self.skewed:
            noise = np.where(self.random.random(effects.shape) < 0.1, -3.0, 1 / 3)
        else:
            noise = self.random.standard_t(TAILS, effects.shape) / (TAILS / (TAILS - 2)) ** 0.5
        return np.asarray(np.clip(self.sd * (effects / self.scenarios**0.5 + noise), -1, 1))


@dataclass
class Candidates:
    """One candidate per history: its true gain and effects, the night it came, and what its dialogues say so far."""

    gain: Floats
    effects: Floats
    born: Floats
    number: Floats
    evidence: Floats
    total: Floats
    nights: Floats

    def replaced(self, where: Flags, by: "Candidates") -> "Candidates":
        """These, with others in some histories."""
        chosen = {
            name: np.where(where if mine.ndim == 1 else where[:, None], getattr(by, name), mine)
            for name, mine in vars(self).items()
        }
        return Candidates(**chosen)


@dataclass(frozen=True)
class Promotion:
    """A promotion in a history: `gain` is the true one over the scenarios' population, `here` the true one on its scenarios."""

    night: int
    history: int
    gain: float
    here: float
    born: int


def t_value(differences: Floats) -> Floats:
    """Student's t of each history's scenarios."""
    size = differences.shape[1]
    error = np.maximum(differences.std(axis=1, ddof=1), 1e-12) / size**0.5
    return np.asarray(differences.mean(axis=1) / error)


def simulate(rule: Callable[..., Any], gains: Floats, world: World, alpha: float = 0.05) -> list[Promotion]:
    """All promotions of nights whose candidates have these true gains, shape (histories, nights)."""
    judge = rule(world, alpha)
    found = []
    for night in range(gains.shape[1]):
        effects = world.candidates(gains[:, night])
        for where, who in judge(night, _fresh(world, gains[:, night], effects, night)):
            found += [
                Promotion(night, int(h), float(who.gain[h]), float(who.effects[h].mean()), int(who.born[h]))
                for h in np.flatnonzero(where)
            ]
    return found


def _fresh(world: World, gain: Floats, effects: Floats, night: int) -> Candidates:
    talked, size = world.talk(effects), world.histories
    return Candidates(
        gain,
        effects,
        np.full(size, float(night)),
        np.full(size, night + 1.0),
        batch_evidence(talked),
        talked,
        np.ones(size),
    )


def kept_challenger(
    world: World, alpha: float, spends: bool = True, evidence: Callable[[Floats], Floats] = batch_evidence
) -> Callable[..., Any]:
    """The rule of `engage.evaluation`: evidence over nights, at the level of the stream; a near challenger is kept.

    Without `spends` every challenge has the level `alpha`: what goes wrong without the stream's correction. `evidence` weighs a batch.
    """
    from scipy.stats import t

    size, bound = world.histories, float(t.ppf(1 - alpha / 2, world.scenarios - 1))
    passed = np.zeros(size)
    kept: Candidates | None = None
    there = np.zeros(size, bool)

    def stands(who: Candidates) -> tuple[Floats, Flags, Flags]:
        log_e = np.asarray(log_evidence(who.evidence))
        level = stream_level(who.number, passed, alpha) if spends else alpha
        enough = log_e >= -np.log(level)
        return log_e, enough, enough & (t_value(who.total / who.nights[:, None]) > bound)

    def judge(night: int, new: Candidates) -> list[tuple[Flags, Candidates]]:
        nonlocal kept, there
        new.evidence = evidence(new.total)
        old = kept if kept is not None else new
        talked = world.talk(old.effects)
        old = Candidates(**vars(old) | {
            "evidence": old.evidence + evidence(talked), "total": old.total + talked, "nights": old.nights + 1
        })  # fmt: skip
        new_log, new_enough, new_wins = stands(new)
        old_log, old_enough, old_wins = stands(old)
        old_wins &= there
        first = old_wins & (~new_wins | (old_log >= new_log))
        second = new_wins & ~first
        passed[:] += first | second
        stays = there & ~old_enough & (old_log > 0) & (old.nights < MOST_NIGHTS)
        comes = ~new_enough & (new_log > 0) & (~stays | (new_log > old_log))
        there = (stays | comes) & ~first & ~second
        kept = old.replaced(comes, new)
        return [(first, old), (second, new)]

    return judge


def confirmed(world: World, alpha: float) -> Callable[..., Any]:
    """A level per challenge: a night whose 1 − alpha interval lies above 0, then a fresh night that says the same."""
    from scipy.stats import t

    bound = float(t.ppf(1 - alpha / 2, world.scenarios - 1))
    waiting: Candidates | None = None
    there = np.zeros(world.histories, bool)

    def judge(night: int, new: Candidates) -> list[tuple[Flags, Candidates]]:
        nonlocal waiting, there
        old = waiting if waiting is not None else new
        wins = there & (t_value(world.talk(old.effects)) > bound)
        waiting, there = new, (t_value(new.total) > bound) & ~wins
        return [(wins, old)]

    return judge


def shared_by_looks(world: World, alpha: float) -> Callable[..., Any]:
    """The rule until now: the n-th look at one champion has the level 6 α / (π² n²), each of one night."""
    from scipy.stats import t

    looks = np.zeros(world.histories)

    def judge(night: int, new: Candidates) -> list[tuple[Flags, Candidates]]:
        looks[:] += 1
        level = alpha * 6 / (np.pi * looks) ** 2
        wins = (2 * t.sf(t_value(new.total), world.scenarios - 1) <= level) & (2.0 ** (1 - world.scenarios) <= level)
        looks[wins] = 0
        return [(wins, new)]

    return judge


def sign_flips(differences: Floats) -> Floats:
    """Another evidence, scaled by the batch itself: exp(λx) / cosh(λx), for gains of 0.7 and 2 standard errors (de la Peña 1999).

    It assumes that a difference is as likely x as −x if there is no gain.
    """
    size = np.sqrt((differences**2).sum(axis=-1, keepdims=True))
    bet = (differences / size)[..., None, :] * np.array([0.7, 2.0])[:, None]
    return np.asarray((bet - np.logaddexp(bet, -bet) + np.log(2)).sum(axis=-1))


RULES: Mapping[str, Callable[..., Any]] = {
    "kept challenger, e-LOND": kept_challenger,
    "the same with sign flips": partial(kept_challenger, evidence=sign_flips),
    "level 5 %, then a fresh night": confirmed,
    "6 α / (π² n²) a look (until now)": shared_by_looks,
}
UNCORRECTED = partial(kept_challenger, spends=False)


@dataclass(frozen=True)
class Years:
    """What one rule did. Counts are per year. `false_here`: no gain on the scenarios; `false_at_large`: none over their population.

    `share_false` is the mean over histories of the share of promotions that are no gain here. `harm`: true losses, summed, in standard
    errors of a night; `gain`: all true gains and losses, summed. `null_false`: false ones a year where no candidate has a gain, and
    `skewed_false` where the noise is skewed as well and the scenarios do not differ.
    `waits`: by true gain, the median of nights until a first promotion if every candidate has this gain (None: more than a year), on a
    new home and after a year without promotions.
    """

    rule: str
    promotions: float
    false_here: float
    false_at_large: float
    share_false: float
    harm: float
    gain: float
    null_false: float
    skewed_false: float
    waits: Mapping[float, tuple[int | None, int | None]]


def years_of(name: str, rule: Callable[..., Any], histories: int, years: int, seed: int = 0) -> Years:
    """One rule's figures from `histories` × `years` years."""
    random = np.random.default_rng(seed + 1)
    gains = random.choice(list(MIX), p=list(MIX.values()), size=(histories, years * NIGHTS_A_YEAR))
    found, total = simulate(rule, gains, World(histories, seed=seed)), histories * years
    nulls = simulate(rule, np.zeros_like(gains), World(histories, seed=seed))
    return Years(
        name,
        len(found) / total,
        sum(one.here <= 0 for one in found) / total,
        sum(one.gain <= 0 for one in found) / total,
        share_false(found, histories),
        sum(max(-one.gain, 0.0) for one in found) / total,
        sum(one.gain for one in found) / total,
        len(nulls) / total,
        len(simulate(rule, np.zeros_like(gains), World(histories, between=0.0, seed=seed, skewed=True))) / total,
        {gain: (_wait(rule, gain, 0, seed), _wait(rule, gain, NIGHTS_A_YEAR, seed)) for gain in GAINS},
    )


def share_false(found: list[Promotion], histories: int) -> float:
    """Mean over histories of the share of their promotions that are no gain on their scenarios; 0 in a history without promotions."""
    false, all_of = np.zeros(histories), np.zeros(histories)
    for one in found:
        all_of[one.history] += 1
        false[one.history] += one.here <= 0
    return float((false / np.maximum(all_of, 1)).mean())


def _wait(rule: Callable[..., Any], gain: float, after: int, seed: int, histories: int = 200) -> int | None:
    """Median of nights until the first promotion, if all candidates have this gain after some nights of candidates without one."""
    gains = np.zeros((histories, after + NIGHTS_A_YEAR))
    gains[:, after:] = gain
    first = np.full(histories, np.inf)
    for one in simulate(rule, gains, World(histories, seed=seed + 2)):
        if one.night >= after:
            first[one.history] = min(first[one.history], one.night - after + 1)
    middle = median(first.tolist())
    return None if middle == np.inf else round(middle)
