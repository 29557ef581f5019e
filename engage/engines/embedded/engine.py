"""The embedded engine: transformers models in this process, on a CPU or a GPU, with all waiting requests batched.

The engine runs on a thread of its own and can be awaited from any event loop. It batches the requests that wait for one model,
reuses the keys and values of known prefixes, and samples every completion from a random stream of its own.
"""

import asyncio
import itertools
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from engage.engines.base import Completion, Prompt, Sampling, Scores
from engage.engines.embedded.jobs import NOT_FINITE, Job, fail, fits, resolve, score
from engage.engines.model_sides import ModelSides
from engage.errors import EngageError, EngineError, in_one_line
from engage.models import ModelRef, ModelsConfig, cpu_has_bfloat16
from engage.stats import is_finite

QUIET_S, LONGEST_WAIT_S = 0.004, 0.05
"""An idle engine waits for more requests until none comes for QUIET_S, at most LONGEST_WAIT_S."""
WORTH_TAKING, LONGEST_STAY_S = 0.25, 0.1
"""On a GPU, waiting jobs join the running rows once they bring WORTH_TAKING rows per running row, or after LONGEST_STAY_S if all fit:
a prefill costs as much as several steps. On a CPU they wait until no row is running."""
SWITCH_S = 0.00005
"""Python's thread switch interval while a GPU is used (the default is 5 ms): a prefill starts a thousand kernels, and each may wait
that long for the interpreter lock."""
MAX_LOADED = 4
MAX_BATCH = {"cpu": 64, "cuda": 512}


