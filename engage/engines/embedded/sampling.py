"""A sequence while it is generated, and nucleus sampling with one uniform number per row and token (inverse transform)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from engage.engines.base import Sampling

NUCLEUS_CANDIDATES = (64, 512)
"""Numbers of most probable tokens to try in turn, each for the rows whose nucleus is larger than the last; then all tokens are sorted."""


@dataclass
class Row:
    """One sequence to generate; `cached` counts the prompt tokens that came from the cache."""

    tokens: tuple[int, ...]
    sampling: Sampling
    seed: int
    cached: int = 0
    generated: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    stopped: bool = False
    done: bool = False

    def take(self, tokens: list[int], logprobs: list[float], stopped: bool) -> None:
        """Complete the row: an end token is left out of `generated`, but its log-probability stays in `logprobs`."""
        self.generated = tokens[:-1] if stopped else tokens
        self.logprobs, self.stopped, self.done = logprobs, stopped, True


def nucleus_settings(samplings: Sequence[Sampling], device: Any) -> tuple[Any, Any]:
    """Temperatures and nucleus sizes, each [rows]; at temperature 0 the nucleus is only the most probable token."""
    temperature = torch.tensor([max(s.temperature, 1e-6) for s in samplings], device=device)
    return temperature, torch.tensor([s.top_p if s.temperature > 0 else 0.0 for s in samplings], device=device)


def choose(logits: Any, temperature: Any, top_p: Any, uniforms: Any) -> Any:
    """Sample one token per row from the nucleus of its tempered distribution, with the row's uniform number.

    `logits` [rows, vocabulary]; `temperature`, `top_p` and `uniforms` [rows].
    """
    probabilities = torch.softmax(logits / temperature[:, None], -1)
    tokens, covered = invert(probabilities, top_p, uniforms, NUCLEUS_CANDIDATES[0])
    for count in (*NUCLEUS_CANDIDATES[1:], probabilities.shape[-1]):
        left = (~covered).nonzero()[:, 0]
        if not len(left):
            break
        tokens[left], covered[left] = invert(probabilities[left], top_p[left], uniforms[left], count)
    return tokens


def invert(probabilities: Any, top_p: Any, uniforms: Any, count: int) -> tuple[Any, Any]:
    """Tokens [rows] sampled from the `count` most probable ones, and whether these hold the row's whole nucleus [rows]."""
    size = probabilities.shape[-1]
    values, tokens = probabilities.topk(count) if count < size else probabilities.sort(dim=-1, descending=True)
    covered = values.sum(-1) >= top_p
    before = values.cumsum(-1) - values
    values = torch.where(before < top_p[:, None], values, 0.0)
    values[:, 0] = values[:, 0].clamp_min(1e-12)
    cumulative = values.cumsum(-1)
    target = uniforms.to(cumulative.dtype)[:, None] * cumulative[:, -1:]
    picked = (cumulative <= target).sum(-1, keepdim=True)  # a uniform number that rounds to 1 would leave the nucleus
    picked = picked.minimum((values > 0).sum(-1, keepdim=True) - 1)
    return tokens.gather(1, picked)[:, 0], covered if count < size else torch.ones_like(covered)


def logprob_of(logits: Any, tokens: Any) -> Any:
    """Natural-log probabilities [rows] of `tokens` [rows] under `logits` [rows, vocabulary]."""
    return logits.gather(1, tokens[:, None])[:, 0] - logits.logsumexp(-1)
