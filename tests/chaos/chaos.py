"""`make chaos`: the command killed at random moments, over and over, and what is left compared row by row with an undisturbed run.

    python tests/chaos/chaos.py --kills 200 --databases 100 --first 100 --interrupts 100 --real 10 --seed 1

Heavy modules are imported once; every run of the command is a fork of this process in a session of its own. One Prefect server
serves all runs. The speakers are scripted, and the trained model is tiny. Only timestamps, wall times, latencies and paths may
differ; any other difference gives exit code 1.
"""

import argparse
import contextlib
import hashlib
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
for place in (ROOT, ROOT / "tests"):
    sys.path.insert(0, str(place))

LONGEST_S = 600
MAY_DIFFER = {"started_at", "wall_s", "latency_s", "stored_at", "scored_at"}
TABLES = (
    "cycle", "scenario", "tree", "node", "trajectory", "turn", "reaction", "visit", "engine_call", "pair", "evaluation",
)  # fmt: skip
STAGES = ("collect", "align", "evaluate")


class Ended:
    """How a run of the command ended."""

    def __init__(self, code: int, said: str, seconds: float) -> None:
        self.code, self.said, self.seconds = code, said, seconds
        self.killed = code == -signal.SIGKILL


def run(
    arguments: list[str], home: Path, stop: tuple[float, signal.Signals] | None = None, real: bool = False
) -> Ended:
    """Run the command in a fork; stop it if it still runs after some seconds."""
    log = home.parent / f"{home.name}.log"
    log.touch()  # a fork can be killed before it opens it
    began = time.monotonic()
    pid = os.fork()
    if pid == 0:
        _become(arguments, home, log, real)
    due = began + (stop[0] if stop else LONGEST_S)
    code = _wait(pid, due)
    if code is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, stop[1] if stop else signal.SIGKILL)
        code = _wait(pid, time.monotonic() + LONGEST_S)
        if code is None:
            os.kill(pid, signal.SIGKILL)
            _wait(pid, time.monotonic() + LONGEST_S)
            code = -signal.SIGALRM  # it did not end
    return Ended(code, log.read_text(errors="replace"), time.monotonic() - began)


def _wait(pid: int, until: float) -> int | None:
    while time.monotonic() < until:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    return None


def _become(arguments: list[str], home: Path, log: Path, real: bool) -> None:
    """Run the command in this fork; never returns."""
    code = 99
    try:
        os.setsid()
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(out, 1), os.dup2(out, 2)
        os.environ["ENGAGE_HOME"] = str(home)
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        sys.argv = ["engage", *arguments]
        from flows.cli import command

        if not real:
            import engage.engines
            from engage.engines.scripted import ScriptedEngine

            engage.engines._create = lambda _: ScriptedEngine(latency_s=0.004, slots=8)
        command()
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush(), sys.stderr.flush()
        os._exit(code)


def rows(home: Path) -> dict[str, list[tuple[object, ...]]]:
    """All rows of the store, without the columns that may differ."""
    import duckdb

    found = {}
    with duckdb.connect(str(home / "engage.duckdb"), read_only=True) as connection:
        for table in TABLES:
            columns = [
                name for (name, *_) in connection.execute(f"describe {table}").fetchall() if name not in MAY_DIFFER
            ]
            listed = connection.execute(f"select {', '.join(columns)} from {table}").fetchall()
            found[table] = sorted(listed, key=repr)
    return found


def differences(home: Path, wanted: dict[str, list[tuple[object, ...]]]) -> list[str]:
    """Tables with other rows, and files that should not be left."""
    found = rows(home)
    wrong = [
        f"{table}: {len(found[table])} rows for {len(wanted[table])}, first other: "
        f"{next((pair for pair in zip(found[table], wanted[table], strict=False) if pair[0] != pair[1]), '')!s:.200}"
        for table in wanted
        if found[table] != wanted[table]
    ]
    left = [file.name for file in (home / "outbox").glob("*") if not file.name.endswith(".tmp")]
    return wrong + ([f"outbox: {left}"] if left else [])


