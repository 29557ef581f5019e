"""A deterministic engine for tests: replies and likelihoods come from two plain functions. Public, for users' own tests.

    engine = ScriptedEngine(reply=lambda prompt, seed: "That sounds hard.", choose=lambda prompt, choices: [0.1, 0.9])

`reply(prompt, seed)` returns the text; `choose(prompt, choices)` returns weights over the choices (any positive scale). Both
default to small canned dialogues, so that a whole cycle runs without a model.
"""

import asyncio
import math
from collections.abc import Callable, Sequence
from weakref import WeakKeyDictionary

from engage.engines.base import Completion, Prompt, Sampling, Scores, Side
from engage.seeds import derive_seed

Reply = Callable[[Prompt, int], str]
Choose = Callable[[Prompt, Sequence[str]], Sequence[float]]

_LINES = {
    Side.POLICY: (
        "That sounds hard. What weighs on you most?",
        "I hear you. What happened next?",
        "Thank you for telling me. What would help today?",
        "You could take one small step tonight.",
        "What matters to you in this?",
        "I understand. Would you like to say more?",
    ),
    Side.SIMULATOR: (
        "I don't know, it has been like this for weeks.",
        "Maybe. I never looked at it that way.",
        "Nobody asked me that before.",
        "I doubt it, but go on.",
        "It just makes me tired.",
        "A little better, I guess.",
    ),
}


def canned_reply(prompt: Prompt, seed: int) -> str:
    """One of a side's few canned lines, chosen by the seed."""
    lines = _LINES[prompt.side]
    return lines[seed % len(lines)]


def canned_choice(prompt: Prompt, choices: Sequence[str]) -> list[float]:
    """Weights with a peak at one choice, which depends on the texts of the dialogue only."""
    text = "\x1f".join(message.content for message in prompt.messages[1:])
    peak = derive_seed("choice", text) % len(choices)
    return [math.exp(-abs(index - peak)) for index in range(len(choices))]


class ScriptedEngine:
    """See the module. Each answer takes `latency_s`; at most `slots` requests per event loop are answered at a time."""

    def __init__(
        self,
        reply: Reply = canned_reply,
        choose: Choose = canned_choice,
        latency_s: float = 0.0,
        slots: int | None = None,
    ) -> None:
        self._reply = reply
        self._choose = choose
        self._latency_s = latency_s
        self._slots = slots
        self._in_flight = 0
        self._free: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()

    @property
    def has_room(self) -> bool:
        return self._slots is None or self._in_flight < self._slots

    async def complete(self, prompt: Prompt, sampling: Sampling, seeds: Sequence[int]) -> list[Completion]:
        """See Engine; tokens are counted as words."""
        await self._wait()
        words = _words(prompt)
        replies = [(seed, self._reply(prompt, seed)) for seed in seeds]
        return [Completion(text, words, 0, len(text.split()), -1.0, "stop", seed) for seed, text in replies]

    async def score(self, prompt: Prompt, choices: Sequence[str]) -> Scores:
        await self._wait()
        weights = self._choose(prompt, choices)
        total = sum(weights)
        return Scores(tuple(math.log(max(weight, 1e-300) / total) for weight in weights), _words(prompt), 0)

    def close(self) -> None:
        """Does nothing: there is no model to free."""

    async def _wait(self) -> None:
        self._in_flight += 1
        try:
            if self._slots is None:
                await asyncio.sleep(self._latency_s)
                return
            # a semaphore belongs to the loop that first waited for it
            async with self._free.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(self._slots)):
                await asyncio.sleep(self._latency_s)
        finally:
            self._in_flight -= 1


def _words(prompt: Prompt) -> int:
    return sum(len(message.content.split()) for message in prompt.messages)
