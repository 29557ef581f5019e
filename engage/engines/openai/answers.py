"""Reads what a chat server sent back, as far as possible: replies, log-probabilities, token counts, or its error message.

Servers differ from the protocol and from each other: content as a list of parts, null or a number, choices out of order, token
counts as null or text, an error with status 200, an unrequested stream. This module sends nothing.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from engage.engines.openai.complaints import Complaint, complaint_of, page_of

MOST_TOKENS = 10_000_000
"""A larger token count is treated as missing."""
ROUNDING = 0.01
"""How far a log-probability may be above 0, and a sum of probabilities above 1, by rounding."""
LEAST_LOGPROB = -9_999.0
"""What vLLM writes for minus infinity."""

Reason = Literal["stop", "length", "refusal", "content_filter", "thought"]
_LENGTH = {"length", "max_tokens", "max_output_tokens", "model_length", "model_context_window_exceeded"}
_BROKEN_OFF = {
    "error", "failed", "abort", "aborted", "cancel", "canceled", "cancelled", "interrupted", "timeout", "insufficient_system_resource"
}  # fmt: skip
"""Why a reply is not whole, although no limit was reached: it is asked for again."""
_FILTER = {"content_filter", "safety", "prohibited_content", "blocklist", "recitation", "spii"}
_THOUGHTS = ("reasoning_content", "reasoning", "thinking")
_THOUGHT_PARTS = {"thinking", "reasoning", "redacted_thinking"}
_COMPLAINTS = ("errors", "detail", "message", "msg")
"""What holds an error's words in an answer without replies."""
_EDGE = (
    r"(?:</?(?:s|bos|eos|pad|end_of_turn)>|<\|(?:begin_of_text|end_?of_?text|eot_id|im_end|end)\|>|\[(?:PAD|BOS|EOS)\])"
)
_AROUND = re.compile(rf"^(?:\s*{_EDGE})+|(?:{_EDGE}\s*)+$", re.IGNORECASE)
"""What tokenizers put around a text, and some servers leave there."""

NO_LOGPROBS = "gives no log-probabilities"


class Unreadable(Exception):
    """The response is no answer; the text says what it is instead."""


class Failed(Exception):
    """The server reports a failure in an answer with status 200."""

    def __init__(self, complaint: Complaint) -> None:
        super().__init__(complaint.words)
        self.complaint = complaint


@dataclass(frozen=True)
class Reply:
    """One choice. `logprobs` are those of its tokens (None: not a number); `top` lists the most probable first tokens.

    `top` is empty if its list was `impossible`: a log-probability above 0, or probabilities of more than 1 in all.
    """

    text: str
    reason: Reason
    logprobs: tuple[float | None, ...] = ()
    top: tuple[tuple[str, float], ...] = ()
    impossible: bool = False

    @property
    def unscored(self) -> str:
        """Why `top` is empty, as the end of a sentence; '' if it is not."""
        if self.impossible:
            return "gives impossible log-probabilities (above 0, or of more than 1 in all)"
        return "" if self.top else NO_LOGPROBS

    @property
    def mean_logprob(self) -> float | None:
        """Mean log-probability of its tokens; None if one of them is missing or not finite."""
        known = [value for value in self.logprobs if value is not None and value > LEAST_LOGPROB]
        return sum(known) / len(known) if known and len(known) == len(self.logprobs) else None


@dataclass(frozen=True)
class Answer:
    """The replies of one request, in the order of their index, and its token counts (None: not reported).

    `model` is the name that the server reports; '' if it reports none. `url` is the server's address.
    """

    replies: tuple[Reply, ...]
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    completion_tokens: int | None = None
    model: str = ""
    url: str = ""


