"""Training: tokens per second of the project's DPO against a plain TRL script on the same pairs, model and LoRA shape.

Both get the same pairs in the same order (the project's, which spares the plain script padding as well) and the same settings.
Tokens are counted as a plain script computes them: two rows a pair, each with the prompt and one reply. The first step warms up
and is not timed. The project computes the reference's log-probabilities before training; the timed steps are charged their share.
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

from engage.bench.process import Measured, in_own_process
from engage.corpora import read_shipped
from engage.errors import ConfigError
from engage.models import ModelRef, resolve_model
from engage.training import AlignConfig, DpoSettings, HumanReply, PreferencePair, human_pairs, reply_places

WARM_UP_STEPS = 1
OnProgress = Callable[[str], None]


@dataclass(frozen=True)
class Training:
    """A measured training: `losses` by step, the warm-up first; `reference_s` is the timed steps' share of the reference's time.

    `gpu_peak_mb` is the peak memory of torch on the GPU, in 10⁶ bytes; 0 without a GPU.
    """

    losses: tuple[float, ...]
    steps_s: float
    reference_s: float
    gpu_peak_mb: float

    @property
    def seconds(self) -> float:
        """Time that the timed steps are charged with."""
        return self.steps_s + self.reference_s


@dataclass(frozen=True)
class AlignFigures:
    """The figures of the bench. `speedup` is tokens per second, ours over plain; `peak_mb` is the process's memory (10⁶ bytes)."""

    device: str
    model: str
    steps: int
    pairs: int
    tokens: int
    tok_s: float
    plain_tok_s: float
    speedup: float
    seconds: float
    reference_s: float
    plain_seconds: float
    peak_mb: float
    plain_peak_mb: float
    gpu_peak_mb: float
    plain_gpu_peak_mb: float
    first_loss: float
    plain_first_loss: float
    largest_loss_difference: float

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def bench_pairs(count: int) -> list[PreferencePair]:
    """Pairs of realistic length from the shipped dialogues: the human reply (chosen) and a reply of another dialogue (rejected)."""
    humans = [human for human in read_shipped().dialogues if human.split == "train"]
    places = list(reply_places(humans))
    Random(0).shuffle(places)
    replies = [
        HumanReply(place.human.domain, place.human.scenario_id, "train", place.prefix, place.reply, other.reply)
        for place, other in zip(places, [*places[1:], *places[:1]], strict=True)
    ]
    return human_pairs(replies)[:count]


def bench_align(
    model: str, steps: int, config: AlignConfig, on_progress: OnProgress = lambda what: None
) -> AlignFigures:
    """Measure `steps` optimiser steps after a warm-up step. ModelError for an unknown model, ConfigError for other than 1 to 1000 steps."""
    if not 1 <= steps <= 1_000:
        raise ConfigError(f"--steps {steps}: use a number from 1 to 1000")
    on_progress("preparing pairs")
    base = resolve_model(model)
    settings = config.dpo.model_copy(update={"epochs": 1, "save_steps": 1_000_000, "max_pairs": None})
    wanted = (steps + WARM_UP_STEPS) * settings.batch_size * settings.gradient_accumulation
    rows, lengths = _rows(base, settings, wanted)
    tokens = sum(lengths[WARM_UP_STEPS * settings.batch_size * settings.gradient_accumulation :])
    config = config.model_copy(update={"dpo": settings})
    with tempfile.TemporaryDirectory(prefix="engage-bench-") as folder:
        on_progress("training our way")
        ours = in_own_process(train_our_way, base, rows, config, Path(folder) / "ours")
        on_progress("training with a plain TRL script")
        plain = in_own_process(train_plain, base, rows, config, Path(folder) / "plain")
    return _figures(model, steps, rows, tokens, ours, plain)


def _rows(base: ModelRef, settings: DpoSettings, wanted: int) -> tuple[list[dict[str, Any]], list[int]]:
    """Exactly `wanted` rows in training order, none over `max_length`; and per row, the tokens of both replies with their prompts."""
    from transformers import AutoTokenizer

    from engage.training import fitting_rows

    tokenizer = AutoTokenizer.from_pretrained(base.path)
    rows = fitting_rows(bench_pairs(wanted * 2), tokenizer, settings)[:wanted]
    if len(rows) < wanted:
        raise ConfigError(
            f"only {len(rows)} of the {wanted} pairs needed have at most {settings.max_length} tokens; "
            "take fewer --steps or raise align.dpo.max_length"
        )
    lengths = [
        sum(
            len(tokenizer.apply_chat_template(row["prompt"] + row[side])["input_ids"])
            for side in ("chosen", "rejected")
        )
        for row in rows
    ]
    return rows, lengths


