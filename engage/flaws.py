"""What is wrong with a sampled turn: thoughts, role flips, leaks, empty turns, endless greetings, lists, repetition. Pure text rules.

Small models need this. A flawed turn is drawn again a bounded number of times (`engage.simulator`); what is kept and still
flawed carries the flaw's name into the store. Does not judge whether a turn is good.
"""

import re

from engage.dialogue import Dialogue, Role
from engage.domains import Domain
from engage.leaks import cut_leak, leaks_role
from engage.patterns import matches_any, says_something, words_of
from engage.thoughts import strip_thoughts

_SENTENCE_END = re.compile(r"[.!?…][\"')\]]*(?=\s|$)")
_LIST_ITEM = re.compile(r"(?:^|\s)(?:\d{1,2}[.)]|[-*•])\s+\S")
_GREETING = re.compile(
    r"^\W*(?:hi|hello|hey|good (?:morning|afternoon|evening)|greetings)\b[^.!?]*[.!?]*\s*"
    r"(?:(?:how are you|how can i|how may i|what can i|nice to meet you|it's nice)\b.*)?$",
    re.IGNORECASE,
)
_MACHINE = re.compile(
    r"\bas an? (?:ai|artificial|language model|assistant)\b|\bi(?:'m| am) an? (?:ai|assistant|chatbot|language model)\b",
    re.IGNORECASE,
)


def tidy(text: str, cut_off: bool) -> str:
    """First paragraph of a completion on one line; one that was cut off by the token limit ends at its last whole sentence."""
    line = " ".join(text.strip().split("\n\n")[0].split()).strip('"“” ')
    if cut_off:
        ends = [match.end() for match in _SENTENCE_END.finditer(line)]
        if ends:
            return line[: ends[-1]]
    return line


def heard(domain: Domain, role: Role, written: str, cut_off: bool) -> tuple[str, str | None]:
    """The turn in what a model wrote, tidied, and the flaw that was taken from it: `thought`, `role_leak` (the turn ends before the other
    side's speech), None where nothing was. The turn is empty where nothing is left."""
    said, thought = strip_thoughts(written)
    own, leaked = cut_leak(domain, role, said)
    return tidy(own, cut_off and not leaked), "thought" if thought else "role_leak" if leaked else None


def find_flaw(domain: Domain, dialogue: Dialogue, role: Role, text: str) -> str | None:
    """Name of the first flaw of `text` as the next turn of `role`, None for a clean turn."""
    if not says_something(text):
        return "empty"
    if strip_thoughts(text)[1]:
        return "thought"
    if leaks_role(domain, text):
        return "role_leak"
    if role is Role.USER and (_MACHINE.search(text) or matches_any(domain.flips, text)):
        return "role_flip"
    if role is Role.ASSISTANT and matches_any(domain.assistant_flips, text):
        return "role_flip"
    if len(_LIST_ITEM.findall(text)) >= 2:
        return "list"
    if len(dialogue.turns) > 1 and _GREETING.match(text):
        return "greeting"
    if _loops(text) or _repeats(dialogue, text):
        return "repetition"
    return None


def _loops(text: str) -> bool:
    """Says the same four words twice, or hardly anything new."""
    words = words_of(text)
    grams = [tuple(words[index : index + 4]) for index in range(len(words) - 3)]
    return len(set(grams)) < len(grams) or (len(words) >= 8 and len(set(words)) < 0.5 * len(words))


def _repeats(dialogue: Dialogue, text: str) -> bool:
    """Says again (nearly) what somebody said before in this dialogue; short answers may recur."""
    words = words_of(text)
    if len(words) < 5:
        return False
    for turn in dialogue.turns:
        earlier = set(words_of(turn.text))
        shared = len(earlier & set(words)) / max(1, len(earlier | set(words)))
        if shared >= 0.7:
            return True
    return False
