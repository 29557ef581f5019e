"""Weights, adapters and tokenizers that are not whole: transformers and peft would go on with random numbers and warn at most."""

import asyncio
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from tiny_models import save_adapter

from engage.engines import EngineConfig, check_models
from engage.engines.base import Message, Prompt, Sampling, Side
from engage.engines.embedded.engine import TransformersConfig, TransformersEngine
from engage.errors import EngageError, EngineError, ModelError
from engage.models import ModelsConfig, resolve_model
from engage.training import start_model
from engage.training.trainer import LoraSettings

PROMPT = Prompt("k", Side.POLICY, (Message("user", "I am sad."),))
Tensors = dict[str, Any]


@pytest.fixture
def folder(tiny_model, tmp_path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def change(file: Path, made: Callable[[Tensors], Tensors]) -> None:
    from safetensors.torch import load_file, save_file

    save_file(made(load_file(file)), file, metadata={"format": "pt"})


def configure(file: Path, **values: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def said(folder: Path, adapter: Path | None = None) -> str:
    """What is refused when the engine is asked once; no answer may come."""
    names = {"policy_model": str(folder), "simulator_model": str(folder)}
    models = ModelsConfig(**names, policy_adapter=str(adapter) if adapter else None)

    async def ask(engine: TransformersEngine) -> None:
        await engine.complete(PROMPT, Sampling(max_tokens=2), [1])

    with pytest.raises(EngageError) as refused:
        check_models(EngineConfig(**names))
        engine = TransformersEngine(models, TransformersConfig(device="cpu", dtype="float32"))
        try:
            asyncio.run(ask(engine))
        finally:
            engine.close()
    return str(refused.value)


def before_loading(folder: Path) -> str:
    """What is refused when a cycle begins."""
    with pytest.raises(ModelError) as refused:
        check_models(EngineConfig(policy_model=str(folder), simulator_model=str(folder)))
    return str(refused.value)


def without(part: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {name: tensor for name, tensor in tensors.items() if part not in name}


def test_weights_that_lack_a_tensor_are_not_made_up(folder):
    change(folder / "model.safetensors", without("layers.1.mlp.down_proj"))
    assert "its weights lack model.layers.1.mlp.down_proj.weight; give a whole model folder" in said(folder)
    with pytest.raises(ModelError, match=r"its weights lack model\.layers\.1\.mlp\.down_proj\.weight"):
        start_model(resolve_model(str(folder)), None, LoraSettings(r=2), 0)


def test_weights_under_other_names_are_not_made_up(folder):
    change(folder / "model.safetensors", lambda tensors: {f"lm.{name}": tensor for name, tensor in tensors.items()})
    assert "its weights lack lm_head.weight, model.embed_tokens.weight and 19 more" in said(folder)


@pytest.mark.slow
def test_a_layer_that_config_json_leaves_out_is_noticed(folder):
    configure(folder / "config.json", num_hidden_layers=1)
    assert "hold more than config.json describes: model.layers.1.input_layernorm.weight" in said(folder)


def test_buffers_that_older_versions_saved_do_not_matter(folder):
    import torch

    old = {f"model.layers.0.self_attn.{name}": torch.ones(1) for name in ("masked_bias", "rotary_emb.inv_freq")}
    change(folder / "model.safetensors", lambda tensors: tensors | old)
    assert start_model(resolve_model(str(folder)), None, LoraSettings(r=2), 0) is not None


def test_a_tensor_of_another_shape_is_named(folder):
    change(folder / "model.safetensors", lambda tensors: tensors | {"lm_head.weight": tensors["lm_head.weight"][:30]})
    assert "its weights have another shape than config.json says for lm_head.weight" in said(folder)


@pytest.mark.slow
@pytest.mark.parametrize("odd", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_answer_nothing(odd, folder):
    name = "model.layers.1.mlp.down_proj.weight"
    change(folder / "model.safetensors", lambda tensors: tensors | {name: tensors[name] + odd})
    assert "the model's probabilities are not finite" in said(folder)

    async def score(engine: TransformersEngine) -> None:
        await engine.score(PROMPT, ["1", "2"])

    models = ModelsConfig(policy_model=str(folder), simulator_model=str(folder))
    engine = TransformersEngine(models, TransformersConfig(device="cpu", dtype="float32"))
    with pytest.raises(EngineError, match="not finite"):
        asyncio.run(score(engine))
    engine.close()


@pytest.mark.parametrize("content", [b"", b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 9\n", None])
def test_a_weight_file_that_is_cut_off_is_found_before_anything_is_loaded(content, folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100] if content is None else content)
    assert "model.safetensors: is damaged, cut off, or a pointer" in before_loading(folder)


def test_a_shard_that_is_missing_is_found_before_anything_is_loaded(folder):
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    index = folder / "model.safetensors.index.json"
    index.write_text(
        json.dumps({"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}})
    )
    assert "model-00002-of-00002.safetensors, which model.safetensors.index.json names, is missing" in before_loading(
        folder
    )
    index.unlink()
    assert "holds neither model.safetensors nor pytorch_model.bin, nor the index" in before_loading(folder)
    shutil.copy(folder / "model-00001-of-00002.safetensors", folder / "model.safetensors")
    index.write_text("{}")  # of no use beside the whole file
    check_models(EngineConfig(policy_model=str(folder), simulator_model=str(folder)))


def test_what_a_trainer_left_is_no_model(folder):
    (folder / "model.safetensors").unlink()
    (folder / "training_args.bin").write_bytes(b"x")
    assert "holds neither model.safetensors nor" in before_loading(folder)


def test_a_tokenizer_of_another_model_is_noticed(folder):
    names = ("model.embed_tokens.weight", "lm_head.weight")
    change(folder / "model.safetensors", lambda t: t | {name: t[name][:100].contiguous() for name in names})
    configure(folder / "config.json", vocab_size=100)
    assert "and the model knows 100 tokens: tokenizer and weights do not belong together" in said(folder)


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_code_of_a_models_folder_is_neither_run_nor_offered(file, folder, monkeypatch):
    code = {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model", "AutoTokenizer": ["own.Tokenizer", None]}
    other = {"model_type": "own"} if file == "config.json" else {"tokenizer_class": "Own"}
    configure(folder / file, auto_map=code, **other)
    (folder / "own.py").write_text("raise SystemExit('run')")
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    assert "contains custom code" in said(folder)


class Hostile:
    """What a pickle of it does when it is read without care: make a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self._folder),)


def test_a_pickle_in_the_place_of_weights_is_not_obeyed(folder, tmp_path):
    import torch

    (folder / "model.safetensors").unlink()
    torch.save({"model.embed_tokens.weight": Hostile(tmp_path / "run")}, folder / "pytorch_model.bin")
    assert "its weights cannot be loaded" in said(folder)
    assert not (tmp_path / "run").exists()


def test_an_end_of_turn_that_is_no_number_is_named(folder):
    configure(folder / "generation_config.json", eos_token_id="1")
    assert "generation_config.json: eos_token_id '1' is not a number" in said(folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("made", "config"),
    [
        (lambda tensors: {name.replace("q_proj", "o_proj"): tensor for name, tensor in tensors.items()}, {}),
        (lambda tensors: {n: t for n, t in tensors.items() if "layers.0" in n}, {}),
        (lambda tensors: {n.removeprefix("base_model.model."): t for n, t in tensors.items()}, {}),
        (lambda tensors: tensors, {"target_modules": ["q_proj"]}),
    ],
    ids=["other modules", "half", "no prefix", "fewer targets"],
)
def test_an_adapter_of_which_a_part_is_left_out_is_refused(
    made: Callable[[Tensors], Tensors], config: Mapping[str, Any], folder, tmp_path
):
    adapter = save_adapter(folder, tmp_path / "adapter")
    change(adapter / "adapter_model.safetensors", made)
    configure(adapter / "adapter_config.json", **config)
    assert "its weights are not those that adapter_config.json describes" in said(folder, adapter)
    with pytest.raises(ModelError, match=r"its weights are not those that adapter_config\.json describes"):
        start_model(resolve_model(str(folder)), adapter, LoraSettings(r=2), 0)
