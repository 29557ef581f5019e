"""The baseline: transformers' own `generate` behind the Engine protocol, so that the same sweep measures it.

Requests that are started together become one `generate` call on a padded batch, in the machine's own number type and with
transformers' default attention. It uses base weights only, samples a batch with the first request's seed, and reuses no prompt.
"""

import asyncio
from collections.abc import Collection, Sequence
from typing import Any

from engage.engines.base import Completion, Prompt, Sampling, Scores, ScoresUnavailable, Side
from engage.engines.model_sides import ModelSides
from engage.errors import EngineError
from engage.models import ModelsConfig, native_dtype, release_memory


class PlainGenerate:
    """See the module; implements Engine for the policy side only. ModelError if the weights are missing."""

    def __init__(self, models: ModelsConfig) -> None:
        import torch
        from transformers import AutoModelForCausalLM

        bare = {"policy_adapter": None, "simulator_adapter": None, "simulator_model": models.policy_model}
        self._sides = ModelSides(models.model_copy(update=bare))
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        path = self._sides.refs[Side.POLICY].path
        self._model = AutoModelForCausalLM.from_pretrained(path, dtype=native_dtype()).to(self.device).eval()
        self._waiting: list[tuple[Prompt, Sampling, int, asyncio.Future[Completion]]] = []

    @property
    def has_room(self) -> bool:
        return True

    async def complete(self, prompt: Prompt, sampling: Sampling, seeds: Sequence[int]) -> list[Completion]:
        """See Engine; EngineError for a request with an adapter or for the simulator side."""
        if prompt.adapter or prompt.side is not Side.POLICY:
            raise EngineError("plain `generate` answers with the policy's base weights only", prompt.key)
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._answer)  # runs after all requests that are started together with this one
        futures = [loop.create_future() for _ in seeds]
        self._waiting += [(prompt, sampling, seed, future) for seed, future in zip(seeds, futures, strict=True)]
        return list(await asyncio.gather(*futures))

    async def score(self, prompt: Prompt, choices: Sequence[str]) -> Scores:
        raise ScoresUnavailable("plain `generate` scores nothing", prompt.key)

    def close(self) -> None:
        self._model = None
        release_memory()

    def _answer(self) -> None:
        waiting, self._waiting = self._waiting, []
        try:
            replies = self._generate([one[0] for one in waiting], waiting[0][1], waiting[0][2])
        except Exception as error:  # out of memory, among others
            for prompt, _, _, future in waiting:
                if not future.done():
                    future.set_exception(EngineError(f"{type(error).__name__}: {error!s:.200}", prompt.key))
            return
        for (_, _, seed, future), (prompt_tokens, tokens, text) in zip(waiting, replies, strict=True):
            reason: Any = "stop" if len(tokens) < waiting[0][1].max_tokens else "length"
            if not future.done():
                future.set_result(Completion(text, prompt_tokens, 0, len(tokens), None, reason, seed))

    def _generate(self, prompts: Sequence[Prompt], sampling: Sampling, seed: int) -> list[tuple[int, list[int], str]]:
        """For each prompt: its number of tokens, the sampled tokens up to the end of turn, and their text."""
        import torch

        template = self._sides.templates[Side.POLICY]
        tokenizer = template.tokenizer
        encoded = [self._sides.tokenise(prompt) for prompt in prompts]
        width = max(map(len, encoded))
        pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
        ids = torch.tensor([[pad] * (width - len(row)) + list(row) for row in encoded], device=self.device)
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in encoded], device=self.device)
        drawn: dict[str, Any] = {"do_sample": False}
        if sampling.temperature > 0:
            drawn = {"do_sample": True, "temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}
        torch.manual_seed(seed % 2**63)
        with torch.inference_mode():
            output = self._model.generate(
                ids,
                attention_mask=mask,
                max_new_tokens=sampling.max_tokens,
                pad_token_id=pad,
                eos_token_id=sorted(template.end_tokens),
                **drawn,
            )
        rows = [_first_turn(row, template.end_tokens) for row in output[:, width:].tolist()]
        texts = tokenizer.batch_decode(rows, skip_special_tokens=True)
        return [(len(said), row, text.strip()) for said, row, text in zip(encoded, rows, texts, strict=True)]


def _first_turn(row: list[int], ends: Collection[int]) -> list[int]:
    """The tokens up to and including the first end of turn; all tokens if there is none."""
    return next((row[: at + 1] for at, token in enumerate(row) if token in ends), row)
