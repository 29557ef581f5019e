"""Which modules an adapter may be trained on: others are refused in one sentence, before anything is trained."""

from typing import Any

import pytest

from engage.errors import ConfigError
from engage.models import ModelRef
from engage.training import start_model
from engage.training.trainer import LoraSettings


@pytest.mark.parametrize(
    ("targets", "why"),
    [
        (("embed_tokens",), "model.embed_tokens is the embedding or the head"),
        (("q_proj", "lm_head"), "lm_head is the embedding or the head"),
        (("q_proj", "w_qkv"), "the model has no module w_qkv"),
        (("w_qkv",), "not found in the base model"),
        (("input_layernorm",), "is not supported"),
        ((), "No `target_modules` passed"),
        ("*(", "nothing to repeat"),
    ],
)
def test_modules_that_cannot_be_trained_are_refused(targets: Any, why: str, base: ModelRef) -> None:
    with pytest.raises(ConfigError) as refused:
        start_model(base, None, LoraSettings(r=2, target_modules=targets), 0)
    said = str(refused.value)
    assert said.startswith("align.lora.target_modules = ") and why in said and "\n" not in said
    assert said.endswith("name linear layers between the embedding and the head, or `all-linear`")


@pytest.mark.parametrize("targets", [("q_proj", "mlp.down_proj"), r".*\.(q|v)_proj", "all-linear"])
def test_linear_layers_may_be_named_in_any_way_of_peft(targets: Any, base: ModelRef) -> None:
    model = start_model(base, None, LoraSettings(r=2, target_modules=targets), 0)
    assert "model.layers.1.self_attn.q_proj" in model.targeted_module_names
