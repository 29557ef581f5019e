"""Trainings that fit the card: less memory, or several processes, and the same adapter."""

import math
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tiny_models import make_pairs

from engage.engines.base import Message
from engage.errors import ConfigError, EngageError, ModelError
from engage.files.digest import SAME_RESULT, key_settings
from engage.models import AdapterCard, ModelRef, check_adapter
from engage.training import AlignConfig, TrainResult, start_model, train_dpo, train_sft
from engage.training.dpo import DpoSettings
from engage.training.processes import even_rows, in_processes, share
from engage.training.sft import ChatExample
from engage.training.trainer import LoraSettings, SftSettings

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_cache")]

CONFIG = AlignConfig(
    lora=LoraSettings(r=4, alpha=8),
    dpo=DpoSettings(learning_rate=1e-2, batch_size=2, gradient_accumulation=2),
    sft=SftSettings(learning_rate=1e-2, batch_size=2, gradient_accumulation=2),
)
CHATS = [
    ChatExample((Message("user", f"Question {n}?"), Message("assistant", "Because" + "." * (1 + n))), (1,))
    for n in range(8)
]


def trained(method: str, base: ModelRef, out: Path, **changes: Any) -> TrainResult:
    """A training of eight pairs or chats."""
    config = CONFIG.model_copy(update=changes)
    return train_dpo(make_pairs(8), base, out, config) if method == "dpo" else train_sft(CHATS, base, out, config)


def weights(result: TrainResult) -> dict[str, Any]:
    from safetensors.torch import load_file

    return dict(load_file(result.adapter / "adapter_model.safetensors"))


def assert_same_training(one: TrainResult, other: TrainResult) -> None:
    """The same losses and adapters, up to rounding; neither is the adapter that the training began with."""
    assert [step["loss"] for step in one.history] == pytest.approx([step["loss"] for step in other.history], abs=1e-3)
    ours, theirs = weights(one), weights(other)
    assert ours.keys() == theirs.keys()
    assert max(float(ours[name].abs().max()) for name in ours if "lora_B" in name) > 1e-3
    for name in ours:
        assert ours[name].sub(theirs[name]).abs().max() < 1e-3, name


@pytest.mark.parametrize("method", ["dpo", "sft"])
def test_gradient_checkpointing_keeps_fewer_tensors_and_trains_the_same_adapter(
    method: str, base: ModelRef, tmp_path: Path
) -> None:
    import torch

    kept = {False: 0, True: 0}
    results = {}
    for checkpointing in kept:

        def keep(tensor: Any, checkpointing: bool = checkpointing) -> Any:
            kept[checkpointing] += tensor.numel() * tensor.element_size()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            results[checkpointing] = trained(
                method, base, tmp_path / str(checkpointing), gradient_checkpointing=checkpointing
            )
    assert kept[True] < kept[False] / 2
    assert_same_training(results[True], results[False])


