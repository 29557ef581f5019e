"""Finds the other side's speech inside a turn, by speakers' labels and chat-template markers, and cuts it off.

The same rules apply to sampled turns, human replies and the pairs that SQL judges (`engage.store.pair_extraction` calls them). Speakers' names
are the domain's own (`user_name`, `assistant_name`) and common ones. A label counts where a speaker's turn can begin: at the start of
a line, after a sentence, or in markup (`**User:**`, `### Human`); "he said to the user: …" is no label. First names of speakers are
not recognised.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from engage.dialogue import Role
from engage.domains import Domain
from engage.domains.rules.patterns import says_something
from engage.models import MARKER

_USERS = ("user", "human")
_ASSISTANTS = ("assistant", "ai", "chatbot", "bot", "helper", "listener", "system")
_OTHERS = (r"speaker\s?[ab\d]", r"person\s?[ab\d]", "interviewer", "interviewee")
_IN_SCRIPTS = "me|you|therapist|counsell?or|client|customer|agent|volunteer|donor|patient|representative|instruction|response|input|output"
"""Speakers of a written dialogue that are also ordinary words: they count at the start of a later line, or in markup."""
_WEAK = {"ai", "human", "bot", "system"}
"""Names that also occur before a colon in ordinary sentences: within a line they count only after a sentence."""
_SENTENCE_END = re.compile(r"[.!?…\"”'’)\]*_~]\s*$|[^\w\s,:;]\s*$")
_LEADS_ON = re.compile(
    r"\b(?:the|an?|my|your|our|their|his|her|its|this|that|these|those|one|each|every|any|no|to|for|of|from|with|by|as|about|"
    r"called|named|and|or|dear|hi|hello|hey|fellow|new|real|good|fake|same|other|another)\s*[\"“'(\[]?$",
    re.IGNORECASE,
)
_SIGNS = re.compile(r"[:：<\[#]")
_MARK = re.compile(
    rf"(?P<mark>{MARKER.pattern})[ \t]*(?P<after>(?:user|assistant|model|system|human)\b)?", re.IGNORECASE
)
_MARK_SPEAKERS = {"user": Role.USER, "human": Role.USER, "assistant": Role.ASSISTANT, "model": Role.ASSISTANT}


@dataclass(frozen=True)
class Leak:
    """Another turn inside a text: its start, the end of its label, and its speaker (None: unknown)."""

    start: int
    end: int
    whose: Role | None
    is_mark: bool = False


@lru_cache(maxsize=64)
def _labels(user_name: str, assistant_name: str) -> tuple[re.Pattern[str], dict[str, Role]]:
    whose = dict.fromkeys(_USERS, Role.USER) | dict.fromkeys(_ASSISTANTS, Role.ASSISTANT)
    whose |= {user_name.lower(): Role.USER, assistant_name.lower(): Role.ASSISTANT}
    names = "|".join([*map(re.escape, sorted(whose, key=len, reverse=True)), *_OTHERS])
    aside = (
        r"(?:[ ]?\([^()\n]{1,30}\)|[ ](?:\d{1,2}|says|said|replies|replied|responds|responded|response|message|turn))?"
    )
    label = re.compile(
        rf"(?:(?:^|(?<=\n))[^\w\n]*(?P<line>{names})\b{aside}[^\w\n]{{0,4}}?[:：]"
        rf"|(?<=\n)[^\w\n]*(?P<script>{_IN_SCRIPTS})\b{aside}[^\w\n]{{0,4}}?[:：]"
        rf"|(?:\*{{1,3}}|_{{1,3}}|`)\s?(?P<dressed>{names}|(?-i:(?=[A-Z]))(?:{_IN_SCRIPTS}))\s?(?:[:：]|(?:\*{{1,3}}|_{{1,3}}|`)\s?[:：])"
        rf"|\#{{2,6}}\s*(?P<heading>{names}|instruction|response|input)\b|\#\s?(?P<hash>{names}|instruction|response)\s?:"
        rf"|(?<=\s)[\[(\"“]?(?P<within>{names}){aside}[\])\"”]?\s?[:：])[*_`\"”]*",
        re.IGNORECASE,
    )
    return label, whose


def _find(domain: Domain, text: str) -> Leak | None:
    """The first other turn in the text; None if there is none."""
    if not _SIGNS.search(text):
        return None
    label, whose = _labels(domain.user_name, domain.assistant_name)
    leaks: list[Leak] = []
    mark = _MARK.search(text)
    if mark:
        named = (mark["after"] or re.sub(r"\W", "", mark["mark"])).lower()
        leaks.append(Leak(mark.start(), mark.end(), _MARK_SPEAKERS.get(named), is_mark=True))
    for match in label.finditer(text):
        name = next(name for name in match.groups() if name)
        if match["within"] and not _begins(text[: match.start("within")], name):
            continue
        leaks.append(Leak(match.start(), match.end(), whose.get(name.lower())))
        break
    return min(leaks, key=lambda leak: leak.start, default=None)


def _begins(before: str, name: str) -> bool:
    """Whether a name within a line is a label: after a sentence, or in capitals if the sentence does not continue with it."""
    if _SENTENCE_END.search(before):
        return True
    return name[0].isupper() and name.lower() not in _WEAK and not _LEADS_ON.search(before)


def cut_leak(domain: Domain, role: Role, text: str) -> tuple[str, bool]:
    """The text of the speaker `role` before another turn begins, stripped, and whether another turn begins.

    The speaker's own label at the start is removed. The text is empty if the other side speaks first. A mark at the very end only
    ends the turn.
    """
    text, leaked = text.strip(), False
    while (leak := _find(domain, text)) is not None:
        before, after = text[: leak.start].rstrip(' \n\t*_#`>-–—"“(['), text[leak.end :].strip()
        if leak.is_mark and leak.whose is None and not says_something(after):
            return before if says_something(before) else "", leaked
        leaked = True
        own = leak.whose is None or leak.whose is (
            Role.ASSISTANT if leak.is_mark else role
        )  # a model is its chat's assistant
        if says_something(before) or not own:
            return before if says_something(before) else "", True
        text = after
    return text, leaked


def leaks_role(domain: Domain, text: str) -> bool:
    """Whether the text contains another turn, or the label of one."""
    return cut_leak(domain, Role.ASSISTANT, text)[1]
