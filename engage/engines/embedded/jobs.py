"""A request in the embedded engine, and how its caller is answered."""

import contextlib
import math
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from engage.engines.base import Prompt, Sampling, Scores
from engage.errors import EngineError

NOT_FINITE = (
    "the model's probabilities are not finite: its weights or the adapter's are damaged, or too large for the number type "
    "(engine.transformers.dtype)"
)


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


def score(following: Any, jobs: Sequence[Job]) -> None:
    """Answer scoring jobs: a choice's log-likelihood is the sum over its tokens, each given the prompt and the tokens before it."""
    import torch

    asked = [
        (following.rows[job.tokens + choice[:at]], token)
        for job in jobs
        for choice in job.choices
        for at, token in enumerate(choice)
    ]
    if not asked:
        return
    rows, tokens = torch.tensor(asked, device=following.logits.device).T
    logprobs = iter((following.logits[rows, tokens] - following.logits.logsumexp(-1)[rows]).tolist())
    for job in jobs:
        sums = tuple(sum(next(logprobs) for _ in choice) for choice in job.choices)
        if any(map(math.isnan, sums)):
            fail(job, NOT_FINITE)
        else:
            resolve(job, Scores(sums, len(job.tokens), following.cached[job.tokens]))
