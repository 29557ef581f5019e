"""The search's own cost, without a model: a scripted engine answers after a fixed latency, a fixed number at a time.

So only the scheduler is measured: whether it keeps all slots busy, how much CPU time a call costs, and whether ten thousand trees
cost as much per tree as a hundred.
"""

import asyncio
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from engage.bench.process import in_own_process
from engage.bench.search import repeated, run_search
from engage.engines.scripted import ScriptedEngine
from engage.scenario import SHIPPED, load_scenarios
from engage.search import SearchConfig
from engage.simulation import DialogueConfig
from engage.store import Outbox

FEW_TREES, WARM_UP_TREES = 100, 4
SEARCH = SearchConfig(num_simulations=8, round_size=8, reply_factor=3.0, reply_exponent=0.0)
DIALOGUE = DialogueConfig(max_exchanges=2)


@dataclass(frozen=True)
class SchedulerRun:
    """`cpu_s` is the CPU time of the whole process during the search, including writing the trees to an outbox.

    `full_s` is the time until the first tree ends after the last was begun, `full_calls` the calls answered by then.
    """

    trees: int
    calls: int
    wall_s: float
    full_s: float
    full_calls: int
    cpu_s: float


def schedule(trees: int, slots: int, latency_s: float) -> SchedulerRun:
    """Search `trees` scenarios and write each tree to an outbox, as a cycle does."""
    engine = ScriptedEngine(latency_s=latency_s, slots=slots)
    with tempfile.TemporaryDirectory() as folder:
        cpu = time.process_time()
        scenarios = repeated(load_scenarios(SHIPPED), trees)
        run = asyncio.run(run_search(engine, scenarios, DIALOGUE, SEARCH, on_tree=Outbox(Path(folder)).put_tree))
        cpu_s = time.process_time() - cpu
    full_calls = sum(answer.at_s - run.started_s <= run.full_s for answer in run.answers)
    return SchedulerRun(trees, len(run.answers), run.wall_s, run.full_s, full_calls, cpu_s)


def warm_schedule(trees: int, slots: int, latency_s: float) -> SchedulerRun:
    """`schedule`, after a few uncounted trees that take the cost of imports."""
    schedule(WARM_UP_TREES, slots, latency_s=0.0)
    return schedule(trees, slots, latency_s)


def measure_scheduler(
    trees: int, slots: int, latency_s: float, on_stage: Callable[[str], None] = lambda _: None
) -> dict[str, float]:
    """Search a hundred trees, then `trees`, each in a process of its own; the result is in shares, ms and MB.

    `utilisation` is the share of busy slots while trees are left to begin, `utilisation_with_drain` that of the whole run.
    """
    on_stage(f"{FEW_TREES} trees")
    few = in_own_process(warm_schedule, FEW_TREES, slots, latency_s)
    on_stage(f"{trees} trees")
    many = in_own_process(warm_schedule, trees, slots, latency_s)
    run = many.result
    per_tree = {name: 1000 * m.result.cpu_s / m.result.trees for name, m in (("few", few), ("many", many))}
    return {
        **asdict(run),
        "slots": slots,
        "latency_s": latency_s,
        "utilisation": run.full_calls * latency_s / (slots * run.full_s),
        "utilisation_with_drain": run.calls * latency_s / (slots * run.wall_s),
        "bookkeeping_ms_per_call": 1000 * run.cpu_s / run.calls,
        "ms_per_tree_at_100": per_tree["few"],
        "ms_per_tree": per_tree["many"],
        "cost_ratio": per_tree["many"] / per_tree["few"],
        "peak_mb": many.peak_mb,
    }
