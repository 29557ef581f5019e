"""The Engine protocol: what the method asks of a language model, and nothing about how it is served.

An engine owns batching, devices and retries of transient failures; callers only await, from any event loop. A request that fails
for good raises an `EngineError` with its name. Two engines give the same tree for the same seeds only if their arithmetic agrees;
the stored texts are the truth.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from engage.errors import ConfigError, EngineError


class Side(StrEnum):
    """The model that a request is for."""

    POLICY = "policy"
    SIMULATOR = "simulator"


class Sampling(BaseModel):
    """How a completion is sampled."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: float = Field(
        1.0, ge=0.0, le=2.0, description="sampling temperature; 0 always takes the most probable token"
    )
    top_p: float = Field(
        0.95,
        gt=0.0,
        le=1.0,
        description="nucleus sampling: sample from the smallest set of tokens with this total probability",
    )
    max_tokens: int = Field(48, ge=1, le=4096, description="maximum tokens of one reply")


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a chat prompt."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """A chat to be continued by the assistant role of one model side.

    `key` names the request for logs and errors (scenario, node path, purpose). `adapter` is a folder of LoRA weights, None for
    the side's own model as configured, "" for its base weights without any adapter.
    """

    key: str
    side: Side
    messages: tuple[Message, ...]
    adapter: str | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """One sampled reply up to its end of turn, stripped of surrounding white space.

    Thoughts and template markers that the model wrote stay in the text; `engage.simulation.flaws` removes and counts them.
    `prompt_tokens` are those of the whole call: the prompt's once, or once for each request that a server wanted for it; `cached_tokens`
    of them came from the cache. `mean_logprob` is the mean natural-log probability of the completion's tokens at temperature 1. A server
    may omit all four figures; they are then None, never 0. `finish_reason` says why the reply ended, or why it is empty: the model
    refused through the protocol's field (`refusal`), a filter removed the reply (`content_filter`), or it was only a thought (`thought`).
    """

    text: str
    prompt_tokens: int | None
    cached_tokens: int | None
    completion_tokens: int | None
    mean_logprob: float | None
    finish_reason: Literal["stop", "length", "refusal", "content_filter", "thought"]
    seed: int


@dataclass(frozen=True, slots=True)
class Scores:
    """Natural-log likelihood of each choice as the whole next text, in the order asked; not normalised over the choices."""

    logprobs: tuple[float, ...]
    prompt_tokens: int | None
    cached_tokens: int | None


def total(counts: Iterable[int | None]) -> int | None:
    """Sum of token counts; None if one of them is unknown."""
    known = list(counts)
    return None if None in known else sum(count for count in known if count is not None)


def counted(count: int | None) -> int:
    """A required token count; ConfigError if the server does not report it."""
    if count is None:
        raise ConfigError("the server reports no token counts, which are needed here; use another engine")
    return count


class ScoresUnavailable(EngineError):
    """The engine cannot compute likelihoods; the caller must sample an answer and read it instead.

    `spent`: the prompt tokens, and those of them from the cache, of a server that was asked for them all the same; None: nobody was asked.
    """

    def __init__(self, message: str, request_key: str, spent: tuple[int | None, int | None] | None = None) -> None:
        super().__init__(message, request_key)
        self.spent = spent


class Engine(Protocol):
    """See the module. An engine is created once per process and closed once."""

    @property
    def has_room(self) -> bool:
        """Whether one more request would start at once, because the waiting requests do not fill the engine."""

    async def complete(self, prompt: Prompt, sampling: Sampling, seeds: Sequence[int]) -> list[Completion]:
        """One completion per seed, in the order of the seeds; raises EngineError."""

    async def score(self, prompt: Prompt, choices: Sequence[str]) -> Scores:
        """Likelihood of each choice as the next text; raises EngineError, or ScoresUnavailable if the engine computes none."""

    def close(self) -> None:
        """Free the model; running requests fail with EngineError."""
