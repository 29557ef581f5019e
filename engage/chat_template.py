"""Chats as a model's own template takes them, for inference and training alike: what was sampled is what is trained on."""

import contextlib
from collections.abc import Sequence
from typing import Any

Chat = list[dict[str, str]]
STUB = "(The conversation begins.)"


def accepted_chat(tokenizer: Any, chat: Sequence[dict[str, str]]) -> Chat:
    """The chat itself where the template takes it; else its system text merged into a first user message.

    Some templates refuse a system role, some leave its text out without a word, some want the user first: then a stub opens
    the chat.
    """
    told = list(chat)
    system = told[0]["content"] if told and told[0]["role"] == "system" else ""
    with contextlib.suppress(Exception):  # a template raises what it likes, jinja's own error at best
        if system.strip() in tokenizer.apply_chat_template(told, tokenize=False):
            return told
    rest = told[1:] if system else told
    if not rest or rest[0]["role"] != "user":
        rest = [{"role": "user", "content": STUB}, *rest]
    return [{"role": "user", "content": f"{system}\n\n{rest[0]['content']}".strip()}, *rest[1:]]


def render(tokenizer: Any, chat: Sequence[dict[str, str]], add_generation_prompt: bool = False) -> str:
    """The chat as text; with `add_generation_prompt`, up to where the model speaks."""
    accepted = accepted_chat(tokenizer, chat)
    return str(tokenizer.apply_chat_template(accepted, tokenize=False, add_generation_prompt=add_generation_prompt))
