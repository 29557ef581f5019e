"""What a model thinks before it speaks is no part of its turn. Pure text rules, without imports: any engine may call them."""

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
    """What is said without what is thought, stripped, and whether anything was thought.

    Known spellings, in upper or lower case: `<think>`, `<thinking>`, `<thought>`, `<reasoning>`, `<reflection>`, `<analysis>`,
    `<scratchpad>` and their like, with a prefix (`<seed:think>`), attributes or bars (`<|think|>`); `[THINK]`, `◁think▷`,
    `<|START_THINKING|>`, `<|begin_of_thought|>`; the channels of gpt-oss (`<|channel|>analysis<|message|>…`, `final` is said), also
    where a server dropped their markers (`analysis…assistantfinal…`). A thought may be nested, may lack its end (the token limit cut it
    off: nothing after its start is said) or its start (the chat template wrote it: nothing before its end is said). A wrapper around the
    reply that follows a thought (`<answer>`) is removed. An empty block is removed and is no thought.

    Does not know thoughts without markers ("Okay, the user is sad, so I …").
    """
    if "<|channel" in text:
        return _final_channel(text)
    if _BARE_CHANNEL.match(text):
        before, _, after = text.rpartition("assistantfinal")
        return (after.strip() if before else ""), True
    said, thought, found = _spoken(text)
    said = _REPLY_MARK.sub("", said)
    return (_WRAPPER.sub("", said) if found else said).strip(), thought


def _spoken(text: str) -> tuple[str, bool, bool]:
    """The text outside of thoughts, whether one of them holds anything, and whether there is a tag at all."""
    said, thought, inside, place, found = "", False, False, 0, False
    for tag in _TAG.finditer(text):
        found = True
        between = text[place : tag.start()]
        if tag["open"] and not inside:
            said += between
        else:  # within a thought, or before an end whose start the template wrote
            thought = thought or bool(between.strip())
        inside = bool(tag["open"])
        place = tag.end()
    if inside:
        return said, True, True
    return said + text[place:], thought, found


def without_blocks(text: str) -> str:
    """The text without whole thoughts, for turns that nobody has judged, such as those of an imported dialogue."""
    return _BLOCK.sub("", text).strip() if _TAG.search(text) else text


def is_thought_mark(text: str) -> bool:
    """Whether the text is the start or the end of a thought, or a channel's mark."""
    return _TAG.fullmatch(text) is not None or "channel" in text


def closing(prompt: str) -> str:
    """What ends the thought that a chat template left open at the end of a prompt; empty where it left none open."""
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
    """The prompt without the thought, whole or only begun, that it ends with, and without the white space before it."""
    place = len(prompt)
    for tag in reversed(list(_TAG.finditer(prompt))):
        if prompt[tag.end() : place].strip():
            break
        place = tag.start()
        if tag["open"]:
            break
    return prompt[:place].rstrip()


def _final_channel(text: str) -> tuple[str, bool]:
    """gpt-oss: what stands in the channel `final`, or before any channel where the prompt had opened it."""
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
            if after and "<channel|>" in body:  # Gemma's spelling ends a channel and goes on with the reply
                said.append(after[0])
    return " ".join(part.strip() for part in said if part.strip()), thought