class Chaos:
    """The whole experiment: counts, and what went wrong."""

    def __init__(self, folder: Path, seed: int, say: Callable[[str], None]) -> None:
        from tiny_models import save_tiny_model

        self.folder, self.random, self.say = folder, random.Random(seed), say
        tiny = save_tiny_model(folder / "tiny")
        self.settings = [
            "engine.kind=scripted", f"engine.policy_model={tiny}", "engine.policy_adapter=bare",
            "engine.simulator_adapter=bare", "scenarios.per_domain=2", "search.num_simulations=8", "collect.shard_size=1",
            "evaluation.per_domain=3", "align.dpo.max_length=4096", "align.dpo.max_pairs=4", "align.dpo.batch_size=2",
            "align.dpo.gradient_accumulation=1", "align.dpo.epochs=4", "align.dpo.save_steps=2",
        ]  # fmt: skip
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.moments: list[float] = []
        self._homes = 0

    def home(self) -> Path:
        self._homes += 1
        return self.folder / f"home{self._homes}"

    def arguments(self, stage: str) -> list[str]:
        return [stage, "--cycle", "c1", *(part for one in self.settings for part in ("--set", one))]

    def undisturbed(self) -> None:
        """The undisturbed run to compare with, and the durations of its stages."""
        home = self.home()
        self.lasts, self.wanted = {}, {}
        for stage in STAGES:
            ended = run(self.arguments(stage), home)
            if ended.code:
                raise SystemExit(f"the undisturbed {stage} fails: {ended.said}")
            self.lasts[stage], self.wanted[stage] = ended.seconds, rows(home)
            self.say(f"undisturbed {stage}: {ended.seconds:.1f} s, {sum(map(len, self.wanted[stage].values()))} rows")
        self.adapter = _adapter(home)

    def kill_stages(self, kills: int, per_stage: int = 3) -> None:
        """Kill every stage of a cycle several times at random moments, then let it run to its end."""
        while self.counts["killed"] < kills:
            home = self.home()
            for stage in STAGES:
                for _ in range(per_stage):
                    if self.counts["killed"] < kills:
                        self._kill(stage, home)
                if not self._finish(stage, self.arguments(stage), home):
                    break
            else:
                self.counts["adapters equal"] += _adapter(home) == self.adapter
                self.counts["cycles"] += 1
            self._clear(home)
            self.say(f"{self.counts['killed']} of {kills} kills, {len(self.wrong)} wrong")

    def _kill(self, stage: str, home: Path) -> None:
        moment = self.random.uniform(0, self.lasts[stage])
        ended = run(self.arguments(stage), home, (moment, signal.SIGKILL))
        if ended.killed:
            self.counts["killed"] += 1
            self.counts[f"killed in {stage}"] += 1
        elif ended.code:
            self._note(f"{stage} before its kill", home, ended)

    def kill_drains(self, kills: int) -> None:
        """Kill the process that drains the outbox."""
        while self.counts["killed in drain"] < kills:
            home = self.home()
            self._kill_one_drain(home)
            self._clear(home)

    def _kill_one_drain(self, home: Path) -> None:
        from small_stores import counts, hand_tree, support_scenario

        from engage.store import Outbox, TrajectoryStore

        outbox = Outbox(home / "outbox")
        scenarios = [support_scenario(f"s{number}") for number in range(4)]
        for cycle in range(50):
            for scenario in scenarios:
                outbox.put_tree(hand_tree(scenario, {"A": [[0.1, 0.2], [0.3]], "B": [[0.5]]}, f"c{cycle}"))
        moment = self.random.uniform(0, 0.6)
        pid = os.fork()
        if pid == 0:
            with contextlib.suppress(BaseException):
                TrajectoryStore(home / "engage.duckdb").drain(outbox)
            os._exit(0)
        if _wait(pid, time.monotonic() + moment) is None:
            os.kill(pid, signal.SIGKILL)
            _wait(pid, time.monotonic() + LONGEST_S)
            self.counts["killed in drain"] += 1
        store = TrajectoryStore(home / "engage.duckdb")
        store.drain(outbox)
        found = counts(store)
        if (found["tree"], found["visit"], found["trajectory"]) != (200, 2400, 800) or outbox.pending():
            self.wrong.append(f"drain: {found}, {len(outbox.pending())} wait")

    def first_starts(self, number: int, how: signal.Signals) -> None:
        """Stop the first command in a new home within ten seconds; the printed command must resume it."""
        name = "first start killed" if how is signal.SIGKILL else "first start interrupted"
        tries = 0
        while self.counts[name] < number and tries < 3 * number:
            tries += 1
            home = self.home()
            moment = self.random.uniform(0, min(10.0, self.lasts["collect"]))
            ended = run(self.arguments("collect"), home, (moment, how))
            again = self.arguments("collect")
            if ended.code not in (0, 130, -signal.SIGKILL):
                self._note(name, home, ended)
            if ended.code in (130, -signal.SIGKILL):
                self.counts[name] += 1
                self.moments.append(moment)
            if ended.code == 130:
                last = ended.said.strip().splitlines()[-1] if ended.said.strip() else ""
                if "go on with: " in last:
                    words = shlex.split(last.partition("go on with: ")[2])
                    again = words[words.index(".venv/bin/engage") + 1 :]
                    self.counts["commands printed"] += 1
                elif last != "interrupted":
                    self._note(f"{name}: the last line is no sentence", home, ended)
                if "Traceback" in ended.said:
                    self._note(f"{name}: a traceback", home, ended)
            self._finish("collect", again, home)
            self._clear(home)
            if tries % 10 == 0:
                self.say(f"{self.counts[name]} of {number} {name}, {len(self.wrong)} wrong")

    def kill_databases(self, kills: int) -> None:
        """Kill the process while it makes the two databases of a new home."""
        home = self.home()
        began = time.monotonic()
        if self._make_databases(home, LONGEST_S) != 0:
            raise SystemExit("the databases of a home cannot be made")
        lasts = time.monotonic() - began
        for number in range(1, kills + 1):
            home = self.home()
            killed = self._make_databases(home, self.random.uniform(0, lasts)) == -signal.SIGKILL
            self.counts["killed while the databases were made"] += killed
            code = self._make_databases(home, LONGEST_S)
            left = [file.name for file in home.iterdir() if file.name.startswith("mlflow.db.")]
            if code or left:
                self.wrong.append(f"databases in {home}: code {code}, left {left}")
            self._clear(home)
            if number % 25 == 0:
                self.say(f"{number} of {kills} homes whose databases were being made, {len(self.wrong)} wrong")

    def _make_databases(self, home: Path, seconds: float) -> int:
        from engage.home import Home
        from engage.store import TrajectoryStore
        from engage.tracking import Tracker

        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                os.environ.pop("MLFLOW_TRACKING_URI", None)
                store = TrajectoryStore(home / "engage.duckdb")
                tracker = Tracker(Home(home))
                store.cycle_config("c1")
                store.begin_cycle("c1", {})
                tracker.open_cycle("c1", {})
                code = 0
            finally:
                os._exit(code)
        code = _wait(pid, time.monotonic() + seconds)
        if code is None:
            os.kill(pid, signal.SIGKILL)
            code = _wait(pid, time.monotonic() + LONGEST_S)
        return -signal.SIGALRM if code is None else code

    def real(self, kills: int) -> None:
        """The same with the embedded model: trees that were finished before a kill stay unchanged, and none is missing in the end."""
        import duckdb

        arguments = ["collect", "--cycle", "c1", "--set", "scenarios.per_domain=1", "--set", "search.num_simulations=4"]
        home = self.home()
        ended = run(arguments, home, real=True)
        if ended.code:
            raise SystemExit(f"the undisturbed collect with the real model fails: {ended.said}")
        counted = {table: len(rows(home)[table]) for table in ("tree", "scenario", "cycle")}
        lasts = ended.seconds
        self.say(f"undisturbed collect with the real model: {lasts:.1f} s")
        while self.counts["killed with the real model"] < kills:
            home = self.home()
            if run(arguments, home, (self.random.uniform(0, lasts), signal.SIGKILL), real=True).killed:
                self.counts["killed with the real model"] += 1
            kept = {file.name for file in (home / "outbox").glob("*.tree.parquet")} if home.exists() else set()
            ended = run(arguments, home, real=True)
            if ended.code:
                self._note("real collect", home, ended)
                continue
            with duckdb.connect(str(home / "engage.duckdb"), read_only=True) as connection:
                found = {
                    table: connection.execute(f"select count(*) from {table}").fetchall()[0][0] for table in counted
                }
            if found != counted:
                self.wrong.append(f"real: {found} for {counted}, {len(kept)} were kept")
            self._clear(home)
            self.say(f"{self.counts['killed with the real model']} of {kills} kills with the real model")

    def _finish(self, stage: str, arguments: list[str], home: Path) -> bool:
        ended = run(arguments, home)
        if ended.code:
            self._note(f"{stage} goes on", home, ended)
            return False
        wrong = differences(home, self.wanted[stage])
        if wrong:
            self.wrong.append(f"{stage} in {home}: {'; '.join(wrong)}")
        return not wrong

    def _note(self, what: str, home: Path, ended: Ended) -> None:
        self.wrong.append(f"{what} in {home}: code {ended.code}: {ended.said[-1500:]}")

    def _clear(self, home: Path) -> None:
        """Remove homes, except those in which something went wrong."""
        if not any(str(home) in line for line in self.wrong):
            shutil.rmtree(home, ignore_errors=True)


