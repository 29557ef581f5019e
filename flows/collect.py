"""Scenarios to searched trees in the store."""

import time
from typing import Any

from prefect import flow, unmapped
from prefect.task_runners import ThreadPoolTaskRunner

from engage.config import CycleConfig
from engage.errors import NothingSearched
from tasks.collecting import search_shard, store_trees
from tasks.cycle import begin_cycle
from tasks.planning import foretell, plan_shards
from tasks.stopping import stopped_on_interrupt


@flow(name="collect")
def collect(config: CycleConfig, cycle_id: str, from_champion: bool = True) -> dict[str, Any]:
    """Search the cycle's training scenarios; trees that are stored already are skipped."""
    cycle = begin_cycle(config, cycle_id, from_champion)
    began_s, failed = time.time(), dict[str, str]()
    with ThreadPoolTaskRunner(max_workers=config.collect.workers) as runner, stopped_on_interrupt():
        while shards := plan_shards(config, cycle, began_s, list(failed)):
            given = {"config": unmapped(config), "cycle": unmapped(cycle), "scenario_ids": shards}
            for reasons in runner.map(search_shard, given).result():
                failed |= reasons
            foretell(config, cycle, began_s)
    summary = store_trees(config, cycle, failed)
    if failed and not summary["rewards"]:
        raise NothingSearched(f"no scenario could be searched; {min(failed)}: {failed[min(failed)]}")
    return summary
