"""Model families with different attention: the embedded engine and training against transformers' eager attention, on tiny models.

The random weights are large (0.3), so that attention is not flat, and prompts are longer than the sliding windows.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tiny_models import byte_tokenizer

from engage.engines.base import Sampling
from engage.engines.embedded.attention import ATTENTION, check_family
from engage.engines.embedded.decoder import Decoder
from engage.engines.embedded.engine import TransformersConfig, TransformersEngine
from engage.engines.embedded.sampling import Row
from engage.errors import ModelError
from engage.models import ModelsConfig
from engage.training.shared_prompt import can_share_prompts, reply_logprobs
from engage.training.starting import training_attention

pytestmark = pytest.mark.slow

WINDOW = 24
COMMON: dict[str, Any] = {
    "vocab_size": 300,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 1,
    "initializer_range": 0.3,
}
FAMILIES: dict[str, Any] = {
    "Llama": {},
    "Qwen2": {},
    "Qwen3": {"head_dim": 16},
    "SmolLM3": {"no_rope_layers": [1, 0]},
    "Gemma2": {
        "head_dim": 16,
        "sliding_window": WINDOW,
        "attn_logit_softcapping": 2.0,
        "final_logit_softcapping": 30.0,
        "query_pre_attn_scalar": 16,
    },
    "Gemma3": {"head_dim": 16, "sliding_window": WINDOW, "query_pre_attn_scalar": 16, "num_hidden_layers": 6},
    "Mistral": {"sliding_window": WINDOW},
    "Phi3": {"sliding_window": WINDOW},
    "Olmo3": {"sliding_window": WINDOW},
    "GptOss": {"head_dim": 16, "num_local_experts": 2, "num_experts_per_tok": 1, "sliding_window": WINDOW},
    "GPT2": {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 512},
    "GPTNeoX": {},
    "OPT": {"ffn_dim": 96, "word_embed_proj_dim": 64},
}
LIMITED = {"Gemma2", "Gemma3", "Mistral", "Phi3", "Olmo3", "GptOss"}
TRAINED_ONLY: dict[str, Any] = {
    # both compute distances or masks of their own
    "Mpt": {"d_model": 64, "n_heads": 4, "n_layers": 2, "max_seq_len": 512},
    "GPTNeo": {"num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]], "window_size": WINDOW},
}


def classes(family: str):
    """Model and configuration class."""
    model = {"GPT2": "GPT2LMHeadModel"}.get(family, f"{family}ForCausalLM")
    config = {"Gemma3": "Gemma3TextConfig"}.get(family, f"{family}Config")
    return getattr(transformers, model), getattr(transformers, config)


def save_family(name: str, folder: Path) -> Path:
    """Write a tiny model of the family, and a tokenizer, to the folder."""
    model, config = classes(name)
    torch.manual_seed(0)
    common = {key: value for key, value in COMMON.items() if name in FAMILIES or key != "num_hidden_layers"}
    model(config(**{**common, **{**FAMILIES, **TRAINED_ONLY}[name]})).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def family(request, tmp_path_factory) -> tuple[str, Path]:
    """A family's name, and a folder with a tiny model of it and a tokenizer."""
    return request.param, save_family(request.param, tmp_path_factory.mktemp(request.param))


def loaded(folder: Path, attention: str):
    return transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation=attention
    ).eval()


def eager_logprobs(model, tokens):
    """[position, vocabulary], without a cache."""
    with torch.no_grad():
        return model(input_ids=torch.tensor([tokens])).logits[0].float().log_softmax(-1)


def test_drawn_tokens_have_the_log_probabilities_of_eager_attention(family):
    _, folder = family
    check_family("tiny", folder)
    eager, decoder = loaded(folder, "eager"), Decoder(loaded(folder, ATTENTION), set(), 10**7)
    ids = torch.randint(5, 250, (200,), generator=torch.Generator().manual_seed(1)).tolist()
    # the second batch goes on from what the first left in the cache, cuts it, and pads
    for prompts in ([ids[:60]], [ids[:9], ids[:160], ids[70:100], ids[:60] + ids[100:130]]):
        rows = [Row(tuple(p), Sampling(temperature=1.0, top_p=1.0, max_tokens=8), n) for n, p in enumerate(prompts)]
        decoder.generate(rows)
        for row in rows:
            plain = eager_logprobs(eager, [*row.tokens, *row.generated])
            said = [float(plain[len(row.tokens) - 1 + n, token]) for n, token in enumerate(row.generated)]
            assert row.logprobs == pytest.approx(said, abs=1e-3)


def test_training_sees_the_log_probabilities_of_eager_attention(family):
    name, folder = family
    assert_trained_as_eager(folder, shares=name not in LIMITED)
    model = loaded(folder, training_attention(folder))
    model.get_base_model = lambda: model
    assert can_share_prompts(model, max_length=WINDOW)


