"""Keeping account of model calls: an engine that passes everything on and records what it cost."""

import time
from collections.abc import Sequence

from engage.engine import Completion, Engine, Prompt, Sampling, Scores, total
from engage.tree import CallRecord


class RecordingEngine:
    """Records every answered request of one tree or dialogue in `calls`; implements Engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.calls: list[CallRecord] = []

    @property
    def has_room(self) -> bool:
        """See Engine."""
        return self._engine.has_room

    async def complete(self, prompt: Prompt, sampling: Sampling, seeds: Sequence[int]) -> list[Completion]:
        """See Engine; the prompt of n samples counts once."""
        started = time.perf_counter()
        completions = await self._engine.complete(prompt, sampling, seeds)
        first = completions[0]
        decoded = total(completion.completion_tokens for completion in completions)
        self._record(prompt, "complete", len(completions), first.prompt_tokens, first.cached_tokens, decoded, started)
        return completions

    async def score(self, prompt: Prompt, choices: Sequence[str]) -> Scores:
        """See Engine."""
        started = time.perf_counter()
        scores = await self._engine.score(prompt, choices)
        self._record(prompt, "score", len(choices), scores.prompt_tokens, scores.cached_tokens, 0, started)
        return scores

    def close(self) -> None:
        """Nothing: the engine behind belongs to whoever created it."""

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
        self.calls.append(CallRecord(prompt.key, prompt.side.value, kind, samples, tokens, cached, decoded, latency_s))
