"""The vLLM engine: vLLM batches continuously and reuses the keys and values of known prefixes.

Its client runs on an event loop of its own and can be awaited from any loop; vLLM computes in child processes. If both sides use
the same model, one vLLM engine serves both, with an adapter per request.
"""

import asyncio
import gc
from collections.abc import Sequence
from typing import Any, Literal

from engage.engines.base import Completion, Prompt, Sampling, Scores, Side
from engage.engines.loop_thread import LoopThread
from engage.engines.model_sides import ModelSides
from engage.engines.vllm.config import VllmConfig
from engage.engines.vllm.served import Served, prepare
from engage.errors import EngineError
from engage.models import ChatTemplate, ModelsConfig


class VllmEngine:
    """See the module; implements Engine. ConfigError if vLLM is missing or refuses its arguments; ModelError as for `ModelSides`."""

    def __init__(self, models: ModelsConfig, config: VllmConfig) -> None:
        prepare()
        self.config = config
        self._sides = ModelSides(models)
        self._loop = LoopThread("engage-vllm")
        self._served: dict[Side, Served] = {}
        self._closed = False
        try:
            self._loop.wait(self._start())
        except BaseException:
            self.close()
            raise

    async def _start(self) -> None:
        refs, settings = self._sides.refs, self.config
        one = refs[Side.POLICY] == refs[Side.SIMULATOR]
        self._served[Side.POLICY] = Served(refs[Side.POLICY], settings.engine_args, 1 if one else 2)
        if one:
            self._served[Side.SIMULATOR] = self._served[Side.POLICY]
        else:
            given = settings.simulator_engine_args
            self._served[Side.SIMULATOR] = Served(
                refs[Side.SIMULATOR], settings.engine_args if given is None else given, 2
            )

    @property
    def has_room(self) -> bool:
        return any(served.rows < served.slots for served in self._served.values())

    async def complete(self, prompt: Prompt, sampling: Sampling, seeds: Sequence[int]) -> list[Completion]:
        """See Engine; one request per seed, because vLLM's own `n` would choose the seeds (seed, seed + 1, …).

        The requests still share the prompt's computation: vLLM caches its blocks when it schedules the first request.
        """
        return await self._call(prompt, self._complete(prompt, sampling, seeds))

    async def score(self, prompt: Prompt, choices: Sequence[str]) -> Scores:
        """See Engine; one next-token distribution is enough if all choices are single tokens."""
        return await self._call(prompt, self._score(prompt, choices))

    def close(self) -> None:
        """See Engine; all memory is free when it returns."""
        if self._closed:
            return
        self._closed = True
        self._loop.wait(self._stop())
        self._loop.close()
        gc.collect()

    async def _stop(self) -> None:
        served = set(self._served.values())
        self._served.clear()
        for one in served:
            one.close()

    async def _call(self, prompt: Prompt, work: Any) -> Any:
        try:
            return await self._loop.call(work)
        except EngineError:
            raise
        except Exception as error:
            reason = "the engine is closed" if self._closed else self._served[prompt.side].reason_of(error)
            raise EngineError(reason, prompt.key) from error

    async def _complete(self, prompt: Prompt, sampling: Sampling, seeds: Sequence[int]) -> list[Completion]:
        served, tokens = self._served[prompt.side], self._sides.tokenise(prompt)
        adapter = await served.adapter(self._sides.adapter(prompt))
        asked = {"temperature": sampling.temperature, "top_p": sampling.top_p, "max_tokens": sampling.max_tokens}
        asked |= _stops(self._sides.templates[prompt.side])
        outputs = await asyncio.gather(
            *(served.generate(prompt.key, tokens, adapter, {**asked, "seed": seed, "logprobs": 0}) for seed in seeds)
        )
        return [self._completion(prompt, output, seed) for output, seed in zip(outputs, seeds, strict=True)]

    def _completion(self, prompt: Prompt, output: Any, seed: int) -> Completion:
        (said,) = output.outputs
        text, taken = self._sides.templates[prompt.side].said(said.token_ids)
        reason: Literal["stop", "length"] = "length" if said.finish_reason == "length" and taken is None else "stop"
        count = len(said.token_ids)
        mean = said.cumulative_logprob / max(1, count)
        return Completion(text, len(output.prompt_token_ids), output.num_cached_tokens or 0, count, mean, reason, seed)

    async def _score(self, prompt: Prompt, choices: Sequence[str]) -> Scores:
        served, tokens = self._served[prompt.side], self._sides.tokenise(prompt)
        adapter = await served.adapter(self._sides.adapter(prompt))
        encoded = [self._sides.tokenise_choice(prompt.side, choice) for choice in choices]
        nexts: dict[tuple[int, ...], set[int]] = {(): set()}
        for choice in encoded:
            for at, token in enumerate(choice):
                nexts.setdefault(choice[:at], set()).add(token)
        outputs = await asyncio.gather(
            *(
                served.generate(
                    prompt.key,
                    tokens + said,
                    adapter,
                    {"temperature": 0.0, "max_tokens": 1, "logprob_token_ids": sorted(wanted)},
                )
                for said, wanted in nexts.items()
            )
        )
        by_prefix = {said: output.outputs[0].logprobs[0] for said, output in zip(nexts, outputs, strict=True)}
        sums = [sum(by_prefix[choice[:at]][token].logprob for at, token in enumerate(choice)) for choice in encoded]
        return Scores(tuple(sums), len(tokens), outputs[0].num_cached_tokens or 0)


def _stops(template: ChatTemplate) -> dict[str, Any]:
    """The ends of a reply as vLLM's arguments; an end of several tokens needs detokenised text."""
    stops: dict[str, Any] = {"stop_token_ids": sorted(template.end_tokens)}
    return stops | ({"stop": [template.stop_text], "detokenize": True} if template.stop_text else {})
