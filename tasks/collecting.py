"""Searches shards of scenarios and stores the trees."""

from collections.abc import Mapping, Sequence
from typing import Any

from prefect import task

from engage import stopping
from engage.config import CycleConfig, load_cycle_scenarios
from engage.engines import shared_engine
from engage.engines.metered import MeteredEngine
from engage.errors import ConfigError
from engage.evaluation import Collected, end_reasons, read_collected, reward_by_turn, values_by_exchange
from engage.progress import Bar
from engage.search import NO_COUNTS, TalkWatch, TreeRecord, search_scenarios
from engage.simulation.figures import Figures
from engage.store import Cycle
from engage.workspace import Workspace
from tasks.cycle import worth_retrying
from tasks.planning import plan


def _shard_name(parameters: dict[str, Any]) -> str:
    names = parameters["scenario_ids"]
    return (
        f"search-shard {names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''}" if names else "search-shard"
    )


@task(
    name="search-shard",
    task_run_name=_shard_name,
    retries=2,
    retry_delay_seconds=10,
    retry_condition_fn=worth_retrying,
)
def search_shard(config: CycleConfig, cycle: Cycle, scenario_ids: Sequence[str]) -> dict[str, str]:
    """Search the scenarios that are not in the outbox yet; returns failed scenarios by id, with the reason."""
    outbox = Workspace.from_env().outbox
    known = {scenario.scenario_id: scenario for scenario in load_cycle_scenarios(config.scenarios)}
    scenarios = [known[name] for name in scenario_ids if not outbox.has_tree(cycle.tree_id(name))]
    per_tree = config.search.num_simulations * config.dialogue.max_exchanges
    first = f" from {scenarios[0].scenario_id}" if scenarios else ""  # tells shards apart that run beside each other
    engine = MeteredEngine(shared_engine(config.engine))
    figures = Figures(engine.meter, "pairs are counted after scoring")
    bar = Bar(f"searching {len(scenarios)} scenarios{first} (simulations)", len(scenarios) * per_tree, figures)
    engine.on_answer = bar.tell_if_due  # a simulation can take many minutes

    def keep(tree: TreeRecord) -> None:
        outbox.put_tree(tree)
        figures.add(simulation.trajectory for simulation in tree.simulations)
        unspent = per_tree - len(tree.simulations) - tree.withdrawn  # a dialogue that ended early spends less
        bar.advance(max(0, unspent))

    budget = config.collect.budget
    if (budget.max_tokens is not None or budget.max_usd is not None) and (
        uncounted := getattr(shared_engine(config.engine), "uncounted", "")
    ):
        raise ConfigError(
            f"{NO_COUNTS}: {uncounted} does not say how many tokens a request took, and its tokenizer is not on this machine"
        )
    result = stopping.run(
        search_scenarios(
            engine,
            scenarios,
            config.dialogue,
            config.search,
            cycle_id=cycle.cycle_id,
            seed=cycle.seed,
            adapters=config.adapters(cycle.champion_adapter),
            on_tree=keep,
            on_simulations=bar.advance,
            watch=TalkWatch(config.collect, reader=config.dialogue.speech.reader),
        )
    )
    bar.finish()
    return result.failed


@task(name="store-trees", retries=3, retry_delay_seconds=20, retry_condition_fn=worth_retrying)
def store_trees(config: CycleConfig, cycle: Cycle, failed: Mapping[str, str]) -> Collected:
    """Drain the outbox and record the stage in MLflow."""
    workspace = Workspace.from_env()
    workspace.drain()
    planned = plan(workspace, config, cycle)
    unsearched = sum(scenario_id not in failed for scenario_id in planned.missing(planned.scenario_ids()))
    collected = read_collected(workspace.store, cycle, failed, unsearched, config.engine)
    with workspace.tracker.stage(cycle.cycle_id, "collect") as run:
        run.metrics(collected.metrics())
        run.table(collected.table(), "collect.json")
        run.figure(reward_by_turn(values_by_exchange(workspace.store, cycle)), "reward_by_turn")
    return collected


def check_talk(config: CycleConfig, cycle: Cycle, purpose: str) -> None:
    """Raise TooManyFlawed if too many of the cycle's stored dialogues of that purpose went wrong (`engage.search.TalkLimits`)."""
    store, watch = Workspace.from_env().store, TalkWatch(config.collect, reader=config.dialogue.speech.reader)
    for reason, dialogues in end_reasons(store, cycle, purpose).items():
        watch.note([reason] * dialogues)
    unreadable = store.rows("unreadable_reactions", {"cycle": cycle.cycle_id})
    watch.note((), unreadable=sum(row["purpose"] == purpose for row in unreadable))
    watch.check(least=1)
