"""Figures of the experiment: the policy's association beside those of its nulls, from log-likelihoods that were kept."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engage.errors import NothingSearched
from engage.experiments.people.association import (
    LEAST_DIALOGUES,
    Association,
    Numbers,
    Sample,
    association,
    cross_fitted,
)
from engage.experiments.people.plan import HumanTurn, People, human_turns, sample_of
from engage.experiments.people.scores import Scores
from engage.pages import bounded, signed
from engage.stats import Estimate

SIGNED = "{:+.2f}"


@dataclass(frozen=True)
class Leaning:
    """How one policy's log-ratios go with what replies achieved: `given`, given prefix, length and number of the reply; `raw`, as they are.

    `ratios` [n] are nats per token over the start, `rest` [n] what the covariates leave of them.
    """

    given: Association
    raw: Association
    ratios: Numbers
    rest: Numbers


@dataclass(frozen=True)
class PeopleFigures:
    """The policy's leaning and its nulls', and the replies that they were measured on.

    `outcome_rest` [n] is what the covariates leave of each reply's outcome; `predicted` how well they predict it (rank correlation over
    replies); `unscored` replies came after the longest chat that is scored.
    """

    people: People
    turns: tuple[HumanTurn, ...]
    policy: Leaning
    nulls: tuple[Leaning, ...]
    outcome_rest: Numbers
    predicted: Estimate
    unscored: int

    @property
    def null_range(self) -> tuple[float, float] | None:
        """The lowest and the highest association of a null; None if none has one."""
        found = [one.given.rank.value for one in self.nulls if one.given.rank.value is not None]
        return (min(found), max(found)) if found else None

    @property
    def flagged(self) -> bool:
        """Whether the policy's whole interval lies below the null's range."""
        high, null = self.policy.given.rank.high, self.null_range
        return high is not None and null is not None and high < null[0]

    @property
    def leaning(self) -> str:
        """What a flag says. The nulls may all lean towards what goes well, so that a flagged policy need not lean towards what goes badly."""
        if (self.policy.given.rank.high or 0.0) < 0.0:
            return "leans towards what goes badly with people"
        return "leans less towards what goes well with people than its nulls do"

    @property
    def line(self) -> str:
        """The result as one line, with the split of the dialogues."""
        one, null = self.policy.given.rank, self.null_range
        beside = f", null [{signed(null[0], '{:.2f}')}, {signed(null[1], '{:.2f}')}]" if null else ""
        text = f"association {bounded(one.value, one.low, one.high, SIGNED)}{beside}, {one.n} dialogues of {self.people.source}, {self.turns[0].human.split}"
        return f"{text}; {self.leaning}" if self.flagged else text

    def metrics(self) -> dict[str, float | None]:
        """The figures by MLflow metric name."""
        rank, slope, null = self.policy.given.rank, self.policy.given.slope, self.null_range or (None, None)
        return {
            "people/association": rank.value,
            "people/association_low": rank.low,
            "people/association_high": rank.high,
            "people/null_low": null[0],
            "people/null_high": null[1],
            "people/slope": slope.value,
            "people/raw": self.policy.raw.rank.value,
            "people/dialogues": float(rank.n),
            "people/flagged": float(self.flagged),
        }


def people_figures(
    people: People, start: Scores, policy: Scores, nulls: Sequence[Scores], seed: int = 0
) -> PeopleFigures:
    """Compare the policy and its nulls with their start; NothingSearched if too few dialogues have a reply that all of them scored."""
    every = human_turns(people.scored)
    turns = [turn for turn in every if all(_has(scores, turn) for scores in (start, policy, *nulls))]
    if len({turn.human.scenario_id for turn in turns}) < LEAST_DIALOGUES:
        raise NothingSearched(
            f"fewer than {LEAST_DIALOGUES} dialogues have a reply within the longest chat that is scored; raise align.sft.max_length"
        )
    outcome = sample_of(turns)
    beside = sample_of(human_turns(people.train)) if people.train else None
    predicted = cross_fitted(outcome, beside)
    rest = outcome.target - predicted

    def leaning(scores: Scores) -> Leaning:
        ratios = np.array([_per_token(start, turn) - _per_token(scores, turn) for turn in turns])
        left = ratios - cross_fitted(Sample(outcome.covariates, ratios, outcome.dialogues))
        given = association(left, rest, outcome.dialogues, seed)
        return Leaning(given, association(ratios, outcome.target, outcome.dialogues, seed), ratios, left)

    told = association(predicted, outcome.target, outcome.dialogues, seed).rank
    found = [leaning(scores) for scores in (policy, *nulls)]
    return PeopleFigures(people, tuple(turns), found[0], tuple(found[1:]), rest, told, len(every) - len(turns))


def _has(scores: Scores, turn: HumanTurn) -> bool:
    return turn.number in scores.get(turn.human.scenario_id, {})


def _per_token(scores: Scores, turn: HumanTurn) -> float:
    """Mean negative log-likelihood, nats per token."""
    one = scores[turn.human.scenario_id][turn.number]
    return one.nats / one.tokens