class TransformersConfig(BaseModel):
    """Sizes of the embedded engine."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_batch: int | None = Field(
        None,
        ge=1,
        le=4096,
        description="maximum number of sequences decoded together; if unset: 64 on a CPU, 512 on a GPU",
    )
    cache_mb: int | None = Field(
        None,
        ge=0,
        le=1_000_000,
        description="size of the cache of keys and values, in MB per model; if unset: a tenth of the memory, at most 1200 on a CPU",
    )
    device: str = Field("auto", description="where the model runs: `auto`, `cpu` or `cuda`")
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="number type of the weights; `auto`: bfloat16 if the device supports it natively, else float32",
    )


class TransformersEngine:
    """See the module; implements Engine. ModelError if weights are missing or a model's family is not served."""

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
        self._joins = cuda
        self._max_batch = config.max_batch or MAX_BATCH[self._device]
        self._sides = ModelSides(models)
        for ref in dict.fromkeys(self._sides.refs.values()):
            check_family(ref.name, ref.path)
        self._loaded: OrderedDict[tuple[str, str | None], Any] = OrderedDict()
        self._condition = threading.Condition()
        self._waiting: list[Job] = []
        self._running: dict[tuple[str, str | None], list[Job]] = {}
        self._closed = False
        self.batches = 0  # begun since the start
        self._thread = threading.Thread(target=self._work, name="engage-engine", daemon=True)
        self._thread.start()

    @property
    def has_room(self) -> bool:
        """See Engine: True while the waiting requests do not fill the next batch."""
        return sum(job.rows for job in list(self._waiting)) < self._max_batch

    async def complete(self, prompt: Prompt, sampling: Sampling, seeds: Sequence[int]) -> list[Completion]:
        return await self._ask(
            Job(prompt, self._model_of(prompt), self._sides.tokenise(prompt), sampling, tuple(seeds))
        )

    async def score(self, prompt: Prompt, choices: Sequence[str]) -> Scores:
        encoded = tuple(self._sides.tokenise_choice(prompt.side, choice) for choice in choices)
        return await self._ask(Job(prompt, self._model_of(prompt), self._sides.tokenise(prompt), None, choices=encoded))

    def close(self) -> None:
        """See Engine; waits for the running step, because a thread inside torch at exit would abort the process."""
        with self._condition:
            self._closed = True
            self._condition.notify()
        self._thread.join()
        self._loaded.clear()
        if self._device == "cuda":
            import torch

            torch.cuda.empty_cache()

    async def _ask(self, job: Job) -> Any:
        with self._condition:
            if self._closed:
                raise EngineError("the engine is closed", job.prompt.key)
            self._waiting.append(job)
            self._condition.notify()
        return await asyncio.wrap_future(job.future)

    def _model_of(self, prompt: Prompt) -> tuple[str, str | None]:
        return str(self._sides.refs[prompt.side].path), self._sides.adapter(prompt)

    def _work(self) -> None:
        """The engine's thread: start waiting jobs, add a token to all running rows, repeat until the engine is closed."""
        while True:
            jobs = self._next_jobs()
            if jobs is None:
                break
            if jobs:
                self._try(jobs[0].model, partial(self._begin, jobs), jobs)
            for model in list(self._running):
                self._try(model, partial(self._step, model))
        for job in itertools.chain(self._waiting, *self._running.values()):
            fail(job, "the engine was closed")

    def _next_jobs(self) -> list[Job] | None:
        """The jobs to start now, all for one model (the longest waiting first); None when the engine is closed.

        If nothing is running, it waits for jobs until arrivals pause.
        """
        with self._condition:
            if not self._running:
                while not self._waiting and not self._closed:
                    self._condition.wait()
                deadline = time.monotonic() + LONGEST_WAIT_S
                while not self._closed and self._condition.wait(QUIET_S) and time.monotonic() < deadline:
                    pass
            if self._closed:
                return None
            for model in dict.fromkeys(job.model for job in self._waiting):
                taken = self._worth_taking(model)
                if taken:
                    chosen = set(map(id, taken))
                    self._waiting = [job for job in self._waiting if id(job) not in chosen]
                    return taken
            return []

    def _worth_taking(self, model: tuple[str, str | None]) -> list[Job]:
        """A model's waiting jobs that fit beside its running rows; empty if they are too few yet to pay for a prefill."""
        decoder = self._loaded.get(model)
        if (self._running and not self._joins) or (decoder and decoder.waits):
            return []
        live = decoder.live if decoder else 0
        taken: list[Job] = []
        rows, more = 0, False
        for job in self._waiting:
            if job.model == model and not more:
                more = live + rows > 0 and live + rows + job.rows > self._max_batch
                if not more:
                    taken.append(job)
                    rows += job.rows
        stayed = bool(taken) and not more and time.monotonic() - taken[0].asked_s >= LONGEST_STAY_S
        return taken if stayed or rows >= WORTH_TAKING * live else []

    def _try(self, model: tuple[str, str | None], call: Callable[[], None], jobs: Sequence[Job] = ()) -> None:
        """Run `call`. On an error all running jobs of the model fail; if memory is short they are retried in halves."""
        import torch

        try:
            call()
            return
        except Exception as error:  # leaving this block frees the error's tensors before a retry
            short = isinstance(error, (torch.OutOfMemoryError, MemoryError))
            said = str(error) if isinstance(error, EngageError) else f"{type(error).__name__}: {in_one_line(error)}"
            reason = "the engine was closed" if self._closed else said
        lost = [job for job in dict.fromkeys([*self._running.pop(model, []), *jobs]) if not job.future.done()]
        if model in self._loaded:
            self._loaded[model].clear()
        if short and len(lost) > 1:
            for some in (lost[: len(lost) // 2], lost[len(lost) // 2 :]):
                self._try(model, partial(self._run, some), some)
            return
        for job in lost:
            fail(job, "out of memory; lower engine.transformers.max_batch or cache_mb" if short else reason)

    def _run(self, jobs: Sequence[Job]) -> None:
        """Answer these jobs before all others."""
        self._begin(jobs)
        while jobs[0].model in self._running:
            self._step(jobs[0].model)

    def _begin(self, jobs: Sequence[Job]) -> None:
        """Answer the scoring jobs, and start rows for the completions."""
        from engage.engines.embedded.sampling import Row

        decoder = self._decoder(*jobs[0].model)
        jobs = [job for job in jobs if fits(job, decoder.max_length)]
        scoring = [job for job in jobs if not job.sampling]
        for job in jobs:
            if job.sampling:
                job.drawn = [Row(job.tokens, job.sampling, seed) for seed in job.seeds]
        rows = [row for job in jobs for row in job.drawn]
        scored = {job.tokens + choice[:at] for job in scoring for choice in job.choices for at in range(len(choice))}
        if not rows and not scored:
            return
        following = decoder.next_logits([*scored, *(row.tokens for row in rows)])
        score(following, scoring)
        self.batches += 1
        if rows:
            self._running.setdefault(jobs[0].model, []).extend(job for job in jobs if job.drawn)
            self._answer(jobs[0].model, decoder.begin(rows, following))

    def _step(self, model: tuple[str, str | None]) -> None:
        self._answer(model, self._loaded[model].step())

    def _answer(self, model: tuple[str, str | None], completed: Sequence[Any]) -> None:
        """Answer the jobs whose rows are all complete now."""
        if not completed:
            return
        left = []
        for job in self._running[model]:
            if all(row.done for row in job.drawn):
                self._resolve(job)
            else:
                left.append(job)
        if left:
            self._running[model] = left
        else:
            del self._running[model]

    def _resolve(self, job: Job) -> None:
        if all(is_finite(value) for row in job.drawn for value in row.logprobs):
            resolve(job, [self._completion(job, row) for row in job.drawn])
        else:
            fail(job, NOT_FINITE)

    def _completion(self, job: Job, row: Any) -> Completion:
        text, taken = self._sides.templates[job.prompt.side].said(row.generated)
        logprobs = row.logprobs[:taken]  # an end marker of several tokens is only seen in the complete row
        mean = sum(logprobs) / max(1, len(logprobs))
        reason: Literal["stop", "length"] = "stop" if row.stopped or taken is not None else "length"
        return Completion(text, len(row.tokens), row.cached, len(logprobs), mean, reason, row.seed)

    def _decoder(self, folder: str, adapter: str | None) -> Any:
        key = (folder, adapter)
        if key not in self._loaded:
            while len(self._loaded) >= MAX_LOADED and (
                idle := [key for key in self._loaded if key not in self._running]
            ):
                del self._loaded[idle[0]]
            ref = next(ref for ref in self._sides.refs.values() if str(ref.path) == folder)
            self._loaded[key] = self._load(ref, adapter)
        self._loaded.move_to_end(key)
        return self._loaded[key]

    def _load(self, ref: ModelRef, adapter: str | None) -> Any:
        from engage.engines.embedded.loading import load_decoder

        side = next(side for side, known in self._sides.refs.items() if known == ref)
        ends = self._sides.templates[side].end_tokens
        cache = self.config.cache_mb * 1_000_000 if self.config.cache_mb is not None else None
        return load_decoder(ref, adapter, self._device, self._dtype, ends, cache, self._max_batch, lambda: self._closed)
