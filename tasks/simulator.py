"""Fine-tuning an adapter on human dialogues, as a run of MLflow."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect import task

from engage.config import CycleConfig
from engage.corpora import LICENCES, read_corpora
from engage.files.digest import digest, key_settings
from engage.home import Home
from engage.models import adapter_folder, resolve_model
from engage.training import Role, train_sft, training_chats
from tasks.cycle import worth_retrying
from tasks.progress import Bar
from tasks.tracking import Tracker


@task(name="train-simulator", retries=1, retry_delay_seconds=10, retry_condition_fn=worth_retrying)
def train_on_dialogues(
    config: CycleConfig,
    corpora: Sequence[str],
    roles: Sequence[Role],
    max_dialogues: int | None,
    out: str,
    start: str | None = None,
    skip_dialogues: int = 0,
) -> dict[str, Any]:
    """SFT of the simulator's base model, or of an adapter of it (`start`); an interrupted run goes on from its last checkpoint. Returns adapter and metrics."""
    settings = config.align.sft
    chats = [
        chat
        for corpus in read_corpora(corpora, config.human)
        for chat in training_chats(
            corpus.dialogues,
            roles,
            config.dialogue.speech,
            settings.max_length,
            max_dialogues,
            settings.seed,
            config.human.min_reward,
            skip_dialogues,
        )
    ]
    tracker = Tracker(Home.from_env())
    name = f"simulator {digest([list(corpora), list(roles), max_dialogues, skip_dialogues, start, key_settings(config.align)])[:8]}"
    steps = -(-len(chats) // (settings.batch_size * settings.gradient_accumulation)) * settings.epochs
    bar = Bar(f"SFT on {len(chats)} chats (steps)", steps)
    with tracker.stage(name, "sft") as run:
        run.params({"corpora": ", ".join(c.partition(":")[0] for c in corpora), "roles": ", ".join(roles)})
        run.params({f"sft.{key}": value for key, value in settings.model_dump().items()})

        def on_step(step: int, metrics: dict[str, float]) -> None:
            run.metrics({f"sft/{key}": value for key, value in metrics.items()}, step)
            bar.advance()

        base = resolve_model(config.engine.simulator_model)
        folder = adapter_folder(start)
        parent = Path(folder) if folder else None
        result = train_sft(chats, base, Path(out), config.align, parent, on_step, LICENCES)
        bar.finish()
        run.files(result.adapter, "adapter")
    tracker.close_cycle(name)
    return {"adapter": str(result.adapter), "metrics": result.metrics}
