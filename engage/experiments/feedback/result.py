"""Puts the experiment's figures together: regressions and readers on the scored turns, and on the outcomes of whole dialogues."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from engage.corpora import HumanDialogue
from engage.experiments.feedback.agreement import Agreement, Values, agreement
from engage.experiments.feedback.ceiling import (
    cross_fitted,
    held_out,
    new_words,
    on_states,
    on_words,
    outcomes_from_states,
)
from engage.experiments.feedback.plan import FOLDS, FeedbackConfig, Part, ScoredTurn
from engage.experiments.feedback.readers import Answers, Question, at_the_end, questions, reading, readings
from engage.experiments.feedback.states import States
from engage.experiments.simulator_card.words import predicted_from_words
from engage.scenario import Split
from engage.stats import Estimate, estimate, spearman

WORDS, STATES = "regression on words", "regression on states"
CEILING = (WORDS, STATES)
BEFORE = ("turn's number", "score before")
"""What needs no words at all; none of it is left in `Agreement.given`."""


@dataclass(frozen=True)
class Predicted:
    """What one method tells of one split's scored turns. `simulator` is empty if none was asked."""

    name: str
    moment: str
    simulator: str
    split: Split
    values: Values
    agreement: Agreement


@dataclass(frozen=True)
class Ended:
    """Rank correlation of a method's values with the rewards of whole dialogues."""

    name: str
    simulator: str
    correlation: Estimate


@dataclass(frozen=True)
class FeedbackResult:
    """All figures; `turns` are the scored turns of each split, in the order of `Predicted.values`."""

    config: FeedbackConfig
    parts: Mapping[Split, Part]
    turns: Mapping[Split, Sequence[ScoredTurn]]
    predicted: Sequence[Predicted]
    ended: Sequence[Ended] = field(default_factory=tuple)

    def ceiling(self, moment: str, split: Split, figure: str) -> Estimate | None:
        """The larger `within` or `given` of the two regressions; None if they have none."""
        there = [one for one in self.predicted if one.name in CEILING and (one.moment, one.split) == (moment, split)]
        found: list[Estimate] = [getattr(one.agreement, figure) for one in there]
        return max((one for one in found if one.value is not None), key=lambda one: one.value or 0.0, default=None)

    def metrics(self) -> dict[str, float | None]:
        """`METHOD/MOMENT/SIMULATOR/SPLIT/figure`, and its bounds as `…_low` and `…_high`."""
        figures = {
            "/".join(filter(None, (one.name, one.moment, one.simulator, one.split, figure))): found
            for one in self.predicted
            for figure in ("within", "given")
            for found in [getattr(one.agreement, figure)]
        } | {"/".join(filter(None, (one.name, one.simulator, "outcome"))): one.correlation for one in self.ended}
        return {
            f"{name.replace(chr(39), '').replace(' ', '_')}{end}": value
            for name, one in figures.items()
            for end, value in (("", one.value), ("_low", one.low), ("_high", one.high))
        }


def told_splits(config: FeedbackConfig) -> tuple[Split, ...]:
    """The splits whose figures are shown: a test shows nothing but the test."""
    return ("test",) if config.split == "test" else ("train", "validation")


def told_ends(config: FeedbackConfig, parts: Mapping[Split, Part]) -> tuple[HumanDialogue, ...]:
    """The dialogues whose outcomes are told about; none in a test, which is of single turns."""
    return () if config.split == "test" else parts[config.split].ended


def wanted_questions(config: FeedbackConfig, parts: Mapping[Split, Part], seen: bool) -> list[Question]:
    """All questions to one simulator; `seen`: it was trained on the train split, which then tells nothing about it."""
    splits = [split for split in told_splits(config) if split != "train" or not seen]
    turns = [turn for split in splits for turn in parts[split].turns()]
    at_turns = [asked for turn in turns for reader in config.readers() for asked in questions(turn, reader)]
    ends = [
        asked
        for human in told_ends(config, parts)
        for reader in config.readers()
        for asked in at_the_end(human, reader)
    ]
    return list(dict.fromkeys([*at_turns, *ends]))


def wanted_states(config: FeedbackConfig, parts: Mapping[Split, Part]) -> list[tuple[HumanDialogue, list[int]]]:
    """After how many turns of each dialogue the regressions need states."""
    lengths: dict[str, set[int]] = {}
    humans: dict[str, HumanDialogue] = {}
    for split in dict.fromkeys(("train", *told_splits(config))):
        ended = parts[split].ended if told_ends(config, parts) else ()
        for human in (*parts[split].scored, *ended):
            humans[human.scenario_id] = human
        for human in ended:
            lengths.setdefault(human.scenario_id, set()).add(len(human.dialogue.turns))
        for turn in parts[split].turns():
            own = {turn.heard_length(moment) for moment in moments(config)}
            lengths.setdefault(turn.dialogue, set()).update(own)
    return [(human, sorted(lengths[name])) for name, human in humans.items()]