def train_our_way(base: ModelRef, rows: Sequence[dict[str, Any]], config: AlignConfig, out: Path) -> Training:
    """Train as `engage.training.dpo.train_dpo` does, without writing an adapter folder."""
    from transformers import AutoTokenizer

    from engage.training import RunFolder, build_trainer, quiet, run_trainer, start_model

    with quiet():
        tokenizer = AutoTokenizer.from_pretrained(base.path)
        model = start_model(base, None, config.lora, config.dpo.seed)
        _warm_up(model)
        started = time.perf_counter()
        trainer = build_trainer(
            model, tokenizer, rows, RunFolder(out, "bench"), config.dpo, config.gradient_checkpointing
        )
        reference = time.perf_counter() - started
        stamps = stamp_steps(trainer)
        history = run_trainer(trainer, RunFolder(out, "bench"), ("loss",), None)
    share = 1 - WARM_UP_STEPS / len(history)
    losses = tuple(entry["loss"] for entry in history)
    return Training(losses, stamps[-1] - stamps[WARM_UP_STEPS - 1], reference * share, _gpu_peak_mb())


def _warm_up(model: Any) -> None:
    """Loads the GPU's kernels with one short pass: only the pass for the reference would pay for it, plain training does so in its first step."""
    import torch

    if torch.cuda.is_available():
        with torch.no_grad():
            model.to("cuda")(input_ids=torch.ones((1, 8), dtype=torch.long, device="cuda"))
        torch.cuda.synchronize()


def train_plain(base: ModelRef, rows: Sequence[dict[str, Any]], config: AlignConfig, out: Path) -> Training:
    """Train as TRL's documentation shows, with the same settings and the rows in the given order."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback, set_seed
    from trl import DPOConfig, DPOTrainer

    from engage.training import RunFolder, on_one_device, quiet, trainer_arguments

    targets, said = config.lora.target_modules, ("prompt", "chosen", "rejected")
    with quiet():
        set_seed(config.dpo.seed)
        dtype = torch.bfloat16 if torch.cuda.is_available() else torch.float32
        ours = trainer_arguments(RunFolder(out, "bench"), config.dpo, config.gradient_checkpointing)
        arguments = DPOConfig(**ours, beta=config.dpo.beta)
        trainer = DPOTrainer(
            model=AutoModelForCausalLM.from_pretrained(base.path, dtype=dtype),
            args=on_one_device(arguments),
            train_dataset=Dataset.from_list([{name: row[name] for name in said} for row in rows]),
            processing_class=AutoTokenizer.from_pretrained(base.path),
            peft_config=LoraConfig(
                r=config.lora.r,
                lora_alpha=config.lora.alpha,
                target_modules=targets if isinstance(targets, str) else list(targets),
                task_type="CAUSAL_LM",
            ),
        )
        trainer.remove_callback(PrinterCallback)
        stamps = stamp_steps(trainer)
        trainer.train()
    losses = tuple(float(entry["loss"]) for entry in trainer.state.log_history if "loss" in entry)
    return Training(losses, stamps[-1] - stamps[WARM_UP_STEPS - 1], 0.0, _gpu_peak_mb())


def _gpu_peak_mb() -> float:
    import torch

    return torch.cuda.max_memory_allocated() / 1e6 if torch.cuda.is_available() else 0.0


def stamp_steps(trainer: Any) -> list[float]:
    """A list that receives the process clock (seconds) at the end of every optimiser step."""
    from transformers import TrainerCallback

    stamps: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            stamps.append(time.perf_counter())

    trainer.add_callback(Clock())
    return stamps


def _figures(
    model: str,
    steps: int,
    rows: Sequence[dict[str, Any]],
    tokens: int,
    ours: Measured[Training],
    plain: Measured[Training],
) -> AlignFigures:
    import torch

    pairs = len(rows) * steps // (steps + WARM_UP_STEPS)
    differences = [abs(a - b) for a, b in zip(ours.result.losses, plain.result.losses, strict=True)]
    return AlignFigures(
        device="cuda" if torch.cuda.is_available() else "cpu",
        model=model,
        steps=steps,
        pairs=pairs,
        tokens=tokens,
        tok_s=tokens / ours.result.seconds,
        plain_tok_s=tokens / plain.result.seconds,
        speedup=plain.result.seconds / ours.result.seconds,
        seconds=ours.result.seconds,
        reference_s=ours.result.reference_s,
        plain_seconds=plain.result.seconds,
        peak_mb=ours.peak_mb,
        plain_peak_mb=plain.peak_mb,
        gpu_peak_mb=ours.result.gpu_peak_mb,
        plain_gpu_peak_mb=plain.result.gpu_peak_mb,
        first_loss=ours.result.losses[0],
        plain_first_loss=plain.result.losses[0],
        largest_loss_difference=max(differences),
    )
