"""`engage backup` and `engage restore`: what a restored home knows, what a backup during a night holds, and what is refused."""

import io
import json
import os
import shutil
import signal
import socket
import sqlite3
import stat
import tarfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from kept_homes import REPLIES, add_cycle
from mlflow import MlflowClient
from small_stores import counts, hand_tree, support_scenario

import engage.keeping.backup
from engage.errors import ConfigError, StoreError, StoreLocked
from engage.home import Home
from engage.keeping import at_work
from engage.keeping.backup import back_up, restore
from engage.store import Outbox, TrajectoryStore
from engage.tracking import Tracker
from engage.workspace import Workspace

pytestmark = pytest.mark.slow
LATE = support_scenario("s3")


@pytest.fixture
def night(home) -> Home:
    """A home whose champion is c1's adapter and in whose outbox a tree of c1 waits; files that nobody needs lie in it too."""
    adapter = add_cycle(home, "c1")
    tracker = Tracker(home)
    tracker.promote(tracker.version_of(adapter))
    TrajectoryStore(home.database).add_scenarios([LATE])
    Outbox(home.outbox).put_tree(hand_tree(LATE, REPLIES, "c1"))
    half = home.cycle("c1") / "align" / "next" / "checkpoints" / "checkpoint-1"
    half.mkdir(parents=True)
    (half / "model.safetensors").write_bytes(b"half")
    (home.outbox / ".left.tmp").write_bytes(b"half")
    return home


def members(path: Path) -> set[str]:
    with tarfile.open(path) as tar:
        return set(tar.getnames())


def test_a_restored_home_has_everything_and_goes_on(night, tmp_path, monkeypatch):
    size = back_up(Workspace(night), tmp_path / "b.tar")
    assert size == (tmp_path / "b.tar").stat().st_size
    assert stat.S_IMODE((tmp_path / "b.tar").stat().st_mode) == 0o600
    assert not any("checkpoints" in name or ".tmp" in name or ".lock" in name for name in members(tmp_path / "b.tar"))
    before = counts(TrajectoryStore(night.database))
    shutil.rmtree(night.path)  # nothing may be taken from the old place
    there = Home(tmp_path / "elsewhere" / "home")
    described = restore(there, tmp_path / "b.tar")
    assert described["format"] == 1 and stat.S_IMODE(there.path.stat().st_mode) == 0o700
    assert sorted(path.name for path in there.path.iterdir()) == sorted(engage.keeping.backup.CONTENT)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)  # MLflow sets it for its own children
    workspace = Workspace(there)
    assert counts(workspace.store) == before
    champion = workspace.tracker.champion()
    assert champion is not None and champion.adapter == there.cycle("c1") / "align" / "run" / "adapter"
    (logged,) = there.artifacts.glob("models/*/artifacts/adapter_model.safetensors")
    assert logged.samefile(champion.adapter / logged.name)
    client = MlflowClient(there.tracking_uri)
    (run,) = client.search_runs(["1"], "tags.`engage.stage` = 'cycle'")
    assert Path(client.download_artifacts(run.info.run_id, "report.md")).read_text() == "# Cycle c1\n"
    workspace.drain()
    assert counts(workspace.store)["tree"] == before["tree"] + 1
    add_cycle(there, "c2")
    assert workspace.store.cycle_ids() == ["c2", "c1"]


def test_what_moves_from_the_outbox_into_the_store_meanwhile_is_in_the_backup_once(night, tmp_path, monkeypatch):
    workspace, trees = Workspace(night), counts(TrajectoryStore(night.database))["tree"]
    snapshot = engage.keeping.backup.write_snapshot

    def after_a_drain(*given):
        workspace.drain()
        snapshot(*given)

    monkeypatch.setattr(engage.keeping.backup, "write_snapshot", after_a_drain)
    back_up(workspace, tmp_path / "b.tar.gz")
    assert Outbox(night.outbox).pending() == []
    there = Workspace(Home(tmp_path / "there"))
    restore(there.home, tmp_path / "b.tar.gz")
    assert len(there.outbox.pending()) == 1 and counts(there.store)["tree"] == trees + 1
    there.drain()
    assert counts(there.store)["tree"] == trees + 1 and there.outbox.pending() == []


