"""Chat templates like those of well-known families (written by us), each with a tokenizer of one token per byte."""

from dataclasses import dataclass, field
from typing import Any

_EACH = "{% for m in messages %}"
_ASKING = "{% if add_generation_prompt %}"
_LAST_USER = (
    "{% set at = namespace(last=-1) %}{% for m in messages %}{% if m.role == 'user' %}{% set at.last = loop.index0 %}"
    "{% endif %}{% endfor %}"
)
_ALTERNATES = (
    "{% set shift = 1 if messages[0].role == 'system' else 0 %}{% for m in messages[shift:] %}"
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}{% endfor %}"
)
CHATML = (
    _EACH + "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}" + _ASKING + "<|im_start|>assistant\n"
    "{% endif %}"
)


@dataclass(frozen=True)
class Family:
    """A template, its special tokens (the last is the padding), what a plain prompt ends with, and what ends a turn."""

    template: str
    specials: tuple[str, ...]
    opening: str
    end: str
    eos: str
    bos: str | None = None
    plain: tuple[str, ...] = field(default=())
    """Added tokens that are not special, such as a thought's marks."""

    def tokenizer(self) -> Any:
        """A new tokenizer on each call."""
        from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
        from transformers import PreTrainedTokenizerFast

        letters = sorted(pre_tokenizers.ByteLevel.alphabet())
        names = [*self.specials, *self.plain]
        inner = Tokenizer(models.BPE(vocab={token: place for place, token in enumerate([*names, *letters])}, merges=[]))
        inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        inner.decoder = decoders.ByteLevel()
        inner.add_special_tokens(list(self.specials))
        inner.add_tokens([AddedToken(token, normalized=False) for token in self.plain])
        return PreTrainedTokenizerFast(
            tokenizer_object=inner,
            bos_token=self.bos,
            eos_token=self.eos,
            pad_token=self.specials[-1],
            chat_template=self.template,
        )


