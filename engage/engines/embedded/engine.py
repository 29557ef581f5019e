"""The embedded engine: transformers models in this process, on a CPU or a GPU, batched over whatever is pending.

The engine lives on its own thread and can be awaited from any event loop. It takes all requests that wait for one model,
reuses the keys and values of known prefixes, and draws every completion from its own random stream.
"""

import asyncio
import os
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from engage.engines.base import Completion, Prompt, Sampling, Scores
from engage.engines.embedded.jobs import Job, fail, fits, resolve
from engage.engines.model_sides import ModelSides
from engage.errors import EngineError
from engage.models import ModelRef, ModelsConfig, check_adapter, cpu_has_bfloat16

QUIET_S, LONGEST_WAIT_S = 0.004, 0.05
SWITCH_S = 0.0005
"""How soon threads of this process give way to the engine's on a GPU: it starts a thousand kernels a prefill, and each may have to
wait that long for Python's lock (5 ms by default)."""
MAX_LOADED = 4
MAX_BATCH = {"cpu": 64, "cuda": 512}
CPU_CACHE_BYTES = 1_200_000_000
MEMORY_SHARE = 0.1
"""Of the memory that is free when a model is loaded: what its cache may take, and on a GPU its buffers once more."""
BUFFER_COLUMNS = 1024
"""Tokens of each of the longest dialogues that the buffers of a full batch have room for, where memory allows."""


