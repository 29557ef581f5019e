"""Bases that fit their tokenizer, their context or their files only in part: what is trained on them, and what is refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny_models import byte_tokenizer, make_pairs

from engage.engines import EngineConfig, check_models
from engage.engines.base import Message
from engage.errors import ModelError
from engage.models import ModelRef
from engage.training import AlignConfig, start_model, train_dpo, train_sft
from engage.training.dpo import DpoSettings
from engage.training.sft import ChatExample
from engage.training.starting import chat_tokenizer, within_context
from engage.training.trainer import LoraSettings, SftSettings

CONFIG = AlignConfig(
    lora=LoraSettings(r=1, alpha=1), dpo=DpoSettings(batch_size=4), sft=SftSettings(batch_size=4, max_length=1000)
)


@pytest.fixture
def odd(tiny_model: Path, own_cache: None, tmp_path: Path) -> ModelRef:
    """A copy of the tiny model, to be changed."""
    return ModelRef("odd", Path(shutil.copytree(tiny_model, tmp_path / "odd")), "odd")


def configure(base: ModelRef, **values: Any) -> None:
    file = base.path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def add_padding(base: ModelRef) -> None:
    """A padding token that the model has no weights for, as many fine-tuned models have."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base.path)
    tokenizer.add_special_tokens({"pad_token": "<pad>"})
    tokenizer.save_pretrained(base.path)


def chats() -> list[ChatExample]:
    return [
        ChatExample((Message("user", "Hi" + "!" * n), Message("assistant", "Oh" + "." * n)), (1,)) for n in range(4)
    ]


def test_a_padding_token_that_the_model_lacks_does_not_matter(odd: ModelRef, tmp_path: Path) -> None:
    add_padding(odd)
    assert train_sft(chats(), odd, tmp_path / "sft", CONFIG).metrics["chats"] == 4
    configure(odd, model_type="mistral", architectures=["MistralForCausalLM"], sliding_window=16)  # trained in two rows
    assert train_dpo(make_pairs(4), odd, tmp_path / "dpo", CONFIG).metrics["pairs"] == 4


def test_a_tokenizer_with_more_ordinary_tokens_than_the_model_is_refused(odd: ModelRef) -> None:
    configure(odd, vocab_size=250)  # the template's own tokens and plain letters are below
    with pytest.raises(ModelError, match="gives token 257, and the model knows 250 tokens"):
        chat_tokenizer(odd)


def test_what_is_longer_than_the_models_context_is_left_out_and_counted(odd: ModelRef, tmp_path: Path) -> None:
    configure(odd, max_position_embeddings=120)
    assert within_context(512, odd) == 120 and within_context(100, odd) == 100
    few = make_pairs(3)
    long = [replace(few[0], prompt=({"role": "user", "content": "I am sad. " * 20},))]
    metrics = train_dpo([*few, *long], odd, tmp_path / "dpo", CONFIG).metrics
    assert (metrics["pairs"], metrics["pairs_too_long"]) == (3, 1)


def test_the_bases_dropout_does_not_blur_what_the_policy_says(odd: ModelRef) -> None:
    import torch

    configure(odd, attention_dropout=0.5)
    model, tokens = start_model(odd, None, CONFIG.lora, 0), torch.arange(5, 60)[None]
    with torch.no_grad():
        trained, played = model.train()(tokens).logits, model.eval()(tokens).logits
    assert torch.equal(trained, played)


def test_damaged_weights_are_not_called_a_learning_rate_that_is_too_high(odd: ModelRef, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(odd.path / "model.safetensors")
    tensors["model.norm.weight"] *= float("nan")
    save_file(tensors, odd.path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="the loss is nan before the first step: the weights of the base"):
        train_sft(chats(), odd, tmp_path / "sft", CONFIG)


@pytest.mark.parametrize("kind", ["gptq", "bitsandbytes", "fp8"])
def test_quantised_weights_are_refused_by_their_kind(kind: str, odd: ModelRef) -> None:
    configure(odd, quantization_config={"quant_method": kind, "bits": 4})
    with pytest.raises(ModelError, match=rf"weights are quantised \({kind}\), which only vLLM and servers can use"):
        check_models(EngineConfig(policy_model=str(odd.path), simulator_model=str(odd.path)))
    with pytest.raises(ModelError, match="weights are quantised"):
        start_model(odd, None, CONFIG.lora, 0)


def test_pairs_are_trained_on_a_mixture_of_experts_without_the_routers_loss(tmp_path: Path) -> None:
    from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

    sizes = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "head_dim": 8,
    }
    experts = {"num_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 16, "output_router_logits": True}
    tokenizer = byte_tokenizer()
    config = Qwen3MoeConfig(
        vocab_size=len(tokenizer), num_key_value_heads=2, router_aux_loss_coef=9.0, **sizes, **experts
    )
    base = ModelRef("experts", tmp_path / "base", "e")
    Qwen3MoeForCausalLM(config).save_pretrained(base.path)
    tokenizer.save_pretrained(base.path)
    result = train_dpo(make_pairs(4), base, tmp_path / "dpo", CONFIG)
    assert result.history[0]["loss"] == pytest.approx(result.metrics["loss_before"], abs=1e-3)
    assert start_model(base, None, CONFIG.lora, 0).config.output_router_logits is False


def test_the_router_of_experts_gets_no_adapter(tmp_path: Path) -> None:
    from transformers import PhimoeConfig, PhimoeForCausalLM

    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = PhimoeConfig(vocab_size=32, num_key_value_heads=2, num_local_experts=2, **sizes)
    PhimoeForCausalLM(config).save_pretrained(tmp_path)
    model = start_model(ModelRef("phimoe", tmp_path, "p"), None, CONFIG.lora, 0)
    assert any("q_proj" in name for name in model.targeted_module_names)
    assert not any("router" in name for name in model.targeted_module_names)
