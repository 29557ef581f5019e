"""Checks all uses of a graphics card in under ten minutes and without a network: `deployments/gpu_check.sh`.

It runs the project's own commands one after the other, each with a time limit, samples the card meanwhile, and writes a table and
a JSON file. A step that cannot run (no vLLM, no time left) is skipped with its reason. It also runs on a machine without a card:
`--quick` shows in a minute or two whether everything works.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from engage.bench.gpu_steps import NAMES, Size, Step, say, steps
from engage.models import SMI, cards_described
from engage.processes import cores

TOTAL_S, LEAST_S, GRACE_S = 570.0, 10.0, 15.0
SAMPLE_MS = 250
PACKAGES = ("torch", "transformers", "peft", "trl", "vllm")


@dataclass
class Outcome:
    """The result of a step. `status` is `done`, `failed`, `stopped` (at its time limit) or `skipped`; `reason` says why.

    `gpu_percent` is the share of time in which the busiest card computed, 0 to 100; memory is in MiB, as nvidia-smi counts it.
    """

    name: str
    status: str
    command: str = ""
    reason: str = ""
    seconds: float = 0.0
    figures: dict[str, Any] = field(default_factory=dict)
    gpu_percent: float | None = None
    gpu_percent_most: float | None = None
    gpu_memory_mib: float | None = None


class CardWatch:
    """Samples all cards until it is closed; samples nothing without NVIDIA's driver."""

    def __init__(self, cards: int) -> None:
        self._cards = cards
        self._samples: list[tuple[float, float, float]] = []
        self._process: subprocess.Popen[str] | None = None
        if cards:
            asked = "--query-gpu=utilization.gpu,memory.used"
            command = [SMI, asked, "--format=csv,noheader,nounits", "-lms", str(SAMPLE_MS)]
            self._process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
            )
            threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True).start()

    def _read(self, lines: IO[str]) -> None:
        for line in lines:
            try:
                percent, memory = (float(part) for part in line.split(","))
            except ValueError:  # "[N/A]": this card does not report it
                percent, memory = 0.0, 0.0
            self._samples.append((time.monotonic(), percent, memory))

    def since(self, start: float) -> tuple[float, float, float] | None:
        """Mean and largest utilisation of the busiest card, and the largest memory of any card; None without a sample."""
        numbered = [(number % self._cards, one) for number, one in enumerate(list(self._samples)) if one[0] >= start]
        by_card: dict[int, list[tuple[float, float, float]]] = {}
        for card, one in numbered:
            by_card.setdefault(card, []).append(one)
        if not by_card:
            return None
        busiest = max(by_card.values(), key=lambda samples: sum(one[1] for one in samples) / len(samples))
        percents = [one[1] for one in busiest]
        return sum(percents) / len(percents), max(percents), max(one[2] for _, one in numbered)

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def run_step(step: Step, watch: CardWatch, limit_s: float, env: Mapping[str, str]) -> Outcome:
    """Run a step for at most `limit_s` seconds, and read its figures from what it prints."""
    outcome = Outcome(step.name, "done", shlex.join(step.command))
    start, began = time.monotonic(), time.perf_counter()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        try:
            process = subprocess.Popen(step.command, stdout=out, stderr=err, env=dict(env), start_new_session=True)
        except OSError as error:
            return Outcome(step.name, "failed", outcome.command, f"{step.command[0]}: {error.strerror}")
        stopped = not _ended(process, limit_s)
        outcome.seconds = time.perf_counter() - began
        out.seek(0), err.seek(0)
        printed, errors = out.read(), err.read()
    outcome.figures = step.read(printed)
    if stopped:
        outcome.status, outcome.reason = "stopped", f"after its limit of {limit_s:.0f} s"
    elif process.returncode:
        last = next((line for line in reversed((errors or printed).splitlines()) if line.strip()), "no message")
        outcome.status, outcome.reason = "failed", f"exit code {process.returncode}: {last.strip()[:300]}"
    seen = watch.since(start)
    if seen:
        outcome.gpu_percent, outcome.gpu_percent_most, outcome.gpu_memory_mib = seen
    return outcome


def _ended(process: subprocess.Popen[bytes], limit_s: float) -> bool:
    """Whether the process ended in time; if not, its process group gets SIGTERM, and SIGKILL after GRACE_S."""
    for wait_s, kind in ((limit_s, signal.SIGTERM), (GRACE_S, signal.SIGKILL)):
        try:
            process.wait(wait_s)
            return kind is signal.SIGTERM
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, kind)
    process.wait()
    return False


