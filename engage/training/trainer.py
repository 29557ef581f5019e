"""Shared by SFT and DPO: settings, the order of batches, and how trl's trainers are run.

Knows nothing of losses.
"""

import importlib.util
import math
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from random import Random
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from engage.errors import ConfigError, ModelError
from engage.files.digest import LATER, SAME_RESULT
from engage.training.processes import OnStep, check_processes, joined, share
from engage.training.run_folder import RunFolder

PADDING = 0
"""The token that fills up the rows of a batch, where masks hide it. The tokenizer's own may be one that the model lacks."""


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LoraSettings(_Settings):
    """Shape of a new adapter (LoRA, Hu et al. 2021), and the base below it; a run that starts from a parent keeps the parent's shape."""

    r: int = Field(16, ge=1, le=512, description="rank of the two low-rank factors")
    alpha: int = Field(32, ge=1, le=4096, description="the adapter's update is multiplied by alpha / r")
    dropout: float = Field(
        0.0, ge=0.0, lt=1.0, description="share of the adapter's inputs set to 0 during training (SFT only)"
    )
    target_modules: str | tuple[str, ...] = Field(
        "all-linear",
        description="names of the modules that get an adapter; `all-linear`: every linear layer except the head",
    )
    base_bits: Literal[16, 4] = Field(
        16,
        description="bits per weight of the frozen base during training: `16`, or `4` (QLoRA, needs bitsandbytes), which takes about a "
        "quarter of the memory and more time; the adapter then plays on the full weights, which differ a little from those that it was "
        "trained on",
        json_schema_extra=LATER,
    )


class DpoSettings(_Settings):
    """Direct preference optimisation (Rafailov et al. 2023)."""

    epochs: int = Field(1, ge=1, le=100, description="passes over the pairs")
    learning_rate: float = Field(
        5e-5, gt=0.0, le=1e-2, description="AdamW's peak learning rate; it decays linearly to 0"
    )
    beta: float = Field(
        0.1, gt=0.0, le=10.0, description="DPO's beta: a higher value keeps the policy closer to the reference model"
    )
    loss: Literal["sigmoid", "ipo"] = Field(
        "sigmoid",
        description="loss of a pair: `sigmoid` is DPO's; `ipo` aims at a difference of 1/(2 beta) nats per token between the replies",
        json_schema_extra=LATER,
    )
    labels: Literal["hard", "conservative", "robust"] = Field(
        "hard",
        description="whether the stated probability P that the chosen reply is better counts: `hard`: no; `conservative`: the expected "
        "loss over both labels, so unsure pairs count less; `robust`: corrects for labels flipped at random, so unsure pairs count "
        "more; 1 - P is at most 0.4; human pairs state no P and stay hard",
        json_schema_extra=LATER,
    )
    batch_size: int = Field(2, ge=1, le=1024, description="pairs per batch")
    gradient_accumulation: int = Field(2, ge=1, le=1024, description="batches per optimiser step")
    max_length: int = Field(
        512, ge=16, le=131_072, description="maximum tokens of prompt plus reply; longer pairs are left out"
    )
    max_pairs: int | None = Field(
        None, ge=1, le=10**9, description="maximum number of pairs, sampled with the seed; None: all pairs"
    )
    save_steps: int = Field(10, ge=1, le=10**9, description="optimiser steps between checkpoints")
    seed: int = Field(0, ge=0, lt=2**32, description="order of the pairs and the adapter's first weights")


class SftSettings(_Settings):
    """Supervised fine-tuning on chosen messages of chats."""

    epochs: int = Field(1, ge=1, le=100, description="passes over the chats")
    learning_rate: float = Field(
        5e-4, gt=0.0, le=1e-2, description="AdamW's peak learning rate; it decays linearly to 0"
    )
    batch_size: int = Field(2, ge=1, le=1024, description="chats per batch")
    gradient_accumulation: int = Field(2, ge=1, le=1024, description="batches per optimiser step")
    max_length: int = Field(1024, ge=16, le=131_072, description="maximum tokens of a chat; longer chats are left out")
    survey_weight: float = Field(
        20.0,
        ge=0.0,
        le=10_000.0,
        description="weight of the exit survey's answer in a simulator's loss; each token of a user turn has weight 1",
    )
    save_steps: int = Field(10, ge=1, le=10**9, description="optimiser steps between checkpoints")
    seed: int = Field(0, ge=0, lt=2**32, description="order of the chats and the adapter's first weights")


class AlignConfig(_Settings):
    """How adapters are trained."""

    lora: LoraSettings = LoraSettings()
    dpo: DpoSettings = DpoSettings()
    sft: SftSettings = SftSettings()
    gradient_checkpointing: bool = Field(
        False,
        description="keep only the inputs of each layer and compute the rest again in the backward pass: far less memory for long or many "
        "replies, about a third more time, the same adapter",
        json_schema_extra=SAME_RESULT,
    )
    processes: int = Field(
        1,
        ge=1,
        le=64,
        description="processes of this machine that train together, one per GPU; each optimiser step has the same pairs and trains the "
        "same adapter as with 1, up to rounding, so the number must divide batch_size times gradient_accumulation",
        json_schema_extra=SAME_RESULT,
    )
    held_out: float = Field(
        0.1,
        ge=0.0,
        le=0.5,
        description="share of the scenarios whose pairs a night does not train on but measures the training with; none if the pairs "
        "are of fewer than 20 scenarios",
        json_schema_extra=LATER,
    )

    def recipe(self, method: Literal["dpo", "sft"]) -> dict[str, BaseModel]:
        """The settings that make an adapter of this method what it is."""
        return {"lora": self.lora, method: self.dpo if method == "dpo" else self.sft}


