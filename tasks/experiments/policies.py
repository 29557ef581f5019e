"""Trains the policies of a comparison: SFT on people's replies, DPO on pairs from search, from people, or from both."""

from collections.abc import Sequence
from pathlib import Path

from prefect import task

from engage.config import CycleConfig, load_cycle_scenarios
from engage.corpora import LICENCES
from engage.evaluation import PolicyName
from engage.experiments import TrainedPolicy
from engage.files.digest import digest, key_settings
from engage.models import resolve_model
from engage.store import Cycle
from engage.tracking import run_training
from engage.training import (
    HumanPairs,
    OnStep,
    PreferencePair,
    TrainResult,
    data_hash,
    mix,
    read_human,
    read_pairs,
    save_pair_set,
    train_sft,
    training_chats,
)
from engage.workspace import Workspace
from tasks.cycle import worth_retrying
from tasks.training import run_dpo, start_adapter


def pair_sets(config: CycleConfig, cycle: Cycle, human: HumanPairs) -> dict[PolicyName, list[PreferencePair]]:
    """The accepted pairs of a cycle, those from people, and both: `pairs.human_ratio` of people's (1 where it is 0) for one of search's."""
    search = read_pairs(Workspace.from_env().store, cycle.cycle_id, config.pairs.review_weights)
    both = mix(search, human.pairs, config.pairs.human_ratio or 1.0, cycle.seed)
    return {"dpo_search": search, "dpo_human": human.pairs, "dpo_mixed": both}


def as_many_from_people(config: CycleConfig) -> CycleConfig:
    """The same configuration with at least as many human pairs as search pairs."""
    ratio = max(1.0, config.pairs.human_ratio)
    return config.model_copy(update={"pairs": config.pairs.model_copy(update={"human_ratio": ratio})})


def policy_folder(workspace: Workspace, cycle: Cycle, name: PolicyName, recipe: Sequence[object]) -> Path:
    """The folder of a training: one per recipe, so that other settings train in another folder."""
    return workspace.home.cycle(cycle.cycle_id) / "policies" / f"{name}-{digest(recipe)[:12]}"


@task(name="train-policy", retries=1, retry_delay_seconds=10, retry_condition_fn=worth_retrying)
def train_on_pairs(
    config: CycleConfig, cycle: Cycle, name: PolicyName, pairs: Sequence[PreferencePair], human: HumanPairs
) -> TrainedPolicy:
    """DPO from the cycle's starting policy; an interrupted run resumes from its last checkpoint."""
    workspace, settings = Workspace.from_env(), key_settings(config.align, exclude={"sft"})
    folder = policy_folder(workspace, cycle, name, [data_hash(pairs, config.align.dpo), settings])
    saved = save_pair_set(pairs, folder / "pairs.parquet", load_cycle_scenarios(config.scenarios), human)
    with workspace.tracker.stage(cycle.cycle_id, f"train {name}", folder.name) as run:
        result = run_dpo(config, cycle, saved, f"{name}-pairs", folder, run)
    return TrainedPolicy(name, str(result.adapter))


@task(name="train-policy-on-replies", retries=1, retry_delay_seconds=10, retry_condition_fn=worth_retrying)
def train_on_replies(config: CycleConfig, cycle: Cycle) -> TrainedPolicy | None:
    """SFT on people's replies in successful dialogues of the train split, from the cycle's starting policy.

    None if no reply is usable: all are longer than the policy's limit, or no dialogue was successful.
    """
    workspace, settings, least = Workspace.from_env(), config.align.sft, config.human.min_reward
    people, speech = read_human(config.human, workspace.store), config.dialogue.speech
    chats = training_chats(people, ["policy"], speech, settings.max_length, None, cycle.seed, least)
    if not chats:
        return None
    recipe = [key_settings(config.human), key_settings(config.align, exclude={"dpo"})]
    folder, parent = policy_folder(workspace, cycle, "sft", recipe), start_adapter(config, cycle)

    def train(on_step: OnStep) -> TrainResult:
        base = resolve_model(config.engine.policy_model)
        return train_sft(chats, base, folder, config.align, parent, on_step, LICENCES)

    with workspace.tracker.stage(cycle.cycle_id, "train sft", folder.name) as run:
        result = run_training(run, settings, f"{len(chats)} human dialogues", len(chats), train)
    return TrainedPolicy("sft", str(result.adapter))
