import dataclasses
import logging
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scripted_scenarios import SUPPORT, searched
from small_stores import count, counts, filled, hand_dialogue, hand_tree, renamed, support_scenario

from engage.errors import StoreError
from engage.store import Outbox, TrajectoryStore
from engage.store.outbox import OUTBOX_VERSION, Kind, _schema

# Two replies, three user turns, four simulations: 1 + 2 + 3 = 6 nodes, 4 trajectories of 3 turns, 4 × 3 visits, 1 call.
TREE = hand_tree(SUPPORT, {"Tell me.": [[1.0, 0.5], [0.25]], "Oh.": [[None]]})
ROWS_OF_TREE = {
    "tree": 1, "node": 6, "trajectory": 4, "turn": 12, "reaction": 4, "visit": 12, "engine_call": 1,
}  # fmt: skip


def python(code: str, *arguments: object) -> "subprocess.Popen[str]":
    """A real process that runs `code`; its arguments are in `sys.argv[1:]`."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_tree_is_read_back_as_it_was_put(tmp_path):
    outbox, record = Outbox(tmp_path), searched()
    outbox.put_tree(record)
    (row,) = outbox.read(outbox.pending()[0]).to_pylist()
    assert row["tree_id"] == "c1/s1"
    assert [node["text"] for node in row["nodes"]] == [node.text for node in record.nodes]
    assert [tuple(s["node_ids"]) for s in row["simulations"]] == [s.node_ids for s in record.simulations]
    assert [s["trajectory"]["reward"] for s in row["simulations"]] == [s.trajectory.reward for s in record.simulations]
    assert [call["key"] for call in row["calls"]] == [call.key for call in record.calls]


def test_text_of_any_language_survives_the_outbox_and_the_store(tmp_path):
    said = "Ça va? 我很难过 😢 \"'\\ \n$1"
    store = filled(tmp_path, [SUPPORT], [hand_tree(SUPPORT, {said: [[0.5]]})])
    assert store.select("select text from node where node_id = 1")[1] == [(said,)]


def test_putting_a_tree_twice_is_one_file(tmp_path):
    outbox = Outbox(tmp_path)
    outbox.put_tree(TREE)
    outbox.put_tree(TREE)
    assert len(list(tmp_path.iterdir())) == 1


def test_scenario_ids_that_differ_only_in_signs_are_two_files(tmp_path):
    # Both ids become "c1-a-b" as a readable name; the hash keeps them apart.
    outbox = Outbox(tmp_path)
    outbox.put_tree(renamed(TREE, "a/b"))
    outbox.put_tree(renamed(TREE, "a b"))
    assert len(outbox.pending()) == 2


def test_a_scenario_id_cannot_lead_out_of_the_folder(tmp_path):
    outbox = Outbox(tmp_path / "outbox")
    outbox.put_tree(renamed(TREE, "../../elsewhere"))
    assert [path.parent for path in tmp_path.rglob("*.parquet")] == [tmp_path / "outbox"]


def test_a_waiting_tree_is_known_until_it_is_stored(tmp_path):
    store, outbox = filled(tmp_path, []), Outbox(tmp_path / "outbox")
    assert not outbox.has_tree("c1/s1")
    outbox.put_tree(TREE)
    assert outbox.has_tree("c1/s1")
    assert (store.drain(outbox), outbox.has_tree("c1/s1"), store.stored_tree_ids("c1")) == (1, False, {"c1/s1"})


def test_a_file_that_is_still_being_written_is_not_seen(tmp_path, monkeypatch):
    # Stop the writer where the bytes are in the temporary file and the name is not yet given.
    outbox, seen = Outbox(tmp_path), []

    def stop(descriptor):
        seen.append([path.name for path in tmp_path.iterdir()])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("engage.files.writing.os.fsync", stop)
    with pytest.raises(StoreError, match=r"cannot be written: No space left on device"):
        outbox.put_tree(TREE)
    assert len(seen[0]) == 1 and seen[0][0].endswith(".tmp")
    assert (outbox.pending(), list(tmp_path.iterdir())) == ([], [])


def test_a_folder_that_cannot_be_made_is_a_store_error_that_names_the_file(tmp_path):
    (tmp_path / "outbox").write_text("a file, no folder")
    with pytest.raises(StoreError, match=r"outbox/c1-s1-[0-9a-f]{16}\.tree\.parquet: cannot be written"):
        Outbox(tmp_path / "outbox").put_tree(TREE)


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["cut", "flipped", "other_columns", "not_parquet"])
def test_a_damaged_file_is_set_aside_and_named_while_the_others_are_stored(tmp_path, caplog, damage):
    outbox = Outbox(tmp_path / "outbox")
    outbox.put_tree(renamed(TREE, "bad"))
    (path,) = outbox.pending()
    raw = path.read_bytes()
    if damage == "cut":
        path.write_bytes(raw[: len(raw) // 2])
    elif damage == "flipped":
        path.write_bytes(raw[:200] + bytes(byte ^ 0xFF for byte in raw[200:240]) + raw[240:])
    elif damage == "not_parquet":
        path.write_text("hello")
    else:
        Outbox(tmp_path / "other").put_dialogues([hand_dialogue(SUPPORT, 0.5)])
        path.write_bytes(next((tmp_path / "other").iterdir()).read_bytes())
    outbox.put_tree(renamed(TREE, "good"))
    store = TrajectoryStore(tmp_path / "engage.duckdb")
    store.begin_cycle("c1", {})
    with caplog.at_level(logging.WARNING):
        assert store.drain(outbox) == 1
    assert store.stored_tree_ids("c1") == {"c1/good"}
    assert [p.name for p in outbox.folder.iterdir()] == [path.name + ".damaged"]
    assert "1 outbox file(s) set aside as *.damaged" in caplog.text and path.name in caplog.text


def _no_rows(folder: Path) -> Path:
    path = folder / "zero.tree.parquet"
    pq.write_table(_schema(Kind.TREE, OUTBOX_VERSION).empty_table(), path)
    return path


def _two_trees(folder: Path) -> Path:
    other = Outbox(folder.parent / "other")
    for name in ("x", "y"):
        other.put_tree(renamed(TREE, name))
    path = folder / "two.tree.parquet"
    pq.write_table(pa.concat_tables([other.read(one) for one in other.pending()]), path)
    return path


def _broken_text(folder: Path, column: str = "simulator") -> Path:
    # bytes that are no UTF-8: Arrow does not look, DuckDB does
    other = Outbox(folder.parent / "other")
    other.put_tree(renamed(TREE, "x"))
    table = other.read(other.pending()[0])
    assert table is not None
    buffers = [None, pa.py_buffer(b"\0\0\0\0\4\0\0\0"), pa.py_buffer(b"\xff\xfe\xfd\xfc")]
    broken = pa.Array.from_buffers(pa.string(), 1, buffers)
    path = folder / "text.tree.parquet"
    pq.write_table(table.set_column(table.schema.get_field_index(column), column, broken), path)
    return path


def _broken_id(folder: Path) -> Path:
    return _broken_text(folder, "tree_id")


def _long_name(folder: Path) -> Path:
    path = folder / ("é" * 121 + ".tree.parquet")  # 255 bytes: no ending can be added
    path.write_bytes(b"x")
    return path


def _folder(folder: Path) -> Path:
    (folder / "d.tree.parquet" / "inside").mkdir(parents=True)
    return folder / "d.tree.parquet"


def _pipe(folder: Path) -> Path:
    os.mkfifo(folder / "p.dialogues.parquet")
    return folder / "p.dialogues.parquet"


def _link(folder: Path) -> Path:
    (folder / "l.tree.parquet").symlink_to(folder / "nowhere")
    return folder / "l.tree.parquet"


ODD = {
    _no_rows: "no rows",
    _two_trees: "more than one tree",
    _broken_text: "unicode",
    _broken_id: "can't decode byte 0xff",
    _long_name: "not a whole Parquet file",
    _folder: "not a plain file",
    _pipe: "not a plain file",
    _link: "not a plain file",
}


@pytest.mark.slow
@pytest.mark.timeout(60)
@pytest.mark.parametrize(("make", "reason"), ODD.items(), ids=lambda one: getattr(one, "__name__", ""))
def test_an_odd_file_is_set_aside_with_the_reason_while_the_others_are_stored(tmp_path, caplog, make, reason):
    store, outbox = filled(tmp_path, []), Outbox(tmp_path / "outbox")
    outbox.put_tree(renamed(TREE, "good"))
    path = make(outbox.folder)
    assert store.drain(outbox) == 1
    assert store.stored_tree_ids("c1") == {"c1/good"}
    (aside,) = outbox.folder.iterdir()
    assert aside.name.endswith(".damaged") and aside.name[:4] == path.name[:4]
    assert str(path) in caplog.text and reason in caplog.text
    assert store.drain(outbox) == 0


def test_a_file_that_this_user_may_not_read_is_set_aside(tmp_path, caplog, monkeypatch):
    store, outbox = filled(tmp_path, []), Outbox(tmp_path / "outbox")
    for name in ("good", "shut"):
        outbox.put_tree(renamed(TREE, name))
    read = Path.read_bytes

    def refused(path):
        if "shut" in path.name:
            raise PermissionError(13, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refused)  # root may read everything
    assert store.drain(outbox) == 1
    assert [file.suffix for file in outbox.folder.iterdir()] == [".damaged"]
    assert "this user may not read it" in caplog.text


def test_files_of_one_name_are_set_aside_beside_each_other(tmp_path):
    outbox = Outbox(tmp_path)
    for content in ("first", "second"):
        (tmp_path / "a.tree.parquet").write_text(content)
        outbox.set_aside(tmp_path / "a.tree.parquet")
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {
        "a.tree.parquet.damaged": "first",
        "a.tree.parquet.2.damaged": "second",
    }


def test_what_killed_processes_left_half_written_is_swept_after_a_day(tmp_path):
    store, outbox = filled(tmp_path, [], [TREE]), Outbox(tmp_path / "outbox")
    for name, age_s in {".old.tmp": 90_000, ".new.tmp": 60}.items():
        (outbox.folder / name).write_text("half")
        os.utime(outbox.folder / name, (time.time() - age_s,) * 2)
    store.drain(outbox)
    assert [file.name for file in outbox.folder.iterdir()] == [".new.tmp"]


@pytest.mark.slow
def test_a_tree_whose_rows_break_a_constraint_is_set_aside_alone(tmp_path, caplog):
    # A tree without a seed fits the file's columns (they may be null) and not the table's: of three trees two are stored.
    store, outbox = filled(tmp_path, []), Outbox(tmp_path / "outbox")
    broken = dataclasses.replace(renamed(TREE, "b"), seed=None)
    for record in (renamed(TREE, "a"), broken, renamed(TREE, "c")):
        outbox.put_tree(record)
    assert store.drain(outbox) == 2
    assert store.stored_tree_ids("c1") == {"c1/a", "c1/c"}
    assert counts(store) == {table: 2 * rows for table, rows in ROWS_OF_TREE.items()}
    assert "seed" in caplog.text and len(list(outbox.folder.glob("*.damaged"))) == 1


def test_dialogues_of_one_batch_are_stored_once_each(tmp_path):
    # Two batches overlap in one dialogue: 2 + 2 records, 3 dialogues.
    first, second, third = (hand_dialogue(SUPPORT, 0.5, seed=seed) for seed in (1, 2, 3))
    store, outbox = filled(tmp_path, [SUPPORT]), Outbox(tmp_path / "outbox")
    outbox.put_dialogues([first, second])
    outbox.put_dialogues([second, third])
    assert store.drain(outbox) == 3
    assert (count(store, "trajectory"), count(store, "engine_call")) == (3, 3)


DRAIN = """
    import sys
    from pathlib import Path
    from engage.store.outbox import OUTBOX_VERSION, Kind, Outbox, _schema
    from engage.store import TrajectoryStore
    print("ready", flush=True)
    print(TrajectoryStore(Path(sys.argv[1]) / "engage.duckdb").drain(Outbox(Path(sys.argv[1]) / "outbox")))
