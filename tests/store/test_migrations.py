"""Stores and outboxes of other versions: what an older one left is read and gone on with, what a newer one left is let alone."""

import dataclasses
import logging
import os
import signal
import sqlite3
import struct
import subprocess
import sys
import textwrap
import typing
from datetime import datetime
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from old_homes import HOMES, old_home, old_store
from scripted_scenarios import SUPPORT
from small_stores import TABLES, counts, filled, hand_dialogue, hand_tree, renamed

import engage.store.outbox
from engage.domains import load_domain
from engage.errors import StoreError
from engage.search import DialogueRecord, TreeRecord
from engage.store import JudgementRecord, Outbox, PairConfig, TrajectoryStore, inspections, older_copies
from engage.store.measures import measured
from engage.store.outbox import OUTBOX_VERSION, Kind
from engage.store.queries import migrations, parameters_of, statement, statements
from engage.training import read_pairs

HERE = Path(__file__).parents[1]
TREE = hand_tree(SUPPORT, {"Tell me.": [[1.0, 0.5], [0.25]], "Oh.": [[None]]})
# What the home of the first version holds: three cycles with 4, 4 and 2 trees of 12 simulations, 4 evaluation dialogues.
OLD_ROWS = {
    "tree": 10, "node": 181, "trajectory": 124, "turn": 682, "reaction": 124, "visit": 480, "engine_call": 442,
}  # fmt: skip


@pytest.mark.slow
def test_an_old_store_answers_every_named_query_though_nobody_wrote_to_it_since(tmp_path):
    store, _ = old_store(tmp_path)
    assert store.latest_cycle() == "unfinished"
    dialogue = store.select("select trajectory_id from trajectory where cycle_id = 'done' order by 1 limit 1")[1][0][0]
    tree = store.select("select tree_id from tree where cycle_id = 'done' order by 1 limit 1")[1][0][0]
    known = {"cycle": "done", "id": dialogue, "prefix": "", "tree": tree, "since": "2020-01-01"}
    asked = {name: parameters_of(statement("inspect", name)) & set(known) for name in inspections()}
    found = {name: store.rows(name, {key: known[key] for key in keys}) for name, keys in asked.items()}
    assert {name for name, rows in found.items() if not rows} == {
        "unreadable_reactions", "no_pair", "side_by_side", "flaw_drift", "judged_pairs", "judged_dialogues",
        "played_chats", "forks", "fork_dialogues", "review_judgements", "policy_gains", "simulator_errors",
    }  # fmt: skip
    # as the version that wrote it answers
    assert [(row["trees"], row["reward_mean"]) for row in found["reward_by_domain"]] == [(2, 0.507), (2, 0.5628)]
    assert [row["fate"] for row in found["pairs"]].count("accepted") == 7
    assert counts(store) == OLD_ROWS


@pytest.mark.slow
@pytest.mark.parametrize("commit", [path.name.partition(".")[0] for path in sorted(HOMES.glob("*.tar.xz"))])
def test_every_kept_home_is_brought_up_to_date_with_all_rows(tmp_path, commit):
    home = old_home(tmp_path, commit)
    store, outbox = TrajectoryStore(home / "engage.duckdb", wait_s=10.0), Outbox(home / "outbox")
    with duckdb.connect(str(store.path), read_only=True) as connection:
        before = {table: connection.execute(f"select count(*) from {table}").fetchall()[0][0] for table in TABLES}
        cycles = [name for (name,) in connection.execute("select cycle_id from cycle order by rowid desc").fetchall()]
    assert counts(store) == before and store.cycle_ids() == cycles and before["tree"] > 0
    assert store.select("select version from schema_version")[1] == [(max(migrations()),)]
    assert store.drain(outbox) > 0 and outbox.pending() == []
    assert counts(store)["tree"] == before["tree"] + 1
    kept = [int(copy.name.rpartition("-")[2]) for copy in older_copies(store.path)]
    assert all(version < max(migrations()) for version in kept)


