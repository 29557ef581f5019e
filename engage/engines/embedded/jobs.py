"""A request in the embedded engine, and how its caller is answered."""

import contextlib
import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from engage.engines.base import Prompt, Sampling
from engage.errors import EngineError


@dataclass(eq=False)
class Job:
    """One request: its model (weights folder and adapter folder), prompt tokens, and either seeds to complete or choices to score.

    `future` is awaited by the caller. `drawn` holds the rows of its completions once it is started; `asked_s` is its time of
    arrival on the monotonic clock.
    """

    prompt: Prompt
    model: tuple[str, str | None]
    tokens: tuple[int, ...]
    sampling: Sampling | None
    seeds: tuple[int, ...] = ()
    choices: tuple[tuple[int, ...], ...] = ()
    future: "Future[Any]" = field(default_factory=Future)
    asked_s: float = field(default_factory=time.monotonic)
    drawn: list[Any] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """Sequences that it adds to a batch."""
        return max(1, len(self.seeds))


def fits(job: Job, max_length: int) -> bool:
    """Whether the request fits into the model's context; if not, this job fails, and no other."""
    new = job.sampling.max_tokens if job.sampling else max(map(len, job.choices), default=0)
    if len(job.tokens) + new <= max_length:
        return True
    fail(job, f"{len(job.tokens)} prompt tokens and {new} new ones are more than the model's {max_length}")
    return False


def fail(job: Job, reason: str) -> None:
    """Answer with an EngineError that names the request."""
    with contextlib.suppress(Exception):  # the caller may have gone
        job.future.set_exception(EngineError(reason, job.prompt.key))


def resolve(job: Job, result: Any) -> None:
    """Answer with the result."""
    with contextlib.suppress(Exception):  # the caller may have gone
        job.future.set_result(result)
