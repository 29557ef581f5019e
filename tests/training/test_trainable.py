"""A night refuses before it collects what vLLM and servers play and no training fits; collecting alone does not."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import transformers

from engage.engines import EngineConfig, check_models
from engage.errors import ConfigError, ModelError
from engage.models import ModelRef
from engage.training import check_trainable, start_model
from engage.training.trainable import check_base
from engage.training.trainer import LoraSettings
from flows.cli.profiles import load_config
from tasks.training import require_trainable

SMALL = {"num_hidden_layers": 2, "hidden_size": 32}
LORA = LoraSettings(r=1, alpha=1)


@pytest.fixture
def folder(tiny_model: Path, own_cache: None, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "own"))


def rewrite(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


@pytest.mark.parametrize(
    ("config", "fields", "why"),
    [
        ("Gemma3TextConfig", {**SMALL, "use_bidirectional_attention": True}, "its tokens also attend to later ones"),
        ("BertConfig", {**SMALL, "num_attention_heads": 2}, "its tokens also attend to later ones"),
        ("LlavaConfig", {}, "reads more than text"),
        ("T5Config", {}, "is no causal language model"),
    ],
)
def test_a_family_that_no_training_fits_is_refused(tmp_path: Path, config: str, fields: Any, why: str) -> None:
    getattr(transformers, config)(**fields).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=why):
        check_base("own", tmp_path)


def test_a_training_refuses_it_as_well(folder: Path) -> None:
    transformers.Gemma3TextConfig(**SMALL, use_bidirectional_attention=True).save_pretrained(folder)
    with pytest.raises(ModelError, match="its tokens also attend to later ones"):
        start_model(ModelRef("own", folder, "own"), None, LORA, 0)


def test_quantised_weights_stop_a_night_before_it_collects_and_no_collection(folder: Path) -> None:
    rewrite(folder / "config.json", quantization_config={"quant_method": "gptq", "bits": 4})
    check_models(EngineConfig(kind="vllm", policy_model=str(folder), simulator_model=str(folder)))
    settings = ["engine.kind='vllm'", f"engine.policy_model='{folder}'", "engine.policy_adapter='bare'"]
    with pytest.raises(ModelError, match="its weights are quantised"):
        require_trainable(load_config("laptop", settings))


def test_layers_that_take_no_adapter_stop_a_night(folder: Path) -> None:
    transformers.MambaConfig(**SMALL).save_pretrained(folder)
    with pytest.raises(ConfigError, match=r"align\.lora\.target_modules = 'all-linear'"):
        check_trainable(str(folder), None, LoraSettings(target_modules="all-linear"))


def test_a_plain_base_is_taken_and_a_name_of_a_server_is_not_looked_at(folder: Path) -> None:
    check_trainable(str(folder), None, LORA)
    check_trainable("only/on-the-server", "bare", LORA)


def test_an_adapter_with_biases_is_refused_as_a_start_in_one_sentence(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text('{"bias": "all"}')
    with pytest.raises(ConfigError, match=r"trains biases of the base \(bias = 'all'\), and cannot be trained further"):
        check_trainable(str(folder), str(tmp_path / "adapter"), LORA)
