"""Models that write one fixed text: the embedded engine ends a reply where the template ends it, and reads it correctly."""

import asyncio
from itertools import pairwise
from pathlib import Path

import pytest
from chat_families import FAMILIES, NO_END, Family
from scripted_scenarios import SUPPORT

from engage.domains import load_domain
from engage.engines import EngineConfig, check_models
from engage.engines.base import Completion, Message, Prompt, Sampling, Side
from engage.engines.embedded.engine import TransformersConfig, TransformersEngine
from engage.errors import ModelError
from engage.models import ModelsConfig
from engage.simulation import Policy, SpeechConfig

GREEDY = Sampling(temperature=0.0, max_tokens=24)
DOMAIN = load_domain("emotional_support")


def writer(family: Family, text: str, folder: Path) -> str:
    """Save a model that continues each token of `text` (all different) with the next one, after the family's prompt."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = family.tokenizer()
    path = [tokenizer(part, add_special_tokens=False)["input_ids"] for part in (family.opening, text)]
    path = [path[0][-1], *path[1]]
    assert len(set(path)) == len(path)
    width = -(-len(tokenizer) // 8) * 8
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            intermediate_size=8,
            num_hidden_layers=1,
            num_attention_heads=4,
            max_position_embeddings=2048,
            eos_token_id=tokenizer.eos_token_id,
            bos_token_id=None,
            tie_word_embeddings=False,
        )
    )
    with torch.no_grad():
        for weights in (model.model.layers[0].self_attn.o_proj, model.model.layers[0].mlp.down_proj, model.lm_head):
            weights.weight.zero_()
        model.model.embed_tokens.weight.copy_(torch.eye(len(tokenizer), width))
        for token, following in pairwise(path):
            model.lm_head.weight[following, token] = 5.0
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def engine_of(folder: str) -> TransformersEngine:
    models = ModelsConfig(policy_model=folder, simulator_model=folder, policy_adapter="bare", simulator_adapter="bare")
    return TransformersEngine(models, TransformersConfig(dtype="float32", device="cpu"))


def written(engine: TransformersEngine) -> Completion:
    prompt = Prompt("k", Side.POLICY, (Message("system", "Be kind."), Message("user", "Hello.")))
    return asyncio.run(engine.complete(prompt, GREEDY, (1,)))[0]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("chatml, another eos", "Why?<|im_end|><|im_start|>sad"),
        ("phi-3", "Why?<|end|><|user|>sad"),
        ("gpt-oss", "Why?<|return|><|start|>sad"),
        ("an end of several tokens", "Why?</turn>sad"),
    ],
)
def test_a_reply_ends_as_the_template_ends_it_whatever_the_eos_token_says(name: str, text: str, tmp_path: Path) -> None:
    engine = engine_of(writer(FAMILIES[name], text, tmp_path))
    reply = written(engine)
    engine.close()
    assert (reply.text, reply.finish_reason) == ("Why?", "stop")


def reply_of(folder: str) -> tuple[str, str | None]:
    """Text and flaw of the policy's reply, sampled once."""
    engine = engine_of(folder)
    speech = SpeechConfig(policy=GREEDY, max_attempts=1)
    (sampled,) = asyncio.run(Policy(engine, DOMAIN, speech).replies(SUPPORT.opening, "k", [1]))
    engine.close()
    return sampled.turn.text, sampled.turn.flaw


def test_a_thought_between_special_tokens_is_no_reply(tmp_path: Path) -> None:
    specials = ("<|im_start|>", "<|im_end|>", "[THINK]", "[/THINK]")
    family = Family(FAMILIES["chatml"].template, specials, "<|im_start|>assistant\n", "<|im_end|>", "<|im_end|>")
    assert reply_of(writer(family, "[THINK]sad[/THINK]Why?<|im_end|>", tmp_path)) == ("Why?", "thought")


def test_another_speaker_s_mark_does_not_vanish_from_a_reply(tmp_path: Path) -> None:
    assert reply_of(writer(FAMILIES["chatml"], "Why?<|im_start|>user", tmp_path)) == ("Why?", "role_leak")


def test_a_model_whose_replies_would_not_end_is_refused_when_the_engine_starts(tmp_path: Path) -> None:
    folder = writer(FAMILIES["zephyr"], "ab", tmp_path)
    (tmp_path / "chat_template.jinja").write_text(NO_END)
    with pytest.raises(ModelError, match="writes nothing after a reply"):
        engine_of(folder)


def test_such_a_model_is_refused_before_a_night_even_with_a_server(tmp_path: Path) -> None:
    folder = writer(FAMILIES["zephyr"], "ab", tmp_path)
    check_models(EngineConfig(kind="openai", policy_model=folder))
    (tmp_path / "chat_template.jinja").write_text(NO_END)
    for kind in ("transformers", "openai"):
        with pytest.raises(ModelError, match="writes nothing after a reply"):
            check_models(EngineConfig(kind=kind, policy_model=folder, simulator_model=folder))
    check_models(EngineConfig(kind="openai", policy_model="served-name"))
