"""A model that trains in a second: two small Llama layers with random weights, one token per byte, SmolLM2's chat template."""

from pathlib import Path
from typing import Any

from engage.training import PreferencePair

TEMPLATE = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def byte_tokenizer() -> Any:
    """One token per byte, and the two turn markers; the padding token is the end of turn, as in SmolLM2."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate(["<|im_start|>", "<|im_end|>", *letters])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        chat_template=TEMPLATE,
    )


def save_tiny_model(folder: Path, seed: int = 0) -> Path:
    """Write the model and its tokenizer to `folder` and return it; a seed's weights are always the same."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = byte_tokenizer()
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_adapter(base: Path | str, folder: Path, fingerprint: str | None = None, seed: int = 3) -> Path:
    """Save an adapter that changes every reply (its second factor is random, not zero). `base` is a model's name."""
    import torch

    from engage.models import AdapterCard, resolve_model
    from engage.training import start_model
    from engage.training.trainer import LoraSettings

    ref = resolve_model(str(base))
    model = start_model(ref, None, LoraSettings(r=4, alpha=8), 0)
    torch.manual_seed(seed)
    for name, weights in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weights)
    model.save_pretrained(str(folder))
    AdapterCard(
        base=ref.name,
        base_fingerprint=fingerprint or ref.fingerprint,
        method="dpo",
        config={},
        data=[],
        metrics={},
        created_at="2026-11-24T00:00:00Z",
    ).write(folder)
    return folder


def make_pairs(count: int) -> list[PreferencePair]:
    """Prompts and replies of different lengths; the chosen reply asks, the rejected one does not."""
    return [
        PreferencePair(
            prompt=({"role": "system", "content": "Be kind."}, {"role": "user", "content": "I am sad. " * (1 + n % 3)}),
            chosen="What happened" + "?" * (1 + n),
            rejected="No" + "!" * (1 + n % 4),
            domain="emotional_support",
            scenario_id=f"s{n}",
            source="search" if n % 2 else "human",
        )
        for n in range(count)
    ]
