"""Which dialogues of people the experiment reads, and what is known of each human reply before a model scores it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from engage.corpora import SHIPPED_NAME, CorpusOptions, HumanDialogue, read_corpora
from engage.dialogue import Dialogue, Role
from engage.domains import load_domain
from engage.domains.rules.money import stated_sum
from engage.domains.rules.patterns import words_of
from engage.errors import ConfigError
from engage.experiments.people.association import LEAST_DIALOGUES, Covariates, Sample
from engage.seeds import derive_seed
from engage.training import reply_places


class PeopleConfig(BaseModel):
    """Settings of the experiment; base model, start and training come from the policy and its cycle."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    corpus: str = Field(description="human corpus as `esconv:PATH`, `p4g:PATH` or `own:PATH`")
    split: Literal["validation", "test"] = Field("validation", description="split of the dialogues that are scored")
    max_dialogues: int | None = Field(
        None, ge=1, description="maximum number of scored dialogues, sampled with the seed"
    )
    nulls: int = Field(
        5, ge=1, le=50, description="number of trainings on the same pairs with their sides swapped at random"
    )
    seed: int = Field(0, ge=0, description="seed of the sampled dialogues, of the swaps and of the intervals")


@dataclass(frozen=True)
class People:
    """Dialogues of one domain with a known outcome: `scored` ones, and those of the train split, which help to predict outcomes.

    `left` counts the dialogues that were left out, by reason.
    """

    source: str
    domain: str
    scored: tuple[HumanDialogue, ...]
    train: tuple[HumanDialogue, ...]
    left: Mapping[str, int] = field(default_factory=dict)


def read_people(config: PeopleConfig, domains: Collection[str], options: CorpusOptions | None = None) -> People:
    """The corpus's dialogues of the domain that the policy was trained for (`domains`: those of its pairs).

    Nothing that engage trains, simulators and policies alike, sees a dialogue outside the train split: only such dialogues are scored.
    ConfigError if the corpus is of another domain or has too few such dialogues; ConfigError or CorpusError if it cannot be read.
    """
    if config.corpus == SHIPPED_NAME:
        raise ConfigError(f"--corpus {SHIPPED_NAME}: adapters are trained on these dialogues; name a corpus of people")
    (corpus,) = read_corpora([config.corpus], options or CorpusOptions())
    spoken = {human.domain for human in corpus.dialogues}
    shared = sorted(spoken & set(domains))
    if len(shared) != 1:
        raise ConfigError(
            f"{config.corpus}: its dialogues are of {', '.join(sorted(spoken))}, the policy's pairs of {', '.join(sorted(domains))}; "
            "name a corpus of one of the pairs' domains"
        )
    left: dict[str, int] = {}
    usable: dict[str, list[HumanDialogue]] = {}
    for human in sorted(corpus.dialogues, key=lambda human: human.scenario_id):
        reason = _left_out(human, shared[0])
        if reason:
            left[reason] = left.get(reason, 0) + 1
        else:
            usable.setdefault(human.split, []).append(human)
    scored = usable.get(config.split, [])
    other = "test" if config.split == "validation" else "validation"
    if other in usable:
        left[f"{other} split"] = len(usable[other])
    if config.max_dialogues is not None and len(scored) > config.max_dialogues:
        left["over the maximum of scored dialogues"] = len(scored) - config.max_dialogues
        drawn = Random(derive_seed(config.seed, "people")).sample(scored, config.max_dialogues)
        scored = sorted(drawn, key=lambda human: human.scenario_id)
    if len(scored) < LEAST_DIALOGUES or len({achieved(human) for human in scored}) < 2:
        raise ConfigError(
            f"{config.corpus}: {len(scored)} dialogues of the {config.split} split can be scored, with "
            f"{len({achieved(human) for human in scored})} different outcomes; it needs {LEAST_DIALOGUES} dialogues and two outcomes: "
            "give a larger corpus, another --split or a higher --max-dialogues"
        )
    return People(corpus.source, shared[0], tuple(scored), tuple(usable.get("train", ())), left)


def _left_out(human: HumanDialogue, domain: str) -> str | None:
    if human.domain != domain:
        return "another domain"
    if human.reward is None:
        return "no outcome"
    if human.crisis:
        return "the user speaks of harming themselves"
    return None if next(reply_places([human]), None) else "no reply after the opening"


def achieved(human: HumanDialogue) -> float:
    """What the dialogue achieved, see `Domain.achieved`; its outcome must be known."""
    assert human.outcome is not None
    return load_domain(human.domain).achieved(human.user_condition, human.outcome)


@dataclass(frozen=True)
class HumanTurn:
    """One reply of a person in a dialogue: its place among the replies after the opening (from 1), its length in words, and the
    dialogue before it."""

    human: HumanDialogue
    number: int
    words: int
    prefix: Dialogue


def human_turns(dialogues: Sequence[HumanDialogue]) -> list[HumanTurn]:
    """Every reply after the opening, dialogue by dialogue."""
    turns = []
    for human in dialogues:
        for number, place in enumerate(reply_places([human]), 1):
            turns.append(HumanTurn(human, number, len(words_of(place.reply)), place.prefix))
    return turns


def sample_of(turns: Sequence[HumanTurn], target: Sequence[float] | None = None) -> Sample:
    """The replies with their covariates; the target is by default what their dialogues achieved.

    Covariates: the prefix's words by speaker; the sum that the user named last, if the survey asks for dollars; number and length of the
    reply, each also as a logarithm.
    """
    names = {name: index for index, name in enumerate(dict.fromkeys(turn.human.scenario_id for turn in turns))}
    covariates = Covariates(tuple(_spoken(turn.prefix) for turn in turns), np.array([_numbers(turn) for turn in turns]))
    values = [achieved(turn.human) for turn in turns] if target is None else target
    dialogues = np.array([names[turn.human.scenario_id] for turn in turns], dtype=np.intp)
    return Sample(covariates, np.array(values, dtype=float), dialogues)


def _spoken(prefix: Dialogue) -> str:
    return " ".join(
        f"{'a' if turn.role is Role.ASSISTANT else 'u'}:{word.lower()}"
        for turn in prefix.turns
        for word in words_of(turn.text)
    )


def _numbers(turn: HumanTurn) -> list[float]:
    most = load_domain(turn.human.domain).largest_sum
    named = stated_sum(turn.prefix, most) if most else None
    return [
        float(turn.number),
        float(np.log(turn.number)),
        float(turn.words),
        float(np.log1p(turn.words)),
        named or 0.0,
    ]