@pytest.mark.slow
def test_a_store_is_copied_before_it_is_migrated_and_the_copy_is_as_it_was(tmp_path):
    store, outbox = old_store(tmp_path)
    rows = "select (select count(*) from node), (select version from schema_version), (select max(cycle_id) from cycle)"
    with duckdb.connect(str(store.path), read_only=True) as connection:
        before = connection.execute(rows).fetchall()
    store.drain(outbox)
    kept = store.path.with_name("engage.duckdb.schema-1")
    log = kept.with_name(f"{kept.name}.wal")  # as a client leaves it that had the copy open and was killed
    log.touch()
    assert older_copies(store.path) == [kept]
    log.unlink()
    with duckdb.connect(str(kept), read_only=True) as connection:
        assert connection.execute(rows).fetchall() == before == [(OLD_ROWS["node"], 1, "unfinished")]
    again = TrajectoryStore(tmp_path / "back" / "engage.duckdb")
    again.path.parent.mkdir()
    kept.rename(again.path)  # how one goes back
    assert counts(again) == OLD_ROWS
    # a new view is no migration
    with duckdb.connect(str(store.path)) as connection:
        connection.execute("update schema_version set definitions = 'of another text'")
    store.cycle_ids()
    assert older_copies(store.path) == []


def test_a_disk_without_room_for_the_copy_leaves_the_old_store_as_it_was(tmp_path, monkeypatch):
    store, _ = old_store(tmp_path)

    def full(*_):
        raise duckdb.IOException("IO Error: Could not write file: No space left on device")

    monkeypatch.setattr("engage.store.database.copy_whole", full)
    content = store.path.read_bytes()
    with pytest.raises(StoreError, match="the disk is full; free some space"):
        store.cycle_ids()
    assert store.path.read_bytes() == content


def test_a_folder_in_place_of_the_copy_stops_the_migration_in_one_sentence(tmp_path):
    store, _ = old_store(tmp_path)
    content, folder = store.path.read_bytes(), store.path.with_name("engage.duckdb.schema-1")
    folder.mkdir()
    for work in (store.cycle_ids, lambda: store.begin_cycle("c2", {})):
        with pytest.raises(StoreError, match="schema-1: the copy of the database cannot be written: Is a directory"):
            work()
    assert store.path.read_bytes() == content and older_copies(store.path) == []
    assert sorted(path.name for path in tmp_path.rglob("*engage.duckdb*")) == ["engage.duckdb", folder.name]


@pytest.mark.slow
def test_an_old_outbox_is_stored(tmp_path):
    # A killed process left a tree of 12 simulations (17 nodes, 54 calls) and two dialogues with their survey.
    store, outbox = old_store(tmp_path)
    assert store.drain(outbox) == 3
    after = counts(store)
    assert {name: after[name] - OLD_ROWS[name] for name in ("tree", "node", "trajectory", "reaction", "visit")} == {
        "tree": 1, "node": 17, "trajectory": 14, "reaction": 14, "visit": 48,
    }  # fmt: skip
    assert list(outbox.folder.iterdir()) == []


@pytest.mark.slow
def test_pairs_of_an_old_cycle_are_judged_anew(tmp_path):
    store, _ = old_store(tmp_path)
    assert store.rescore("emotional_support", load_domain("emotional_support").reward) == 0
    assert store.score_pairs("done", PairConfig(min_q_gap=0.0, confidence=0.5))["accepted"] == 7
    assert len(read_pairs(store, "done")) == 7


@pytest.mark.slow
def test_a_migrated_store_has_the_columns_of_a_new_one(tmp_path):
    old, _ = old_store(tmp_path)
    new = filled(tmp_path / "new", [])
    columns = (
        "select table_name, column_index, column_name, data_type, is_nullable from duckdb_columns() "
        "where not internal and database_name = current_database() order by 1, 2"
    )
    assert old.select(columns) == new.select(columns)
    assert old.select("from schema_version") == new.select("from schema_version")
    comments = (
        "select table_name, comment from duckdb_tables() where not internal union all "
        "select view_name, comment from duckdb_views() where not internal union all "
        "select table_name || '.' || column_name, comment from duckdb_columns() where not internal order by 1"
    )
    assert old.select(comments) == new.select(comments)


