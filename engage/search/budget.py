"""Limits of a cycle's collect, the pilot's estimate of its cost, and which scenarios come next. Pure arithmetic.

Decisions are made between waves of shards, from whole trees in scenario order. So the trees of a cycle do not depend on timing,
unless `max_hours` ends it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from engage.engines.prices import dollars
from engage.errors import ConfigError

NO_COUNTS = "collect.budget.max_tokens and max_usd cannot be enforced; set collect.budget.max_calls or max_hours"
PILOT_SHARE = 0.04
PILOT_LEAST = 4
WORTH_A_PILOT = 50


class BudgetConfig(BaseModel):
    """Limits of one cycle's collect. No tree is started that would exceed a limit if it cost as much as the most expensive so far.

    Hours are wall-clock time: each of many trees at once takes longer than one of the few in the pilot.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_calls: int | None = Field(None, ge=1, le=2**63 - 1, description="maximum number of requests to the engine")
    max_tokens: int | None = Field(
        None,
        ge=1,
        le=2**63 - 1,
        description="maximum number of prompt tokens (cached ones included) plus completion tokens",
    )
    max_usd: float | None = Field(
        None,
        gt=0.0,
        le=1e9,
        allow_inf_nan=False,
        description="maximum cost of the searches in US dollars, by the prices in engine.prices",
    )
    max_hours: float | None = Field(
        None, gt=0.0, le=10_000.0, allow_inf_nan=False, description="maximum hours of one run of collect"
    )

    @property
    def limited(self) -> bool:
        """Whether any limit is set."""
        return any(limit is not None for limit in (self.max_calls, self.max_tokens, self.max_usd, self.max_hours))

    @property
    def counted(self) -> bool:
        """Whether requests, tokens or dollars are limited."""
        return any(limit is not None for limit in (self.max_calls, self.max_tokens, self.max_usd))


@dataclass(frozen=True)
class Spent:
    """Cost of a cycle's stored trees. `most_calls` and `most_tokens` are those of the most expensive tree, `longest_s` the seconds of the slowest.

    Tokens are None if a server does not report them. `usd` and `most_usd` are US dollars, None without prices or without tokens.
    """

    trees: int = 0
    simulations: int = 0
    calls: int = 0
    tokens: int | None = 0
    most_calls: int = 0
    most_tokens: int | None = 0
    usd: float | None = None
    most_usd: float | None = None
    longest_s: float = 0.0


def pilot_size(scenarios: int, limited: bool) -> int:
    """Number of scenarios in the pilot: 4 % of them, at least 4; 0 for fewer than 50 scenarios without a limit."""
    if scenarios < WORTH_A_PILOT and not limited:
        return 0
    return min(scenarios, max(PILOT_LEAST, round(PILOT_SHARE * scenarios)))


def affordable_trees(config: BudgetConfig, spent: Spent, hours: float) -> int | None:
    """Number of trees that the limits still allow, None if there is no limit yet; `hours` have passed in this run.

    ConfigError if tokens or dollars are limited but the server does not report the tokens.
    """
    uncounted = spent.tokens is None or spent.most_tokens is None
    if uncounted and (config.max_tokens is not None or config.max_usd is not None):
        raise ConfigError(f"{NO_COUNTS}: the server did not report the tokens of the requests so far")
    room = []
    if config.max_calls is not None and spent.most_calls:
        room.append((config.max_calls - spent.calls) // spent.most_calls)
    if config.max_tokens is not None and spent.tokens is not None and spent.most_tokens:
        room.append((config.max_tokens - spent.tokens) // spent.most_tokens)
    if config.max_usd is not None and spent.usd is not None and spent.most_usd:
        room.append(int((config.max_usd - spent.usd) // spent.most_usd))
    if config.max_hours is not None and hours + spent.longest_s / 3600 > config.max_hours:
        room.append(0)
    return max(0, min(room)) if room else None


def extra_scenarios(planned: int, spent: Spent, simulations_per_tree: int) -> int:
    """Scenarios beyond the `planned` ones that saved simulations pay for, at a tree's average number of simulations.

    A tree saves simulations of its `simulations_per_tree` by stopping early or because its dialogue ended early.
    """
    if not spent.simulations:
        return 0
    return max(0, planned * simulations_per_tree * spent.trees // spent.simulations - planned)


def waves(scenario_ids: Sequence[str], shard_size: int, shards: int | None) -> list[list[str]]:
    """The next shards in scenario order, at most `shards` of them (None: all)."""
    cut = [list(scenario_ids[start : start + shard_size]) for start in range(0, len(scenario_ids), shard_size)]
    return cut[:shards]


def forecast(spent: Spent, trees: int, seconds: float, pairs: int) -> dict[str, float | None]:
    """Estimate the cost of `trees` and their number of pairs from the pilot, which took `seconds` and gave `pairs`.

    Tokens are None if unknown. A pilot rarely fills the engine, so its speed is a lower bound and the hours are an upper bound.
    """
    factor = trees / max(1, spent.trees)
    return {
        "trees": trees,
        "calls": spent.calls * factor,
        "tokens": None if spent.tokens is None else spent.tokens * factor,
        "hours": seconds * factor / 3600,
        "pairs": pairs * factor,
        "usd": None if spent.usd is None else spent.usd * factor,
    }


def forecast_text(spent: Spent, estimate: Mapping[str, float | None]) -> str:
    """A `forecast` in one sentence."""
    calls, hours, pairs = (estimate[name] or 0.0 for name in ("calls", "hours", "pairs"))
    tokens = "an unknown number of" if estimate["tokens"] is None else f"{estimate['tokens'] / 1e6:.2f} million"
    cost = "" if estimate["usd"] is None else f" for about {dollars(estimate['usd'])}"
    return (
        f"Pilot of {spent.trees} scenarios: all {estimate['trees']} will take about {tokens} tokens{cost} in {calls:.0f} requests and at "
        f"most {hours:.2f} hours, and give about {pairs:.0f} pairs."
    )