def check(planned: Sequence[Step], total_s: float, env: Mapping[str, str], cards: int) -> list[Outcome]:
    """Run all steps in order within `total_s` seconds; progress goes to standard error."""
    until = time.monotonic() + total_s
    watch = CardWatch(cards)
    outcomes: list[Outcome] = []
    try:
        for step in planned:
            left = until - time.monotonic()
            if step.missing:
                outcomes.append(Outcome(step.name, "skipped", reason=step.missing))
            elif left < LEAST_S:
                outcomes.append(Outcome(step.name, "skipped", reason=f"no time left of {total_s:.0f} s"))
            else:
                limit_s = min(step.limit_s, left)
                print(f"{step.name} (at most {limit_s:.0f} s) …", file=sys.stderr, flush=True)
                outcomes.append(run_step(step, watch, limit_s, env))
            last = outcomes[-1]
            if last.reason:
                print(f"  {last.status}: {last.reason}", file=sys.stderr, flush=True)
    finally:
        watch.close()
    return outcomes


def machine() -> dict[str, Any]:
    """The facts that the figures depend on: cards, processor, versions, commit."""
    versions = {}
    for name in PACKAGES:
        if importlib.util.find_spec(name) is not None:
            versions[name] = importlib.metadata.version(name)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        cpu = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        cpu = platform.processor()
    try:
        asked = ["git", "rev-parse", "--short", "HEAD"]
        commit = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        commit = ""
    return {
        "gpus": cards_described(),
        "cpu": cpu,
        "cores": cores(),
        "python": platform.python_version(),
        "versions": versions,
        "commit": commit,
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def table(facts: Mapping[str, Any], outcomes: Sequence[Outcome]) -> str:
    """A Markdown table with one row a step, below a line about the machine."""
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    above = f"{'; '.join(facts['gpus']) or 'no GPU'}; {facts['cpu']}, {facts['cores']} cores; {versions}"
    rows = ["| step | result | GPU busy, mean (most) | GPU memory, most | seconds |", "|---|---|---|---|---|"]
    known = {outcome.name: outcome.figures for outcome in outcomes}
    for one in outcomes:
        said = say(one.name, known) if one.figures else ""
        result = "; ".join(part for part in (said, one.status if one.reason else "", one.reason) if part)
        busy = "" if one.gpu_percent is None else f"{one.gpu_percent:.0f} % ({one.gpu_percent_most:.0f} %)"
        memory = "" if one.gpu_memory_mib is None else f"{one.gpu_memory_mib:,.0f} MiB"
        cells = (one.name, result or one.status, busy, memory, f"{one.seconds:.0f}" if one.seconds else "")
        rows.append("| " + " | ".join(re.sub(r"\s*\|\s*", " / ", cell) for cell in cells) + " |")
    return "\n".join([above, "", *rows])


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 if all steps that could run succeeded, else 1."""
    parser = argparse.ArgumentParser("gpu_check.sh", description="Measure this machine's GPU, without a network.")
    parser.add_argument("--engage", default=".venv/bin/engage", help="the command to run")
    parser.add_argument("--quick", action="store_true", help="small sizes: does it work at all?")
    parser.add_argument("--only", metavar="STEP,STEP", help=f"some of {', '.join(NAMES)}")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="setting of every command")
    parser.add_argument("--vllm-set", action="append", default=[], metavar="KEY=VALUE", help="of the vLLM steps too")
    parser.add_argument("--seconds", type=float, default=TOTAL_S, help="limit for everything together")
    parser.add_argument("--out", type=Path, default=Path("gpu_check.json"), help="JSON file to write")
    given = parser.parse_args(arguments)
    wanted = given.only.split(",") if given.only else list(NAMES)
    unknown = [name for name in wanted if name not in NAMES]
    if unknown:
        parser.error(f"--only {unknown[0]}: choose from {', '.join(NAMES)}")
    facts = machine()
    with tempfile.TemporaryDirectory(prefix="engage-gpu-check-") as home:
        size = Size.quick() if given.quick else Size()
        planned = steps(shlex.split(given.engage), size, given.set, given.vllm_set)
        env = {**os.environ, "ENGAGE_HOME": home}
        outcomes = check([step for step in planned if step.name in wanted], given.seconds, env, len(facts["gpus"]))
    given.out.write_text(
        json.dumps({"machine": facts, "steps": [asdict(one) for one in outcomes]}, indent=1), encoding="utf-8"
    )
    print(f"{table(facts, outcomes)}\n\nfigures: {given.out}")
    return int(any(one.status in {"failed", "stopped"} for one in outcomes))


if __name__ == "__main__":
    sys.exit(main())
