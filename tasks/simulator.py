"""Fine-tunes an adapter on human dialogues, as an MLflow run."""

from collections.abc import Sequence
from pathlib import Path

from prefect import task

from engage.config import CycleConfig
from engage.corpora import LICENCES, read_corpora
from engage.files.digest import digest, key_settings
from engage.models import adapter_folder, resolve_model
from engage.tracking import run_training
from engage.training import OnStep, Role, TrainResult, train_sft, training_chats
from engage.workspace import Workspace
from tasks.cycle import worth_retrying


@task(name="train-simulator", retries=1, retry_delay_seconds=10, retry_condition_fn=worth_retrying)
def train_on_dialogues(
    config: CycleConfig,
    corpora: Sequence[str],
    roles: Sequence[Role],
    max_dialogues: int | None,
    out: str,
    start: str | None = None,
    skip_dialogues: int = 0,
) -> TrainResult:
    """SFT of the simulator's model, or of an adapter of it (`start`); an interrupted run resumes from its last checkpoint.

    The assistant's side alone is trained on the policy's model.
    """
    settings, human, speech = config.align.sft, config.human, config.dialogue.speech
    length, seed, least = settings.max_length, settings.seed, human.min_reward
    chats = [
        chat
        for corpus in read_corpora(corpora, human)
        for chat in training_chats(corpus.dialogues, roles, speech, length, max_dialogues, seed, least, skip_dialogues)
    ]
    parent = adapter_folder(start)

    def train(on_step: OnStep) -> TrainResult:
        engine = config.engine
        base = resolve_model(engine.policy_model if set(roles) == {"policy"} else engine.simulator_model)
        return train_sft(chats, base, Path(out), config.align, Path(parent) if parent else None, on_step, LICENCES)

    tracker = Workspace.from_env().tracker
    recipe = [list(corpora), list(roles), max_dialogues, skip_dialogues, start, key_settings(config.align)]
    name = f"simulator {digest(recipe)[:8]}"
    with tracker.stage(name, "sft") as run:
        run.params({"corpora": ", ".join(c.partition(":")[0] for c in corpora), "roles": ", ".join(roles)})
        result = run_training(run, settings, f"{len(chats)} chats", len(chats), train)
    tracker.close_cycle(name)
    return result
