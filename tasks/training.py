"""Extracts pairs from the store, trains the candidate, and provides the common frame of every training."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from prefect import task

from engage.config import CycleConfig, load_cycle_scenarios
from engage.domains import load_domain
from engage.engines import close_engines
from engage.evaluation import q_gap_histogram
from engage.files.digest import digest, flat, key_settings
from engage.models import adapter_folder, resolve_model
from engage.progress import Bar
from engage.store import Cycle
from engage.tracking.run import StageRun
from engage.tracking.text import version_facts
from engage.training import (
    BEFORE,
    Candidate,
    DpoSettings,
    HumanPairs,
    OnStep,
    PairSet,
    PreferencePair,
    SftSettings,
    TrainResult,
    latest_candidate,
    load_pairs,
    mix,
    name_candidate,
    pair_set_hash,
    read_pairs,
    save_pair_set,
    set_aside,
    train_dpo,
)
from engage.workspace import Workspace
from tasks.cycle import worth_retrying
from tasks.human import draw_human_pairs

PAIRS = "preference-pairs"
CURVES = {
    "loss": "loss",
    "accuracy": "rewards/accuracies",
    "margin": "rewards/margins",
    "reward_chosen": "rewards/chosen",
    "reward_rejected": "rewards/rejected",
    "grad_norm": "grad_norm",
}
"""What is logged of every optimiser step, with trl's names; the rest is in the adapter's `history.json`."""


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
    if pairs.accepted:
        workspace.tracker.cycle_run(cycle.cycle_id).dataset(path, PAIRS, pairs.hash)
    return pairs


def make_pairs(config: CycleConfig, cycle: Cycle) -> PairSet:
    """Score the cycle's pairs, add those from human dialogues if configured, and save what is accepted: the cycle's pairs from now on."""
    scored = score_pairs(config, cycle)
    human = draw_human_pairs(config, cycle, scored["accepted"])
    return extract_pairs(config, cycle, scored, human)


@task(name="train-candidate", retries=1, retry_delay_seconds=10, retry_condition_fn=worth_retrying)
def train_candidate(config: CycleConfig, cycle: Cycle, pairs: PairSet) -> Path:
    """DPO from the champion on the saved pairs, into MLflow's registry; an interrupted run resumes from its last checkpoint.

    Pairs of some scenarios are set aside (`align.held_out`): the trained policy is measured on them.
    """
    workspace = Workspace.from_env()
    tracker, (trained_on, held_out) = workspace.tracker, set_aside(load_pairs(pairs.path), config.align.held_out)
    recipe = digest([pair_set_hash(trained_on), key_settings(config.align)])[:12]
    out = workspace.home.cycle(cycle.cycle_id) / "align" / recipe
    settings = flat({"align": config.align.model_dump(mode="json", exclude={"sft"})})
    with tracker.stage(cycle.cycle_id, "align", recipe, settings) as run:
        result = run_dpo(config, cycle, pairs, PAIRS, out, run, held_out)
        if model := run.logged_model():
            tracker.cycle_run(cycle.cycle_id).produced(model.model_id)
        tags = {"engage.cycle_id": cycle.cycle_id}
        facts = version_facts("not judged yet", cycle.cycle_id, result.adapter)
        tracker.name_candidate(tracker.register(run, result.adapter, tags, facts))
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


def run_dpo(
    config: CycleConfig,
    cycle: Cycle,
    pairs: PairSet,
    name: str,
    out: Path,
    run: StageRun,
    held_out: Sequence[PreferencePair] = (),
) -> TrainResult:
    """DPO into `out`, from the cycle's starting policy, on pairs with this name in MLflow, without the `held_out` ones among them."""
    settings, parent = config.align.dpo, start_adapter(config, cycle)
    aside = {pair.scenario_id for pair in held_out}
    accepted = [pair for pair in load_pairs(pairs.path) if pair.scenario_id not in aside]
    run.dataset(pairs.path, name, pairs.hash)

    def train(on_step: OnStep) -> TrainResult:
        base = resolve_model(config.engine.policy_model)
        return train_dpo(accepted, base, out, config.align, parent, on_step, pairs.licences, held_out)

    taken = min(len(accepted), settings.max_pairs or len(accepted))
    return run_training(run, settings, f"{taken} pairs", taken, train)


def run_training(
    run: StageRun,
    settings: DpoSettings | SftSettings,
    what: str,
    examples: int,
    train: Callable[[OnStep], TrainResult],
) -> TrainResult:
    """Train on `what` (`examples` of them): engines closed, progress shown; settings, curves and adapter go to the MLflow run.

    A curve's step is the number of optimiser steps before its point. The first point is that of the start; the last one, of DPO, is
    measured on the finished policy (`engage.training.measures`), the others on the batch of the next step.
    """
    close_engines()  # a training and an engine together would hold the weights twice
    method = "dpo" if isinstance(settings, DpoSettings) else "sft"
    steps = -(-examples // (settings.batch_size * settings.gradient_accumulation)) * settings.epochs
    bar = Bar(f"{method.upper()} on {what} (steps)", steps)
    params = {f"{method}.{name}": value for name, value in settings.model_dump().items()}
    run.params(params)

    def on_step(step: int, metrics: dict[str, float]) -> None:
        run.metrics(curve_point(method, step, metrics), step - 1)
        bar.advance()

    result = train(on_step)
    bar.finish()
    logged = run.steps("train/loss")
    for record in result.history:  # those that an earlier, killed run trained and did not log
        if (step := int(record["step"])) - 1 not in logged:
            run.metrics(curve_point(method, step, record), step - 1)
    measured = {name: value for name, value in result.metrics.items() if name.startswith(("train/", "held_out/"))}
    model, last = run.model(result.adapter, params), int(result.history[-1]["step"])
    if measured and last not in logged:
        if "held_out/loss" in measured:
            run.metrics({f"held_out/{name}": value for name, value in BEFORE.items()})
        run.metrics(measured, last, model)
    return result


def curve_point(method: str, step: int, metrics: Mapping[str, float]) -> dict[str, float]:
    """A step's metrics (trl's names, `step` from 1) by MLflow's names. At DPO's first step policy and reference are the same."""
    point = {name: metrics[theirs] for name, theirs in CURVES.items() if theirs in metrics}
    return {
        f"train/{name}": value for name, value in {**point, **(BEFORE if (method, step) == ("dpo", 1) else {})}.items()
    }
