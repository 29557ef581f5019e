"""Replays a stored dialogue without a model: its requests are answered with what was stored, and everything else happens again.

So prompts, flaw rules, the end, the survey's reading and the reward are those of today, and a difference shows what changed.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from engage.dialogue import Dialogue, Role, Trajectory
from engage.engines.base import Completion, Prompt, Sampling, Scores, ScoresUnavailable
from engage.engines.recording import CallRecord
from engage.errors import EngineError
from engage.scenario import Scenario
from engage.simulation.rollout import DialogueConfig, Episode, begin_episode, exchanges_held, play_on, play_out

CUT_OUT = ("thought", "role_leak")
"""Flaws of text that was removed from a turn: what is stored does not show them any more."""
REPORTED = ("refusal", "content_filter", "thought")
"""Flaws that an engine reports with the reason for which a reply ended."""

Asked = Counter[tuple[str, str, str]]
"""Numbers of requests by key, side and kind."""


@dataclass(frozen=True)
class Recorded:
    """A stored dialogue and how it was played: from which prefix, under which path and number its requests were named."""

    scenario: Scenario
    trajectory: Trajectory
    prefix: Dialogue
    path: str
    simulation: int
    calls: tuple[CallRecord, ...]

    def requests(self) -> Asked:
        """The requests that were made to play it on from the prefix."""
        start = f"{self.scenario.scenario_id}/{self.path}/"
        names = {f"{start}{kind}/{self.simulation}" for kind in ("rollout", "survey", "answer")}
        ours = (
            call for call in self.calls if any(call.key == name or call.key.startswith(f"{name}/") for name in names)
        )
        return Counter((call.key, call.side, call.kind) for call in ours)


class ReplayEngine:
    """Answers with the stored turns and survey answer of one dialogue; implements Engine. `asked` counts the requests.

    The text of a draw that was thrown away is not stored: such a draw is answered with nothing, and is thrown away again.
    """

    def __init__(self, trajectory: Trajectory) -> None:
        self._trajectory = trajectory
        self._draws: Counter[int] = Counter()
        self.asked: Asked = Counter()

    has_room = True

    async def complete(self, prompt: Prompt, sampling: Sampling, seeds: Sequence[int]) -> list[Completion]:
        """See Engine; EngineError for a turn, or a draw of it, that is not stored."""
        self.asked[prompt.key, prompt.side.value, "complete"] += 1
        turns, place = self._trajectory.dialogue.turns, len(prompt.messages) - 1  # the first one is the system's
        if prompt.key.split("/")[-2] == "survey":
            return [Completion(self._trajectory.reaction.text, None, None, None, None, "stop", seeds[0])]
        self._draws[place] += 1
        if place >= len(turns):
            raise EngineError(f"the dialogue goes on after its {len(turns)} stored turns", prompt.key)
        turn, draw = turns[place], self._draws[place]
        if draw > turn.attempts:
            raise EngineError(
                f"turn {place} is found flawed and drawn again; its stored draw {draw - 1} was kept", prompt.key
            )
        reason = turn.flaw if turn.flaw in REPORTED else "stop"
        text = turn.text if draw == turn.attempts else ""
        return [Completion(text, None, None, None, None, reason if text else "stop", seeds[0])]  # type: ignore[arg-type]

    async def score(self, prompt: Prompt, choices: Sequence[str]) -> Scores:
        """See Engine; the stored probabilities as likelihoods."""
        probabilities = self._trajectory.reaction.probabilities
        if not probabilities:
            raise ScoresUnavailable("the stored answer has no probabilities", prompt.key)
        self.asked[prompt.key, prompt.side.value, "score"] += 1
        return Scores(tuple(math.log(p) if p > 0 else -math.inf for p in probabilities), None, None)

    def close(self) -> None:
        """Does nothing: there is no model to free."""


async def replay(recorded: Recorded, config: DialogueConfig) -> tuple[int, list[str]]:
    """Play the dialogue again without a model; returns the number of requests, and every difference to what is stored as a sentence."""
    engine, stored = ReplayEngine(recorded.trajectory), recorded.trajectory
    episode = begin_episode(engine, recorded.scenario, config, 0, None, None)
    try:
        again = await play_from(episode, recorded.prefix, recorded.path, recorded.simulation)
    except EngineError as error:
        return engine.asked.total(), [str(error)]
    return engine.asked.total(), [*_differences(stored, again), *_of_requests(recorded.requests(), engine.asked)]


async def play_from(episode: Episode, dialogue: Dialogue, path: str, simulation: int) -> Trajectory:
    """Continue from a prefix, whoever spoke last, to the end and the survey; see `play_out`."""
    exchanges, last = exchanges_held(episode, dialogue), dialogue.last
    play = play_on if last is not None and last.role is Role.ASSISTANT else play_out
    return await play(episode, dialogue, exchanges, path, simulation)


def _differences(stored: Trajectory, again: Trajectory) -> Iterable[str]:
    for place, (one, other) in enumerate(zip(stored.dialogue.turns, again.dialogue.turns, strict=False)):
        if one.text != other.text:
            yield f"turn {place} was {one.text!r:.80}, is {other.text!r:.80}"
        if one.flaw != other.flaw and one.flaw not in CUT_OUT:
            yield f"the flaw of turn {place} was {one.flaw or 'none'}, is {other.flaw or 'none'}"
    facts = {
        "number of turns": (len(stored.dialogue.turns), len(again.dialogue.turns)),
        "end": (stored.end_reason, again.end_reason),
        "number of exchanges": (stored.exchanges, again.exchanges),
        "survey's value": (stored.reaction.value, again.reaction.value),
        "reward": (stored.reward, again.reward),
    }
    for name, (before, now) in facts.items():
        if before != now and not _nearly(before, now):
            yield f"the {name} was {before}, is {now}"


def _nearly(one: object, other: object) -> bool:
    return isinstance(one, float) and isinstance(other, float) and math.isclose(one, other, abs_tol=1e-9)


def _of_requests(stored: Asked, asked: Asked) -> Iterable[str]:
    for key, side, kind in sorted({*stored, *asked}):
        before, now = stored[key, side, kind], asked[key, side, kind]
        if before != now:
            yield f"{key} asks the {side} to {kind} {now} times, and is stored {before} times"
