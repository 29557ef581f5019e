"""A request while it waits in the embedded engine, and how its caller is answered."""

import contextlib
import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from engage.engines.base import Prompt, Sampling
from engage.errors import EngineError


@dataclass(eq=False)
class Job:
    """One request: the weights that answer (folder and adapter's folder, so that both sides share what they have in common),
    `tokens` of its prompt, seeds to complete or choices to score, and the future its caller awaits.

    `drawn` are the rows of its completions once it is taken up, `asked_s` when it came, by the monotonic clock.
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
    """Whether the model can see all of the request; one that it cannot is failed, and not those that came with it."""
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
