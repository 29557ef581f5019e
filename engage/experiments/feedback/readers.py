"""Readers: ways to ask a simulated user what people were asked, without any training. Each answer is an expected value.

The prompt is the simulator's own, with the dialogue so far; the domain's exit survey is one of the questions.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from engage.corpora import HumanDialogue
from engage.dialogue import Dialogue
from engage.domains import Survey, load_domain, reward_of
from engage.engines.base import Engine, Prompt, Side
from engage.experiments.feedback.agreement import Values
from engage.experiments.feedback.plan import ScoredTurn
from engage.simulation import question_messages, survey_messages
from engage.simulation.reaction import read_expected

SURVEY = "survey"
"""The domain's own question; its value is the reward."""
QUESTIONS = {
    "relief": "How much better do you feel now than before this talk, from 1 (not at all) to 5 (very much better)? Answer with one number.",
    "understood": "How well does the other person understand you, from 1 (not at all) to 5 (fully)? Answer with one number.",
    "calmer": "How calm do you feel right now, from 1 (not at all) to 5 (very calm)? Answer with one number.",
    "again": "Would you talk to this person again, from 1 (never) to 5 (certainly)? Answer with one number.",
    "helpful": "How helpful was what the other person said last, from 1 (not at all) to 5 (very helpful)? Answer with one number.",
}
SCALE = Survey("", {str(number): float(number) for number in range(1, 6)}, (), {"": 1.0})
ASKED = {
    "intensity": (SURVEY,),
    "relief": ("relief",),
    "items": ("understood", "calmer", "again"),
    "change": (SURVEY,),
    "helpful": ("helpful",),
}
"""The questions of each reader. `change` asks before the scored turn, too."""

Question = tuple[str, int, str]
"""A dialogue's id, the number of its turns that were held, and the question's name."""
Answers = Mapping[Question, float]


@dataclass(frozen=True)
class Asking:
    """The simulator that is asked: `adapter` is a folder, "" for the prompted model."""

    engine: Engine
    adapter: str


def questions(turn: ScoredTurn, reader: str) -> list[Question]:
    """What a reader (with its moment, `relief/heard`) asks about a scored turn; the last ones are those of the moment itself."""
    name, moment = reader.split("/")
    before = [(turn.dialogue, turn.place - 1, SURVEY)] if name == "change" else []
    return before + [(turn.dialogue, turn.heard_length(moment), asked) for asked in ASKED[name]]


def at_the_end(human: HumanDialogue, reader: str) -> list[Question]:
    """What a reader asks after the whole dialogue."""
    return [(human.scenario_id, len(human.dialogue.turns), asked) for asked in ASKED[reader.split("/")[0]]]


async def ask(
    asking: Asking,
    humans: Sequence[HumanDialogue],
    wanted: Iterable[Question],
    on_done: Callable[[int], None] = lambda _: None,
) -> Answers:
    """The answers, each asked once; one dialogue after the other, so that an engine can reuse its computation.

    Answers on the survey's scale become rewards; an answer that cannot be read is missing. Raises EngineError.
    """
    by_dialogue: dict[str, set[Question]] = {}
    for question in wanted:
        by_dialogue.setdefault(question[0], set()).add(question)
    found: dict[Question, float] = {}
    for human in humans:
        own = sorted(by_dialogue.get(human.scenario_id, set()), key=lambda question: question[1:])
        values = await asyncio.gather(*(_answer(asking, human, question) for question in own))
        found |= {question: value for question, value in zip(own, values, strict=True) if value is not None}
        on_done(1)
    return found


async def _answer(asking: Asking, human: HumanDialogue, question: Question) -> float | None:
    domain, condition = load_domain(human.domain), human.user_condition
    _, length, name = question
    dialogue = Dialogue(human.dialogue.turns[:length])
    own = name == SURVEY
    messages = (
        survey_messages(domain, condition, dialogue)
        if own
        else question_messages(domain, condition, dialogue, QUESTIONS[name])
    )
    survey = domain.survey if own else SCALE
    prompt = Prompt(f"{human.scenario_id}/feedback/{length}/{name}", Side.SIMULATOR, messages, asking.adapter)
    value = read_expected(survey, (await asking.engine.score(prompt, tuple(survey.choices))).logprobs).value
    return reward_of(domain, value) if own else value


def reading(reader: str, asked: Sequence[Question], answers: Answers) -> float:
    """The reader's value: the mean of its answers, for `change` the second less the first; NaN if one is missing."""
    values = [answers.get(question, np.nan) for question in asked]
    return float(values[1] - values[0]) if reader.startswith("change/") else float(np.mean(values))


def readings(reader: str, turns: Sequence[ScoredTurn], answers: Answers) -> Values:
    """One value per scored turn; higher is better for every reader."""
    return np.array([reading(reader, questions(turn, reader), answers) for turn in turns], dtype=float)
