"""Lets a simulator take the user's place in human dialogues: it answers the exit survey (read in two ways) and says next turns.

It uses the Engine protocol, as a search does, and computes no figures.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import TypeVar

from engage.corpora import HumanDialogue
from engage.dialogue import Dialogue, Reaction, Role
from engage.domains import load_domain
from engage.engines.base import Engine, Prompt, Side, total
from engage.engines.recording import RecordingEngine
from engage.errors import EngineError
from engage.seeds import derive_seed
from engage.simulation import SpeechConfig, UserSimulator, find_flaw, read_answer, survey_messages

EARLY = (2, 4, 6, 8)
"""Numbers of exchanges after the opening at which the survey is asked early."""
OnDone = Callable[[int], None]
Result = TypeVar("Result")


@dataclass(frozen=True)
class SaidTwice:
    """One place of a dialogue: the person's turn, the simulator's turn, and the flaw of each.

    `before` is the assistant's turn that both answer.
    """

    index: int
    human: str
    human_flaw: str | None
    simulated: str
    simulated_flaw: str | None
    before: str = ""


@dataclass(frozen=True)
class Cost:
    """Cost of the requests over all dialogues; `cached_tokens` is the part of `prompt_tokens` that was reused from a cache."""

    calls: int = 0
    prompt_tokens: int | None = 0
    cached_tokens: int | None = 0
    completion_tokens: int | None = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Answers:
    """By scenario id: readings by the reader `expected`, readings of several sampled answers by `pattern`, and turns.

    `early` are readings by `expected` after a number of exchanges, of the dialogues that go on after them.

    If a server gives no likelihoods, the readings in `expected` are made by `pattern`. `failed` counts the failed requests.
    """

    expected: dict[str, Reaction] = field(default_factory=dict)
    pattern: dict[str, tuple[Reaction, ...]] = field(default_factory=dict)
    turns: dict[str, tuple[SaidTwice, ...]] = field(default_factory=dict)
    early: dict[int, dict[str, Reaction]] = field(default_factory=dict)
    expected_cost: Cost = Cost()
    pattern_cost: Cost = Cost()
    failed: int = 0


@dataclass(frozen=True)
class Asked:
    """The simulator that is asked, on one engine."""

    engine: Engine
    speech: SpeechConfig
    adapter: str
    places: int
    answers: int
    seed: int


async def ask_simulator(asked: Asked, dialogues: Sequence[HumanDialogue], on_done: OnDone = lambda _: None) -> Answers:
    """Rounds over the dialogues, one after the other, so that each can be timed.

    `on_done` is called after each finished request, `request_count` in all. Raises EngineError if all requests of a round failed.
    """
    engine = RecordingEngine(asked.engine)
    expected, first_cost, lost = await _round(engine, dialogues, lambda human: _expected(engine, asked, human), on_done)
    pattern, second_cost, more = await _round(engine, dialogues, lambda human: _pattern(engine, asked, human), on_done)
    turns, _, most = await _round(engine, dialogues, lambda human: _turns(engine, asked, human), on_done)
    failed, early = lost + more + most, {}
    for exchanges in EARLY:
        begun = begun_dialogues(dialogues, exchanges)
        early[exchanges], _, lost = await _round(engine, begun, lambda human: _expected(engine, asked, human), on_done)
        failed += lost
    return Answers(expected, pattern, turns, early, first_cost, second_cost, failed)


def request_count(dialogues: Sequence[HumanDialogue]) -> int:
    """How often `ask_simulator` calls `on_done`."""
    return 3 * len(dialogues) + sum(len(begun_dialogues(dialogues, exchanges)) for exchanges in EARLY)


def begun_dialogues(dialogues: Iterable[HumanDialogue], exchanges: int) -> list[HumanDialogue]:
    """The dialogues that go on after `exchanges` exchanges after the opening, cut off there; they end with the user's turn."""
    begun = []
    for human in dialogues:
        start, turns = len(human.scenario.opening.turns), human.dialogue.turns
        spoken = [place for place in range(start, len(turns)) if turns[place].role is Role.USER]
        if len(spoken) > exchanges:
            begun.append(replace(human, dialogue=Dialogue(turns[: spoken[exchanges - 1] + 1])))
    return begun


