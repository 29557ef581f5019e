"""Deleting, exporting and compacting: what is left in the store, and what a reader or a writer beside it sees."""

import subprocess
import sys
import time

import duckdb
import pyarrow.parquet as pq
import pytest
from small_stores import TABLES, count, counts, filled, hand_dialogue, hand_tree, support_scenario

import engage.store.compaction
from engage.errors import StoreError
from engage.store import Challenges, TrajectoryStore, compact, count_rows, delete_rows, export_cycle, free_share
from engage.store.keeping import rows_of

ONE, TWO = support_scenario("s1"), support_scenario("s2")
REPLIES = {"Tell me more.": [[1.0], [0.5]], "Cheer up.": [[0.0], [0.25]]}
# of one tree: 2 replies and 4 user turns below the root, 4 simulations of 3 nodes and 3 turns, one call; of one dialogue: 3 turns, one call
TREE = {"tree": 1, "node": 7, "trajectory": 4, "turn": 12, "reaction": 4, "visit": 12, "engine_call": 1}
DIALOGUE = {"tree": 0, "node": 0, "trajectory": 1, "turn": 3, "reaction": 1, "visit": 0, "engine_call": 1}


def rows(trees: int, dialogues: int) -> dict[str, int]:
    return {table: trees * TREE[table] + dialogues * DIALOGUE[table] for table in TABLES}


@pytest.fixture
def store(tmp_path) -> TrajectoryStore:
    """Two cycles; each has a tree of both scenarios and a dialogue of the first."""
    trees = [hand_tree(scenario, REPLIES, cycle) for cycle in ("c1", "c2") for scenario in (ONE, TWO)]
    dialogues = [hand_dialogue(ONE, 0.5, cycle) for cycle in ("c1", "c2")]
    return filled(tmp_path, [ONE, TWO], trees, dialogues, ("c1", "c2"))


@pytest.mark.slow
def test_a_deleted_cycle_leaves_the_others_and_the_scenarios(store):
    store.add_evaluation("c1", "validation", "candidate", "search", {"all": {"mean": 0.5}})
    assert counts(store) == rows(4, 2)
    assert count_rows(store.path, "cycle_id", ["c1"], 10.0) == rows(2, 1) | {
        "pair": 0,
        "judgement": 0,
        "evaluation": 1,
        "earlier_spread": 0,
        "cycle": 1,
    }
    delete_rows(store.path, "cycle_id", ["c1"], 10.0)
    assert (store.cycle_ids(), counts(store)) == (["c2"], rows(2, 1))
    assert (count(store, "evaluation"), count(store, "scenario")) == (0, 2)


@pytest.mark.parametrize("by", ["cycle_id", "scenario_id"])
def test_every_table_that_names_a_cycle_or_a_scenario_is_reached(store, by):
    found = store.select(
        "select table_name from duckdb_columns() join duckdb_tables() using (table_name) where column_name = $by",
        {"by": by},
    )[1]
    outlive = {
        "challenge",
        "challenge_batch",
        "promotion",
    }  # how much evidence the next candidate needs follows from them
    assert {name for (name,) in found} - outlive <= set(rows_of(by))


@pytest.mark.slow
def test_a_deleted_scenario_is_in_no_cycle_and_in_no_list_of_a_challenge(store):
    challenges = Challenges(store)
    challenges.begin("c1", "candidate-1", "a", "base", "held-out x", "g", ["s1", "s2"])
    delete_rows(store.path, "scenario_id", ["s1"], 10.0)
    assert (store.cycle_ids(), counts(store)) == (["c2", "c1"], rows(2, 0))
    assert store.select("select scenario_id from scenario")[1] == [("s2",)]
    assert [one.scenarios for one in challenges.all()] == [("s2",)]


def test_an_exported_cycle_has_its_own_rows_only_and_its_scenarios(store, tmp_path):
    found = export_cycle(store.path, "c2", tmp_path / "out", 10.0)
    others = {"cycle": 1, "scenario": 2}
    none = ("pair", "judgement", "evaluation", "earlier_spread", "challenge", "challenge_batch", "promotion")
    assert found == rows(2, 1) | others | dict.fromkeys(none, 0)
    files = {path.stem: pq.read_table(path) for path in (tmp_path / "out").iterdir()}
    assert {name: table.num_rows for name, table in files.items()} == found
    assert set(files["tree"]["tree_id"].to_pylist()) == {"c2/s1", "c2/s2"}
    texts = "select text from turn where trajectory_id like 'c2/%' order by rowid"
    assert [(text,) for text in files["turn"]["text"].to_pylist()] == store.select(texts)[1]


