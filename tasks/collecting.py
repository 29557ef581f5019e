"""Searching shards of scenarios and bringing the trees into the store."""

from collections.abc import Sequence
from typing import Any

from prefect import task

from engage.config import CycleConfig, load_cycle_scenarios
from engage.dialogue import UNSPOKEN
from engage.domains.rules.crisis import CRISIS
from engage.engines import shared_engine
from engage.errors import ConfigError
from engage.home import Home
from engage.scenario import Scenario
from engage.search import NO_COUNTS, Sides, TalkWatch, TreeRecord, search_scenarios
from engage.stats import rate
from engage.store import Outbox, TrajectoryStore
from tasks import stopping
from tasks.cycle import Cycle, worth_retrying
from tasks.planning import planned
from tasks.progress import Bar
from tasks.tracking import Tracker


@task(name="search-shard", retries=2, retry_delay_seconds=10, retry_condition_fn=worth_retrying)
def search_shard(config: CycleConfig, cycle: Cycle, scenario_ids: Sequence[str]) -> dict[str, str]:
    """Search the scenarios that are not in the outbox yet; returns scenario id to reason for those that failed for good."""
    outbox = Outbox(Home.from_env().outbox)
    scenarios = [s for s in _by_id(config, scenario_ids) if not outbox.has_tree(f"{cycle.cycle_id}/{s.scenario_id}")]
    per_tree = config.search.num_simulations * config.dialogue.max_exchanges
    first = f" from {scenarios[0].scenario_id}" if scenarios else ""  # tells shards apart that run beside each other
    bar = Bar(f"searching {len(scenarios)} scenarios{first} (simulations)", len(scenarios) * per_tree)

    def keep(tree: TreeRecord) -> None:
        outbox.put_tree(tree)
        bar.advance(
            max(0, per_tree - len(tree.simulations) - tree.withdrawn)
        )  # a dialogue that ended early spends less

    engine = shared_engine(config.engine)
    if config.collect.budget.max_tokens is not None and (uncounted := getattr(engine, "uncounted", "")):
        raise ConfigError(
            f"{NO_COUNTS}: {uncounted} does not say how many tokens a request took, and its tokenizer is not on this machine"
        )
    outcome = stopping.run(
        search_scenarios(
            engine,
            scenarios,
            config.dialogue,
            config.search,
            cycle_id=cycle.cycle_id,
            seed=cycle.seed,
            sides=Sides(policy_adapter=cycle.champion_adapter),
            on_tree=keep,
            on_simulations=bar.advance,
            watch=TalkWatch(config.collect.max_flawed_share),
        )
    )
    bar.finish()
    return outcome.failed


@task(name="store-trees", retries=3, retry_delay_seconds=20, retry_condition_fn=worth_retrying)
def store_trees(config: CycleConfig, cycle: Cycle, failed: dict[str, str]) -> dict[str, Any]:
    """Drain the outbox and record the stage in MLflow; returns the collect stage's summary.

    `unsearched` counts the scenarios that the budget left out.
    """
    home = Home.from_env()
    store = TrajectoryStore(home.database)
    outbox = Outbox(home.outbox)
    store.drain(outbox)
    stored = store.stored_tree_ids(cycle.cycle_id)
    trees = {f"{cycle.cycle_id}/{s.scenario_id}": s.scenario_id for s in planned(config, cycle)}
    left = [scenario for tree, scenario in trees.items() if tree not in stored and not outbox.has_tree(tree)]
    unsearched = sum(scenario_id not in failed for scenario_id in left)
    return {**summarise_collect(cycle, failed), "unsearched": unsearched}


def check_talk(config: CycleConfig, cycle: Cycle, purpose: str) -> None:
    """TooManyFlawed where too large a share of the cycle's stored dialogues ended because a turn could not be drawn."""
    watch = TalkWatch(config.collect.max_flawed_share)
    for row in TrajectoryStore(Home.from_env().database).rows("dialogue_ends", {"cycle": cycle.cycle_id}):
        if row["purpose"] == purpose:
            watch.note([row["end_reason"]] * row["dialogues"])
    watch.check(least=1)


def summarise_collect(cycle: Cycle, failed: dict[str, str]) -> dict[str, Any]:
    """Trees, simulations, rewards, flaws and cost of a cycle, read from the store and logged as the stage `collect`."""
    from engage.evaluation import reward_by_turn

    home = Home.from_env()
    store = TrajectoryStore(home.database)
    rewards = store.rows("reward_by_domain", {"cycle": cycle.cycle_id})
    cost = store.rows("cycle_cost", {"cycle": cycle.cycle_id})
    ends = store.rows("dialogue_ends", {"cycle": cycle.cycle_id})
    searched = {row["end_reason"]: 0 for row in ends}
    for row in ends:
        searched[row["end_reason"]] += row["dialogues"] if row["purpose"] == "search" else 0
    crises = searched.get(CRISIS, 0)
    unspoken = {reason: searched[reason] for reason in UNSPOKEN if searched.get(reason)}
    spoke = users_as_assistants(store, cycle.cycle_id)
    with Tracker(home).stage(cycle.cycle_id, "collect") as run:
        for row in rewards:
            run.metrics({f"{name}/{row['domain']}": row[name] for name in row if name != "domain"})
        for row in cost:
            if row["purpose"] == "search":
                prefix = f"cost/{row['side']}_{row['kind']}"
                run.metrics({f"{prefix}/{name}": row[name] for name in row if name not in {"side", "kind", "purpose"}})
        run.metrics({"failed_trees": len(failed), "crises": crises})
        run.metrics({f"unspoken/{reason}": count for reason, count in unspoken.items()})
        run.metrics({f"users_as_assistants{end}": value for end, value in _ends(spoke).items()})
        run.figure(reward_by_turn(_values_by_exchange(store, cycle)), "reward_by_turn")
    return {
        "rewards": rewards,
        "cost": cost,
        "failed": failed,
        "crises": crises,
        "unspoken": unspoken,
        "users_as_assistants": spoke,
    }


def users_as_assistants(store: TrajectoryStore, cycle_id: str) -> dict[str, Any] | None:
    """Share of the simulated users' first draws that speak as the assistant, `value`, `low`, `high` (trees are resampled), with the
    counts behind it; None where there is no such turn, or where an older version did not note all of them."""
    rows = store.rows("first_draws", {"cycle": cycle_id})
    turns, hits = [row["user_turns"] for row in rows], [row["as_assistant"] for row in rows]
    if not sum(turns) or any(row["unknown"] for row in rows):
        return None
    found = rate(hits, turns)
    return {"value": found.value, "low": found.low, "high": found.high, "turns": sum(turns), "hits": sum(hits)}


def _ends(spoke: dict[str, Any] | None) -> dict[str, float | None]:
    return {"": spoke["value"], "_low": spoke["low"], "_high": spoke["high"]} if spoke else {}


def _values_by_exchange(store: TrajectoryStore, cycle: Cycle) -> dict[str, dict[int, list[float]]]:
    found: dict[str, dict[int, list[float]]] = {}
    for row in store.rows("spine_values", {"cycle": cycle.cycle_id}):
        if row["q_value"] is not None:
            found.setdefault(row["domain"], {}).setdefault(row["exchange"], []).append(row["q_value"])
    return found


def _by_id(config: CycleConfig, scenario_ids: Sequence[str]) -> list[Scenario]:
    known = {scenario.scenario_id: scenario for scenario in load_cycle_scenarios(config.scenarios)}
    return [known[scenario_id] for scenario_id in scenario_ids]
