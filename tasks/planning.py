"""Which scenarios a cycle searches next, within its budget, and what its pilot foretells."""

import contextlib
import time
from collections.abc import Sequence

from prefect import get_run_logger, task

from engage.config import CycleConfig, load_cycle_scenarios
from engage.engines.base import total
from engage.errors import StoreError
from engage.home import Home
from engage.scenario import Scenario, sample_scenarios
from engage.search import Spent, affordable_trees, extra_scenarios, forecast, pilot_size, waves
from engage.store import Outbox, TrajectoryStore
from tasks import progress
from tasks.cycle import Cycle, worth_retrying
from tasks.tracking import Tracker


@task(name="plan-shards", retries=3, retry_delay_seconds=20, retry_condition_fn=worth_retrying)
def plan_shards(config: CycleConfig, cycle: Cycle, began_s: float, tried: Sequence[str]) -> list[list[str]]:
    """The next shards of the cycle's training scenarios that have no tree yet; none when all is done or the budget is spent.

    `began_s` is when this run began (monotonic clock of this process's machine); `tried` are what it has searched, with or without success: the next run takes up
    those that have no tree. First comes a pilot, where the cycle is large or limited. Without a limit or an early stop all the rest
    follows at once; with one, a wave of shards at a time. ConfigError for a cycle of an older method that lacks trees.
    """
    shards = _next_shards(config, cycle, began_s, tried)
    if shards:
        cycle.require_own_method(
            "no tree can be added to it; align and evaluate the trees it has "
            f"(`engage align --cycle {cycle.cycle_id}`, `engage evaluate --cycle {cycle.cycle_id}`), or start a new cycle"
        )
    return shards


def _next_shards(config: CycleConfig, cycle: Cycle, began_s: float, tried: Sequence[str]) -> list[list[str]]:
    home = Home.from_env()
    drain(home, must=config.collect.budget.limited)
    store, outbox = TrajectoryStore(home.database), Outbox(home.outbox)
    spent = spent_by(store, cycle)
    wanted = [scenario.scenario_id for scenario in planned(config, cycle)]
    pilot = pilot_size(len(wanted), config.collect.budget.limited)
    early = config.search.stop_confidence is not None
    if early:
        per_tree = config.search.num_simulations * config.dialogue.max_exchanges
        wanted = [s.scenario_id for s in planned(config, cycle, extra_scenarios(len(wanted), spent, per_tree))]
    done = store.stored_tree_ids(cycle.cycle_id)
    names = {scenario_id: f"{cycle.cycle_id}/{scenario_id}" for scenario_id in wanted if scenario_id not in tried}
    todo = [key for key, tree_id in names.items() if tree_id not in done and not outbox.has_tree(tree_id)]
    if spent.trees < pilot:
        return waves(todo[: pilot - spent.trees], config.collect.shard_size, None)
    room = affordable_trees(config.collect.budget, spent, (time.monotonic() - began_s) / 3600)
    wave = config.collect.workers if early or config.collect.budget.limited else None
    return waves(todo if room is None else todo[:room], config.collect.shard_size, wave)


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
    home = Home.from_env()
    drain(home)
    store = TrajectoryStore(home.database)
    spent, trees = spent_by(store, cycle), len(planned(config, cycle))
    if not spent.trees or spent.trees != pilot_size(trees, config.collect.budget.limited):
        return {}
    pairs = store.score_pairs(cycle.cycle_id, config.pairs)["accepted"]
    found = forecast(spent, trees, max(spent.longest_s, time.monotonic() - began_s), pairs)
    tokens = "an unknown number of" if found["tokens"] is None else f"{found['tokens'] / 1e6:.2f} million"
    text = (
        f"Pilot of {spent.trees} scenarios: all {trees} will take about {tokens} tokens in "
        f"{found['calls']:.0f} requests and at most {found['hours']:.2f} hours, and give about {found['pairs']:.0f} pairs."
    )
    progress.tell(text)
    get_run_logger().info(text)
    with Tracker(home).stage(cycle.cycle_id, "collect") as run:
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


def spent_by(store: TrajectoryStore, cycle: Cycle) -> Spent:
    """What the cycle's stored trees took."""
    rows = store.rows("tree_cost", {"cycle": cycle.cycle_id})
    calls = [row["calls"] for row in rows]
    tokens = [total((row["prompt_tokens"], row["completion_tokens"])) if row["calls"] else 0 for row in rows]
    most = None if None in tokens else max((count for count in tokens if count is not None), default=0)
    return Spent(
        trees=len(rows),
        simulations=sum(row["simulations"] + row["withdrawn"] for row in rows),
        calls=sum(calls),
        tokens=total(tokens),
        most_calls=max(calls, default=0),
        most_tokens=most,
        longest_s=max((row["wall_s"] for row in rows), default=0.0),
    )


def drain(home: Home, must: bool = False) -> None:
    """Bring finished trees into the store; if it is locked they wait in the outbox, unless they `must` be counted now."""
    with contextlib.nullcontext() if must else contextlib.suppress(StoreError):
        TrajectoryStore(home.database).drain(Outbox(home.outbox))
