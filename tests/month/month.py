"""`make month`: thirty nights that nobody looks after, on a machine where something goes wrong almost every night.

    python tests/month/month.py --nights 30 --seed 1

A real Prefect server, a real worker, real nights and real SIGKILLs; only the speakers are scripted (speakers.py), the model is tiny, and the
nights come one after another. A seed draws the faults. On day 12 of 30 the code is upgraded (until then the nights run the commit before the
newest migration of the database; from a home that the first version left), on day 20 `engage prune` runs, on day 25 the home moves.
What the nights of the older code could not yet do by themselves is not asked of them: see OLD_FAULTS.

At the end: a table of days, what was lost, promoted and left over. Exit code 1 if anything was lost or needed a hand.
"""

import argparse
import contextlib
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
import time
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
for place in (ROOT, ROOT / "tests", HERE):
    sys.path.insert(0, str(place))

from machine import FAKETIME, Machine, outbox_ids, sizes_mb, stored_ids, wait_for  # noqa: E402

STAGES = ("collect", "align", "evaluation")
FAULTS = ("kill", "kill", "kill", "power", "store", "mlflow", "disk", "server", "clock", "none")
OLD_FAULTS = ("store", "clock", "none")
"""A night of the older code that was killed is not finished by the next one."""
HELD_S = 12.0
FIRST_NIGHT = date(2026, 11, 30)
"""Night 1 is the cycle `2026-12-01`: its name decides how good its candidate is, so that a seed gives the same month again."""
ENDED = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
OPEN = ["SCHEDULED", "PENDING", "RUNNING", "CANCELLING", "PAUSED"]
CALM = 3
"""Most nights without a fault at the end, in which what the last ones left is finished."""


@dataclass
class Day:
    """A row of the table."""

    number: int
    fault: str
    events: list[str] = field(default_factory=list)
    state: str = ""
    message: str = ""
    seconds: float = 0.0
    sizes: dict[str, float] = field(default_factory=dict)
    attention: str = ""


