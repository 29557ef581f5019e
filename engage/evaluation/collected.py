"""Results of a cycle's searches, read from the store: trees, rewards, flaws and costs."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from engage.dialogue import UNSPOKEN
from engage.domains.rules.crisis import CRISIS
from engage.engines import EngineConfig
from engage.engines.prices import Prices
from engage.evaluation.simulators import prompted_users
from engage.pages import bounded, counted
from engage.stats import rate
from engage.store import Cycle, TrajectoryStore


@dataclass(frozen=True)
class DomainRewards:
    """A row of sql/inspect/reward_by_domain.sql; means are None if no reaction could be read."""

    domain: str
    trees: int
    simulations: int
    unreadable: int
    reward_mean: float | None
    reward_sd: float | None
    survey_value_mean: float | None
    exchanges_mean: float


@dataclass(frozen=True)
class FlipShare:
    """Share of the simulated users' first draws that speak as the assistant: `hits` of `turns`; the interval resamples trees."""

    value: float
    low: float | None
    high: float | None
    turns: int
    hits: int

    def __str__(self) -> str:
        return bounded(self.value, self.low, self.high, "{:.1%}")


@dataclass(frozen=True)
class Collected:
    """Summary of a cycle's stored trees; `failed` maps a scenario to the reason why its search failed.

    `unsearched` scenarios were not reached within the budget. `unspoken` counts, by reason, conversations that ended because the
    model gave no usable turn. `costs` are sums over the search's requests, by MLflow metric name; `usd` is what
    they cost in US dollars, None without prices. `prompted` is a sentence if no adapter plays the users. `drawn` counts
    the trees by the simulator that they drew as their user; empty if all have the same.
    """

    rewards: tuple[DomainRewards, ...] = ()
    failed: Mapping[str, str] = field(default_factory=dict)
    crises: int = 0
    unspoken: Mapping[str, int] = field(default_factory=dict)
    users_as_assistants: FlipShare | None = None
    unsearched: int = 0
    costs: Mapping[str, float | None] = field(default_factory=dict)
    usd: float | None = None
    prompted: str = ""
    drawn: Mapping[str, int] = field(default_factory=dict)

    def metrics(self) -> dict[str, float | None]:
        """The few figures of a run's page, by MLflow's names; counts of what went wrong only where something did."""
        wrong = {"failed_trees": len(self.failed), "crises": self.crises, "unspoken": sum(self.unspoken.values())}
        flips = self.users_as_assistants.value if self.users_as_assistants else None
        return {
            "trees": sum(row.trees for row in self.rewards),
            "simulations": sum(row.simulations for row in self.rewards),
            **{f"reward/{row.domain}": row.reward_mean for row in self.rewards},
            **{name: count for name, count in {**wrong, "role_flips": flips, "search_usd": self.usd}.items() if count},
        }

    def table(self) -> list[dict[str, Any]]:
        """All figures, one row each: `figure`, `domain` (empty: of the whole cycle) and `value`."""
        whole: dict[str, float | None] = {"failed_trees": len(self.failed), "crises": self.crises, **self.costs}
        whole |= {f"unspoken/{reason}": count for reason, count in self.unspoken.items()}
        whole |= {f"trees_with/{simulator}": trees for simulator, trees in self.drawn.items()}
        if spoke := self.users_as_assistants:
            ends = {"": spoke.value, "_low": spoke.low, "_high": spoke.high}
            whole |= {f"users_as_assistants{end}": value for end, value in ends.items()}
        rows = [{"figure": name, "domain": "", "value": value} for name, value in whole.items()]
        return rows + [
            {"figure": name, "domain": row.domain, "value": value}
            for row in self.rewards
            for name, value in asdict(row).items()
            if name != "domain"
        ]


