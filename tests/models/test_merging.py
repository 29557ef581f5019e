"""An adapter merged into its base: one folder that transformers loads and that says what the two said together."""

import json
import shutil
from pathlib import Path

import pytest
from tiny_models import save_adapter

from engage.errors import ConfigError, ModelError
from engage.models import adapter_folder, merge_adapter, open_model, open_tokenizer, put_adapter, resolve_model
from engage.models.merging import merge

PROMPTS = ("My dog died on Sunday.", "Would you give a little to a children's charity?", "I cannot sleep any more.")


def said(model, tokenizer, tokens: int) -> list[str]:
    """The model's greedy replies to PROMPTS, through the tokenizer's own chat template."""
    replies = []
    for prompt in PROMPTS:
        ids = tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], add_generation_prompt=True, return_tensors="pt", return_dict=False
        )
        answer = model.generate(ids, do_sample=False, max_new_tokens=tokens)
        replies.append(tokenizer.decode(answer[0, ids.shape[1] :], skip_special_tokens=True))
    return replies


def merged_replies(folder: Path, tokens: int = 16) -> list[str]:
    import torch

    return said(open_model(folder, torch.float32, "eager"), open_tokenizer(folder), tokens)


def replies(base: Path, adapter: Path, tokens: int = 16) -> tuple[list[str], list[str]]:
    """Those of the base with the adapter on it, and of the base alone."""
    import torch

    tokenizer, model = open_tokenizer(base), put_adapter(open_model(base, torch.float32, "eager"), adapter)
    with_adapter = said(model, tokenizer, tokens)
    with model.disable_adapter():
        return with_adapter, said(model, tokenizer, tokens)


@pytest.fixture
def adapter(tiny_model, tmp_path):
    return save_adapter(tiny_model, tmp_path / "adapter")


@pytest.mark.slow
def test_the_merged_model_is_whole_and_says_what_base_and_adapter_say(tiny_model, adapter, tmp_path):
    out = tmp_path / "out" / "merged"
    merge(resolve_model(str(tiny_model)), adapter, out)
    adapted, bare = replies(tiny_model, adapter)
    assert merged_replies(out) == adapted != bare
    assert {"model.safetensors", "config.json", "tokenizer.json", "engage_card.json"} <= {p.name for p in out.iterdir()}
    assert [path.name for path in out.parent.iterdir()] == ["merged"]
    assert resolve_model(str(out)).fingerprint != resolve_model(str(tiny_model)).fingerprint


@pytest.mark.slow
def test_the_merged_embedded_model_gives_the_adapters_greedy_replies(tmp_path):
    base, adapter = resolve_model("embedded"), Path(str(adapter_folder("embedded")))
    merge(base, adapter, tmp_path / "merged")
    found, (adapted, bare) = merged_replies(tmp_path / "merged", 12), replies(base.path, adapter, 12)
    assert found == adapted != bare and all(len(reply) > 10 for reply in found)
    assert not (tmp_path / "merged" / "engage_manifest.json").exists()


def test_a_merge_overwrites_nothing_and_refuses_what_does_not_fit(tiny_model, adapter, tmp_path, monkeypatch):
    base, out = resolve_model(str(tiny_model)), tmp_path / "out"
    out.mkdir()
    (out / "mine").touch()
    with pytest.raises(ConfigError, match="holds something already; name a folder that does not exist"):
        merge(base, adapter, out)
    (out / "mine").unlink()
    with pytest.raises(ConfigError, match="cannot be written: Not a directory"):
        merge(base, adapter, adapter / "engage_card.json" / "out")
    monkeypatch.chdir(out)
    for current in (Path("."), out):
        with pytest.raises(ConfigError, match="is the current folder, which would be replaced"):
            merge(base, adapter, current)
    monkeypatch.chdir(tmp_path)
    card = json.loads((adapter / "engage_card.json").read_text())
    (adapter / "engage_card.json").write_text(json.dumps({**card, "base_fingerprint": "0" * 64}))
    with pytest.raises(ModelError, match="use the same base model or train it again"):
        merge(base, adapter, out)
    assert list(out.iterdir()) == []
    shutil.rmtree(adapter)
    with pytest.raises(ModelError, match="cannot be read"):
        merge(base, adapter, out)


@pytest.mark.parametrize("kind", ["not finite", "a bias that the base has no place for"])
def test_an_adapter_that_cannot_be_merged_is_refused_in_one_sentence(kind, tiny_model, adapter):
    import torch
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(open_model(tiny_model, torch.float32, "eager"), LoraConfig(r=2, lora_bias=kind[0] == "a"))
    for name, weights in model.named_parameters():
        if kind[0] == "n" and "lora_B" in name:
            torch.nn.init.constant_(weights, float("nan"))
    model.save_pretrained(str(adapter))
    with pytest.raises(ModelError, match=r"the adapter cannot be merged into the model \(.*copy the whole folder"):
        merge_adapter(open_model(tiny_model, torch.float32, "eager"), adapter)
