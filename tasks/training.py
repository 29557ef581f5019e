"""Extracts pairs from the store, trains the candidate, and provides the common frame of every training."""

from collections.abc import Callable
from pathlib import Path

from prefect import task

from engage.config import CycleConfig, load_cycle_scenarios
from engage.domains import load_domain
from engage.engines import close_engines
from engage.evaluation import q_gap_histogram
from engage.files.digest import digest, key_settings
from engage.models import adapter_folder, resolve_model
from engage.store import Cycle
from engage.training import (
    Candidate,
    DpoSettings,
    HumanPairs,
    OnStep,
    PairSet,
    SftSettings,
    TrainResult,
    latest_candidate,
    load_pairs,
    mix,
    name_candidate,
    read_pairs,
    save_pair_set,
    train_dpo,
)
from tasks.cycle import worth_retrying
from tasks.progress import Bar
from tasks.tracking import StageRun
from tasks.workspace import Workspace


@task(name="score-pairs", retries=3, retry_delay_seconds=20, retry_condition_fn=worth_retrying)
def score_pairs(config: CycleConfig, cycle: Cycle) -> dict[str, int]:
    """Score the cycle's spine and decide on every candidate pair, with the domains' present rewards; returns counts by fate."""
    store = Workspace.from_env().store
    for domain in sorted({scenario.domain for scenario in load_cycle_scenarios(config.scenarios)}):
        store.rescore(domain, load_domain(domain).reward)
    return store.score_pairs(cycle.cycle_id, config.pairs)


@task(name="extract-pairs", retries=3, retry_delay_seconds=20, retry_condition_fn=worth_retrying)
def extract_pairs(config: CycleConfig, cycle: Cycle, counts: dict[str, int], human: HumanPairs) -> PairSet:
    """Save the accepted pairs and their human pairs."""
    workspace = Workspace.from_env()
    accepted = mix(read_pairs(workspace.store, cycle.cycle_id), human.pairs, config.pairs.human_ratio, cycle.seed)
    path = workspace.home.cycle(cycle.cycle_id) / "pairs.parquet"
    pairs = save_pair_set(accepted, path, load_cycle_scenarios(config.scenarios), human, counts)
    with workspace.tracker.stage(cycle.cycle_id, "pairs") as run:
        run.metrics(pairs.metrics())
        gaps = [row["q_gap"] for row in workspace.store.rows("pairs", {"cycle": cycle.cycle_id})]
        run.figure(q_gap_histogram(gaps, config.pairs.min_q_gap), "q_gap")
        run.files(path, "pairs")
    return pairs


@task(name="train-candidate", retries=1, retry_delay_seconds=10, retry_condition_fn=worth_retrying)
def train_candidate(config: CycleConfig, cycle: Cycle, pairs: PairSet) -> Path:
    """DPO from the champion on the saved pairs, into MLflow's registry; an interrupted run resumes from its last checkpoint."""
    workspace = Workspace.from_env()
    recipe = digest([pairs.hash, key_settings(config.align)])[:12]
    out = workspace.home.cycle(cycle.cycle_id) / "align" / recipe
    with workspace.tracker.stage(cycle.cycle_id, "align", recipe) as run:
        result = run_dpo(config, cycle, pairs, "preference-pairs", out, run)
        workspace.tracker.register(run, result.adapter, {"engage.cycle_id": cycle.cycle_id})
    return result.adapter


def choose_candidate(cycle: Cycle, adapter: Path | None) -> Candidate | None:
    """Record which adapter the cycle's evaluation judges; None: nothing was trained."""
    name_candidate(Workspace.from_env().home.cycle(cycle.cycle_id), adapter)
    return chosen_candidate(cycle)


def chosen_candidate(cycle: Cycle) -> Candidate | None:
    """The cycle's candidate, even if its home was moved."""
    home = Workspace.from_env().home
    return latest_candidate(home.cycle(cycle.cycle_id), home.find)


def start_adapter(config: CycleConfig, cycle: Cycle) -> Path | None:
    """The start of a training: the champion, else the configured adapter, else the bare base."""
    start = cycle.champion_adapter or adapter_folder(config.engine.policy_adapter)
    return Path(start) if start else None


def run_dpo(config: CycleConfig, cycle: Cycle, pairs: PairSet, name: str, out: Path, run: StageRun) -> TrainResult:
    """DPO into `out`, from the cycle's starting policy, on pairs with this name in MLflow."""
    settings, parent, accepted = config.align.dpo, start_adapter(config, cycle), load_pairs(pairs.path)
    run.dataset(pairs.path, name, pairs.hash)

    def train(on_step: OnStep) -> TrainResult:
        base = resolve_model(config.engine.policy_model)
        return train_dpo(accepted, base, out, config.align, parent, on_step, pairs.licences)

    taken = min(len(accepted), settings.max_pairs or len(accepted))
    return run_training(run, settings, f"{taken} pairs", taken, train)


def run_training(
    run: StageRun,
    settings: DpoSettings | SftSettings,
    what: str,
    examples: int,
    train: Callable[[OnStep], TrainResult],
) -> TrainResult:
    """Train on `what` (`examples` of them): engines closed, progress shown; settings, steps and adapter go to the MLflow run."""
    close_engines()  # a training and an engine together would hold the weights twice
    method = "dpo" if isinstance(settings, DpoSettings) else "sft"
    steps = -(-examples // (settings.batch_size * settings.gradient_accumulation)) * settings.epochs
    bar = Bar(f"{method.upper()} on {what} (steps)", steps)
    run.params({f"{method}.{name}": value for name, value in settings.model_dump().items()})

    def on_step(step: int, metrics: dict[str, float]) -> None:
        run.metrics({f"{method}/{name}": value for name, value in metrics.items()}, step)
        bar.advance()

    result = train(on_step)
    bar.finish()
    run.files(result.adapter, "adapter")
    return result
