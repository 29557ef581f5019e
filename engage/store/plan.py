"""Chooses the scenarios that a cycle searches next, from the stored trees, the outbox and the remaining budget."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from engage.engines.base import total
from engage.engines.prices import Prices
from engage.scenario import Scenario, sample_scenarios
from engage.search import BudgetConfig, Spent, affordable_trees, extra_scenarios, pilot_size, waves
from engage.store.cycle import Cycle
from engage.store.outbox import Outbox
from engage.store.trajectory_store import TrajectoryStore


@dataclass(frozen=True)
class Plan:
    """The training scenarios of a cycle, `per_domain` of each domain among all `scenarios`, and the trees they have."""

    store: TrajectoryStore
    outbox: Outbox
    cycle: Cycle
    scenarios: Sequence[Scenario]
    per_domain: int
    prices: Prices

    def scenario_ids(self, extra: int = 0) -> list[str]:
        """The planned scenarios in order, followed by `extra` more."""
        first = self._sample(self.per_domain)
        more = self._sample(self.per_domain + extra) if extra else []
        known = set(first)
        return [*first, *(name for name in more if name not in known)][: len(first) + extra]

    def _sample(self, per_domain: int) -> list[str]:
        sampled = sample_scenarios(self.scenarios, "train", per_domain, self.cycle.seed)
        return [scenario.scenario_id for scenario in sampled]

    def missing(self, scenario_ids: Sequence[str]) -> list[str]:
        """The scenarios whose tree is neither stored nor in the outbox."""
        trees = {scenario_id: self.cycle.tree_id(scenario_id) for scenario_id in scenario_ids}
        # The outbox first: a tree that another process stores in between is then found twice, not nowhere.
        unput = {name: tree for name, tree in trees.items() if not self.outbox.has_tree(tree)}
        stored = self.store.stored_tree_ids(self.cycle.cycle_id)
        return [name for name, tree in unput.items() if tree not in stored]

    def next_shards(
        self,
        budget: BudgetConfig,
        shard_size: int,
        workers: int,
        hours: float,
        tried: Collection[str],
        simulations_saved_of: int | None,
    ) -> list[list[str]]:
        """The next shards: (1) a pilot, if the cycle is large or has a budget, which begins with one tree where cost is limited; (2) everything else in one batch or, with a budget or
        early stopping, one wave of shards at a time.

        `hours` have passed in this run, and `tried` are the scenarios it has searched, with or without success; the next run retries
        those without a tree. With early stopping, the simulations saved of `simulations_saved_of` per tree (None: no early stopping)
        are spent on more scenarios.
        """
        spent, wanted = spent_by(self.store, self.cycle.cycle_id, self.prices), self.scenario_ids()
        pilot = pilot_size(len(wanted), budget.limited)
        if simulations_saved_of is not None:
            wanted = self.scenario_ids(extra_scenarios(len(wanted), spent, simulations_saved_of))
        left = self.missing([scenario_id for scenario_id in wanted if scenario_id not in tried])
        if budget.counted and not spent.trees:
            return waves(left[:1], shard_size, None)  # what a tree costs is not known before
        room = affordable_trees(budget, spent, hours) if spent.trees else None
        if spent.trees < pilot:
            first = pilot - spent.trees
            return waves(left[: first if room is None else min(first, room)], shard_size, None)
        one_wave = simulations_saved_of is not None or budget.limited
        return waves(left if room is None else left[:room], shard_size, workers if one_wave else None)

    def pilot(self, limited: bool) -> Spent | None:
        """Cost of the pilot; None if there is none, or if the cycle is already past it."""
        spent, trees = spent_by(self.store, self.cycle.cycle_id, self.prices), len(self.scenario_ids())
        return spent if spent.trees and spent.trees == pilot_size(trees, limited) else None


def spent_by(store: TrajectoryStore, cycle_id: str, prices: Prices) -> Spent:
    """Cost of the cycle's stored trees."""
    rows = store.rows("tree_cost", {"cycle": cycle_id})
    calls = [row["calls"] for row in rows]
    tokens = [total((row["prompt_tokens"], row["completion_tokens"])) if row["calls"] else 0 for row in rows]
    usd = _usd_by_tree(store, cycle_id, prices)
    most = None if None in tokens else max((count for count in tokens if count is not None), default=0)
    return Spent(
        trees=len(rows),
        simulations=sum(row["simulations"] + row["withdrawn"] for row in rows),
        calls=sum(calls),
        tokens=total(tokens),
        most_calls=max(calls, default=0),
        most_tokens=most,
        usd=sum(usd) if usd else None,
        most_usd=max(usd, default=None),
        longest_s=max((row["wall_s"] for row in rows), default=0.0),
    )


def _usd_by_tree(store: TrajectoryStore, cycle_id: str, prices: Prices) -> list[float]:
    """US dollars of each stored tree; empty without prices, or if the tokens of one are unknown."""
    if not prices.known:
        return []
    by_tree = defaultdict(list)
    for row in store.rows("tree_side_cost", {"cycle": cycle_id}):
        by_tree[row["tree_id"]].append(row)
    costs = [prices.usd(rows) for rows in by_tree.values()]
    known = [cost for cost in costs if cost is not None]
    return known if len(known) == len(costs) else []