@pytest.mark.slow
def test_a_compacted_store_is_smaller_and_answers_as_before(tmp_path):
    many = [support_scenario(f"s{number}", opening="My dog died. " * 200) for number in range(30)]
    trees = [hand_tree(scenario, REPLIES, cycle) for cycle in ("c1", "c2") for scenario in many]
    store = filled(tmp_path, many, trees, (), ("c1", "c2"))
    delete_rows(store.path, "cycle_id", ["c1"], 10.0)
    before, kept = store.path.stat().st_size, counts(store)
    mode = store.path.stat().st_mode
    assert free_share(store.path, 10.0) > 0.05
    freed = compact(store.path, 10.0)
    assert freed == before - store.path.stat().st_size > 0
    assert (counts(store), store.cycle_ids(), free_share(store.path, 10.0)) == (kept, ["c2"], 0.0)
    comments = "select count(*) from duckdb_columns() where not internal and comment is null"
    assert store.select(comments)[1] == [(0,)]
    store.begin_cycle("c3", {})
    assert (store.cycle_ids(), store.path.stat().st_mode) == (["c3", "c2"], mode)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["engage.duckdb"]


@pytest.mark.slow
def test_a_writer_waits_for_a_compaction_and_loses_nothing(store, monkeypatch):
    # The other process comes while the copy is made, and writes as soon as it may.
    write = (
        "import sys; from engage.store import TrajectoryStore; TrajectoryStore(sys.argv[1], 60.0).begin_cycle('c3', {})"
    )
    started = []

    def slow(path, read_only, config):
        connection = attached(path, read_only, config)
        started.append(subprocess.Popen([sys.executable, "-c", write, path]))
        time.sleep(2.0)  # in which the other process finds the file locked
        return connection

    attached = engage.store.compaction.attached
    monkeypatch.setattr(engage.store.compaction, "attached", slow)
    compact(store.path, 10.0)
    assert started[0].wait(60) == 0
    assert (store.cycle_ids(), counts(store)) == (["c3", "c2", "c1"], rows(4, 2))


def test_what_a_killed_writer_left_in_duckdbs_log_is_in_the_compacted_store(store):
    code = (
        "import duckdb, os, sys; c = duckdb.connect(sys.argv[1]);"
        "c.execute(\"insert into cycle (cycle_id, config_hash, config, started_at) values ('c3', '', '{}', now())\"); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", code, store.path]).returncode == 9
    assert store.path.with_name("engage.duckdb.wal").exists()
    compact(store.path, 10.0)
    assert store.cycle_ids() == ["c3", "c2", "c1"]


@pytest.mark.slow
def test_a_store_that_is_open_elsewhere_is_not_compacted(store):
    hold = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print(1, flush=True); sys.stdin.read()"
    holder = subprocess.Popen([sys.executable, "-c", hold, store.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout.readline()
    try:
        with pytest.raises(StoreError, match=f"open in another program .process {holder.pid}"):
            compact(store.path, 0.2)
    finally:
        holder.communicate(timeout=30)
    assert counts(store) == rows(4, 2)


def test_a_full_disk_leaves_the_store_as_it_was(store, monkeypatch):
    class Full:
        def __init__(self, connection):
            self.connection = connection

        def execute(self, sql):
            if sql.startswith("copy"):
                raise duckdb.IOException("IO Error: Could not write file: No space left on device")
            return self.connection.execute(sql)

        def close(self):
            self.connection.close()

    attached = engage.store.compaction.attached
    monkeypatch.setattr(engage.store.compaction, "attached", lambda path, **given: Full(attached(path, **given)))
    content = store.path.read_bytes()
    with pytest.raises(StoreError, match="the disk is full"):
        compact(store.path, 10.0)
    assert store.path.read_bytes() == content
    assert [path.name for path in store.path.parent.iterdir() if path.is_file()] == ["engage.duckdb"]