def read_answer(text: str, limit: int | None = None) -> Answer:
    """Read a server's answer with status 200; raises Unreadable or Failed.

    A reply of `limit` tokens or more, for whose end the server gives no reason, was ended by the limit.
    """
    content = _decoded(text)
    if isinstance(content, list) and len(content) == 1:
        (content,) = content
    if not isinstance(content, Mapping):
        raise Unreadable(f"answers with a {_kind(content)}")
    found = content.get("choices")
    choices: Sequence[Any] = found if isinstance(found, Sequence) and not isinstance(found, str) else ()
    if content.get("error") or (not choices and any(content.get(name) for name in _COMPLAINTS)):
        raise Failed(complaint_of(content))
    if not choices:
        raise Unreadable("gives an answer without a reply")
    usage = content.get("usage")
    alone = _count(usage.get("completion_tokens")) if isinstance(usage, Mapping) and len(choices) == 1 else None
    known = (_reply(choice, alone or 0, limit) for choice in _in_order(choices))
    replies = [reply for reply in known if reply is not None]
    if not replies:
        errors = [choice["error"] for choice in choices if isinstance(choice, Mapping) and choice.get("error")]
        raise Failed(complaint_of({"error": errors[0]})) if errors else Unreadable("gives an answer without a reply")
    model = content.get("model")
    return replace(_with_usage(tuple(replies), usage), model=model if isinstance(model, str) else "")


def _decoded(text: str) -> Any:
    text = text.lstrip("\ufeff \r\n\t")
    if not text:
        raise Unreadable("answers with nothing")
    if text.startswith(("data:", "event:", "id:", "retry:", ":")):
        return _joined_stream(text)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"gives an answer that cannot be read ({page_of(text) or type(error).__name__})") from None


def _joined_stream(text: str) -> dict[str, Any]:
    """Server-sent events as one answer, with the parts of each choice joined."""
    choices: dict[int, dict[str, Any]] = {}
    whole: dict[str, Any] = {}
    done = False
    for line in re.split(r"\r\n|\r|\n", text):  # a reply may hold other characters that splitlines cuts at
        data = line.removeprefix("data:").strip() if line.startswith("data:") else ""
        done = done or data == "[DONE]"
        if not data or data == "[DONE]":
            continue
        try:
            event = json.loads(data)
        except (ValueError, RecursionError):
            raise Unreadable("answers with a stream that cannot be read") from None
        if not isinstance(event, Mapping):
            continue
        whole |= {name: event[name] for name in ("usage", "error", "model") if event.get(name)}
        parts = event.get("choices")
        for part in parts if isinstance(parts, list) else ():
            index = part.get("index") if isinstance(part, Mapping) else None
            if isinstance(part, Mapping):
                _join(choices.setdefault(index if isinstance(index, int) else 0, {"message": {}}), part)
    if not done and not whole.get("error") and not all(choice.get("finish_reason") for choice in choices.values()):
        raise Unreadable("answers with a stream that breaks off")
    return {**whole, "choices": [{**choice, "index": index} for index, choice in sorted(choices.items())]}


def _join(choice: dict[str, Any], part: Mapping[str, Any]) -> None:
    said = part.get("delta") or part.get("message") or {}
    for name in ("content", "refusal", *_THOUGHTS):
        if isinstance(said, Mapping) and said.get(name):
            text = _text_of(said[name])[0]
            choice["message"][name] = choice["message"].get(name, "") + text
    if part.get("finish_reason"):
        choice["finish_reason"] = part["finish_reason"]
    logprobs = part.get("logprobs")
    if isinstance(logprobs, Mapping) and isinstance(logprobs.get("content"), list):
        choice.setdefault("logprobs", {"content": []})["content"] += logprobs["content"]


def _in_order(choices: Sequence[Any]) -> list[Any]:
    """The choices sorted by index if all indices differ; else as sent."""
    indices = [choice.get("index") if isinstance(choice, Mapping) else None for choice in choices]
    numbers = [index for index in indices if isinstance(index, int)]
    if len(set(numbers)) < len(choices):
        return list(choices)
    return [choice for _, choice in sorted(zip(numbers, choices, strict=True), key=lambda pair: pair[0])]