def test_nothing_that_is_there_is_overwritten(night, tmp_path):
    back_up(Workspace(night), tmp_path / "b.tar")
    content = (tmp_path / "b.tar").read_bytes()
    with pytest.raises(ConfigError, match="exists already"):
        back_up(Workspace(night), tmp_path / "b.tar")
    with pytest.raises(ConfigError, match="lies in the home's own folders"):
        back_up(Workspace(night), night.path / "cycles" / "b.tar")
    with pytest.raises(ConfigError, match="is not empty; set ENGAGE_HOME to a new folder"):
        restore(night, tmp_path / "b.tar")
    assert (tmp_path / "b.tar").read_bytes() == content
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def packed(path: Path, **files: bytes) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def described(**more: object) -> bytes:
    return json.dumps({"format": 1, "schema": 1, "engage": "9.0", **more}).encode()


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"notes.txt": b"x"}, "is no backup of engage"),
        ({"engage-backup.json": b"["}, "is no backup of engage, or damaged"),
        ({"engage-backup.json": described(format=2)}, "written by a newer version of engage .9.0.; use that version"),
        ({"engage-backup.json": described(schema=99)}, "written by a newer version of engage"),
        ({"engage-backup.json": described(format="1")}, "is no backup of engage, or damaged"),
        ({"engage-backup.json": described(schema=None)}, "is no backup of engage, or damaged"),
        ({"engage-backup.json": described(made_at=5)}, "is no backup of engage, or damaged"),
        ({"engage-backup.json": described(), "outbox/x": b"x"}, "it has no engage.duckdb"),
        ({"engage-backup.json": described(), "../evil": b"x"}, "'../evil' does not belong into a home"),
        ({"engage-backup.json": described(), "cycles/../../evil": b"x"}, "cannot be restored"),
        ({"engage-backup.json": described(), ".bashrc": b"x"}, "'.bashrc' does not belong into a home"),
    ],
)
def test_what_is_no_backup_is_refused_and_writes_nothing_outside(tmp_path, files, said):
    source, home = packed(tmp_path / "x.tar", **files), Home(tmp_path / "a" / "home")
    with pytest.raises((ConfigError, StoreError), match=said):
        restore(home, source)
    assert not home.database.exists() and not list(tmp_path.rglob("evil"))
    for wrong, why in ((tmp_path / "missing.tar", "cannot be read: No such file"), (Path(__file__), "is no backup of")):
        with pytest.raises(ConfigError, match=why):
            restore(home, wrong)


@pytest.mark.parametrize("damage", ["cut at a file", "cut in a header", "a damaged header"])
def test_a_backup_that_lacks_its_end_is_not_restored_as_if_that_were_all(night, tmp_path, damage):
    back_up(Workspace(night), tmp_path / "b.tar")
    with tarfile.open(tmp_path / "b.tar") as tar:
        after = next(one.offset for one in tar.getmembers() if one.name == "cycles/c1")
    whole = (tmp_path / "b.tar").read_bytes()
    header = b"x" * 20 if damage == "a damaged header" else whole[after : after + 100 * (damage == "cut in a header")]
    rest = whole[after + 20 :] if damage == "a damaged header" else b""
    (tmp_path / "cut.tar").write_bytes(whole[:after] + header + rest)
    there = Home(tmp_path / "there")
    with pytest.raises(StoreError, match=r"cut\.tar: cannot be restored .* cut off or damaged"):
        restore(there, tmp_path / "cut.tar")
    assert not there.database.exists()
    restore(there, tmp_path / "b.tar")
    assert there.cycle("c1").is_dir()


def test_an_mlflow_file_that_is_locked_or_damaged_is_one_sentence(night, tmp_path, monkeypatch):
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *args, **kwargs: connect(*args, **kwargs | {"timeout": 0.1}))
    with closing(connect(night.mlflow_file)) as other:
        other.execute("begin exclusive")
        with pytest.raises(StoreLocked, match="another program keeps the database locked"):
            back_up(Workspace(night), tmp_path / "b.tar")
    night.mlflow_file.write_bytes(b"no database" * 100)
    with pytest.raises(StoreError, match="the file is damaged, or not a database of MLflow's"):
        back_up(Workspace(night), tmp_path / "b.tar")
    assert list(tmp_path.glob("*b.tar*")) == []


