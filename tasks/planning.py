"""Which scenarios a cycle searches next, within its budget, and what its pilot says about the whole."""

import time
from collections.abc import Sequence

from prefect import get_run_logger, task

from engage.config import CycleConfig, load_cycle_scenarios
from engage.errors import StoreError
from engage.scenario import Scenario, sample_scenarios
from engage.search import affordable_trees, extra_scenarios, forecast, forecast_text, pilot_size, waves
from engage.store import Cycle, spent_by
from tasks import progress
from tasks.cycle import worth_retrying
from tasks.workspace import Workspace


@task(name="plan-shards", retries=3, retry_delay_seconds=20, retry_condition_fn=worth_retrying)
def plan_shards(config: CycleConfig, cycle: Cycle, began_s: float, tried: Sequence[str]) -> list[list[str]]:
    """The next shards of the cycle's training scenarios that have no tree yet; none when all is done or the budget is spent.

    `began_s` is when this run began (monotonic clock of this process's machine); `tried` are what it has searched, with or
    without success: the next run takes up those that have no tree. First comes a pilot, where the cycle is large or limited.
    Without a limit or an early stop all the rest follows at once; with one, a wave of shards at a time. ConfigError for a cycle
    of an older method that lacks trees.
    """
    shards = _next_shards(config, cycle, began_s, tried)
    if shards:
        cycle.require_own_method(
            "no tree can be added to it; align and evaluate the trees it has "
            f"(`engage align --cycle {cycle.cycle_id}`, `engage evaluate --cycle {cycle.cycle_id}`), or start a new cycle"
        )
    return shards


def _next_shards(config: CycleConfig, cycle: Cycle, began_s: float, tried: Sequence[str]) -> list[list[str]]:
    workspace, collect = Workspace.from_env(), config.collect
    workspace.drain(must=collect.budget.limited)
    spent = spent_by(workspace.store, cycle.cycle_id)
    wanted = [scenario.scenario_id for scenario in planned(config, cycle)]
    pilot = pilot_size(len(wanted), collect.budget.limited)
    early = config.search.stop_confidence is not None
    if early:
        per_tree = config.search.num_simulations * config.dialogue.max_exchanges
        wanted = [s.scenario_id for s in planned(config, cycle, extra_scenarios(len(wanted), spent, per_tree))]
    left = missing_trees(workspace, cycle, [scenario_id for scenario_id in wanted if scenario_id not in tried])
    if spent.trees < pilot:
        return waves(left[: pilot - spent.trees], collect.shard_size, None)
    room = affordable_trees(collect.budget, spent, (time.monotonic() - began_s) / 3600)
    wave = collect.workers if early or collect.budget.limited else None
    return waves(left if room is None else left[:room], collect.shard_size, wave)


@task(name="foretell")
def foretell(config: CycleConfig, cycle: Cycle, began_s: float) -> dict[str, float | None]:
    """After a pilot: calls, tokens, hours and pairs that the whole cycle will take and give; shown, logged, and put into MLflow.

    Empty where there is no pilot, where the cycle has gone on beyond it, or where another program keeps the store locked.
    """
    try:
        return _forecast(config, cycle, began_s)
    except StoreError:
        return {}


def _forecast(config: CycleConfig, cycle: Cycle, began_s: float) -> dict[str, float | None]:
    workspace = Workspace.from_env()
    workspace.drain(must=False)
    spent, trees = spent_by(workspace.store, cycle.cycle_id), len(planned(config, cycle))
    if not spent.trees or spent.trees != pilot_size(trees, config.collect.budget.limited):
        return {}
    pairs = workspace.store.score_pairs(cycle.cycle_id, config.pairs)["accepted"]
    found = forecast(spent, trees, max(spent.longest_s, time.monotonic() - began_s), pairs)
    text = forecast_text(spent, found)
    progress.tell(text)
    get_run_logger().info(text)
    with workspace.tracker.stage(cycle.cycle_id, "collect") as run:
        run.metrics({f"forecast/{name}": value for name, value in found.items()})
    return found


def planned(config: CycleConfig, cycle: Cycle, extra: int = 0) -> list[Scenario]:
    """The cycle's training scenarios in their order, and `extra` more after them."""
    scenarios = load_cycle_scenarios(config.scenarios)
    first = sample_scenarios(scenarios, "train", config.scenarios.per_domain, cycle.seed)
    if not extra:
        return first
    more = sample_scenarios(scenarios, "train", config.scenarios.per_domain + extra, cycle.seed)
    known = {scenario.scenario_id for scenario in first}
    return [*first, *(s for s in more if s.scenario_id not in known)][: len(first) + extra]


def missing_trees(workspace: Workspace, cycle: Cycle, scenario_ids: Sequence[str]) -> list[str]:
    """Those of the scenarios whose tree is neither stored nor waits in the outbox."""
    stored = workspace.store.stored_tree_ids(cycle.cycle_id)
    trees = {scenario_id: cycle.tree_id(scenario_id) for scenario_id in scenario_ids}
    return [name for name, tree in trees.items() if tree not in stored and not workspace.outbox.has_tree(tree)]
