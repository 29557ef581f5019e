"""The marks by which chat templates tell turns apart, as text: how they look, and how text that holds them stays text.

Pure text rules, without imports. A tokenizer knows its own marks (`engage.models.chat_template`); those here are the well-known ones, for
servers whose tokenizer nobody here can see and for the text rules.
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
    """The text with every well-known mark of a chat template broken by a space (`<|im_end|>` → `< |im_end|>`), so that no tokenizer
    makes a special token of it. Text without marks comes back as it is; twice is the same as once."""
    return _THOUGHT.sub(_broken, MARKER.sub(_broken, text))


def _broken(mark: re.Match[str]) -> str:
    return break_up(mark[0])


def break_up(mark: str) -> str:
    """A space after the first character; a mark of one character becomes a space."""
    return f"{mark[0]} {mark[1:]}" if len(mark) > 1 else " "


def without_marks(text: str, marks: Iterable[str]) -> str:
    """`neutral` for marks that are known by name, the longest first."""
    found = sorted((mark for mark in marks if mark in text), key=lambda mark: -len(mark))
    for _ in found:  # a broken mark may leave a shorter one whole: <<s>>
        for mark in found:
            text = text.replace(mark, break_up(mark))
    return text