class TransformersConfig(BaseModel):
    """Sizes of the embedded engine."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_batch: int | None = Field(
        None, ge=1, le=4096, description="sequences decoded together at most; left out: 64 on a CPU, 512 on a GPU"
    )
    cache_mb: int | None = Field(
        None,
        ge=0,
        le=1_000_000,
        description="keys and values kept for reuse, in MB per model; left out: a tenth of the memory, on a CPU 1200 at most",
    )
    device: str = Field("auto", description="`auto`, `cpu` or `cuda`")
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="`auto`: bfloat16 where the device multiplies it natively, else float32"
    )


class TransformersEngine:
    """See the module; implements Engine. Models are loaded here, so that a missing one is told at once (ModelError)."""

    def __init__(self, models: ModelsConfig, config: TransformersConfig) -> None:
        import torch

        from engage.engines.embedded.attention import check_family

        self.config = config
        cuda = config.device == "cuda" or (config.device == "auto" and torch.cuda.is_available())
        self._device = "cuda" if cuda else "cpu"
        wanted = config.dtype if config.dtype != "auto" else "bfloat16" if cuda or cpu_has_bfloat16() else "float32"
        self._dtype = getattr(torch, wanted)
        if cuda:
            sys.setswitchinterval(SWITCH_S)
        self._max_batch = config.max_batch or MAX_BATCH[self._device]
        self._sides = ModelSides(models)
        for ref in dict.fromkeys(self._sides.refs.values()):
            check_family(ref.name, ref.path)
        self._loaded: OrderedDict[tuple[str, str | None], Any] = OrderedDict()
        self._condition = threading.Condition()
        self._waiting: list[Job] = []
        self._closed = False
        self._counts = {"batches": 0, "rows": 0, "busy_s": 0.0}
        self._thread = threading.Thread(target=self._work, name="engage-engine", daemon=True)
        self._thread.start()

    @property
    def has_room(self) -> bool:
        """See Engine: what waits while a batch is computed does not fill the next one yet."""
        return sum(job.rows for job in list(self._waiting)) < self._max_batch

    async def complete(self, prompt: Prompt, sampling: Sampling, seeds: Sequence[int]) -> list[Completion]:
        """See Engine."""
        return await self._ask(Job(prompt, self._sides.tokenise(prompt), sampling, tuple(seeds)))

    async def score(self, prompt: Prompt, choices: Sequence[str]) -> Scores:
        """See Engine."""
        encoded = tuple(self._sides.tokenise_choice(prompt.side, choice) for choice in choices)
        return await self._ask(Job(prompt, self._sides.tokenise(prompt), None, choices=encoded))

    def close(self) -> None:
        """See Engine; waits for the step under way: a thread that is within torch at the exit would abort the process."""
        with self._condition:
            self._closed = True
            self._condition.notify()
        self._thread.join()
        self._loaded.clear()
        if self._device == "cuda":
            import torch

            torch.cuda.empty_cache()

    def stats(self) -> dict[str, float]:
        """Totals since the start: prefill, cached and decode tokens, batches, rows, seconds busy."""
        totals: dict[str, float] = dict(self._counts)
        for name in ("prefill_tokens", "cached_tokens", "decode_tokens"):
            totals[name] = sum(getattr(decoder, name) for decoder in list(self._loaded.values()))
        return totals

    async def _ask(self, job: Job) -> Any:
        with self._condition:
            if self._closed:
                raise EngineError("the engine is closed", job.prompt.key)
            self._waiting.append(job)
            self._condition.notify()
        return await asyncio.wrap_future(job.future)

    def _model_of(self, job: Job) -> tuple[str, str | None]:
        """Which weights answer: the base folder and the adapter's, so that both sides share what they have in common."""
        return str(self._sides.refs[job.prompt.side].path), self._sides.adapter(job.prompt)

    def _work(self) -> None:
        while True:
            jobs = self._next_batch()
            if jobs is None:
                return
            started = time.perf_counter()
            self._answer(jobs)
            self._counts["busy_s"] += time.perf_counter() - started

    def _next_batch(self) -> list[Job] | None:
        """Jobs of the model that has waited longest, once arrivals pause; None when the engine is closed."""
        with self._condition:
            while not self._waiting and not self._closed:
                self._condition.wait()
            deadline = time.monotonic() + LONGEST_WAIT_S
            while not self._closed and self._condition.wait(QUIET_S) and time.monotonic() < deadline:
                pass
            if self._closed:
                for job in self._waiting:
                    fail(job, "the engine was closed")
                return None
            model = self._model_of(self._waiting[0])
            taken: list[Job] = []
            rows = 0
            for job in self._waiting:
                if self._model_of(job) == model and (not taken or rows + job.rows <= self._max_batch):
                    taken.append(job)
                    rows += job.rows
            self._waiting = [job for job in self._waiting if job not in taken]
            return taken

    def _answer(self, jobs: Sequence[Job]) -> None:
        import torch

        try:
            decoder = self._decoder(*self._model_of(jobs[0]))
            self._run(decoder, [job for job in jobs if fits(job, decoder.max_length)])
        except (torch.OutOfMemoryError, MemoryError):
            if len(jobs) == 1:
                fail(jobs[0], "out of memory; lower engine.transformers.max_batch or cache_mb")
                return
            half = len(jobs) // 2
            self._answer(jobs[:half])
            self._answer(jobs[half:])
        except Exception as error:
            reason = "the engine was closed" if self._closed else f"{type(error).__name__}: {error}"
            for job in jobs:
                fail(job, reason)

    def _run(self, decoder: Any, jobs: Sequence[Job]) -> None:
        from engage.engines.embedded.sampling import Row

        completing = [
            (job, [Row(job.tokens, job.sampling, seed) for seed in job.seeds]) for job in jobs if job.sampling
        ]
        scoring = [job for job in jobs if not job.sampling]
        rows = [row for _, some in completing for row in some]
        scored = {job.tokens + choice[:at] for job in scoring for choice in job.choices for at in range(len(choice))}
        if not rows and not scored:
            return
        found = decoder.next_logits([*scored, *(row.tokens for row in rows)])
        _score(found, scoring)
        if rows:
            decoder.decode(rows, found)
        for job, some in completing:
            resolve(job, [self._completion(job, row) for row in some])
        self._counts["batches"] += 1
        self._counts["rows"] += len(rows) + len(scoring)

    def _completion(self, job: Job, row: Any) -> Completion:
        text, taken = self._sides.templates[job.prompt.side].said(row.generated)
        logprobs = row.logprobs[:taken]  # an end of several tokens is seen when the row is whole
        mean = sum(logprobs) / max(1, len(logprobs))
        reason: Literal["stop", "length"] = "stop" if row.stopped or taken is not None else "length"
        return Completion(text, len(row.tokens), row.cached, len(logprobs), mean, reason, row.seed)

    def _decoder(self, folder: str, adapter: str | None) -> Any:
        key = (folder, adapter)
        if key not in self._loaded:
            while len(self._loaded) >= MAX_LOADED:
                self._loaded.popitem(last=False)
            ref = next(ref for ref in self._sides.refs.values() if str(ref.path) == folder)
            self._loaded[key] = self._load(ref, adapter)
        self._loaded.move_to_end(key)
        return self._loaded[key]

    def _load(self, ref: ModelRef, adapter: str | None) -> Any:
        import torch
        from transformers import AutoModelForCausalLM

        from engage.engines.embedded.attention import ATTENTION
        from engage.engines.embedded.decoder import Decoder

        first = torch.float32 if adapter else self._dtype
        model = AutoModelForCausalLM.from_pretrained(ref.path, dtype=first, attn_implementation=ATTENTION)
        if adapter:
            model = _merged(model, ref, adapter)
        model = model.to(self._device, self._dtype).eval()
        ends = model.generation_config.eos_token_id
        end_tokens = {ends} if isinstance(ends, int) else set(ends or ())
        end_tokens |= next(
            self._sides.templates[side] for side, known in self._sides.refs.items() if known == ref
        ).end_tokens
        share = MEMORY_SHARE * _free_memory(self._device)
        cache = self.config.cache_mb * 1_000_000 if self.config.cache_mb is not None else share
        if self._device == "cpu":
            return Decoder(model, end_tokens, min(cache, CPU_CACHE_BYTES), lambda: self._closed)
        return Decoder(model, end_tokens, cache, lambda: self._closed, share, self._max_batch * BUFFER_COLUMNS)


def _score(found: Any, jobs: Sequence[Job]) -> None:
    """A choice's likelihood is the product over its tokens, each read after the prompt and the tokens before it."""
    import torch

    asked = [
        (found.rows[job.tokens + choice[:at]], token)
        for job in jobs
        for choice in job.choices
        for at, token in enumerate(choice)
    ]
    if not asked:
        return
    rows, tokens = torch.tensor(asked, device=found.logits.device).T
    logprobs = iter((found.logits[rows, tokens] - found.logits.logsumexp(-1)[rows]).tolist())
    for job in jobs:
        sums = tuple(sum(next(logprobs) for _ in choice) for choice in job.choices)
        resolve(job, Scores(sums, len(job.tokens), found.cached[job.tokens]))


def _merged(model: Any, ref: ModelRef, adapter: str) -> Any:
    """The base with the LoRA weights merged in, in float32 and rounded once: beside it they cost a third of the time."""
    from peft import PeftModel

    check_adapter(adapter, ref)
    return PeftModel.from_pretrained(model, adapter).merge_and_unload()


def _free_memory(device: str) -> int:
    """Bytes free on a GPU, or the machine's memory."""
    import torch

    if device == "cuda":
        return int(torch.cuda.mem_get_info()[0])
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