def test_links_in_a_home_are_followed_because_a_restore_takes_none(night, tmp_path):
    elsewhere = tmp_path / "a big disk"
    night.cycle("c1").rename(elsewhere)
    night.cycle("c1").symlink_to(elsewhere)
    (elsewhere / "up").symlink_to(elsewhere)
    (elsewhere / "gone").symlink_to(tmp_path / "nothing")
    (elsewhere / "notes.txt").symlink_to(elsewhere / "report.md")
    os.mkfifo(elsewhere / "pipe")
    back_up(Workspace(night), tmp_path / "b.tar")
    there = Home(tmp_path / "there")
    restore(there, tmp_path / "b.tar")
    assert (there.cycle("c1") / "align" / "run" / "adapter" / "adapter_config.json").is_file()
    assert (there.cycle("c1") / "notes.txt").read_text() == "# Cycle c1\n"


@pytest.mark.parametrize("host", [socket.gethostname(), "another host"])
def test_what_was_at_work_counts_as_interrupted_in_a_restored_home(night, tmp_path, monkeypatch, host):
    monkeypatch.setenv("ENGAGE_HOME", str(night.path))
    at_work.begin(Workspace(night), "c1", "nightly", "run")
    at_work.begin(Workspace(night), "c1", "collect", "stage")
    begun = at_work.read(night, "c1")
    (night.cycle("c1") / at_work.RECORD).write_text(json.dumps(vars(replace(begun, host=host))))
    back_up(Workspace(night), tmp_path / "b.tar")
    there = Home(tmp_path / "there")
    restore(there, tmp_path / "b.tar")
    monkeypatch.setenv("ENGAGE_HOME", str(there.path))
    work = at_work.read(there, "c1")
    assert at_work.state(there, work) == at_work.INTERRUPTED
    assert work.again == f"ENGAGE_HOME={there.path} .venv/bin/engage nightly --cycle c1"
    crashed = []
    at_work.mark_dead(Workspace(there), lambda *given: crashed.append(given))
    assert crashed == [] and [one.cycle_id for one in at_work.to_finish(Workspace(there), "c2")] == ["c1"]
    assert at_work.state(night, at_work.read(night, "c1")) == at_work.RUNNING
    at_work.end(Workspace(night), "c1", "run", at_work.COMPLETED)


def test_a_damaged_or_killed_restore_can_be_repeated(night, tmp_path):
    back_up(Workspace(night), tmp_path / "b.tar")
    whole = (tmp_path / "b.tar").read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[: len(whole) // 2])
    there = Home(tmp_path / "there")
    with pytest.raises(StoreError, match=r"cut\.tar: cannot be restored"):
        restore(there, tmp_path / "cut.tar")
    child = os.fork()
    if not child:
        with pytest.MonkeyPatch.context() as patch:
            moved, replace = [], Path.replace

            def dies(path: Path, target: Path) -> Path:
                if len(moved) == 2:  # the outbox and the cycles have their places
                    os.kill(os.getpid(), signal.SIGKILL)
                moved.append(target)
                return replace(path, target)

            patch.setattr(Path, "replace", dies)
            restore(there, tmp_path / "b.tar")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    assert (there.outbox.is_dir(), there.cycle("c1").is_dir(), there.database.exists()) == (True, True, False)
    restore(there, tmp_path / "b.tar")
    assert counts(TrajectoryStore(there.database)) == counts(TrajectoryStore(night.database))
    assert not (there.path / ".restoring").exists()


def test_the_commands_say_where_it_is_and_what_is_not_in_it(engage, night, tmp_path, monkeypatch):
    code, out, _ = engage("backup", str(tmp_path / "b.tar"))
    assert code == 0 and out.startswith(f"written to {tmp_path / 'b.tar'} (") and "it holds every conversation" in out
    monkeypatch.setenv("ENGAGE_HOME", str(tmp_path / "there"))
    code, out, _ = engage("restore", str(tmp_path / "b.tar"))
    assert code == 0 and out.startswith(f"restored into {tmp_path / 'there'}: the backup of ")
    assert engage("restore", str(tmp_path / "b.tar"))[0] == 2