def moments(config: FeedbackConfig) -> tuple[str, ...]:
    """The moments at which something is asked."""
    return tuple(dict.fromkeys(reader.split("/")[1] for reader in config.readers()))


def judge(
    config: FeedbackConfig, parts: Mapping[Split, Part], states: States, answers: Mapping[str, Answers]
) -> FeedbackResult:
    """All figures; `answers` are by simulator. Without states (the weights are elsewhere) there is no regression on them."""
    turns = {split: parts[split].turns() for split in dict.fromkeys(("train", *told_splits(config)))}
    predicted = [*_before(config, turns), *_regressions(config, turns, states), *_readers(config, turns, answers)]
    return FeedbackResult(config, parts, turns, predicted, list(_ends(config, parts, states, answers)))


def _before(config: FeedbackConfig, turns: Mapping[Split, Sequence[ScoredTurn]]) -> Iterator[Predicted]:
    for split in told_splits(config):
        own = turns[split]
        previous = [np.nan if turn.previous is None else turn.previous for turn in own]
        for name, values in zip(BEFORE, ([turn.number for turn in own], previous), strict=True):
            yield _one(config, name, "", "", split, own, np.array(values, dtype=float))


def _regressions(
    config: FeedbackConfig, turns: Mapping[Split, Sequence[ScoredTurn]], states: States
) -> Iterator[Predicted]:
    for moment in moments(config):
        for name, make in ((WORDS, on_words), (STATES, on_states)):
            if name == STATES and not states:
                continue
            kept = {
                split: [t for t in own if name == WORDS or _key(t, moment) in states] for split, own in turns.items()
            }
            if not all(kept.values()) or len({turn.dialogue for turn in kept["train"]}) < FOLDS:
                continue  # what is longer than a model reads has no states
            features = {
                split: [new_words(t, moment) for t in own]
                if name == WORDS
                else np.array([states[_key(t, moment)] for t in own])
                for split, own in kept.items()
            }
            for split in told_splits(config):
                if split == "train":
                    values = cross_fitted(make, kept["train"], features["train"])
                else:
                    values = held_out(make, kept["train"], features["train"], features[split])
                by_turn = {id(turn): value for turn, value in zip(kept[split], values.tolist(), strict=True)}
                whole = np.array([by_turn.get(id(turn), np.nan) for turn in turns[split]])
                yield _one(config, name, moment, "", split, turns[split], whole)


def _key(turn: ScoredTurn, moment: str) -> tuple[str, int]:
    return turn.dialogue, turn.heard_length(moment)


def _readers(
    config: FeedbackConfig, turns: Mapping[Split, Sequence[ScoredTurn]], answers: Mapping[str, Answers]
) -> Iterator[Predicted]:
    for simulator, given in answers.items():
        for reader in config.readers():
            for split in told_splits(config):
                values = readings(reader, turns[split], given)
                name, moment = reader.split("/")
                if not np.isnan(values).all():
                    yield _one(config, name, moment, simulator, split, turns[split], values)


def _one(
    config: FeedbackConfig,
    name: str,
    moment: str,
    simulator: str,
    split: Split,
    turns: Sequence[ScoredTurn],
    values: Values,
) -> Predicted:
    return Predicted(name, moment, simulator, split, values, agreement(turns, values, config.seed))


def _ends(
    config: FeedbackConfig, parts: Mapping[Split, Part], states: States, answers: Mapping[str, Answers]
) -> Iterator[Ended]:
    train, humans = parts["train"].ended, told_ends(config, parts)
    if not humans:
        return
    if from_words := predicted_from_words(train, humans):
        values = [from_words[human.scenario_id] for human in humans]
        yield _ended(config, WORDS, "", humans, values, [human.outcome for human in humans])
        known, others = ([human for human in people if _whole(human) in states] for people in (train, humans))
        if known and others:
            features, rest = (np.array([states[_whole(human)] for human in people]) for people in (known, others))
            told = outcomes_from_states(known, features, rest).tolist()
            yield _ended(config, STATES, "", others, told, [human.outcome for human in others])
    for simulator, given in answers.items():
        for name in dict.fromkeys(reader.split("/")[0] for reader in config.readers()):
            if name != "change":
                values = [reading(name, at_the_end(human, name), given) for human in humans]
                yield _ended(config, name, simulator, humans, values, [human.reward for human in humans])


def _whole(human: HumanDialogue) -> tuple[str, int]:
    return human.scenario_id, len(human.dialogue.turns)


def _ended(
    config: FeedbackConfig,
    name: str,
    simulator: str,
    humans: Sequence[HumanDialogue],
    values: Sequence[float],
    real: Sequence[float | None],
) -> Ended:
    both = np.array([values, real], dtype=float)
    told, happened = both[:, ~np.isnan(both).any(axis=0)]
    return Ended(name, simulator, estimate(len(told), spearman(told, happened), config.seed))