def read_collected(
    store: TrajectoryStore, cycle: Cycle, failed: Mapping[str, str], unsearched: int, engine: EngineConfig
) -> Collected:
    """See `Collected`."""
    given = {"cycle": cycle.cycle_id}
    ends = end_reasons(store, cycle, "search")
    costs = {
        f"cost/{row['side']}_{row['kind']}/{name}": value
        for row in store.rows("cycle_cost", given)
        if row["purpose"] == "search"
        for name, value in row.items()
        if name not in {"side", "kind", "purpose"}
    }
    return Collected(
        rewards=tuple(DomainRewards(**row) for row in store.rows("reward_by_domain", given)),
        failed=failed,
        crises=ends[CRISIS],
        unspoken={reason: ends[reason] for reason in UNSPOKEN if ends[reason]},
        users_as_assistants=users_as_assistants(store, cycle.cycle_id),
        unsearched=unsearched,
        costs=costs,
        usd=usd_of(store, cycle.cycle_id, engine.prices, "search"),
        prompted=prompted_users(engine),
        drawn=trees_by_simulator(store, cycle.cycle_id),
    )


def trees_by_simulator(store: TrajectoryStore, cycle_id: str) -> dict[str, int]:
    """Number of the cycle's trees that drew each simulator as their user; empty if all have the same."""
    found: dict[str, int] = {}
    for row in store.rows("reward_by_simulator", {"cycle": cycle_id}):
        if row["simulator"] is not None:
            found[row["simulator"]] = found.get(row["simulator"], 0) + row["trees"]
    return dict(sorted(found.items()))


def drawn_in_words(drawn: Mapping[str, int]) -> str:
    """Such as `bare 5 trees, embedded 7 trees`."""
    return ", ".join(f"{simulator} {counted(trees, 'tree')}" for simulator, trees in drawn.items())


def usd_of(store: TrajectoryStore, cycle_id: str, prices: Prices, purpose: str | None = None) -> float | None:
    """US dollars of all the cycle's stored requests, or of those of one purpose; None without prices or with unknown tokens."""
    rows = store.rows("cycle_cost", {"cycle": cycle_id})
    return prices.usd(row for row in rows if purpose is None or row["purpose"] == purpose)


def tokens_of(store: TrajectoryStore, cycle_id: str) -> int | None:
    """Prompt and completion tokens of all the cycle's stored requests; None if a server did not report them all."""
    rows = store.rows("cycle_cost", {"cycle": cycle_id})
    counts = [row[name] for row in rows for name in ("prompt_tokens", "completion_tokens")]
    return None if None in counts else sum(counts)


def end_reasons(store: TrajectoryStore, cycle: Cycle, purpose: str) -> dict[str, int]:
    """Number of the cycle's dialogues of that purpose by end reason; 0 for any other reason."""
    ends: dict[str, int] = defaultdict(int)
    for row in store.rows("dialogue_ends", {"cycle": cycle.cycle_id}):
        if row["purpose"] == purpose:
            ends[row["end_reason"]] += row["dialogues"]
    return ends


def users_as_assistants(store: TrajectoryStore, cycle_id: str) -> FlipShare | None:
    """None if there is no first draw of a user, or if an older version did not record all of them."""
    rows = store.rows("first_draws", {"cycle": cycle_id})
    turns, hits = [row["user_turns"] for row in rows], [row["as_assistant"] for row in rows]
    if not sum(turns) or any(row["unknown"] for row in rows):
        return None
    share = rate(hits, turns)
    return FlipShare(share.value or 0.0, share.low, share.high, sum(turns), sum(hits))


def values_by_exchange(store: TrajectoryStore, cycle: Cycle) -> dict[str, dict[int, list[float]]]:
    """Values Q of the search roots, by domain and exchange."""
    found: dict[str, dict[int, list[float]]] = {}
    for row in store.rows("spine_values", {"cycle": cycle.cycle_id}):
        if row["q_value"] is not None:
            found.setdefault(row["domain"], {}).setdefault(row["exchange"], []).append(row["q_value"])
    return found
