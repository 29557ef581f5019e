"""The policies of a comparison that are trained: SFT on people's replies, DPO on pairs from search, from people, from both."""

from collections.abc import Sequence
from pathlib import Path

from prefect import task
from pydantic import BaseModel, ConfigDict

from engage.config import CycleConfig, load_cycle_scenarios
from engage.corpora import LICENCES
from engage.engines import close_engines
from engage.evaluation import PolicyName
from engage.files.digest import digest, key_settings
from engage.home import Home
from engage.models import resolve_model
from engage.store import TrajectoryStore
from engage.training import (
    HumanPairs,
    PreferencePair,
    mix,
    pair_licences,
    pair_set_hash,
    read_human,
    read_pairs,
    save_pairs,
    train_sft,
    training_chats,
)
from tasks.cycle import Cycle, worth_retrying
from tasks.progress import Bar
from tasks.tracking import Tracker
from tasks.training import run_dpo, start_adapter


class Arm(BaseModel):
    """One policy of a comparison: its adapter is None where it has the base's weights, or where training found nothing to learn."""

    model_config = ConfigDict(frozen=True)

    name: PolicyName
    adapter: str | None = None


def pair_sets(config: CycleConfig, cycle: Cycle, human: HumanPairs) -> dict[PolicyName, list[PreferencePair]]:
    """The accepted pairs of a cycle, those from people, and both: `pairs.human_ratio` of people's (1 where it is 0) for one of search's."""
    search = read_pairs(TrajectoryStore(Home.from_env().database), cycle.cycle_id)
    both = mix(search, human.pairs, config.pairs.human_ratio or 1.0, cycle.seed)
    return {"dpo_search": search, "dpo_human": human.pairs, "dpo_mixed": both}


def as_many_from_people(config: CycleConfig) -> CycleConfig:
    """The same configuration with as many human pairs as the search gives, at least."""
    ratio = max(1.0, config.pairs.human_ratio)
    return config.model_copy(update={"pairs": config.pairs.model_copy(update={"human_ratio": ratio})})


def policy_folder(home: Home, cycle: Cycle, name: PolicyName, recipe: Sequence[object]) -> Path:
    """Where a policy is trained: one folder a recipe, so that other settings train another one beside it."""
    return home.cycle(cycle.cycle_id) / "policies" / f"{name}-{digest(recipe)[:12]}"


@task(name="train-policy", retries=1, retry_delay_seconds=10, retry_condition_fn=worth_retrying)
def train_on_pairs(
    config: CycleConfig, cycle: Cycle, name: PolicyName, pairs: Sequence[PreferencePair], human: HumanPairs
) -> Arm:
    """DPO from what the cycle starts from; an interrupted run goes on from its last checkpoint."""
    home = Home.from_env()
    recipe = [pair_set_hash(pairs), key_settings(config.align, exclude={"sft"})]
    folder = policy_folder(home, cycle, name, recipe)
    save_pairs(pairs, folder / "pairs.parquet")
    licences = pair_licences(pairs, [*load_cycle_scenarios(config.scenarios), *human.scenarios()])
    with Tracker(home).stage(cycle.cycle_id, f"train {name}", folder.name) as run:
        run.dataset(folder / "pairs.parquet", f"{name}-pairs", pair_set_hash(pairs))
        result = run_dpo(config, start_adapter(config, cycle), pairs, folder, run, licences)
        run.files(result.adapter, "adapter")
    return Arm(name=name, adapter=str(result.adapter))


@task(name="train-policy-on-replies", retries=1, retry_delay_seconds=10, retry_condition_fn=worth_retrying)
def train_on_replies(config: CycleConfig, cycle: Cycle) -> Arm | None:
    """SFT on what people said in dialogues of the train split that went well, from what the cycle starts from.

    None where no reply may be learnt: all are longer than the policy speaks, or no dialogue went well.
    """
    home, settings = Home.from_env(), config.align.sft
    people, speech = read_human(config.human), config.dialogue.speech
    chats = training_chats(people, ["policy"], speech, settings.max_length, None, cycle.seed, config.human.min_reward)
    if not chats:
        return None
    close_engines()  # a training and an engine together would hold the weights twice
    steps = -(-len(chats) // (settings.batch_size * settings.gradient_accumulation)) * settings.epochs
    bar = Bar(f"SFT on {len(chats)} human dialogues (steps)", steps)
    recipe = [key_settings(config.human), key_settings(config.align, exclude={"dpo"})]
    folder = policy_folder(home, cycle, "sft", recipe)
    with Tracker(home).stage(cycle.cycle_id, "train sft", folder.name) as run:
        run.params({f"sft.{key}": value for key, value in settings.model_dump().items()})

        def on_step(step: int, metrics: dict[str, float]) -> None:
            run.metrics({f"sft/{key}": value for key, value in metrics.items()}, step)
            bar.advance()

        base = resolve_model(config.engine.policy_model)
        result = train_sft(chats, base, folder, config.align, start_adapter(config, cycle), on_step, LICENCES)
        bar.finish()
        run.files(result.adapter, "adapter")
    return Arm(name="sft", adapter=str(result.adapter))