class Month:
    """The whole experiment."""

    def __init__(self, folder: Path, nights: int, seed: int, faults: list[str]) -> None:
        self.folder, self.nights, self.random = folder, nights, random.Random(seed)
        self.faults, self.began = faults, time.monotonic()
        self.old = self._older_code()
        self.machine = Machine(folder, self.old or ROOT)
        self.days: list[Day] = []
        self.lost: list[str] = []
        self.leftover: list[str] = []
        self.known: set[str] = set()
        self.first: set[str] = set()
        self.keep = min(14, max(2, nights // 2))
        self.upgrade_on, self.prune_on, self.move_on = (max(2, round(nights * day / 30)) for day in (12, 20, 25))

    def say(self, text: str) -> None:
        print(f"{time.monotonic() - self.began:6.0f} s  {text}", flush=True)

    def _older_code(self) -> Path | None:
        """The clone's code before the newest migration of the database; None where git does not know it."""
        asked = ["git", "-C", str(ROOT), "log", "-1", "--diff-filter=A", "--format=%H^", "--", "sql/migrations"]
        commit = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
        clone = self.folder / "older"
        packed = subprocess.run(["git", "-C", str(ROOT), "archive", commit or "-"], capture_output=True, check=False)
        if packed.returncode:
            return None
        clone.mkdir()
        subprocess.run(["tar", "-x", "-C", str(clone)], input=packed.stdout, check=True)
        return clone

    def prepare(self) -> None:
        """A home that the first version left, a tiny model, server, worker and schedule."""
        from old_homes import FIRST, HOMES
        from tiny_models import save_adapter, save_tiny_model

        with tarfile.open(HOMES / f"{FIRST}.tar.xz") as packed:
            packed.extractall(self.machine.home, filter="data")
        tiny = save_tiny_model(self.folder / "tiny")
        self.settings = [
            f"engine.policy_model={tiny}", f"engine.simulator_model={tiny}", "engine.policy_adapter=bare",
            "engine.simulator_adapter=bare", f"evaluation.second_simulator={save_adapter(str(tiny), self.folder / 'other')}",
            "scenarios.per_domain=3", "search.num_simulations=8", "search.round_size=8", "evaluation.per_domain=8",
            "collect.shard_size=2", "pairs.min_q_gap=0.0", "pairs.confidence=0.5", "align.dpo.max_length=4096",
            "align.dpo.max_pairs=4", "align.dpo.batch_size=2", "align.dpo.gradient_accumulation=1",
        ]  # fmt: skip
        self.first = {name.partition("/")[0] for name in stored_ids(self.machine.home)}
        self.known = stored_ids(self.machine.home) | outbox_ids(self.machine.home)
        self.machine.start_server()
        self._schedule()
        self.machine.start_worker()
        self.say(f"server, worker and schedule are ready{'' if self.old else '; git has no older code: no upgrade'}")

    def _schedule(self) -> None:
        finishing = ["nightly.finish_interrupted=true"] if self.machine.clone == ROOT else []
        settings = [*self.settings, *finishing]
        self.deployment = self.machine.deploy(settings, HERE / "speakers.py")

    def run(self) -> None:
        """All days, then calm ones until nothing is left over."""
        self.prepare()
        for number in range(1, self.nights + 1):
            pool = self.faults if self.machine.clone == ROOT or number >= self.upgrade_on else OLD_FAULTS
            day = Day(number, self.random.choice(pool))
            if number == self.upgrade_on and self.old:
                self.upgrade(day)
            if number == self.prune_on:
                self.prune(day)
            if number == self.move_on:
                self.move(day)
            self.night(day)
        for number in range(self.nights + 1, self.nights + 1 + CALM):
            self.night(Day(number, "none"))
            self.leftover = self.unfinished()
            if not self.leftover:
                break
            self.say(f"left over: {'; '.join(self.leftover)}")

    def upgrade(self, day: Day) -> None:
        """The code becomes today's; the next command migrates the database."""
        self.machine.stop("worker")
        self.machine.clone = ROOT
        self._schedule()
        self.machine.start_worker()
        day.events.append("upgrade")

    def prune(self, day: Day) -> None:
        """Old cycles go; what is lost with them was meant to."""
        before = self.cycles()
        self.machine.engage("prune", "--keep", str(self.keep))
        gone = before - self.cycles()
        self.known = {name for name in self.known if name.partition("/")[0] not in gone}
        day.events.append(f"prune ({len(gone)} cycles)")

    def move(self, day: Day) -> None:
        """The home gets another path, and is scheduled again."""
        self.machine.stop("worker")
        moved = self.machine.disk / "moved"
        self.machine.home.rename(moved)
        self.machine.home = moved
        self._schedule()
        self.machine.start_worker()
        day.events.append("move")

    def night(self, day: Day) -> None:
        """One night with its fault, and what it left."""
        machine, began = self.machine, time.monotonic()
        if day.fault == "clock":
            day.fault = "clock" if FAKETIME else "none (no libfaketime)"
        if day.fault == "disk" and not machine.own_disk:
            day.fault = "none (no disk of its own)"
        wrong_h = self.random.choice((-26, -1, 2, 30)) if day.fault == "clock" else 0
        run = machine.begin_night(self.deployment, str(FIRST_NIGHT + timedelta(days=day.number)), wrong_h)
        self.happen(day, run)
        wait_for(lambda: machine.state(run)[0] in ENDED or day.fault == "power", f"the end of night {day.number}")
        wait_for(lambda: not machine.night_processes(), f"the end of the processes of night {day.number}")
        day.state, day.message = machine.state(run)
        day.seconds, day.sizes = time.monotonic() - began, sizes_mb(machine.home)
        hurt = day.fault.split()[0] in {"kill", "power", "disk", "server"}
        if day.state != "COMPLETED" and not hurt:
            day.attention = f"it should have gone through: {day.state} {day.message}"
        self.count(day)
        self.days.append(day)
        self.say(row(day))

    def happen(self, day: Day, run: str) -> None:
        """Let the fault happen in a stage drawn at random, some moments after it began."""
        machine, fault = self.machine, day.fault
        if fault.split()[0] in {"none", "clock"}:
            return
        stage, moment, since = self.random.choice(STAGES), self.random.uniform(0.0, 2.0), datetime.now(UTC)
        wait_for(lambda: machine.stage_running(stage, since) or machine.state(run)[0] in ENDED, f"stage {stage}")
        time.sleep(moment)
        day.fault = f"{fault} in {stage}"
        if fault == "kill":
            machine.kill_night()
        elif fault == "power":
            machine.stop("worker", "server")
            machine.start_server()
            machine.start_worker()
            day.fault = "power"
        elif fault == "server":
            machine.stop("server")
            time.sleep(HELD_S)
            machine.start_server()
        else:
            with machine.full_disk() if fault == "disk" else machine.holding(fault):
                time.sleep(HELD_S)

    def cycles(self) -> set[str]:
        """Cycles in the store or in the outbox."""
        return {name.partition("/")[0] for name in stored_ids(self.machine.home) | outbox_ids(self.machine.home)}

    def count(self, day: Day) -> None:
        """What was there once must be there still."""
        home = self.machine.home
        now = stored_ids(home) | outbox_ids(home)
        if gone := self.known - now:
            self.lost.append(f"day {day.number}: {len(gone)} trees or dialogues, such as {min(gone)}")
        self.lost += [f"day {day.number}: {file.name} was set aside" for file in (home / "outbox").glob("*.damaged")]
        self.known = now

    def unfinished(self) -> list[str]:
        """What an operator would have to look after: cycles without a report, runs that seem to be alive, files that wait."""
        home = self.machine.home
        found = [
            f"cycle {cycle} has no report"
            for cycle in sorted(self.cycles() - self.first)
            if not (home / "cycles" / cycle / "report.md").exists()
        ]
        with contextlib.closing(sqlite3.connect(home / "mlflow.db")) as connection:
            (running,) = connection.execute("select count(*) from runs where status = 'RUNNING'").fetchone()
        found += [f"{running} runs in MLflow seem to be alive"] if running else []
        alive = self.machine.post("flow_runs/count", {"flow_runs": {"state": {"type": {"any_": OPEN[1:]}}}})
        found += [f"{alive} runs in Prefect seem to be alive"] if alive else []
        return found + [f"{len(waiting)} wait in the outbox" for waiting in [outbox_ids(home)] if waiting]

    def promoted(self) -> list[str]:
        """Cycles whose candidate became champion, in order."""
        import duckdb

        with duckdb.connect(str(self.machine.home / "engage.duckdb"), read_only=True) as connection:
            return [
                str(row[0])
                for row in connection.execute("select cycle_id from promotion order by promoted_at").fetchall()
            ]


def row(day: Day) -> str:
    """A day as a line of the table."""
    what = ", ".join([*day.events, day.fault])
    sizes = " ".join(f"{kind} {size:.1f}" for kind, size in day.sizes.items())
    said = " ".join(day.message.split())
    return f"day {day.number:2}  {what:32.32} {day.seconds:4.0f} s  {day.state or '-':9} {said:70.70} | {sizes} | {day.attention or 'none'}"


def summarise(month: Month) -> int:
    """Print the table and what came of the month; returns the exit code."""
    print("\nday, what happened, seconds, Prefect's state and message | sizes in MB | attention")
    for day in month.days:
        print(row(day))
    attention = [f"day {day.number}: {day.attention}" for day in month.days if day.attention] + month.leftover
    promoted = month.promoted()
    print(f"\nlost: {'; '.join(month.lost) or 'nothing'}")
    print(f"promoted: {len(promoted)} ({', '.join(promoted) or 'none'})")
    print(f"operator's attention: {'; '.join(attention) or 'none'}")
    return 1 if month.lost or attention else 0


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description="a simulated month of nights")
    parser.add_argument("--nights", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--faults", default=",".join(FAULTS), help="what may happen in a night of today's code")
    parser.add_argument("--keep", action="store_true", help="keep the folder")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    folder = Path(tempfile.mkdtemp(prefix="engage-month-"))
    month = Month(folder, asked.nights, asked.seed, asked.faults.split(","))
    code = 1
    try:
        month.run()
        code = summarise(month)
    finally:
        month.machine.close(keep=asked.keep)
        if not asked.keep:
            shutil.rmtree(folder, ignore_errors=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
