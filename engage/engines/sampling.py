"""One sequence while it is generated, and how its next token is drawn."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from engage.engine import Sampling

NUCLEUS_CANDIDATES = (64, 512)
"""How many of the most probable tokens are looked at, in turn, before all are: the fewer, the faster."""


@dataclass
class Row:
    """One sequence to generate. `logits` are those of the next token, filled in by the prefill."""

    tokens: tuple[int, ...]
    sampling: Sampling
    seed: int
    logits: Any = None
    cached: int = 0
    generated: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    stopped: bool = False
    last: int = 0

    @property
    def finished(self) -> bool:
        """Nothing more is drawn: the model ended, or the row has all the tokens it may have."""
        return self.stopped or len(self.generated) >= self.sampling.max_tokens

    def take(self, token: int, logprob: float, ends: bool) -> None:
        """Add a drawn token; an end token is not part of the text."""
        self.last, self.stopped = token, ends
        self.logprobs.append(logprob)
        if not ends:
            self.generated.append(token)


def choose(logits: Any, samplings: Sequence[Sampling], uniforms: Sequence[float]) -> Any:
    """One token per row: the nucleus of the tempered distribution, inverted at the row's uniform number."""
    import torch

    temperature = torch.tensor([max(s.temperature, 1e-6) for s in samplings], device=logits.device)
    probabilities = torch.softmax(logits / temperature[:, None], -1)
    top_p = torch.tensor([s.top_p if s.temperature > 0 else 0.0 for s in samplings], device=logits.device)
    for count in NUCLEUS_CANDIDATES:
        values, tokens = probabilities.topk(min(count, probabilities.shape[-1]))
        if not bool((values.sum(-1) < top_p).any()):
            break
    else:
        values, tokens = probabilities.sort(dim=-1, descending=True)
    before = values.cumsum(-1) - values
    values = torch.where(before < top_p[:, None], values, 0.0)
    values[:, 0] = values[:, 0].clamp_min(1e-12)
    cumulative = values.cumsum(-1)
    target = torch.tensor(uniforms, device=logits.device, dtype=cumulative.dtype)[:, None] * cumulative[:, -1:]
    picked = (cumulative <= target).sum(-1, keepdim=True)  # a uniform number that rounds to 1 would leave the nucleus
    picked = picked.minimum((values > 0).sum(-1, keepdim=True) - 1)
    return tokens.gather(1, picked)[:, 0]
