"""What requests cost: prices in US dollars per million tokens, and the cost of counted tokens."""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from engage.engines.base import Side

PER = 1_000_000


class Price(BaseModel):
    """One model's prices in US dollars per million tokens."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: float | None = Field(
        None,
        ge=0.0,
        le=1e6,
        allow_inf_nan=False,
        description="US dollars per million prompt tokens that are not cached",
    )
    cached: float | None = Field(
        None,
        ge=0.0,
        le=1e6,
        allow_inf_nan=False,
        description="US dollars per million prompt tokens that the server had in its cache; if unset, they cost as much as the others",
    )
    completion: float | None = Field(
        None, ge=0.0, le=1e6, allow_inf_nan=False, description="US dollars per million tokens that the model writes"
    )

    @property
    def known(self) -> bool:
        """Whether a price is set."""
        return self.prompt is not None or self.completion is not None


class Prices(BaseModel):
    """Prices of both models. What is not set costs nothing; without any price no cost is shown."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    policy: Price = Price()
    simulator: Price = Price()

    @property
    def known(self) -> bool:
        """Whether any price is set."""
        return self.policy.known or self.simulator.known

    def of(self, side: str) -> Price:
        """The price of a side's model: the policy's for a simulator without a price of its own."""
        return self.simulator if side == Side.SIMULATOR and self.simulator.known else self.policy

    def usd(self, rows: Iterable[Mapping[str, Any]]) -> float | None:
        """US dollars that the requests of `rows` cost: each has `side`, `prompt_tokens`, `cached_tokens` and `completion_tokens`.

        None without prices, or if a server did not report prompt or completion tokens. Unknown cached tokens count as not cached.
        """
        if not self.known:
            return None
        cost = 0.0
        for row in rows:
            prompt, cached, written = (row[name] for name in ("prompt_tokens", "cached_tokens", "completion_tokens"))
            if prompt is None or written is None:
                return None
            price, cached = self.of(row["side"]), cached or 0
            read = price.prompt or 0.0
            reused = read if price.cached is None else price.cached
            cost += (prompt - cached) * read + cached * reused + written * (price.completion or 0.0)
        return cost / PER


def dollars(usd: float | None) -> str:
    """An amount in words: cents from $0.10 on, two digits that count below."""
    if usd is None:
        return "unknown"
    return f"${usd:,.2f}" if usd >= 0.1 or usd == 0 else f"${usd:.2g}"
