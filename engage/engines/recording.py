"""An engine that passes every request on and records its token counts and latency.

A figure that is not finite, or a count out of range, becomes None here, whichever engine is behind.
"""

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass

from engage.engines.base import Completion, Engine, Prompt, Sampling, Scores, ScoresUnavailable, total
from engage.errors import EngineError
from engage.stats import is_finite

LARGEST_COUNT = 2**62


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One engine request. `kind` is `complete` or `score`; `samples` counts its completions or choices.

    A token count that the server omits is None.
    """

    key: str
    side: str
    kind: str
    samples: int
    prompt_tokens: int | None
    cached_tokens: int | None
    completion_tokens: int | None
    latency_s: float


class RecordingEngine:
    """Records every answered request of one tree or dialogue in `calls`; implements Engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.calls: list[CallRecord] = []

    @property
    def has_room(self) -> bool:
        return self._engine.has_room

    async def complete(self, prompt: Prompt, sampling: Sampling, seeds: Sequence[int]) -> list[Completion]:
        """See Engine; a prompt with n samples counts as often as the engine says, usually once."""
        started = time.perf_counter()
        completions = [_finite(one) for one in await self._engine.complete(prompt, sampling, seeds)]
        if len(completions) != len(seeds):
            raise EngineError(f"the engine gives {len(completions)} replies for {len(seeds)} seeds", prompt.key)
        first = completions[0]
        decoded = total(completion.completion_tokens for completion in completions)
        self._record(prompt, "complete", len(completions), first.prompt_tokens, first.cached_tokens, decoded, started)
        return completions

    async def score(self, prompt: Prompt, choices: Sequence[str]) -> Scores:
        """See Engine; a request whose answer had no usable likelihoods was answered, and is recorded too."""
        started = time.perf_counter()
        try:
            scores = await self._engine.score(prompt, choices)
        except ScoresUnavailable as error:
            if error.spent is not None:
                self._record(prompt, "score", len(choices), *error.spent, 0, started)
            raise
        if len(scores.logprobs) != len(choices):
            raise EngineError(f"the engine gives {len(scores.logprobs)} figures for {len(choices)} choices", prompt.key)
        self._record(prompt, "score", len(choices), scores.prompt_tokens, scores.cached_tokens, 0, started)
        return scores

    def close(self) -> None:
        """Does nothing: whoever created the engine behind this one closes it."""

    def _record(
        self,
        prompt: Prompt,
        kind: str,
        samples: int,
        tokens: int | None,
        cached: int | None,
        decoded: int | None,
        started: float,
    ) -> None:
        latency_s = time.perf_counter() - started
        counts = (_count(tokens), _count(cached), _count(decoded))
        self.calls.append(CallRecord(prompt.key, prompt.side.value, kind, samples, *counts, latency_s))


def _finite(completion: Completion) -> Completion:
    mean = completion.mean_logprob
    return completion if mean is None or is_finite(mean) else dataclasses.replace(completion, mean_logprob=None)


def _count(value: int | None) -> int | None:
    return int(value) if is_finite(value) and 0 <= value < LARGEST_COUNT else None
