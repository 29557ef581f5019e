"""Searches scenarios and stores the trees."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prefect import flow, unmapped
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from engage.config import CycleConfig
from engage.errors import NothingSearched, TooManyFlawed
from engage.evaluation import Collected
from engage.stopping import stopped_on_interrupt
from flows.cluster import dask_runner, own_environment, workers_told
from tasks.collecting import check_talk, search_shard, store_trees
from tasks.cycle import CLOSING, begin_cycle
from tasks.planning import foretell, plan_shards
from tasks.run_log import finished


@flow(name="collect", flow_run_name="{cycle_id}", **CLOSING)
def collect(config: CycleConfig, cycle_id: str, from_champion: bool = True) -> Collected:
    """Search the cycle's training scenarios; scenarios with a stored tree are skipped."""
    cycle = begin_cycle(config, cycle_id, from_champion, keep=True)
    began_s, failed, tried = time.monotonic(), dict[str, str](), set[str]()
    stopped: TooManyFlawed | None = None
    try:
        with searching(config) as runner, stopped_on_interrupt():
            while shards := plan_shards(config, cycle, began_s, sorted(tried)):
                given = {"config": unmapped(config), "cycle": unmapped(cycle), "scenario_ids": shards}
                for reasons in runner.map(search_shard, given).result():
                    failed |= reasons
                tried |= {scenario_id for shard in shards for scenario_id in shard}
                foretell(config, cycle, began_s)
    except TooManyFlawed as error:
        stopped = error
    collected = store_trees(config, cycle, failed)
    if stopped:
        raise stopped
    if failed and not collected.rewards:
        raise NothingSearched(f"no scenario could be searched; {min(failed)}: {failed[min(failed)]}")
    check_talk(config, cycle, "search")
    return finished(cycle_id, collected)


@contextmanager
def searching(config: CycleConfig) -> Iterator[TaskRunner[Any]]:
    """A started `shard_runner` whose lost workers are told, and whose shards run on workers with the wanted resource only."""
    collect = config.collect
    with own_environment(), shard_runner(config) as runner, workers_told(runner, collect.dask_scheduler):
        if collect.dask_scheduler is None or collect.dask_resource is None:
            yield runner
            return
        from dask.base import annotate

        with annotate(resources={collect.dask_resource: 1}):
            yield runner


def shard_runner(config: CycleConfig) -> TaskRunner[Any]:
    """The task runner for shards: threads of this process, or Dask's workers (`flows.cluster.dask_runner`)."""
    if config.collect.dask_scheduler is None:
        return ThreadPoolTaskRunner(max_workers=config.collect.workers)
    return dask_runner(config, config.collect.dask_scheduler)