@pytest.mark.parametrize("name", sorted(TRAINED_ONLY))
def test_families_that_ignore_masks_or_positions_are_trained_in_two_rows(name, tmp_path):
    assert_trained_as_eager(save_family(name, tmp_path), shares=False)


def assert_trained_as_eager(folder: Path, shares: bool) -> None:
    trained = loaded(folder, training_attention(folder))
    trained.get_base_model = lambda: trained
    prompt, chosen, rejected = (
        torch.randint(5, 250, (n,), generator=torch.Generator().manual_seed(n)).tolist() for n in (60, 7, 5)
    )
    input_ids = torch.tensor([prompt + chosen, prompt + rejected + [0, 0]])
    labels = torch.full_like(input_ids, -100)
    labels[0, 60:67], labels[1, 60:65] = torch.tensor(chosen), torch.tensor(rejected)
    assert can_share_prompts(trained, max_length=67) is shares
    if shares:
        with torch.no_grad():
            logprobs = reply_logprobs(trained, input_ids, labels).log_probs
    else:  # trl's own way, two rows
        with torch.no_grad():
            logits = trained(input_ids=input_ids, attention_mask=(input_ids != 0).long()).logits[:, :-1]
        logprobs = logits.float().log_softmax(-1).gather(-1, input_ids[:, 1:, None])[..., 0]
    eager = loaded(folder, "eager")
    for row, reply in enumerate((chosen, rejected)):
        plain = eager_logprobs(eager, prompt + reply)
        wanted = [float(plain[59 + n, token]) for n, token in enumerate(reply)]
        assert logprobs[row, 59 : 59 + len(reply)].tolist() == pytest.approx(wanted, abs=1e-3)


def save_config(folder: Path, name: str, **settings) -> Path:
    getattr(transformers, name)(**settings).save_pretrained(folder)
    return folder


REFUSED = {
    "mamba": ("MambaConfig", {"num_hidden_layers": 2, "hidden_size": 32}),
    "lfm2": ("Lfm2Config", {"num_hidden_layers": 2, "hidden_size": 32, "layer_types": ["conv", "full_attention"]}),
    "bloom": ("BloomConfig", {"n_layer": 2, "hidden_size": 32, "n_head": 2}),
    "gemma3": ("Gemma3Config", {"text_config": {"num_hidden_layers": 2, "hidden_size": 32}}),
    "qwen3_5_text": ("Qwen3_5TextConfig", {"num_hidden_layers": 4, "hidden_size": 32}),
    "deepseek_v3": ("DeepseekV3Config", {"num_hidden_layers": 2, "hidden_size": 32, "n_routed_experts": 4}),
    "gemma3_text": (
        "Gemma3TextConfig",
        {"num_hidden_layers": 2, "hidden_size": 32, "use_bidirectional_attention": True},
    ),
    # keys and values of equal shape, but other tensors in the cache
    "deepseek_v2": (
        "DeepseekV2Config",
        {
            "num_hidden_layers": 2,
            "hidden_size": 32,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "kv_lora_rank": 8,
            "q_lora_rank": 8,
            "qk_rope_head_dim": 8,
            "qk_nope_head_dim": 8,
            "v_head_dim": 16,
            "first_k_dense_replace": 2,
        },
    ),
    "vit": ("ViTConfig", {"num_hidden_layers": 1, "hidden_size": 32, "num_attention_heads": 2}),
}


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_families_with_a_state_beyond_keys_and_values_are_refused_by_name(tmp_path, name):
    config, settings = REFUSED[name]
    with pytest.raises(ModelError, match=rf"\({name}\).*vLLM"):
        check_family("somebody/model", save_config(tmp_path, config, **settings))


@pytest.mark.parametrize("kind", ["dynamic", "longrope"])
def test_positions_that_depend_on_the_longest_text_are_refused_by_their_kind(tmp_path, kind):
    factors = {"short_factor": [1.0] * 8, "long_factor": [4.0] * 8} if kind == "longrope" else {"factor": 4.0}
    rope = {"rope_type": kind, "rope_theta": 10000.0, **factors}
    save_config(tmp_path, "LlamaConfig", **COMMON, rope_parameters=rope)
    with pytest.raises(ModelError, match=rf"scales positions by the longest text .*rope type {kind}"):
        check_family("somebody/model", tmp_path)


def test_a_configuration_without_a_family_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"hidden_size": 32}))
    with pytest.raises(ModelError, match=r"config\.json"):
        check_family("somebody/model", tmp_path)


def test_the_engine_refuses_a_family_before_it_is_asked_anything(tmp_path):
    byte_tokenizer().save_pretrained(tmp_path)
    save_config(tmp_path, *REFUSED["mamba"][:1], **REFUSED["mamba"][1])
    torch.manual_seed(0)
    (tmp_path / "model.safetensors").write_bytes(b"")
    models = ModelsConfig(policy_model=str(tmp_path), simulator_model=str(tmp_path))
    with pytest.raises(ModelError, match=r"\(mamba\)"):
        TransformersEngine(models, TransformersConfig())
