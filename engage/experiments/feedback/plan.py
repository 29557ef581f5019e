"""The plan of the experiment: its simulators, and its dialogues by split, which the hash of their content decides."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from random import Random
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from engage.corpora import CorpusOptions, HumanDialogue, read_corpora
from engage.errors import ConfigError
from engage.scenario import Split
from engage.seeds import derive_seed

READERS = ("intensity", "relief", "items", "change", "helpful")
"""The ways of asking a simulated user; `engage.experiments.feedback.readers` has the questions."""
MOMENTS = ("heard", "answered")
"""When a reader asks: when the user has heard the scored turn of the assistant, or has answered it too."""
CHOICES = tuple(f"{reader}/{moment}" for reader in READERS for moment in MOMENTS)

FOLDS = 5
"""Folds of the regressions' cross-validation; the train split needs as many dialogues with scores."""


class FeedbackConfig(BaseModel):
    """Settings of one run; the engine comes from the cycle's configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    corpora: tuple[str, ...] = Field(min_length=1, description="human corpora with scores of turns, as `esconv:PATH`")
    adapters: tuple[str, ...] = Field(min_length=1, description="simulators: `embedded`, `bare` or folders of adapters")
    split: Literal["validation", "test"] = Field("validation", description="split of the dialogues that are told about")
    reader: str | None = Field(
        None, description="reader and moment, such as `relief/heard`; the test split opens for one of one simulator"
    )
    max_dialogues: int | None = Field(
        None, ge=1, description="maximum number of dialogues per split, sampled with the seed; for a quick try"
    )
    seed: int = Field(0, ge=0, description="seed of the sampled dialogues, the folds and the intervals")

    def check(self) -> None:
        """ConfigError for an unknown reader, and for a test of more than one reader of one simulator."""
        if self.reader is not None and self.reader not in CHOICES:
            raise ConfigError(f"--reader {self.reader!r} is not known; use one of {', '.join(CHOICES)}")
        if self.split == "test" and (self.reader is None or len(self.adapters) != 1):
            raise ConfigError(
                "--split test judges one reader of one simulator, chosen on validation before: give one --reader and one --adapter"
            )

    def readers(self) -> tuple[str, ...]:
        """The readers that are asked, each with its moment."""
        return CHOICES if self.reader is None else (self.reader,)


@dataclass(frozen=True)
class ScoredTurn:
    """One score that a person gave during the talk.

    `place` is that of the user's turn which carries the score, so `human.dialogue.turns[:place]` ends with the assistant's turn that
    was scored. `number` counts the assistant's turns up to it. `begin` is the place after the turn of the score before (0: there is
    none): turns from there on are new. `previous` is the score before, None for a dialogue's first.
    """

    human: HumanDialogue
    place: int
    number: int
    score: float
    begin: int
    previous: float | None

    @property
    def dialogue(self) -> str:
        """The dialogue's id."""
        return self.human.scenario_id

    def heard_length(self, moment: str) -> int:
        """Number of the dialogue's turns that the user has heard, or said, at the moment."""
        return self.place + (moment == "answered")


@dataclass(frozen=True)
class Part:
    """One split's dialogues: those with scores of turns, and those with a known outcome."""

    scored: tuple[HumanDialogue, ...]
    ended: tuple[HumanDialogue, ...]

    def turns(self) -> list[ScoredTurn]:
        """All scored turns, by dialogue and place."""
        return [turn for human in self.scored for turn in scored_turns(human)]


def scored_turns(human: HumanDialogue) -> Iterator[ScoredTurn]:
    """The scored turns of one dialogue."""
    given = [(-1, None), *human.scores]
    for (before, previous), (place, score) in pairwise(given):
        assert score is not None
        heard = sum(turn.role.value == "assistant" for turn in human.dialogue.turns[:place])
        yield ScoredTurn(human, place, heard, score, before + 1, previous)


def read_parts(config: FeedbackConfig, options: CorpusOptions | None = None) -> dict[Split, Part]:
    """The dialogues of every split, by falling share. Dialogues in which a user speaks of self-harm are left out: no survey is asked there.

    ConfigError if the split that is told about has no scored turn, or the train split fewer than FOLDS dialogues with one; CorpusError
    for a corpus that cannot be read.
    """
    everyone = [
        human
        for corpus in read_corpora(config.corpora, options or CorpusOptions())
        for human in sorted(corpus.dialogues, key=lambda human: human.scenario_id)
        if not human.crisis
    ]
    if len({human.domain for human in everyone}) > 1:
        raise ConfigError("--corpus: the dialogues are of several domains; name corpora of one domain")
    parts: dict[Split, Part] = {}
    splits: tuple[Split, ...] = ("train", "validation", "test")
    for split in splits:
        own = [human for human in everyone if human.split == split]
        scored = _few([human for human in own if human.scores], config)
        parts[split] = Part(scored, _few([human for human in own if human.outcome is not None], config))
    for split in ("train", config.split):
        if not parts[split].scored:
            raise ConfigError(
                f"{', '.join(config.corpora)}: no dialogue of the {split} split has scores of single turns; "
                "ESConv has them in FailedESConv.json and in ESConv.json"
            )
    if len(parts["train"].scored) < FOLDS:
        raise ConfigError(
            f"{', '.join(config.corpora)}: {len(parts['train'].scored)} dialogues of the train split have scores of single turns; the "
            f"regressions need {FOLDS}: give a larger corpus or a higher --max-dialogues"
        )
    return parts


def _few(humans: Sequence[HumanDialogue], config: FeedbackConfig) -> tuple[HumanDialogue, ...]:
    if config.max_dialogues is None or len(humans) <= config.max_dialogues:
        return tuple(humans)
    return tuple(Random(derive_seed(config.seed, "feedback")).sample(list(humans), config.max_dialogues))


def sizes(parts: Mapping[Split, Part]) -> Iterable[tuple[str, int, int, int]]:
    """Per split: its name, dialogues with scores, scored turns, dialogues with an outcome."""
    for split, part in parts.items():
        yield split, len(part.scored), len(part.turns()), len(part.ended)
