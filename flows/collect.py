"""Scenarios to searched trees in the store."""

from typing import Any

from prefect import flow, unmapped
from prefect.task_runners import ThreadPoolTaskRunner

from engage.config import CycleConfig
from tasks.collecting import plan_shards, search_shard, store_trees
from tasks.cycle import begin_cycle
from tasks.stopping import stopped_on_interrupt


@flow(name="collect")
def collect(config: CycleConfig, cycle_id: str) -> dict[str, Any]:
    """Search the cycle's training scenarios; trees that are stored already are skipped."""
    cycle = begin_cycle(config, cycle_id)
    shards = plan_shards(config, cycle)
    with ThreadPoolTaskRunner(max_workers=config.collect.workers) as runner, stopped_on_interrupt():
        given = {"config": unmapped(config), "cycle": unmapped(cycle), "scenario_ids": shards}
        failed = runner.map(search_shard, given).result()
    return store_trees(config, cycle, failed)
