"""Chooses the scenarios that a cycle searches next, within its budget, and logs the pilot's estimate."""

import time
from collections.abc import Sequence

from prefect import task

from engage import progress
from engage.config import CycleConfig, load_cycle_scenarios
from engage.errors import StoreError
from engage.search import forecast, forecast_text
from engage.store import Cycle, Plan
from engage.workspace import Workspace
from tasks.cycle import worth_retrying


@task(name="plan-shards", retries=3, retry_delay_seconds=20, retry_condition_fn=worth_retrying)
def plan_shards(config: CycleConfig, cycle: Cycle, began_s: float, tried: Sequence[str]) -> list[list[str]]:
    """The next shards of the cycle's training scenarios without a tree; none when all are done or the budget is used up.

    `began_s` is the start of this run (monotonic clock of this machine); `tried` are the scenarios that it has searched. ConfigError
    for a cycle of an older method that lacks trees.
    """
    workspace, collect, early = Workspace.from_env(), config.collect, config.search.stop_confidence is not None
    workspace.drain(must=collect.budget.limited)
    per_tree = config.search.num_simulations * config.dialogue.max_exchanges if early else None
    hours = (time.monotonic() - began_s) / 3600
    shards = plan(workspace, config, cycle).next_shards(
        collect.budget, collect.shard_size, collect.workers, hours, tried, per_tree
    )
    if shards:
        cycle.require_own_method(
            "no tree can be added to it; align and evaluate the trees it has "
            f"(`engage align --cycle {cycle.cycle_id}`, `engage evaluate --cycle {cycle.cycle_id}`), or start a new cycle"
        )
    return shards


@task(name="foretell", retries=3, retry_delay_seconds=20, retry_condition_fn=worth_retrying)
def foretell(config: CycleConfig, cycle: Cycle, began_s: float) -> dict[str, float | None]:
    """After a pilot: estimated calls, tokens, hours and pairs of the whole cycle; shown, logged, and recorded in MLflow.

    Empty if there is no pilot, if the cycle is already past it, or if another program has locked the store.
    """
    workspace = Workspace.from_env(patient=False)
    try:
        workspace.drain(must=False)
        planned = plan(workspace, config, cycle)
        if (spent := planned.pilot(config.collect.budget.limited)) is None:
            return {}
        pairs = workspace.store.score_pairs(cycle.cycle_id, config.pairs)["accepted"]
        seconds = max(spent.longest_s, time.monotonic() - began_s)
        found = forecast(spent, len(planned.scenario_ids()), seconds, pairs)
        progress.tell(forecast_text(spent, found))
        with workspace.tracker.stage(cycle.cycle_id, "collect") as run:
            run.metrics({f"forecast/{name}": value for name, value in found.items()})
        return found
    except StoreError:
        return {}


def plan(workspace: Workspace, config: CycleConfig, cycle: Cycle) -> Plan:
    """The cycle's training scenarios and their trees."""
    scenarios = load_cycle_scenarios(config.scenarios)
    return Plan(workspace.store, workspace.outbox, cycle, scenarios, config.scenarios.per_domain, config.engine.prices)