def check_training(config: AlignConfig, method: Literal["dpo", "sft"]) -> None:
    """ConfigError if this machine lacks what `base_bits` or `processes` need, or the processes cannot share out a step."""
    settings = config.dpo if method == "dpo" else config.sft
    check_processes(config.processes, settings.batch_size, settings.gradient_accumulation, method)
    if config.lora.base_bits == 4 and importlib.util.find_spec("bitsandbytes") is None:
        raise ConfigError(
            "align.lora.base_bits = 4 needs bitsandbytes, which is not installed: pip install -e '.[qlora]', or set it to 16"
        )


def trainer_arguments(
    folder: RunFolder, settings: DpoSettings | SftSettings, gradient_checkpointing: bool = False
) -> dict[str, Any]:
    """Arguments of both trainers: mixed precision on a GPU, one log per step, no reporting; for this process's share of the batches."""
    import torch

    batch_size, batches = share(settings.batch_size, settings.gradient_accumulation, joined())
    return {
        "output_dir": str(folder.checkpoints),
        "num_train_epochs": settings.epochs,
        "learning_rate": settings.learning_rate,
        "per_device_train_batch_size": batch_size,
        "gradient_accumulation_steps": batches,
        "gradient_checkpointing": gradient_checkpointing,
        "bf16": torch.cuda.is_available(),
        "seed": settings.seed,
        "train_sampling_strategy": "sequential",
        "max_length": settings.max_length,
        "router_aux_loss_coef": 0.0,  # mixtures of experts: their routers are not trained, and a pair's loss is the pair's alone
        "ddp_find_unused_parameters": False,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_steps": settings.save_steps,
        "save_total_limit": 2,
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": torch.cuda.is_available(),
    }


def on_one_device(arguments: Any) -> Any:
    """The same trainer arguments, for one device: trl refuses to spread one process over several GPUs."""
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1
    return arguments


def batch_order(lengths: Sequence[int], batch_size: int, seed: int) -> list[int]:
    """Indices in an order sampled with `seed`; the items of a batch have similar lengths, which saves padding.

    They are sorted by length only within windows of eight batches, so that batches stay mixed. The order is fixed before training
    starts, so a resumed run sees the same batches.
    """
    random = Random(seed)
    order = random.sample(range(len(lengths)), len(lengths))
    window = 8 * batch_size
    batches = []
    for start in range(0, len(order), window):
        group = sorted(order[start : start + window], key=lambda index: lengths[index])
        batches += [group[i : i + batch_size] for i in range(0, len(group), batch_size)]
    full = [batch for batch in batches if len(batch) == batch_size]
    short = [batch for batch in batches if len(batch) < batch_size]
    random.shuffle(full)
    return [index for batch in (*full, *short) for index in batch]


def run_trainer(trainer: Any, folder: RunFolder, keys: Sequence[str], on_step: OnStep | None) -> list[dict[str, float]]:
    """Train from the last checkpoint, if there is one; one record of `keys` per step, those before the checkpoint included.

    Raises ConfigError at the first step whose loss is not finite, ModelError if that is the first of all, or for a model without gradient
    checkpointing if it is set.
    """
    from transformers import PrinterCallback, TrainerCallback

    def record(step: int, logs: Mapping[str, float]) -> dict[str, float]:
        return {"step": float(step), **{key: float(logs[key]) for key in keys if key in logs}}

    class Progress(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if not logs or "loss" not in logs:
                return
            if not math.isfinite(logs["loss"]):
                if state.global_step == 1:  # its loss is computed before anything is learnt
                    raise ModelError(
                        f"the loss is {logs['loss']} before the first step: the weights of the base or of the adapter to start from are "
                        "damaged, or too large for the number type"
                    )
                raise ConfigError(
                    f"training diverged at step {state.global_step}: the loss is {logs['loss']}; lower the learning rate"
                )
            if on_step is not None:
                on_step(state.global_step, record(state.global_step, logs))

    if trainer.args.gradient_checkpointing and not trainer.model.supports_gradient_checkpointing:
        raise ModelError(
            f"{type(trainer.model.get_base_model()).__name__} does not support align.gradient_checkpointing; set it to false"
        )
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(Progress())
    with trainer.accelerator.main_process_first():  # the first removes stale checkpoints
        resumed = folder.last_checkpoint()
    trainer.train(resume_from_checkpoint=resumed)
    return [record(entry["step"], entry) for entry in trainer.state.log_history if "loss" in entry]


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars, advice or telemetry from the libraries while training; their errors still raise."""
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    import datasets
    import huggingface_hub.constants
    from transformers.utils import logging

    huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY = True
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    tqdm = os.environ.get("TQDM_DISABLE")
    os.environ["TQDM_DISABLE"] = "1"
    datasets.disable_progress_bars()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        datasets.enable_progress_bars()
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
        if tqdm is None:
            del os.environ["TQDM_DISABLE"]
        else:
            os.environ["TQDM_DISABLE"] = tqdm