FAMILIES = {
    "chatml": Family(CHATML, ("<|im_start|>", "<|im_end|>"), "<|im_start|>assistant\n", "<|im_end|>", "<|im_end|>"),
    "chatml, another eos": Family(
        CHATML,
        ("<|im_start|>", "<|im_end|>", "<|endoftext|>"),
        "<|im_start|>assistant\n",
        "<|im_end|>",
        "<|endoftext|>",
    ),
    "chatml without generation prompt": Family(
        CHATML.partition(_ASKING)[0],
        ("<|im_start|>", "<|im_end|>"),
        "<|im_start|>assistant\n",
        "<|im_end|>",
        "<|im_end|>",
    ),
    "smollm2": Family(
        "{% if messages[0].role != 'system' %}<|im_start|>system\nYou help.<|im_end|>\n{% endif %}" + CHATML,
        ("<|im_start|>", "<|im_end|>"),
        "<|im_start|>assistant\n",
        "<|im_end|>",
        "<|im_end|>",
    ),
    # thoughts of earlier replies are dropped, a reply after the last question has an (empty) one
    "qwen3": Family(
        _LAST_USER + _EACH + "<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' and loop.index0 > at.last %}"
        "<think>\n\n</think>\n\n{% endif %}{{ m.content.split('</think>')[-1] }}<|im_end|>\n{% endfor %}"
        + _ASKING
        + "<|im_start|>assistant\n{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n"
        "{% endif %}{% endif %}",
        ("<|im_start|>", "<|im_end|>", "<|endoftext|>"),
        "<|im_start|>assistant\n<think>\n\n</think>\n\n",
        "<|im_end|>",
        "<|im_end|>",
        plain=("<think>", "</think>"),
    ),
    # the same with a variable of another name, and no thought in the history
    "granite": Family(
        CHATML.replace("assistant\n{%", "assistant\n{% if thinking is not defined or thinking %}<think>{% endif %}{%"),
        ("<|im_start|>", "<|im_end|>"),
        "<|im_start|>assistant\n",
        "<|im_end|>",
        "<|im_end|>",
    ),
    "deepseek-r1": Family(
        "{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}{{ m.content }}{% elif m.role == 'user' %}"
        "<｜User｜>{{ m.content }}{% else %}<｜Assistant｜>{{ m.content.split('</think>')[-1] }}<｜end｜>{% endif %}{% endfor %}"
        + _ASKING
        + "<｜Assistant｜><think>\n{% endif %}",
        ("<｜begin｜>", "<｜User｜>", "<｜Assistant｜>", "<｜end｜>"),
        "<｜Assistant｜><think>\n\n</think>\n\n",
        "<｜end｜>",
        "<｜end｜>",
        "<｜begin｜>",
        plain=("<think>", "</think>"),
    ),
    # a strict one: the system text opens the first question
    "mistral": Family(
        _ALTERNATES
        + "{{ bos_token }}{% set told = messages[0].content + '\n\n' if messages[0].role == 'system' else '' %}"
        "{% for m in messages %}{% if m.role == 'user' %}[INST] {% if loop.index0 == shift %}{{ told }}{% endif %}"
        "{{ m.content }}[/INST]{% elif m.role == 'assistant' %} {{ m.content }}{{ eos_token }}{% endif %}{% endfor %}",
        ("<s>", "[INST]", "[/INST]", "</s>"),
        "[/INST]",
        "</s>",
        "</s>",
        "<s>",
    ),
    # the system text opens the last question, and is gone once that is answered
    "mistral, system last": Family(
        _ALTERNATES
        + "{{ bos_token }}{% set told = messages[0].content + '\n\n' if messages[0].role == 'system' else '' %}"
        "{% for m in messages %}{% if m.role == 'user' %}[INST] {% if loop.last %}{{ told }}{% endif %}"
        "{{ m.content }}[/INST]{% elif m.role == 'assistant' %} {{ m.content }}{{ eos_token }}{% endif %}{% endfor %}",
        ("<s>", "</s>"),
        "[/INST]",
        "</s>",
        "</s>",
        "<s>",
    ),
    "gemma": Family(
        "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
        + _ALTERNATES
        + _EACH
        + "<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n{{ m.content | trim }}<end_of_turn>\n"
        "{% endfor %}" + _ASKING + "<start_of_turn>model\n{% endif %}",
        ("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>", "<pad>"),
        "<start_of_turn>model\n",
        "<end_of_turn>",
        "<eos>",
        "<bos>",
    ),
    "llama-3": Family(
        "{{ bos_token }}" + _EACH + "<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n"
        "{% if m.role == 'system' %}Today: {{ strftime_now('%d %b %Y %H:%M:%S %f') }}\n\n{% endif %}"
        "{{ m.content | trim }}<|eot_id|>{% endfor %}"
        + _ASKING
        + "<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}",
        ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        "<|eot_id|>",
        "<|end_of_text|>",
        "<|begin_of_text|>",
    ),
    "gpt-oss": Family(
        "<|start|>system<|message|>Reasoning: {{ reasoning_effort | default('medium') }}<|end|>"
        + _EACH
        + "{% if m.role == 'assistant' %}<|start|>assistant<|channel|>final<|message|>{{ m.content }}"
        "{% if loop.last and not add_generation_prompt %}<|return|>{% else %}<|end|>{% endif %}{% else %}"
        "<|start|>{{ 'developer' if m.role == 'system' else m.role }}<|message|>{{ m.content }}<|end|>{% endif %}{% endfor %}"
        + _ASKING
        + "<|start|>assistant{% endif %}",
        ("<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|return|>", "<|endoftext|>"),
        "<|start|>assistant<|channel|>final<|message|>",
        "<|return|>",
        "<|return|>",
    ),
    "phi-3": Family(
        _EACH + "<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>\n{% else %}{{ eos_token }}{% endif %}",
        ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "<|endoftext|>"),
        "<|assistant|>\n",
        "<|end|>",
        "<|endoftext|>",
    ),
    # its roles are plain text
    "zephyr": Family(
        _EACH
        + "<|{{ m.role }}|>\n{{ m.content }}{{ eos_token }}\n{% endfor %}"
        + _ASKING
        + "<|assistant|>\n{% endif %}",
        ("<s>", "</s>"),
        "<|assistant|>\n",
        "</s>",
        "</s>",
    ),
    "an end of several tokens": Family(
        _EACH + "{{ m.role | upper }}: {{ m.content }}</turn>\n{% endfor %}" + _ASKING + "ASSISTANT: {% endif %}",
        ("<s>", "</s>"),
        "ASSISTANT: ",
        "</turn>",
        "</s>",
    ),
}
NO_END = "{% for m in messages %}### {{ m.role }}:\n{{ m.content }}\n\n{% endfor %}{% if add_generation_prompt %}### assistant:\n{% endif %}"
