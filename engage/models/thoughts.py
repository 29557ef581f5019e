"""Removes the thoughts that a model writes before its reply. Pure text rules, for all engines."""

import re

_WORD = (
    r"(?:\w+[:_])?(?:think|thinking|thinks|thought|thoughts|reasoning|reason|reflection|reflect|analysis|scratchpad|"
    r"inner_monologue|monologue|cot|rationale)"
)
_OPEN = (
    rf"<\|?\s*{_WORD}(?:\s[^<>]*)?\|?>|\[(?:think|reasoning|thought)\]|◁think▷|<\|(?:start_|begin_of_)?(?:{_WORD})(?:_start)?\|>"
    r"|<\|start_thinking\|>|<unused94>(?:thought)?"
)
_CLOSE = (
    rf"<\|?\s*/\s*{_WORD}\s*\|?>|\[/\s*(?:think|reasoning|thought)\]|◁/think▷|<\|(?:end_|end_of_){_WORD}\|>"
    rf"|<\|{_WORD}_end\|>|<unused95>"
)
_TAG = re.compile(rf"(?P<close>{_CLOSE})|(?P<open>{_OPEN})", re.IGNORECASE)
_BLOCK = re.compile(rf"(?:{_OPEN})(?:(?!{_OPEN}).)*?(?:{_CLOSE})", re.IGNORECASE | re.DOTALL)
_WRAPPER = re.compile(r"</?(?:answer|response|output|final|final_answer|reply)>", re.IGNORECASE)
_REPLY_MARK = re.compile(r"<\|(?:start|end)_(?:response|text)\|>|<\|(?:begin|end)_of_solution\|>", re.IGNORECASE)
_CHANNEL = re.compile(r"(?:<\|start\|>\s*\w*\s*)?<\|channel\|?>\s*(?P<name>\w+)[^<]*(?:<\|message\|>|(?=\n))")
_CHANNEL_END = re.compile(r"<\|(?:end|return|call|start)\|>|<channel\|>")
_BARE_CHANNEL = re.compile(r"\s*(?:assistant)?(?:analysis|commentary)(?:[A-Z]|.*assistantfinal)", re.DOTALL)


def strip_thoughts(text: str) -> tuple[str, bool]:
    """The text without thoughts, stripped, and whether there was a thought.

    Known spellings, in upper or lower case: `<think>`, `<thinking>`, `<thought>`, `<reasoning>`, `<reflection>`, `<analysis>`,
    `<scratchpad>` and the like, with a prefix (`<seed:think>`), attributes or bars (`<|think|>`); `[THINK]`, `◁think▷`,
    `<|START_THINKING|>`, `<|begin_of_thought|>`; the channels of gpt-oss (`<|channel|>analysis<|message|>…`; `final` is the reply),
    even if a server dropped their markers (`analysis…assistantfinal…`). Thoughts may be nested. If a thought has no end (the token
    limit cut it off), everything after its start is removed; if it has no start (the chat template wrote it), everything before its
    end. A wrapper around the reply after a thought (`<answer>`) is removed. An empty block is removed and does not count.

    Thoughts without markers ("Okay, the user is sad, so I …") are not recognised.
    """
    if "<|channel" in text:
        return _final_channel(text)
    if _BARE_CHANNEL.match(text):
        before, _, after = text.rpartition("assistantfinal")
        return (after.strip() if before else ""), True
    said, thought, tagged = _spoken(text)
    said = _REPLY_MARK.sub("", said)
    return (_WRAPPER.sub("", said) if tagged else said).strip(), thought


def _spoken(text: str) -> tuple[str, bool, bool]:
    """The text outside thoughts, whether a thought has any text, and whether there is any tag."""
    said, thought, inside, place, tagged = "", False, False, 0, False
    for tag in _TAG.finditer(text):
        tagged = True
        between = text[place : tag.start()]
        if tag["open"] and not inside:
            said += between
        else:  # in a thought, or before an end without a start
            thought = thought or bool(between.strip())
        inside = bool(tag["open"])
        place = tag.end()
    if inside:
        return said, True, True
    return said + text[place:], thought, tagged


def without_blocks(text: str) -> str:
    """The text without complete thoughts; for turns that `strip_thoughts` has not seen, such as those of an imported dialogue."""
    return _BLOCK.sub("", text).strip() if _TAG.search(text) else text


def is_thought_mark(text: str) -> bool:
    """Whether the text is a tag that starts or ends a thought, or a channel marker."""
    return _TAG.fullmatch(text) is not None or "channel" in text


def closing(prompt: str) -> str:
    """The text that closes a thought left open at the end of a prompt; '' if none is open."""
    last = next(reversed(list(_TAG.finditer(prompt))), None)
    if last is None or not last["open"] or prompt[last.end() :].strip():
        return ""
    tag = last["open"]
    if re.search(r"(?i)start_|begin_of_", tag):
        end = re.sub(r"(?i)start_|begin_of_", lambda word: _END_WORD[word[0].lower()], tag)
        end = end.upper() if tag.isupper() else end
    elif tag.startswith("<|") or tag.startswith("<unused"):
        end = "<unused95>" if tag.startswith("<unused") else tag.replace("<|", "<|/", 1)
    else:
        end = tag[0] + "/" + tag[1:].split()[0].rstrip(tag[-1]) + tag[-1]
    gap = "" if prompt[last.end() :] else "\n"
    return f"{gap}\n{end}\n\n"


_END_WORD = {"start_": "end_", "begin_of_": "end_of_"}


def without_last_thought(prompt: str) -> str:
    """The prompt without a thought (complete or not) at its end and the white space before it."""
    place = len(prompt)
    for tag in reversed(list(_TAG.finditer(prompt))):
        if prompt[tag.end() : place].strip():
            break
        place = tag.start()
        if tag["open"]:
            break
    return prompt[:place].rstrip()


def _final_channel(text: str) -> tuple[str, bool]:
    """gpt-oss: the text in the channel `final`, and the text before the first channel (the prompt had opened `final`)."""
    marks = list(_CHANNEL.finditer(text))
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    first = text[: marks[0].start()] if marks else text.split("<|channel")[0]
    said = [_CHANNEL_END.split(first)[0]]
    thought = not marks
    for mark, end in zip(marks, ends, strict=True) if marks else ():
        body = text[mark.end() : end]
        if mark["name"] == "final":
            said.append(_CHANNEL_END.split(body)[0])
        else:
            inner, *after = _CHANNEL_END.split(body, maxsplit=1)
            thought = thought or bool(inner.strip())
            if after and "<channel|>" in body:  # in Gemma's spelling the reply follows the channel's end
                said.append(after[0])
    return " ".join(part.strip() for part in said if part.strip()), thought