@pytest.mark.slow
def test_measures_of_an_old_store_are_those_that_its_domains_compute(tmp_path):
    store, _ = old_store(tmp_path)
    before = store.select("select trajectory_id, measures from reaction where value is not null order by 1")[1]
    assert len(before) == OLD_ROWS["reaction"] and all(measures for _, measures in before)
    for domain in ("emotional_support", "persuasion"):
        store.rescore(domain, load_domain(domain).reward)
    assert store.select("select trajectory_id, measures from reaction where value is not null order by 1")[1] == before
    assert store.select("select count(stored_at) from tree")[1] == [(0,)]  # nobody knows any more


def test_migrations_are_numbered_without_a_gap(tmp_path):
    assert list(migrations()) == list(range(2, max(migrations()) + 1))
    assert filled(tmp_path, []).select("select version from schema_version")[1] == [(max(migrations()),)]


def first_version(path: Path, *changes: str) -> None:
    """Make a store of today one of version 1, as far as its tables say, and change it further."""
    with duckdb.connect(str(path)) as connection:
        connection.execute("drop table schema_version")
        connection.execute("create table schema_version as select 1 as version")
        for change in changes:
            connection.execute(change)


@pytest.mark.slow
def test_a_file_of_version_1_from_before_splits_were_noted_takes_new_figures_in_place_of_the_old(tmp_path):
    store = filled(tmp_path, [SUPPORT])
    store.add_evaluation("c1", "validation", "candidate", "held_out", {"persuasion": {"mean": 0.1}})
    first_version(store.path, "alter table evaluation drop column split")
    store.add_evaluation("c1", "validation", "candidate", "held_out", {"persuasion": {"mean": 0.2}})
    assert store.select("select split, value from evaluation")[1] == [("validation", 0.2)]


@pytest.mark.slow
def test_a_view_that_changed_is_replaced_before_it_is_read(tmp_path):
    # The version is the same; only the text of a view is another.
    store = filled(tmp_path, [SUPPORT], [TREE])
    with duckdb.connect(str(store.path)) as connection:
        connection.execute("create or replace view node_value as select 1 as nothing")
        connection.execute("update schema_version set definitions = 'of another text'")
    assert store.select("select count(*) from node_value where visit_count > 0")[1] == [(6,)]