async def _round(
    engine: RecordingEngine,
    dialogues: Sequence[HumanDialogue],
    ask: Callable[[HumanDialogue], Awaitable[Result]],
    on_done: OnDone,
) -> tuple[dict[str, Result], Cost, int]:
    async def one(human: HumanDialogue) -> Result | EngineError:
        try:
            return await ask(human)
        except EngineError as error:
            return error
        finally:
            on_done(1)

    before, began = len(engine.calls), time.perf_counter()
    answers = await asyncio.gather(*(one(human) for human in dialogues))
    seconds = time.perf_counter() - began
    failures = [answer for answer in answers if isinstance(answer, EngineError)]
    if failures and len(failures) == len(answers):
        raise failures[0]
    calls = engine.calls[before:]
    cost = Cost(
        len(calls),
        total(call.prompt_tokens for call in calls),
        total(call.cached_tokens for call in calls),
        total(call.completion_tokens for call in calls),
        seconds,
    )
    by_scenario = {
        human.scenario_id: answer
        for human, answer in zip(dialogues, answers, strict=True)
        if not isinstance(answer, EngineError)
    }
    return by_scenario, cost, len(failures)


def _simulator(engine: Engine, asked: Asked, human: HumanDialogue, **speech: object) -> UserSimulator:
    settings = asked.speech.model_copy(update=speech)
    return UserSimulator(engine, load_domain(human.domain), settings, human.user_condition, asked.adapter)


async def _expected(engine: Engine, asked: Asked, human: HumanDialogue) -> Reaction:
    seed = derive_seed(asked.seed, human.scenario_id, "card", "expected")
    simulator = _simulator(engine, asked, human, reader="expected")
    return await simulator.react(human.dialogue, f"{human.scenario_id}/card/expected", seed)


async def _pattern(engine: Engine, asked: Asked, human: HumanDialogue) -> tuple[Reaction, ...]:
    """All answers in one request, as samples of one prompt."""
    domain = load_domain(human.domain)
    messages = survey_messages(domain, human.user_condition, human.dialogue)
    prompt = Prompt(f"{human.scenario_id}/card/pattern", Side.SIMULATOR, messages, asked.adapter)
    seeds = [derive_seed(asked.seed, human.scenario_id, "card", "pattern", number) for number in range(asked.answers)]
    completions = await engine.complete(prompt, asked.speech.user, seeds)
    return tuple(read_answer(domain, completion.text) for completion in completions)


async def _turns(engine: Engine, asked: Asked, human: HumanDialogue) -> tuple[SaidTwice, ...]:
    """The simulator's turns, sampled once: flawed turns are not sampled again, so that their rate can be measured."""
    simulator = _simulator(engine, asked, human, max_attempts=1)
    said = []
    for index in drawn_places(human, asked.places, asked.seed):
        prefix, real = Dialogue(human.dialogue.turns[:index]), human.dialogue.turns[index].text
        seed = derive_seed(asked.seed, human.scenario_id, "card", "turn", index)
        drawn = (await simulator.next_turn(prefix, f"{human.scenario_id}/card/turn/{index}", seed)).turn
        flaw = find_flaw(simulator.domain, prefix, Role.USER, real)
        said.append(SaidTwice(index, real, flaw, drawn.text, drawn.flaw, human.dialogue.turns[index - 1].text))
    return tuple(said)


def drawn_places(human: HumanDialogue, count: int, seed: int) -> list[int]:
    """Indexes of at most `count` user turns after the opening, sampled with the seed, in the dialogue's order."""
    turns = human.dialogue.turns
    places = [i for i in range(len(human.scenario.opening.turns), len(turns)) if turns[i].role is Role.USER]
    return sorted(
        Random(derive_seed(seed, human.scenario_id, "card", "places")).sample(places, min(count, len(places)))
    )