def _adapter(home: Path) -> str:
    """Hash of the trained weights."""
    (weights,) = home.glob("cycles/*/align/*/adapter/adapter_model.safetensors")
    return hashlib.sha256(weights.read_bytes()).hexdigest()


@contextlib.contextmanager
def prefect_server(folder: Path):
    """A server for all runs, as `prefect server start` would be; before prefect is imported here."""
    port = random.randint(20_000, 50_000)
    os.environ |= {
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_LOGGING_LEVEL": "CRITICAL",
        "MLFLOW_LOGGING_LEVEL": "WARNING",
        "OMP_NUM_THREADS": "1",
    }
    factory = ["--factory", "prefect.server.api.server:create_app", "--port", str(port), "--log-level", "error"]
    command = [sys.executable, "-m", "uvicorn", *factory]
    with (folder / "prefect.log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        import httpx

        deadline = time.monotonic() + 180
        while time.monotonic() < deadline and server.poll() is None:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"http://127.0.0.1:{port}/api/health").status_code == 200:
                    break
            time.sleep(0.2)
        else:
            raise SystemExit(f"the Prefect server does not start: {(folder / 'prefect.log').read_text()[-500:]}")
        yield
    finally:
        server.kill()
        server.wait()


def import_everything() -> None:
    """Import everything, so that forks spend their time on the work; no thread may be left running."""
    import mlflow.store.model_registry.sqlalchemy_store
    import mlflow.store.tracking.sqlalchemy_store
    import peft
    import trl

    import flows.cli
    import flows.cli.running
    import flows.nightly
    import tasks.reporting

    assert all((mlflow, peft, trl, flows, tasks))


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description="kill the command at random moments and compare what is left")
    sizes = {"kills": 200, "databases": 100, "drains": 40, "first": 100, "interrupts": 100, "real": 10, "seed": 1}
    for name, default in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args()
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:6.0f} s  {text}", flush=True)

    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    folder = Path(tempfile.mkdtemp(prefix="engage-chaos-"))
    with prefect_server(folder):
        import_everything()
        chaos = Chaos(folder, asked.seed, say)
        try:
            if asked.kills or asked.first or asked.interrupts:
                chaos.undisturbed()
            chaos.kill_databases(asked.databases)
            chaos.first_starts(asked.first, signal.SIGKILL)
            chaos.first_starts(asked.interrupts, signal.SIGINT)
            chaos.kill_drains(asked.drains)
            chaos.kill_stages(asked.kills)
            if asked.real:
                chaos.real(asked.real)
        finally:  # what a run that is stopped has found counts too
            summarise(chaos, asked.seed, say)
    if not chaos.wrong:
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if chaos.wrong else 0


def summarise(chaos: Chaos, seed: int, say: Callable[[str], None]) -> None:
    """Counts, the times at which first starts were stopped, and everything that went wrong."""
    say(f"seed {seed}: " + ", ".join(f"{name} {count}" for name, count in sorted(chaos.counts.items())))
    if chaos.moments:
        ordered = sorted(chaos.moments)
        median = ordered[len(ordered) // 2]
        say(f"first starts were stopped after {ordered[0]:.2f} to {ordered[-1]:.2f} s (median {median:.2f})")
    for line in chaos.wrong:
        print(re.sub(r"\s*\n\s*", " | ", line), file=sys.stderr)
    kept = f"; their homes are kept in {chaos.folder}" if chaos.wrong else ""
    say(f"{len(chaos.wrong)} wrong{kept}")


if __name__ == "__main__":
    sys.exit(main())