@pytest.mark.slow
def test_a_database_whose_maker_was_killed_before_the_first_table_is_used(tmp_path):
    store = TrajectoryStore(tmp_path / "engage.duckdb")
    duckdb.connect(str(store.path)).close()
    assert store.latest_cycle() is None and store.cycle_ids() == []
    store.begin_cycle("c1", {})
    assert store.cycle_ids() == ["c1"]


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["between two migrations", "before the commit"])
def test_a_kill_in_the_middle_of_a_migration_leaves_the_old_version_whole(tmp_path, moment):
    store, outbox = old_store(tmp_path)
    code = """
        import os, signal, sys
        from pathlib import Path
        import engage.store.schema
        from engage.store import TrajectoryStore

        class Dying:
            def __init__(self, connection):
                self.connection = connection

            def execute(self, sql, *given):
                done = self.connection.execute(sql, *given)
                if sql.startswith("insert into schema_version") or "evaluation add column" in sql and "two" in sys.argv[2]:
                    os.kill(os.getpid(), signal.SIGKILL)
                return done

        bring = engage.store.database.bring_up_to_date
        engage.store.database.bring_up_to_date = lambda connection, path: bring(Dying(connection), path)
        TrajectoryStore(Path(sys.argv[1])).cycle_ids()
    """
    process = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(store.path), moment],
        env={**os.environ, "PYTHONPATH": str(HERE.parent)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert process.returncode == -signal.SIGKILL, process.stderr
    with duckdb.connect(str(store.path), read_only=True) as connection:
        assert connection.execute("from schema_version").fetchall() == [(1,)]
        assert connection.execute("select count(*) from node").fetchall() == [(OLD_ROWS["node"],)]
    assert counts(store) == OLD_ROWS
    assert store.drain(outbox) == 3


@pytest.mark.slow
def test_an_old_store_that_somebody_reads_waits_and_says_so(tmp_path):
    store, _ = old_store(tmp_path)
    hold = "import duckdb, sys; c = duckdb.connect(sys.argv[1], read_only=True); print(1, flush=True); sys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable, "-c", hold, str(store.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout.readline()
    with pytest.raises(StoreError) as refused:
        TrajectoryStore(store.path, wait_s=0.2).cycle_ids()
    assert f"open in another program (process {process.pid})" in str(refused.value)
    assert "older version of engage" in str(refused.value) and "\n" not in str(refused.value)
    process.communicate(timeout=30)
    assert len(store.cycle_ids()) == 3


@pytest.mark.parametrize("reason", ["Permission denied", "Read-only file system"])
def test_an_old_store_that_may_not_be_written_says_why_that_is_needed(tmp_path, monkeypatch, reason):
    store, _ = old_store(tmp_path)
    connect = duckdb.connect

    def read_only(path, read_only, config):
        if read_only:
            return connect(path, read_only=True, config=config)
        raise duckdb.IOException(f'IO Error: Cannot open file "{path}": {reason}')  # as DuckDB says it

    monkeypatch.setattr(duckdb, "connect", read_only)
    with pytest.raises(StoreError) as refused:
        store.cycle_ids()
    assert str(refused.value) == (
        f"{store.path}: the database cannot be opened: {reason.lower()} (it was written by an older version of engage and has "
        "to be brought up to date once, which writes to it)"
    )


def test_a_store_of_a_newer_engage_is_called_newer_and_left_alone(tmp_path):
    store, outbox = filled(tmp_path, [SUPPORT]), Outbox(tmp_path / "outbox")
    outbox.put_tree(TREE)
    with duckdb.connect(str(store.path)) as connection:
        connection.execute("update schema_version set version = 99")
    content = store.path.read_bytes()
    for call in (lambda: store.drain(outbox), store.cycle_ids, lambda: store.begin_cycle("c2", {})):
        with pytest.raises(StoreError) as refused:
            call()
        assert str(refused.value) == (
            f"{store.path}: written by a newer version of engage (schema 99, this one knows {max(migrations())}); "
            "use that version, or name another ENGAGE_HOME"
        )
    assert (outbox.has_tree("c1/s1"), store.path.read_bytes()) == (True, content)


def storage_version(path: Path, version: int) -> None:
    """Have a DuckDB file say that it was written in that storage format: bytes 12 to 20, under the header's checksum."""
    raw = path.read_bytes()
    header = raw[8:12] + struct.pack("<Q", version) + raw[20:4096]
    checksum = 5381
    for (word,) in struct.iter_unpack("<Q", header):
        checksum ^= word * 0xBF58476D1CE4E5B9 & (1 << 64) - 1
    path.write_bytes(struct.pack("<Q", checksum) + header + raw[4096:])


@pytest.mark.parametrize(("version", "age"), [(2000, "a newer"), (10, "an older")])
def test_a_file_that_this_duckdb_cannot_read_is_not_called_damaged(tmp_path, version, age):
    store, outbox = filled(tmp_path, [SUPPORT]), Outbox(tmp_path / "outbox")
    outbox.put_tree(TREE)
    storage_version(store.path, version)
    content = store.path.read_bytes()
    for call in (lambda: store.drain(outbox), store.cycle_ids):
        with pytest.raises(StoreError) as refused:
            call()
        said = str(refused.value)
        assert said.startswith(f"{store.path}: written by {age} DuckDB than the {duckdb.__version__} installed here")
        assert "damaged" not in said and "\n" not in said
    assert (outbox.has_tree("c1/s1"), store.path.read_bytes()) == (True, content)


def test_a_sqlite_file_is_refused_without_a_look_for_extensions(tmp_path, monkeypatch):
    # DuckDB opens SQLite files by an extension, which it takes from ~/.duckdb or from the network.
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    store = TrajectoryStore(tmp_path / "engage.duckdb")
    other = sqlite3.connect(store.path)
    other.execute("create table booking (id integer)")
    other.commit()
    other.close()
    content = store.path.read_bytes()
    for call in (lambda: store.begin_cycle("c1", {}), store.cycle_ids):
        with pytest.raises(StoreError) as refused:
            call()
        assert str(refused.value) == (
            f"{store.path}: a database of another program (of SQLite, perhaps), not of DuckDB; move it away or name "
            "another ENGAGE_HOME"
        )
    assert store.path.read_bytes() == content
    assert not (tmp_path / "me").exists()


def with_version(path: Path, version: bytes) -> None:
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({"engage.outbox_version": version}), path)


