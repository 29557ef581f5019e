"""What a cycle's collect may spend, what a pilot says it will, and which scenarios come next. Pure arithmetic.

Decisions fall between waves of shards and look at whole trees only, in scenario order: the trees of a cycle do not depend on
timing, unless `max_hours` ends it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from engage.errors import ConfigError

NO_COUNTS = "collect.budget.max_tokens cannot be kept; set collect.budget.max_calls or max_hours"
PILOT_SHARE = 0.04
PILOT_LEAST = 4
WORTH_A_PILOT = 50


class BudgetConfig(BaseModel):
    """Limits of one cycle's collect; no tree is begun that would exceed one if it cost as much as the dearest so far.

    Hours are of the clock: many trees at once take longer each than the few of the pilot.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_calls: int | None = Field(None, ge=1, le=2**63 - 1, description="requests to the engine")
    max_tokens: int | None = Field(
        None, ge=1, le=2**63 - 1, description="prompt tokens (reused ones too) and completion tokens"
    )
    max_hours: float | None = Field(
        None, gt=0.0, le=10_000.0, allow_inf_nan=False, description="hours of one run of collect"
    )

    @property
    def limited(self) -> bool:
        """Whether there is any limit."""
        return any(limit is not None for limit in (self.max_calls, self.max_tokens, self.max_hours))


@dataclass(frozen=True)
class Spent:
    """What the stored trees of a cycle took; `most_calls` and `most_tokens` are those of the dearest tree, `longest_s` the seconds of the longest.

    Tokens are None where a server does not say how many its requests took.
    """

    trees: int = 0
    simulations: int = 0
    calls: int = 0
    tokens: int | None = 0
    most_calls: int = 0
    most_tokens: int | None = 0
    longest_s: float = 0.0


def pilot_size(scenarios: int, limited: bool) -> int:
    """Scenarios searched before the rest, to see what they cost: 4 %, 4 at least; 0 where the whole is too small to bother."""
    if scenarios < WORTH_A_PILOT and not limited:
        return 0
    return min(scenarios, max(PILOT_LEAST, round(PILOT_SHARE * scenarios)))


def affordable_trees(config: BudgetConfig, spent: Spent, hours: float) -> int | None:
    """Trees that the limits leave room for, None where there is no limit; `hours` have passed in this run.

    ConfigError where tokens are limited and nobody has counted them.
    """
    if config.max_tokens is not None and (spent.tokens is None or spent.most_tokens is None):
        raise ConfigError(f"{NO_COUNTS}: the requests made so far were not counted")
    room = []
    if config.max_calls is not None and spent.most_calls:
        room.append((config.max_calls - spent.calls) // spent.most_calls)
    if config.max_tokens is not None and spent.tokens is not None and spent.most_tokens:
        room.append((config.max_tokens - spent.tokens) // spent.most_tokens)
    if config.max_hours is not None and hours + spent.longest_s / 3600 > config.max_hours:
        room.append(0)
    return max(0, min(room)) if room else None


def extra_scenarios(planned: int, spent: Spent, simulations_per_tree: int) -> int:
    """Scenarios beyond the `planned` ones that saved simulations pay for, at what a tree has taken on average.

    Saved is what trees left of `simulations_per_tree`, by stopping early or because their dialogues ended early.
    """
    if not spent.simulations:
        return 0
    return max(0, planned * simulations_per_tree * spent.trees // spent.simulations - planned)


def waves(scenario_ids: Sequence[str], shard_size: int, shards: int | None) -> list[list[str]]:
    """The next shards in scenario order, at most `shards` of them (None: all)."""
    cut = [list(scenario_ids[start : start + shard_size]) for start in range(0, len(scenario_ids), shard_size)]
    return cut[:shards]


def forecast(spent: Spent, trees: int, seconds: float, pairs: int) -> dict[str, float | None]:
    """What `trees` will take at the pilot's cost and pace, and the pairs they will give; `seconds` and `pairs` are the pilot's.

    Tokens are None where they are unknown. A pilot seldom fills the engine: its pace is a lower bound, the hours an upper one.
    """
    factor = trees / max(1, spent.trees)
    return {
        "trees": trees,
        "calls": spent.calls * factor,
        "tokens": None if spent.tokens is None else spent.tokens * factor,
        "hours": seconds * factor / 3600,
        "pairs": pairs * factor,
    }


def forecast_text(spent: Spent, found: Mapping[str, float | None]) -> str:
    """A `forecast` in one sentence."""
    calls, hours, pairs = (found[name] or 0.0 for name in ("calls", "hours", "pairs"))
    tokens = "an unknown number of" if found["tokens"] is None else f"{found['tokens'] / 1e6:.2f} million"
    return (
        f"Pilot of {spent.trees} scenarios: all {found['trees']} will take about {tokens} tokens in {calls:.0f} requests and at "
        f"most {hours:.2f} hours, and give about {pairs:.0f} pairs."
    )
