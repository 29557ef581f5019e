"""Text rules that detect flaws of a sampled turn: thoughts, another language, refusals, role flips, leaks, empty turns, lists, repetition.

Small models need this. A flawed turn is drawn again a limited number of times (`engage.simulation.simulator`). If the last draw is
still flawed, it is kept and the flaw's name is stored. The rules do not judge whether a turn is good.
"""

import re

from engage.dialogue import Dialogue, Role
from engage.domains import Domain
from engage.domains.rules.language import foreign, foreign_turn
from engage.domains.rules.patterns import matches_any, says_something, words_of
from engage.models import strip_thoughts
from engage.scenario import SHIPPED
from engage.simulation.leaks import cut_leak, leaks_role
from engage.simulation.roles import speaks_as_assistant

_CANNOT = (
    r"\bi(?:['’]m| am)?(?: sorry,? but i| afraid i)?\s+"
    r"(?:can(?:no|['’])?t|can not|(?:am )?(?:unable|not able|not allowed|not programmed) to|won['’]t be able to|will not|won['’]t|"
    r"must (?:respectfully )?decline to)\s+"
)
_MACHINE_ACT = (
    r"(?:assist(?: you)?(?: with\b|[.,!]|$)|fulfil+\b|comply\b|role-?play\b"
    r"|(?:help(?: you)? with|process|complete|respond to|answer|support|accommodate) (?:this|that|your|such) (?:kind of )?(?:request|prompt|question|task)"
    r"|(?:engage|participate) in (?:this|that|such|any)\b|continue (?:with )?(?:this|that|the) (?:conversation|role-?play|request|scenario)"
    r"|(?:generate|create|produce) (?:this|that|such|any|content|harmful|explicit)\b|provide the help\b|discuss (?:this|that|such) topic)"
)
_REFUSAL = re.compile(_CANNOT + _MACHINE_ACT, re.IGNORECASE)
_ASSISTANT_REFUSAL = re.compile(
    rf"^\W*(?:(?:i['’]m|i am)(?: really| so| very)? sorry,?|sorry,?|unfortunately,?|i apologi[sz]e,?)(?: but)? {_CANNOT}"
    r"(?:help|do)(?: you)?(?: with)? (?:that|this)\s*(?:[.!]|$)|that(?:['’]s| is) not something i can (?:help|assist)(?: you)? with\b",
    re.IGNORECASE,
)
_REFUSED_EARLY = 200
"""A refusal begins within this many characters; later matches mean something else."""
_SENTENCE_END = re.compile(r"[.!?…][\"')\]]*(?=\s|$)")
_LIST_ITEM = re.compile(r"(?:^|\s)(?:\d{1,2}[.)]|[-*•])\s+\S")
_GREETING = re.compile(
    r"^\W*(?:hi|hello|hey|good (?:morning|afternoon|evening)|greetings)\b[^.!?]*[.!?]*\s*"
    r"(?:(?:how are you|how can i|how may i|what can i|nice to meet you|it's nice)\b.*)?$",
    re.IGNORECASE,
)


def tidy(text: str, cut_off: bool) -> str:
    """First paragraph of a completion on one line; if the token limit cut it off, it ends at its last whole sentence."""
    line = " ".join(text.strip().split("\n\n")[0].split()).strip('"“” ')
    if cut_off:
        ends = [match.end() for match in _SENTENCE_END.finditer(line)]
        if ends:
            return line[: ends[-1]]
    return line


def heard(domain: Domain, role: Role, written: str, cut_off: bool) -> tuple[str, str | None]:
    """The cleaned turn in a model's output ('' if nothing is left), and the flaw that was removed: `thought`, `role_leak` or None."""
    said, thought = strip_thoughts(written)
    own, leaked = cut_leak(domain, role, said)
    return tidy(own, cut_off and not leaked), "thought" if thought else "role_leak" if leaked else None


def find_flaw(domain: Domain, dialogue: Dialogue, role: Role, text: str) -> str | None:
    """Name of the first flaw of `text` as the next turn of `role`, None for a clean turn."""
    if not says_something(text):
        return "empty"
    if strip_thoughts(text)[1]:
        return "thought"
    if domain.language == "en" and foreign_turn(text) and not foreign([turn.text for turn in dialogue.turns]):
        return "language"  # a dialogue that began in another language may go on in it
    if refuses(role, text):
        return "refusal"
    if leaks_role(domain, text):
        return "role_leak"
    if role is Role.USER and _has_flipped(domain, text):
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


def _has_flipped(domain: Domain, text: str) -> bool:
    """Whether a user's turn speaks as the assistant, by the classifier and, in a user's own domain, by its expressions.

    The shipped domains' expressions were written for one model; the classifier replaces them.
    """
    own = domain.name not in SHIPPED and matches_any(domain.flips, text)
    return own or (not domain.users_help and speaks_as_assistant(text))


def refuses(role: Role, text: str) -> bool:
    """Whether a model refuses to answer, in the typical English words of the main model families. A user who declines does not count."""
    start = text[:_REFUSED_EARLY]
    return bool(_REFUSAL.search(start) or (role is Role.ASSISTANT and _ASSISTANT_REFUSAL.search(start)))


def _loops(text: str) -> bool:
    """Whether the text repeats a sequence of four words, or contains few distinct words."""
    words = words_of(text)
    grams = [tuple(words[index : index + 4]) for index in range(len(words) - 3)]
    return len(set(grams)) < len(grams) or (len(words) >= 8 and len(set(words)) < 0.5 * len(words))


def _repeats(dialogue: Dialogue, text: str) -> bool:
    """Whether the text (nearly) repeats an earlier turn of this dialogue; short answers may recur."""
    words = words_of(text)
    if len(words) < 5:
        return False
    for turn in dialogue.turns:
        earlier = set(words_of(turn.text))
        shared = len(earlier & set(words)) / max(1, len(earlier | set(words)))
        if shared >= 0.7:
            return True
    return False