def test_an_outbox_file_notes_the_version_of_its_columns(tmp_path):
    outbox = Outbox(tmp_path)
    outbox.put_tree(TREE)
    outbox.put_dialogues([hand_dialogue(SUPPORT, 0.5)])
    noted = [pq.read_schema(path).metadata[b"engage.outbox_version"] for path in outbox.pending()]
    assert noted == [str(OUTBOX_VERSION).encode()] * 2


def test_an_outbox_file_of_a_newer_engage_waits_and_is_named_while_the_others_are_stored(tmp_path, caplog):
    outbox = Outbox(tmp_path / "outbox")
    outbox.put_tree(renamed(TREE, "from-tomorrow"))
    (path,) = outbox.pending()
    table = pq.read_table(path).append_column("mood", pa.array(["calm"]))
    pq.write_table(table.replace_schema_metadata({"engage.outbox_version": str(OUTBOX_VERSION + 1)}), path)
    outbox.put_tree(renamed(TREE, "good"))
    store = TrajectoryStore(tmp_path / "engage.duckdb")
    store.begin_cycle("c1", {})
    with caplog.at_level(logging.WARNING):
        assert store.drain(outbox) == 1
    assert (store.stored_tree_ids("c1"), list(outbox.folder.iterdir())) == ({"c1/good"}, [path])
    said = [record.getMessage() for record in caplog.records]
    assert [line for line in said if "newer" in line] == [
        "1 outbox file(s) of a newer engage wait until it drains them, such as "
        f"{path}: columns of version {OUTBOX_VERSION + 1}, this engage knows {OUTBOX_VERSION}"
    ]


@pytest.mark.parametrize("version", [b"0", b"-1", b"one", b""])
def test_an_outbox_file_of_no_version_is_set_aside(tmp_path, version):
    outbox = Outbox(tmp_path / "outbox")
    outbox.put_tree(TREE)
    (path,) = outbox.pending()
    with_version(path, version)
    assert TrajectoryStore(tmp_path / "engage.duckdb").drain(outbox) == 0
    assert [p.name for p in outbox.folder.iterdir()] == [path.name + ".damaged"]


def test_an_outbox_file_of_an_older_version_has_null_in_the_columns_it_lacks(tmp_path, monkeypatch):
    # A later version adds `mood` to nodes and `place` to trees; both stand in the midst of what was there.
    outbox = Outbox(tmp_path)
    outbox.put_tree(TREE)
    (path,) = outbox.pending()
    columns = engage.store.outbox._schema

    def later(kind, version):
        schema = columns(kind, min(version, OUTBOX_VERSION))
        if version <= OUTBOX_VERSION or kind is not Kind.TREE:
            return schema
        nodes = schema.field("nodes")
        node = pa.struct([pa.field("mood", pa.string()), *nodes.type.value_type])
        return schema.set(schema.get_field_index("nodes"), nodes.with_type(pa.list_(node))).insert(
            1, pa.field("place", pa.string())
        )

    before = outbox.read(path).to_pylist()[0]
    monkeypatch.setattr(engage.store.outbox, "OUTBOX_VERSION", OUTBOX_VERSION + 1)
    monkeypatch.setattr(engage.store.outbox, "_schema", later)
    table = outbox.read(path)
    assert table.schema.equals(later(Kind.TREE, OUTBOX_VERSION + 1))
    after = table.to_pylist()[0]
    assert (after.pop("place"), {node.pop("mood") for node in after["nodes"]}) == (None, {None})
    assert after == before


def arrow_of(kind: typing.Any) -> typing.Any:
    """The Arrow type of an annotation, every integer as int64."""
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return pa.struct([pa.field(name, arrow_of(hint)) for name, hint in hints.items()])
    if typing.get_origin(kind) is tuple:
        return pa.list_(arrow_of(typing.get_args(kind)[0]))
    parts = [part for part in typing.get_args(kind) or (kind,) if part is not type(None)]
    (part,) = {type(part) if isinstance(part, str) else part for part in parts}  # a Literal is one of its texts
    return {int: pa.int64(), float: pa.float64(), datetime: pa.timestamp("us")}.get(part, pa.string())


