"""A chat as text by a model's own template: with all that was said, without thinking, on a fixed date.

Knows no tokens and nothing of how a reply begins or ends.
"""

import contextlib
import re
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from engage.errors import ModelError, in_one_line

STUB = "(The conversation begins.)"
_TODAY = datetime(2025, 1, 1)
"""The date of every prompt: with today's date, a template that writes it would change prompts between collecting and training."""
_THOUGHTFUL = re.compile(r"think|thought|reason|(?:^|_)cot(?:_|$)", re.IGNORECASE)
_NO_THOUGHT = ("none", "off", "disabled", "no_think", "nothink", "chat", "minimal", "low")
"""Values that switch thinking off or nearly off; the first one that the template mentions is used."""


@lru_cache(maxsize=64)
def _settings(template: str) -> dict[str, Any]:
    """Values for variables that a template reads: no thinking (or the least that it offers), a fixed date."""
    values = {name: _without_thought(name, template) for name in _variables(template) if _THOUGHTFUL.search(name)}
    if "strftime_now" in template:
        values["strftime_now"] = _TODAY.strftime
    if "date_string" in template:
        values["date_string"] = _TODAY.strftime("%d %b %Y")
    return values


def _variables(template: str) -> set[str]:
    """Names of the variables that the template expects from its caller."""
    from jinja2 import Environment, TemplateError, meta

    plain = re.sub(r"\{%-?\s*(?:end)?generation\s*-?%\}", "", template)  # jinja2 does not know this tag of transformers
    with contextlib.suppress(TemplateError):
        return set(meta.find_undeclared_variables(Environment(extensions=["jinja2.ext.loopcontrols"]).parse(plain)))
    return set()


def _without_thought(name: str, template: str) -> Any:
    """The value of a thinking-related variable that asks for the least thinking."""
    if "budget" in name:
        return 0
    if re.search(r"effort|mode|option|level|type|style", name):
        near = " ".join(
            re.findall(rf"\{{[%{{](?:(?![%}}]\}}).)*\b{name}\b(?:(?![%}}]\}}).)*[%}}]\}}", template, re.DOTALL)
        )
        return next((value for value in _NO_THOUGHT if re.search(rf"[\"']{value}[\"']", near)), "low")
    return re.match(r"(?:disable|no|skip|without|hide)_|nothink", name) is not None


def apply(tokenizer: Any, chat: Sequence[dict[str, str]], add_generation_prompt: bool = False) -> str:
    """What the template writes; raises what the template raises."""
    settings = _settings(str(tokenizer.get_chat_template()))
    text = tokenizer.apply_chat_template(
        list(chat), tokenize=False, add_generation_prompt=add_generation_prompt, **settings
    )
    return str(text)


def render(tokenizer: Any, chat: Sequence[dict[str, str]], add_generation_prompt: bool = False) -> str:
    """The chat as text by the model's template; with `add_generation_prompt`, up to the start of the model's reply.

    Some templates refuse a system role, some drop its text or the assistant's opening silently, some want the user first. For these the
    system text is merged into the first user message, which is STUB if the assistant opens. ModelError if something that was said is
    missing all the same, cut off or rewritten.
    """
    with contextlib.suppress(Exception):  # templates raise errors of any kind
        text = apply(tokenizer, chat, add_generation_prompt)
        if lost_text(text, chat) is None:
            return text
    system = chat[0]["content"] if chat and chat[0]["role"] == "system" else ""
    rest = list(chat[1:] if system else chat)
    if not rest or rest[0]["role"] != "user":
        rest = [{"role": "user", "content": STUB}, *rest]
    merged = [{"role": "user", "content": f"{system}\n\n{rest[0]['content']}".strip()}, *rest[1:]]
    text = apply(tokenizer, merged, add_generation_prompt)
    if (lost := lost_text(text, merged)) is not None:
        raise ModelError(
            f"the model's chat template leaves out or rewrites what was said ({in_one_line(lost, 40)}); take another model"
        )
    return text


def lost_text(text: str, chat: Sequence[dict[str, str]]) -> str | None:
    """The first message whose content the text does not hold, after those before it; None if all are there. White space does not count.

    A system text may be anywhere: some templates put it into the last question.
    """
    written, place = "".join(text.split()), 0
    for message in chat:
        content = "".join(message["content"].split())
        found = written.find(content, 0 if message["role"] == "system" else place)
        if found < 0:
            return message["content"]
        if message["role"] != "system":
            place = found + len(content)
    return None
