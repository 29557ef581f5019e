"""Trainings that fit the card: less memory, or several processes, and the same adapter."""

from pathlib import Path
from typing import Any

import pytest
from tiny_models import make_pairs

from engage.engines.base import Message
from engage.errors import ModelError
from engage.files.digest import SAME_RESULT, key_settings
from engage.models import ModelRef
from engage.training import AlignConfig, TrainResult, train_dpo, train_sft
from engage.training.dpo import DpoSettings
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
    assert marked == ["gradient_checkpointing"]
    assert key_settings(CONFIG.model_copy(update={"gradient_checkpointing": True})) == key_settings(CONFIG)