def _reply(choice: Any, written: int, limit: int | None) -> Reply | None:
    """The reply of one choice; None if it has none, or half of one. `written`: its tokens, 0 if the server does not say."""
    if not isinstance(choice, Mapping):
        return None
    ended = str(choice.get("finish_reason") or "").lower()
    said = choice.get("message") or choice.get("delta") or choice.get("text")
    said = {"content": said} if isinstance(said, str) else said
    if not isinstance(said, Mapping) or ended in _BROKEN_OFF:
        return None
    text, thought, refused = _text_of(said.get("content"))
    thought = thought or any(said.get(name) for name in _THOUGHTS)
    refused = refused or bool(said.get("refusal"))
    logprobs = _logprobs(choice.get("logprobs"))
    cut_off = ended in _LENGTH or (not ended and limit is not None and max(written, len(logprobs[0])) >= limit)
    reason: Reason = "length" if cut_off else "stop"
    if ended in _FILTER:
        reason = "content_filter"
    elif not text.strip() and (refused or ended == "refusal"):
        reason = "refusal"
    elif not text.strip() and thought:
        reason = "thought"
    whole = text.encode("utf-8", "replace").decode()  # a lone surrogate cannot be stored
    return Reply(_AROUND.sub("", whole).strip(), reason, *logprobs)


def _text_of(content: Any) -> tuple[str, bool, bool]:
    """The text of a message's content, and whether the content has a thought and a refusal."""
    if content is None or isinstance(content, bool):
        return "", False, False
    if isinstance(content, str | int | float):
        return str(content), False, False
    if isinstance(content, Mapping):
        kind = content.get("type")
        if kind in _THOUGHT_PARTS:
            return "", True, False
        if kind == "refusal":
            return "", False, True
        inner = next((content[name] for name in ("text", "content", "value", "parts") if content.get(name)), None)
        return _text_of(inner)
    if isinstance(content, Sequence):
        parts = [_text_of(part) for part in content]
        return "".join(text for text, _, _ in parts), any(p[1] for p in parts), any(p[2] for p in parts)
    return "", False, False


def _logprobs(given: Any) -> tuple[tuple[float | None, ...], tuple[tuple[str, float], ...], bool]:
    """Log-probabilities of a choice's tokens, the list of alternatives for its first token, and whether that list is impossible."""
    content = given.get("content") if isinstance(given, Mapping) else None
    if not isinstance(content, list):
        return (), (), False
    items = [item for item in content if isinstance(item, Mapping)]
    first = items[0].get("top_logprobs") if items else None
    listed = list(first.items()) if isinstance(first, Mapping) else []
    if isinstance(first, list):
        listed = [(item.get("token"), item.get("logprob")) for item in first if isinstance(item, Mapping)]
    top = [
        (token, value) for token, found in listed if isinstance(token, str) and (value := _logprob(found)) is not None
    ]
    finite = [_logprob(item.get("logprob")) for item in items]
    above = any(_number(found) > ROUNDING for _, found in listed)
    impossible = above or sum(math.exp(value) for _, value in top) > 1 + ROUNDING
    return (
        tuple(None if value == -math.inf else value for value in finite),
        () if impossible else tuple(top),
        impossible,
    )


def _logprob(value: Any) -> float | None:
    """A log-probability, possibly −inf; None if it is not a number, or above 0 by more than rounding."""
    number = _number(value)
    return None if math.isnan(number) or number > ROUNDING else min(0.0, number)


def _number(value: Any) -> float:
    """A number; NaN if it is none or too large."""
    try:
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    except OverflowError:
        return math.nan


def _with_usage(replies: tuple[Reply, ...], usage: Any) -> Answer:
    given = usage if isinstance(usage, Mapping) else {}
    details = given.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, Mapping) else given.get("prompt_cache_hit_tokens")
    prompt = _count(given.get("prompt_tokens")) or None  # no prompt is empty, so 0 means missing
    reported = _count(given.get("completion_tokens"))
    beside_prompt = (_count(given.get("total_tokens")) or 0) - prompt if prompt else 0
    whole = all(reply.logprobs or not reply.text for reply in replies)
    known = sum(len(reply.logprobs) for reply in replies) if whole else 0
    completed: int | None = max(known, reported or 0, beside_prompt)  # some servers count thoughts in the total alone
    if not completed and (reported is None or any(reply.text for reply in replies)):
        completed = None
    return Answer(replies, prompt, None if prompt is None else min(_count(cached) or 0, prompt), completed)


def _count(value: Any) -> int | None:
    """A token count; None if it is not one."""
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit() and len(value) < 10:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MOST_TOKENS:
        return None
    return int(value)


def _kind(content: Any) -> str:
    return {list: "list", str: "text", bool: "truth value"}.get(type(content), "number")
