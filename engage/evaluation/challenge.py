"""Challenges: a candidate against the champion of its time, over one or more nights. What they stand at is read from the stored dialogues.

A near challenger is kept: in later nights it talks on the same scenarios with fresh seeds, until it is promoted, dropped or replaced.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from engage.evaluation.held_out import HeldOutStore, dialogues_with, mean_or_none
from engage.evaluation.judgement import Incumbent
from engage.evaluation.promotion import ALL, Evidence, Verdict, compare_domains, decide, talks
from engage.evaluation.simulators import members
from engage.stats import BETS, Comparison, Rewards, batch_evidence, is_finite, log_evidence
from engage.store import Challenge, Challenges
from engage.store.challenges import BatchReward, State

TYPICAL_SD = 0.1
"""Of the difference of two dialogues' rewards; 0.05 to 0.23 in deployments/comparison."""


@dataclass(frozen=True)
class Standing:
    """Where a challenge stands: all its dialogues compared, by domain, and their evidence; with a panel, the means over it, and each member's."""

    challenge: Challenge
    comparisons: Mapping[str, Comparison]
    evidence: Evidence
    batches: int
    panel: Mapping[str, Comparison] = field(default_factory=dict)

    def verdict(self, failures: Sequence[str] = ()) -> Verdict:
        """The promotion rule on all dialogues of the challenge; `failures` are failed hacking checks."""
        nights = max(1, self.evidence.nights)
        each = max(1, self.batches // nights)
        per_night = talks(len(self.challenge.scenarios), each, len(members(self.challenge.simulator)))
        return decide(self.comparisons, failures, self.evidence, per_night, self.panel)


def standing(challenges: Challenges, challenge: Challenge, alpha: float) -> Standing:
    """Where the challenge stands now; without its own pass, so that it can be asked again."""
    names = members(challenge.simulator)
    apart = challenges.rewards(challenge.number, names)
    rewards = averaged(apart, len(names))
    passed = sum(other.passed for other in challenges.all() if other.number != challenge.number)
    batches = differences(rewards)
    summed = sum((batch_evidence(batch) for batch in batches), start=np.zeros(len(BETS)))
    nights = len({*challenges.batches(challenge.number).values()})
    evidence = Evidence(challenge.number, passed, float(log_evidence(summed)), nights, alpha)
    panel = names if len(names) > 1 else []
    alone = {name: _compared([one for one in apart if one.simulator == name], alpha)[ALL] for name in panel}
    return Standing(challenge, _compared(rewards, alpha), evidence, len(batches), alone)


def _compared(rewards: Sequence[BatchReward], alpha: float) -> Mapping[str, Comparison]:
    base, candidate = (_by_scenario(rewards, is_candidate) for is_candidate in (False, True))
    return compare_domains(base, candidate, {one.scenario_id: one.domain for one in rewards}, 1 - alpha)


def averaged(rewards: Sequence[BatchReward], simulators: int) -> list[BatchReward]:
    """The mean over the members of a panel for each seed, side and scenario; without a reward unless all members have one."""
    if simulators == 1:
        return list(rewards)
    found: dict[tuple[int, bool, str], list[BatchReward]] = {}
    for one in rewards:
        found.setdefault((one.seed, one.is_candidate, one.scenario_id), []).append(one)
    return [
        replace(same[0], reward=mean_or_none([one.reward for one in same]) if len(same) == simulators else None)
        for _, same in sorted(found.items())
    ]


def differences(rewards: Sequence[BatchReward]) -> list[list[float]]:
    """Candidate minus incumbent, a list per seed, on the scenarios where both could be read."""
    found: dict[int, dict[str, dict[bool, float]]] = {}
    for one in rewards:
        sides = found.setdefault(one.seed, {}).setdefault(one.scenario_id, {})
        if is_finite(one.reward):
            sides[one.is_candidate] = one.reward
    return [
        [sides[True] - sides[False] for sides in batch.values() if len(sides) == 2]
        for _, batch in sorted(found.items())
    ]


def _by_scenario(rewards: Sequence[BatchReward], is_candidate: bool) -> Rewards:
    """One side's rewards by scenario, a place per seed of the challenge."""
    places = {seed: place for place, seed in enumerate(sorted({one.seed for one in rewards}))}
    found: dict[str, list[float | None]] = {one.scenario_id: [None] * len(places) for one in rewards}
    for one in rewards:
        if one.is_candidate is is_candidate:
            found[one.scenario_id][places[one.seed]] = one.reward
    return found


def weigh(
    challenges: Challenges, held: HeldOutStore, policy: str, adapter: str, simulator: str, ground: str, alpha: float
) -> Standing:
    """Begin the candidate's challenge or go on with it: count this cycle's dialogues of both sides. Doing it again changes nothing."""
    incumbent = Incumbent.of(held.cycle).label
    sides = paired_seeds(held, simulator, incumbent, policy)
    challenge = challenges.begin(
        held.cycle.cycle_id, policy, adapter, incumbent, simulator, ground, list(held.scenarios)
    )
    challenges.add_batches(challenge.number, held.cycle.cycle_id, sides)
    return standing(challenges, challenge, alpha)


def paired_seeds(held: HeldOutStore, simulator: str, *labels: str) -> list[int]:
    """The seeds with which each of the policies has dialogues in this cycle."""
    found = [
        {one.seed for part in dialogues_with(held.dialogues(label), simulator).values() for one in part}
        for label in labels
    ]
    return sorted(set.intersection(*found))


def kept_challenge(
    challenges: Sequence[Challenge], incumbent: str, simulator: str, ground: str, takes_passed: bool, own: str | None
) -> Challenge | None:
    """The challenger of an earlier night that talks tonight as well; not `own`, tonight's candidate.

    With `takes_passed` also one that passed and was not promoted yet, because its night was killed.
    """
    states = {State.OPEN, State.PASSED} if takes_passed else {State.OPEN}
    found = [one for one in challenges if one.is_against(incumbent, simulator, ground) and one.state in states]
    return next((one for one in reversed(found) if one.policy != own), None)


@dataclass(frozen=True)
class Fate:
    """What becomes of a challenge tonight: its verdict, and its state in the store."""

    standing: Standing
    verdict: Verdict
    state: State


def fates(contenders: Sequence[tuple[Standing, Verdict]], manual: bool) -> list[Fate]:
    """What becomes of tonight's challenges, in their order. At most one is promoted, and at most one is kept: those with the most evidence.

    With `manual` none is promoted; those that meet the rule wait for a person.
    """
    winner = None if manual else _strongest([pair for pair in contenders if pair[1].passed])
    kept = _strongest([pair for pair in contenders if pair[1].goes_on])
    found = []
    for here, verdict in contenders:
        state = State.DROPPED
        if verdict.passed and manual:
            meets = verdict.reason.replace("promoted", "meets the rule", 1)
            verdict, state = Verdict(False, f"{meets}; it waits for a person", passed=True), State.PASSED
        elif here is winner:
            state = State.PASSED
        elif winner is not None:
            better = f"candidate {winner.challenge.number} is promoted tonight, and this one has less evidence"
            verdict = Verdict(False, f"not promoted: {better}: {here.evidence}")
        elif here is kept:
            state = State.OPEN
        elif kept is not None and verdict.goes_on:
            better = f"candidate {kept.challenge.number} has more evidence and is kept instead ({kept.evidence})"
            verdict = Verdict(
                False, f"{verdict.reason.partition('; ')[0]}; {better}".replace("promoted yet", "promoted")
            )
        found.append(Fate(here, verdict, state))
    return found


def _strongest(pairs: Sequence[tuple[Standing, Verdict]]) -> Standing | None:
    return max((here for here, _ in pairs), key=lambda here: here.evidence.log_e, default=None)


def next_candidate(challenges: Sequence[Challenge], alpha: float, simulators: int = 1) -> str:
    """What the next candidate needs, in a sentence; `simulators` is the size of the panel that judges."""
    number = 1 + max((one.number for one in challenges), default=0)
    evidence = Evidence(number, sum(one.passed for one in challenges), 0.0, 0, alpha)
    pairs = {gain: math.ceil(evidence.needed / max(_growth(gain, bet) for bet in BETS)) for gain in (0.02, 0.05)}
    least = {gain: talks(1, count, simulators) for gain, count in pairs.items()}
    return (
        f"the next candidate is number {number}, {evidence.passed_before} passed before it: with a standard deviation of {TYPICAL_SD} a "
        f"gain of 0.05 is promoted after about {least[0.05]:,} dialogues of each side, of 0.02 after about {least[0.02]:,}"
    )


def _growth(gain: float, bet: float) -> float:
    """What one dialogue adds to the logarithm of the evidence, on average, to second order."""
    return bet * gain - bet**2 * (TYPICAL_SD**2 + gain**2) / 2