def widened(kind: pa.DataType) -> pa.DataType:
    """The type with every int32 as int64: how wide an integer is, no annotation says."""
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(field.name, widened(field.type)) for field in kind])
    if pa.types.is_list(kind):
        return pa.list_(widened(kind.value_type))
    return pa.int64() if kind == pa.int32() else kind


@pytest.mark.parametrize(
    ("kind", "record", "key"),
    [
        (Kind.TREE, TreeRecord, "tree_id"),
        (Kind.DIALOGUES, DialogueRecord, "trajectory_id"),
        (Kind.JUDGEMENT, JudgementRecord, "judgement_id"),
    ],
)
def test_a_file_of_the_outbox_has_the_fields_of_its_record_and_its_key(kind, record, key):
    schema = engage.store.outbox._schema(kind, OUTBOX_VERSION)
    assert {field.name: widened(field.type) for field in schema} == {
        key: pa.string(),
        **{field.name: field.type for field in arrow_of(record)},
    }


def test_every_column_of_the_outbox_reaches_the_column_of_its_name_and_type(tmp_path):
    """sql/unpack/ against sql/schema/ and the Arrow schema: nothing that is collected is left out, nothing is left empty."""
    schemas = {kind: engage.store.outbox._schema(kind, OUTBOX_VERSION) for kind in Kind}
    with duckdb.connect() as connection:
        for sql in statements("schema").values():
            connection.execute(sql)
        connection.register("incoming_tree", schemas[Kind.TREE].empty_table())
        connection.register("incoming_dialogue", schemas[Kind.DIALOGUES].empty_table())
        connection.register("incoming_measure", measured([]))
        described = {}
        for source in ("tree", "dialogue"):
            connection.execute(
                f"create or replace view incoming_trajectory as {statement('unpack', f'{source}_trajectory')}"
            )
            connection.execute(f"create or replace view incoming_call as {statement('unpack', f'{source}_call')}")
            for name in TABLES:
                given = connection.execute(f"describe {statement('unpack', name)}").fetchall()
                table = connection.execute(f"describe {name}").fetchall()
                # positions in lists, counted by the statement, are BIGINT there
                described[source, name] = {row[0]: row[1].replace("BIGINT", "INTEGER") for row in given}
                assert described[source, name] == {row[0]: row[1].replace("BIGINT", "INTEGER") for row in table}, name
    nested = schemas[Kind.TREE].field("nodes").type.value_type
    assert {field.name for field in nested} | {"tree_id"} == set(described["tree", "node"])
    call = schemas[Kind.TREE].field("calls").type.value_type
    assert {field.name for field in call} | {"cycle_id", "purpose", "origin_id"} == set(
        described["tree", "engine_call"]
    )
    trajectory = schemas[Kind.DIALOGUES].field("trajectory").type
    turn = trajectory.field("dialogue").type.field("turns").type.value_type
    assert {field.name for field in turn} | {"trajectory_id", "turn_index"} == set(described["tree", "turn"])
    reaction = {field.name for field in trajectory.field("reaction").type} | {"reward", "trajectory_id", "measures"}
    assert reaction == set(described["tree", "reaction"])
    own = {field.name for field in trajectory} - {"dialogue", "reaction", "reward"}
    own |= {field.name for field in schemas[Kind.DIALOGUES]} - {"trajectory", "calls"}
    assert own | {"tree_id", "simulation", "root_id", "stored_at"} == set(described["dialogue", "trajectory"])
    own = {field.name for field in schemas[Kind.TREE]} - {"nodes", "simulations", "calls", "simulator"}
    assert "simulator" in described["tree", "trajectory"]  # that of a tree is the one of all its dialogues
    assert own | {"stored_at"} == set(described["tree", "tree"])
    simulation = {field.name for field in schemas[Kind.TREE].field("simulations").type.value_type}
    assert simulation == {"simulation", "root_id", "node_ids", "trajectory"}  # trajectory's columns, and visit's
