"""Extracts pairs from the store and trains the candidate."""

from collections.abc import Sequence
from pathlib import Path

from prefect import task

from engage import progress
from engage.config import CycleConfig, load_cycle_scenarios
from engage.domains import load_domain
from engage.evaluation import q_gap_histogram
from engage.files.digest import digest, flat, key_settings
from engage.keeping import at_work
from engage.models import adapter_folder, resolve_model
from engage.store import Cycle
from engage.tracking import StageRun, run_training, version_facts
from engage.training import (
    Candidate,
    HumanPairs,
    OnStep,
    PairSet,
    PreferencePair,
    SearchPairs,
    TrainResult,
    check_trainable,
    data_hash,
    latest_candidate,
    load_pairs,
    mix,
    name_candidate,
    read_search_pairs,
    save_pair_set,
    set_aside,
    train_dpo,
)
from engage.workspace import Workspace
from tasks.cycle import worth_retrying
from tasks.human import draw_human_pairs

PAIRS = "preference-pairs"


def require_trainable(config: CycleConfig) -> None:
    """Raise ModelError or ConfigError if the policy can be played but not trained: a night would collect for nothing."""
    if config.engine.kind != "scripted":
        check_trainable(config.engine.policy_model, config.engine.policy_adapter, config.align.lora)


@task(name="score-pairs", retries=3, retry_delay_seconds=20, retry_condition_fn=worth_retrying)
def score_pairs(config: CycleConfig, cycle: Cycle) -> dict[str, int]:
    """Score the cycle's spine and decide on every candidate pair, with the domains' present rewards; returns counts by fate."""
    workspace = Workspace.from_env()
    workspace.drain()  # judgements of a review may still wait in the outbox
    for domain in sorted({scenario.domain for scenario in load_cycle_scenarios(config.scenarios)}):
        workspace.store.rescore(domain, load_domain(domain).reward)
    scored = workspace.store.score_pairs(cycle.cycle_id, config.pairs)
    progress.tell(f"pairs so far: {scored['accepted']} accepted of {scored['candidates']} candidates")
    return scored


@task(name="extract-pairs", retries=3, retry_delay_seconds=20, retry_condition_fn=worth_retrying)
def extract_pairs(config: CycleConfig, cycle: Cycle, counts: dict[str, int], human: HumanPairs) -> PairSet:
    """Save the accepted pairs and their human pairs."""
    workspace = Workspace.from_env()
    found = _search_pairs(config, cycle)
    accepted = mix([*found.own, *found.earlier], human.pairs, config.pairs.human_ratio, cycle.seed)
    path = workspace.home.cycle(cycle.cycle_id) / "pairs.parquet"
    pairs = save_pair_set(accepted, path, load_cycle_scenarios(config.scenarios), human, counts, found)
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
    found = _search_pairs(config, cycle)
    human = draw_human_pairs(config, cycle, len(found.own) + len(found.earlier))
    return extract_pairs(config, cycle, scored, human)


def _search_pairs(config: CycleConfig, cycle: Cycle) -> SearchPairs:
    """The accepted pairs of the cycle, and of earlier ones if `pairs.cycles` names them."""
    workspace = Workspace.from_env()
    return read_search_pairs(workspace.store, cycle.cycle_id, config.pairs, at_work.collecting(workspace.home))


@task(name="train-candidate", retries=1, retry_delay_seconds=10, retry_condition_fn=worth_retrying)
def train_candidate(config: CycleConfig, cycle: Cycle, pairs: PairSet) -> Path:
    """DPO from the champion on the saved pairs, into MLflow's registry; an interrupted run resumes from its last checkpoint.

    Pairs of some scenarios are set aside (`align.held_out`): the trained policy is measured on them.
    """
    workspace = Workspace.from_env()
    tracker, (trained_on, held_out) = workspace.tracker, set_aside(load_pairs(pairs.path), config.align.held_out)
    recipe = digest([data_hash(trained_on, config.align.dpo), key_settings(config.align)])[:12]
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