def test_a_model_without_gradient_checkpointing_is_refused_in_one_sentence(
    base: ModelRef, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import LlamaForCausalLM

    monkeypatch.setattr(LlamaForCausalLM, "supports_gradient_checkpointing", False)
    with pytest.raises(ModelError, match=r"^LlamaForCausalLM does not support align\.gradient_checkpointing; set it"):
        trained("sft", base, tmp_path, gradient_checkpointing=True)


def test_settings_of_memory_and_time_change_no_key() -> None:
    marked = [name for name, field in AlignConfig.model_fields.items() if field.json_schema_extra == SAME_RESULT]
    assert marked == ["gradient_checkpointing", "processes"]
    changed = {"gradient_checkpointing": True, "processes": 2}
    assert key_settings(CONFIG.model_copy(update=changed)) == key_settings(CONFIG)


FOUR_BITS = CONFIG.lora.model_copy(update={"base_bits": 4})


@pytest.mark.parametrize("method", ["dpo", "sft"])
def test_a_base_of_four_bits_trains_an_adapter_in_float32_for_the_full_weights(
    method: str, base: ModelRef, tmp_path: Path
) -> None:
    import torch

    result = trained(method, base, tmp_path / "4", lora=FOUR_BITS, gradient_checkpointing=True)
    card = AdapterCard.read(result.adapter)
    assert (card.base_fingerprint, card.config["lora"]["base_bits"]) == (base.fingerprint, 4)
    assert {weight.dtype for weight in weights(result).values()} == {torch.float32}
    assert check_adapter(result.adapter, base) == card  # plays on the full weights
    full = trained(method, base, tmp_path / "16")
    # four bits round the weights, so the trainings are near each other but not the same
    differences = [(one["loss"] - other["loss"]) for one, other in zip(result.history, full.history, strict=True)]
    assert 0 < max(map(abs, differences)) < 0.1


def test_four_bits_take_a_quarter_of_the_memory_of_the_linear_layers(base: ModelRef) -> None:
    model = start_model(base, None, FOUR_BITS, 0).get_base_model()
    linear = model.model.layers[0].mlp.up_proj.base_layer.weight
    # 64 × 32 weights, two in a byte
    assert (linear.numel() * linear.element_size(), model.lm_head.weight.element_size() > 1) == (1024, True)


def test_the_first_loss_on_four_bits_from_a_parent_is_log_two(base: ModelRef, tmp_path: Path) -> None:
    parent = trained("dpo", base, tmp_path / "parent").adapter
    config = CONFIG.model_copy(update={"lora": FOUR_BITS})
    result = train_dpo(make_pairs(8), base, tmp_path / "child", config, parent)
    # candidate and reference are the same adapter on the same four bits: −log σ(0)
    assert result.history[0]["loss"] == pytest.approx(math.log(2), abs=1e-4)


def test_four_bits_without_bitsandbytes_are_refused_before_anything_is_loaded(
    base: ModelRef, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        ConfigError, match=r"align\.lora\.base_bits = 4 needs bitsandbytes.*'\.\[qlora\]', or set it to 16$"
    ):
        trained("sft", base, tmp_path, lora=FOUR_BITS)


def test_processes_share_out_the_rows_of_a_step() -> None:
    # batch size × batches × processes is always 16 × 2
    assert [share(16, 2, count) for count in (1, 2, 4, 32)] == [(16, 2), (16, 1), (8, 1), (1, 1)]
    assert share(3, 4, 6) == (1, 2)


def test_the_last_step_is_filled_up_with_rows_without_weight() -> None:
    # 7 rows in batches of 2, two a step: the last step is (4, 5) and (6). Each batch counts half of it, so does row 6 alone.
    assert even_rows(7, 2, 2)[4:] == [(4, 1.0), (5, 1.0), (6, 2.0), (4, 0.0)]
    # a step of one row: it is the whole mean of four
    assert even_rows(5, 2, 2)[4:] == [(4, 4.0), (4, 0.0), (4, 0.0), (4, 0.0)]
    assert even_rows(4, 2, 2) == [(row, 1.0) for row in range(4)]


def in_float32(work: Callable[[Any], None], on_step: Any) -> None:
    """In bfloat16 another order of summation changes the sign of the smallest gradients, which AdamW makes as large as the others."""
    import torch

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("engage.training.starting.native_dtype", lambda: torch.float32)
        work(on_step)


@pytest.mark.parametrize("method", ["dpo", "sft"])
def test_two_processes_train_the_adapter_of_one(
    method: str, base: ModelRef, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        f"engage.training.{method}.in_processes",
        lambda count, work, on_step: in_processes(count, partial(in_float32, work), on_step),
    )
    # 7 pairs or chats in steps of 4: the last step is not full
    told: list[int] = []
    config = CONFIG.model_copy(update={"processes": 2})
    seven = {"dpo": make_pairs(7), "sft": CHATS[:7]}[method]
    train: Any = {"dpo": train_dpo, "sft": train_sft}[method]
    two = train(seven, base, tmp_path / "2", config, on_step=lambda step, metrics: told.append(step))
    one = train(seven, base, tmp_path / "1", CONFIG)
    assert told == [1, 2]
    assert two.metrics.keys() == one.metrics.keys()
    assert_same_training(two, one)


def fail(how: str, on_step: Any) -> None:
    """The second process fails while the first waits for it."""
    import torch

    if torch.distributed.get_rank() == 0:
        time.sleep(600)
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    raise ConfigError("the second process refuses")


@pytest.mark.parametrize(
    ("how", "error", "says"),
    [("refused", ConfigError, "^the second process refuses$"), ("killed", EngageError, "was killed .*SIGKILL")],
)
def test_all_processes_end_when_one_fails(how: str, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        in_processes(2, partial(fail, how), None)
    assert not multiprocessing.active_children()


def test_processes_that_cannot_share_a_step_are_refused(base: ModelRef, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"^align\.processes = 3 does not divide the 4 rows of an optimiser step \(align\.dpo\."
    ):
        trained("dpo", base, tmp_path, processes=3)
