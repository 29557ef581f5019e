"""The markers that chat templates put between turns, and how to break them up in ordinary text.

Pure text rules. They cover the well-known markers, for servers with an unknown tokenizer and for the rules on flawed turns; a local
tokenizer's own markers are known to `engage.models.chat_template`.
"""

import re
from collections.abc import Iterable

_SPEAKERS = r"user|assistant|system|human|model|tool|ipython|developer"
MARKER = re.compile(
    r"<\|[^\s<>|][^<>|\n]{0,40}\|?>"  # <|im_start|>, <|user|>, <|channel>
    r"|<[|｜][^<>\n]{1,40}[|｜]>"  # DeepSeek's bars
    r"|<[a-z_]+\|>"  # <channel|>
    rf"|</?(?:start_of_turn|end_of_turn|s|bos|eos|pad|unk|sep|cls|mask|turn|bot|eot|{_SPEAKERS}|extra_id_\d+|unused\d+)>"
    r"|<start_of_(?:turn|image|audio)>|<end_of_(?:turn|image|audio|utterance)>"
    r"|\[/?(?:INST|SYSTEM_PROMPT|SYS|TOOL_CALLS|TOOL_RESULTS|AVAILABLE_TOOLS|BOS|EOS|PAD|UNK|SEP|CLS|MASK|gMASK|sop|eop)\]"
    r"|<<\s*/?SYS\s*>>",
    re.IGNORECASE,
)
_THOUGHT = re.compile(
    r"</?(?:\w+:)?(?:think|thinking|thought|reasoning|tool_call|tool_response|tools)>|\[/?THINK\]", re.I
)


def neutral(text: str) -> str:
    """The text with every well-known marker broken by a space (`<|im_end|>` → `< |im_end|>`), so that it gives no special token.

    Text without markers is unchanged; applying it twice is the same as once.
    """
    for pattern in (MARKER, _THOUGHT):
        text = pattern.sub(lambda marker: break_up(marker[0]), text)
    return text


def break_up(marker: str) -> str:
    """Insert a space after the first character; a marker of one character becomes a space."""
    return f"{marker[0]} {marker[1:]}" if len(marker) > 1 else " "


def without_marks(text: str, marks: Iterable[str]) -> str:
    """The text with the given markers broken up, the longest first."""
    present = sorted((mark for mark in marks if mark in text), key=lambda mark: -len(mark))
    for _ in present:  # repeated, because a broken marker may contain a shorter one: <<s>>
        for mark in present:
            text = text.replace(mark, break_up(mark))
    return text
