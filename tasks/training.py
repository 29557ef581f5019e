"""Pairs from the store, and the candidate trained on them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect import task

from engage.config import CycleConfig, load_cycle_scenarios
from engage.domains import load_domain
from engage.engines import close_engines
from engage.evaluation import q_gap_histogram
from engage.files.digest import digest, key_settings
from engage.home import Home
from engage.models import adapter_folder, resolve_model
from engage.store import TrajectoryStore
from engage.training import (
    HumanPairs,
    PreferencePair,
    TrainResult,
    load_pairs,
    mix,
    pair_licences,
    read_pairs,
    save_pairs,
    train_dpo,
)
from tasks.cycle import Cycle, worth_retrying
from tasks.progress import Bar
from tasks.tracking import StageRun, Tracker


@task(name="score-pairs", retries=3, retry_delay_seconds=20, retry_condition_fn=worth_retrying)
def score_pairs(config: CycleConfig, cycle: Cycle) -> dict[str, int]:
    """Score the cycle's spine and decide on every candidate pair, by the domains' rewards of today; counts by fate."""
    store = TrajectoryStore(Home.from_env().database)
    for domain in sorted({scenario.domain for scenario in load_cycle_scenarios(config.scenarios)}):
        store.rescore(domain, load_domain(domain).reward)
    return store.score_pairs(cycle.cycle_id, config.pairs)


@task(name="extract-pairs", retries=3, retry_delay_seconds=20, retry_condition_fn=worth_retrying)
def extract_pairs(config: CycleConfig, cycle: Cycle, counts: dict[str, int], human: HumanPairs) -> dict[str, Any]:
    """Save the accepted pairs and the human ones that go with them; returns counts, licences and the file."""
    home = Home.from_env()
    store = TrajectoryStore(home.database)
    pairs = mix(read_pairs(store, cycle.cycle_id), human.pairs, config.pairs.human_ratio, cycle.seed)
    licences = pair_licences(pairs, [*load_cycle_scenarios(config.scenarios), *human.scenarios()])
    path = home.cycle(cycle.cycle_id) / "pairs.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pair_hash = save_pairs(pairs, path)
    with Tracker(home).stage(cycle.cycle_id, "pairs") as run:
        run.metrics({f"pairs/{name}": count for name, count in counts.items()})
        run.metrics({f"pairs/human/{name}": count for name, count in human.counts.items()})
        gaps = [row["q_gap"] for row in store.rows("pairs", {"cycle": cycle.cycle_id})]
        run.figure(q_gap_histogram(gaps, config.pairs.min_q_gap), "q_gap")
        run.files(path, "pairs")
    return {
        "counts": counts,
        "human": human.counts,
        "accepted": len(pairs),
        "path": str(path),
        "hash": pair_hash,
        "licences": licences,
    }


@task(name="train-candidate", retries=1, retry_delay_seconds=10, retry_condition_fn=worth_retrying)
def train_candidate(config: CycleConfig, cycle: Cycle, pairs: dict[str, Any]) -> dict[str, Any]:
    """DPO from the champion on the saved pairs; an interrupted run goes on from its last checkpoint."""
    home = Home.from_env()
    recipe = digest([pairs["hash"], key_settings(config.align)])[:12]
    out = home.cycle(cycle.cycle_id) / "align" / recipe
    with Tracker(home).stage(cycle.cycle_id, "align", recipe) as run:
        run.dataset(Path(pairs["path"]), "preference-pairs", pairs["hash"])
        result = run_dpo(
            config, start_adapter(config, cycle), load_pairs(Path(pairs["path"])), out, run, pairs["licences"]
        )
        name_candidate(cycle, str(result.adapter))
        return _keep(run, cycle, result.adapter, result.metrics, Tracker(home))


def name_candidate(cycle: Cycle, adapter: str | None) -> None:
    """Say which adapter the cycle's evaluation judges: the one that was trained, or asked for again, last; None for none."""
    path = _candidate_file(cycle)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")  # a kill in between must not leave "no candidate"
    partial.write_text(adapter or "", encoding="utf-8")
    partial.replace(path)


def latest_candidate(cycle: Cycle) -> str | None:
    """The adapter that `name_candidate` named last."""
    path = _candidate_file(cycle)
    named = path.read_text(encoding="utf-8") if path.is_file() else ""
    return str(Home.from_env().find(named)) if named else None


def _candidate_file(cycle: Cycle) -> Path:
    return Home.from_env().cycle(cycle.cycle_id) / "align" / "candidate"


def start_adapter(config: CycleConfig, cycle: Cycle) -> Path | None:
    """What a training starts from: the champion, else the configured adapter, else nothing but the base."""
    start = cycle.champion_adapter or adapter_folder(config.engine.policy_adapter)
    return Path(start) if start else None


def run_dpo(
    config: CycleConfig,
    parent: Path | None,
    accepted: Sequence[PreferencePair],
    out: Path,
    run: StageRun,
    licences: Mapping[str, str],
) -> TrainResult:
    """Train into `out`, with progress and every step's metrics in the run of MLflow."""
    close_engines()  # a training and an engine together would hold the weights twice
    settings = config.align.dpo
    steps = -(
        -min(len(accepted), settings.max_pairs or len(accepted))
        // (settings.batch_size * settings.gradient_accumulation)
    )
    bar = Bar(f"DPO on {len(accepted)} pairs (steps)", steps * settings.epochs)
    run.params({f"dpo.{name}": value for name, value in settings.model_dump().items()})

    def on_step(step: int, metrics: dict[str, float]) -> None:
        run.metrics({f"dpo/{name}": value for name, value in metrics.items()}, step)
        bar.advance()

    base = resolve_model(config.engine.policy_model)
    result = train_dpo(accepted, base, out, config.align, parent, on_step, licences)
    bar.finish()
    return result


def _keep(run: StageRun, cycle: Cycle, adapter: Path, metrics: dict[str, float], tracker: Tracker) -> dict[str, Any]:
    run.files(adapter, "adapter")
    version = tracker.register(run, adapter, {"engage.cycle_id": cycle.cycle_id})
    return {"adapter": str(adapter), "version": version, "metrics": metrics}
