"""Scenarios to searched trees in the store."""

from typing import Any

from prefect import flow, unmapped

from engage.config import CycleConfig
from tasks.collecting import plan_shards, search_shard, store_trees
from tasks.cycle import begin_cycle


@flow(name="collect")
def collect(config: CycleConfig, cycle_id: str) -> dict[str, Any]:
    """Search the cycle's training scenarios; trees that are stored already are skipped."""
    cycle = begin_cycle(config, cycle_id)
    shards = plan_shards(config, cycle)
    failed = search_shard.map(unmapped(config), unmapped(cycle), shards).result()
    return store_trees(config, cycle, failed)
