"""Rules for users who speak of harming or killing themselves: the dialogue ends with a referral and is never trained on.

The rules read one turn. They prefer a false alarm to a miss: a friend's suicide or a denial counts as well.
"""

import re
from collections.abc import Iterable

from engage.dialogue import Dialogue, Role
from engage.domains.rules.patterns import any_of, matches_any, plain

CRISIS = "crisis"
"""The `end_reason` of such a dialogue."""

REFERRAL = (
    "Thank you for telling me. I'm a program and can't keep you safe, but people can. If you might act on this, please call "
    "your local emergency number now, or a crisis line: 988 in the US and Canada, 116 123 in the UK and Ireland, "
    "findahelpline.com elsewhere. Is there somebody near you who could stay with you?"
)

_OWN = r"\bmy ?self\b"
_OFTEN = r"(really |just |often |sometimes |only )*"
_PATTERNS = (
    rf"\b(kill|killing|hang|hanging|shoot|shooting|harm|harming|hurt|hurting|cut|cutting|drown|drowning|poison|poisoning|unalive) {_OWN}",
    r"\b(cut|cutting|slit|slitting|slash|slashing) my (own )?(wrists?|arms?|veins?|throat)\b",
    r"\b(take|taking|took|taken|swallow|swallowing|swallowed) (all|a bottle|a handful|a lot|too many|the rest)( of)?( the| my| these| those)? (\w+ )?(pills|tablets|meds)\b",
    r"\boverdos(e|es|ed|ing)\b",
    r"\b(want|wanted) to end it\b(?! (with|between)\b)|\b(want|wanted) to (\w+ ){0,6}and die\b",
    r"\b(easier|better|rather) (to )?(just )?be dead\b|\bi wish (that )?i had (just )?(been killed|died)\b",
    r"\bjump(ing|ed)? (off|from|in front of|under) (a|the|that) (\w+ )?(bridge|roof|building|balcony|cliff|train|bus|truck)\b",
    r"\bsuicid(e|al)\b|\b(to|gonna|wanna|should|will|i'?ll|just) kms\b",
    r"\bself[- ]?harm(ing|ed)?\b",
    r"\b(end|ending|take|taking) my (own )?life\b",
    r"\bend(ing)? (it all|my (misery|suffering|existence))\b",
    r"\b(thinking|thought|thoughts) (of|about) (dying(?! my)|ending (it|things)(?! (with|between)\b))",
    r"\b(nothing|no one|nobody) (left )?to live for\b|\bready to die\b",
    rf"\bi {_OFTEN}(want|wanted|wish|wished|deserve|deserved) (to die|to be dead|(that )?i (was|were) dead)\b",
    rf"\bi {_OFTEN}(wish|wished|hope|hoped|pray|prayed) (that )?(i('d| had| could| would| was| were|) ?never (wake|woke|woken|been born|born)|i (do ?n.?t|won.?t) wake up)\b",
    rf"\bi {_OFTEN}(wish|wished) (that )?i (was ?n.?t|were ?n.?t|was not|were not) (alive|here any ?more|around any ?more)\b",
    r"\b(i am|i'm|i'd be|i would be|be) better off dead\b",
    r"\b(everyone|everybody|they|the world|people)('d| would| will|'ll)? (all )?be better off without me\b",
    r"\b(do ?n.?t|do not|did ?n.?t|no longer) (want|wish|care) to (be alive|live( any ?more| in this world)?|exist|wake up( any ?more)?|go on living|be here any ?more)(?! (here|in|with|like|at|there|alone|on|near|off|for|early|late|so|up early)\b)",
    r"\b(no|any) (reason|point|sense) (to live|to go on living|to be alive|in living|in going on|in being alive)\b",
    r"\b(life|it)('s| is|) ?(not|isn'?t|no longer) worth living\b",
)
_HARM = re.compile(any_of(_PATTERNS), re.IGNORECASE)


def speaks_of_harm(text: str, more: Iterable[str] = ()) -> bool:
    """Whether a user's turn speaks of suicide or self-harm, by the English rules or `more` ones (`Domain.crisis`)."""
    return _HARM.search(plain(text)) is not None or matches_any(more, text)


def holds_crisis(dialogue: Dialogue, more: Iterable[str] = ()) -> bool:
    """Whether any user turn speaks of harm; `more` as in `speaks_of_harm`."""
    rules = tuple(more)
    return any(turn.role is Role.USER and speaks_of_harm(turn.text, rules) for turn in dialogue.turns)