"""


@pytest.mark.slow
def test_two_processes_that_drain_at_once_store_nothing_twice(tmp_path):
    outbox = Outbox(tmp_path / "outbox")
    for number in range(100):  # two transactions' worth
        outbox.put_tree(renamed(TREE, f"s{number}"))
    drains = [python(DRAIN, tmp_path) for _ in range(2)]
    outputs = [process.communicate(timeout=60) for process in drains]
    new = [int(out.split()[-1]) for out, _ in outputs]
    store = TrajectoryStore(tmp_path / "engage.duckdb")
    assert sum(new) == 100, outputs
    assert counts(store) == {table: 100 * rows for table, rows in ROWS_OF_TREE.items()}
    assert list(outbox.folder.iterdir()) == []


@pytest.mark.slow
def test_a_process_killed_between_put_and_drain_loses_nothing(tmp_path):
    process = python(
        """
        import os, signal, sys
        from pathlib import Path
        from test_outbox import TREE
        from engage.store.outbox import OUTBOX_VERSION, Kind, Outbox, _schema
        Outbox(Path(sys.argv[1]) / "outbox").put_tree(TREE)
        os.kill(os.getpid(), signal.SIGKILL)
        """,
        tmp_path,
    )
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    store = TrajectoryStore(tmp_path / "engage.duckdb")
    assert store.drain(Outbox(tmp_path / "outbox")) == 1
    assert counts(store) == ROWS_OF_TREE


@pytest.mark.slow
@pytest.mark.parametrize(
    "moment", ["within the transaction", "committed, files not yet removed", "half of them removed"]
)
def test_a_process_killed_in_the_middle_of_a_drain_loses_and_doubles_nothing(tmp_path, moment):
    outbox = Outbox(tmp_path / "outbox")
    for name in ("a", "b"):
        outbox.put_tree(renamed(TREE, name))
    process = python(
        """
        import os, signal, sys
        from pathlib import Path
        import engage.store.drain
        from engage.store.outbox import OUTBOX_VERSION, Kind, Outbox, _schema
        from engage.store import TrajectoryStore

        def die(*_, **__):
            os.kill(os.getpid(), signal.SIGKILL)

        unlink, removed = Path.unlink, []

        def unlink_and_die(path, **options):
            if path.name.endswith(".parquet"):
                if removed or "committed" in sys.argv[2]:
                    die()
                removed.append(path)
            unlink(path, **options)

        if sys.argv[2] == "within the transaction":
            engage.store.drain._insert_trajectories = die  # trees, nodes and visits are inserted by then
        else:
            Path.unlink = unlink_and_die
        TrajectoryStore(Path(sys.argv[1]) / "engage.duckdb").drain(Outbox(Path(sys.argv[1]) / "outbox"))
        """,
        tmp_path,
        moment,
    )
    _, problems = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, problems
    waiting = {"within the transaction": 2, "committed, files not yet removed": 2, "half of them removed": 1}[moment]
    assert len(outbox.pending()) == waiting
    store = TrajectoryStore(tmp_path / "engage.duckdb")
    assert store.drain(outbox) == (2 if moment == "within the transaction" else 0)
    assert counts(store) == {table: 2 * rows for table, rows in ROWS_OF_TREE.items()}
    assert outbox.pending() == []


@pytest.mark.slow
def test_a_process_killed_at_any_time_while_draining_loses_and_doubles_nothing(tmp_path):
    outbox = Outbox(tmp_path / "outbox")
    store = TrajectoryStore(tmp_path / "engage.duckdb")
    train = support_scenario("s")
    for number in range(130):  # three transactions
        outbox.put_tree(renamed(hand_tree(train, {"Tell me.": [[1.0, 0.5], [0.25]], "Oh.": [[None]]}), f"s{number}"))
    for delay_s in (0.0, 0.1, 0.25):
        process = python(DRAIN, tmp_path)
        process.stdout.readline()
        time.sleep(delay_s)
        process.kill()
        process.communicate(timeout=60)
    store.drain(outbox)
    assert counts(store) == {table: 130 * rows for table, rows in ROWS_OF_TREE.items()}
    assert outbox.pending() == []
