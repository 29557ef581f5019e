"""Measures how a night's data grow: trees through outbox, drain, pairs and the copy for readers, each in a process of its own.

A few trees are searched on the scripted engine, with the profile's own dialogue and search, and repeated with other names, rewards and
texts: the search itself is measured by `engage.bench.scheduler`.
"""

import itertools
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from engage.bench.process import Measured, in_own_process
from engage.bench.store_filling import CYCLE_ID, OnProgress, copied, renamed, search_templates
from engage.dialogue import Dialogue
from engage.scenario import Scenario
from engage.search import SearchConfig, TreeRecord
from engage.simulation import DialogueConfig
from engage.store import WAIT_S, Outbox, PairConfig, TrajectoryStore, write_snapshot

TABLES = ("scenario", "tree", "node", "trajectory", "turn", "reaction", "visit", "engine_call", "pair")


@dataclass(frozen=True)
class Step:
    """Seconds, processor seconds for a thousand trees, and the peak memory of the step's process (10⁶ bytes)."""

    name: str
    seconds: float
    cpu_s_per_1000: float
    peak_mb: float


@dataclass(frozen=True)
class NightFigures:
    """The figures of the bench: steps in order, rows by table, bytes of outbox and database.

    `prompt_words` and `completion_words` are what the scripted engine counts as tokens."""

    trees: int
    steps: tuple[Step, ...]
    rows: dict[str, int]
    outbox_bytes: int
    database_bytes: int
    accepted: int
    prompt_words: int
    completion_words: int


def bench_night(
    trees: int,
    dialogue: DialogueConfig,
    search: SearchConfig,
    pairs: PairConfig,
    on_progress: OnProgress = lambda what, share: None,
    templates: int = 32,
) -> NightFigures:
    """Measure on a temporary home with that many trees."""
    with tempfile.TemporaryDirectory(prefix="engage-bench-") as name:
        folder = Path(name)
        store, outbox = TrajectoryStore(folder / "engage.duckdb"), Outbox(folder / "outbox")
        on_progress("searching on the scripted engine", 0.0)
        records = search_templates(min(templates, trees), dialogue, search)
        store.begin_cycle(CYCLE_ID, {"bench": "night"})
        store.add_scenarios(_scenarios(len(records), trees))
        steps = []

        def measure(what: str, *work: Any) -> Measured[Any]:
            on_progress(what, 0.0)
            found = in_own_process(*work)
            steps.append(Step(what, found.seconds, 1000 * found.cpu_s / trees, found.peak_mb))
            return found

        measure("into the outbox", _put, outbox, records, trees)
        waiting = _size(outbox.folder)
        measure("from the outbox into the database", store.drain, outbox)
        judged = measure("pairs in SQL", store.score_pairs, CYCLE_ID, pairs)
        measure("the copy for readers", write_snapshot, store.path, folder / "read.duckdb", WAIT_S)
        rows = {table: int(store.select(f"select count(*) from {table}")[1][0][0]) for table in TABLES}
        ((prompt, completion),) = store.select("select sum(prompt_tokens), sum(completion_tokens) from engine_call")[1]
        return NightFigures(
            trees, tuple(steps), rows, waiting, store.path.stat().st_size, judged.result["accepted"],
            int(prompt), int(completion),
        )  # fmt: skip


def _put(outbox: Outbox, records: Sequence[TreeRecord], trees: int) -> None:
    for record in itertools.islice(_copies(records), trees):
        outbox.put_tree(record)


def _copies(records: Sequence[TreeRecord]) -> Iterator[TreeRecord]:
    """The records, over and over, each time with other names and texts and slightly smaller rewards."""
    for repeat in itertools.count():
        for record in records:
            yield copied(_reworded(record, repeat), f"{record.scenario_id}r{repeat}", 1 - repeat / 1_000_000)


def _reworded(record: TreeRecord, repeat: int) -> TreeRecord:
    """The tree with every text's words in another order and a number behind them: equal texts would take no place in the database."""

    def other(text: str) -> str:
        words = text.split()
        first = repeat % max(1, len(words))
        return " ".join([*words[first:], *words[:first], str(repeat)])

    simulations = []
    for simulation in record.simulations:
        turns = (replace(turn, text=other(turn.text)) for turn in simulation.trajectory.dialogue.turns)
        trajectory = replace(simulation.trajectory, dialogue=Dialogue(tuple(turns)))
        simulations.append(replace(simulation, trajectory=trajectory))
    nodes = tuple(node if node.text is None else replace(node, text=other(node.text)) for node in record.nodes)
    return replace(record, nodes=nodes, simulations=tuple(simulations))


def _scenarios(templates: int, trees: int) -> list[Scenario]:
    known = renamed(templates)
    return [
        replace(known[number % templates], scenario_id=f"b{number % templates}r{number // templates}")
        for number in range(trees)
    ]


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())
