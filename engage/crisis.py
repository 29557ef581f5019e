"""A user who speaks of harming or killing themselves: found by rules, answered with a referral, and learnt from never.

The rules look at one turn. They would rather stop a dialogue too many: a friend's suicide, or a denial, counts as well.
"""

import re

from engage.patterns import any_of

CRISIS = "crisis"
"""The end_reason of such a dialogue."""

REFERRAL = (
    "Thank you for telling me. I'm a program and can't keep you safe, but people can. If you might act on this, please call "
    "your local emergency number now, or a crisis line: 988 in the US and Canada, 116 123 in the UK and Ireland, "
    "findahelpline.com elsewhere. Is there somebody near you who could stay with you?"
)

_OWN = r"\bmy ?self\b"
_PATTERNS = (
    rf"\b(kill|killing|hang|hanging|shoot|shooting|harm|harming|hurt|hurting|cut|cutting|drown|drowning|poison|poisoning) {_OWN}",
    r"\bsuicid(e|al)\b",
    r"\bself[- ]?harm(ing|ed)?\b",
    r"\b(end|ending|take|taking) my (own )?life\b",
    r"\bend(ing)? it all\b",
    r"\bi (really |just |often |sometimes |only )*(want|wanted|wish|wished|deserve|deserved) (to die|to be dead|(that )?i (was|were) dead)\b",
    r"\b(i am|i'm|i'd be|i would be|be) better off dead\b",
    r"\b(everyone|everybody|they|the world|people)('d| would| will|'ll)? (all )?be better off without me\b",
    r"\b(do ?n.?t|do not|did ?n.?t|no longer) (want|wish|care) to (be alive|live( any ?more| in this world)?|exist|wake up( any ?more)?|go on living|be here any ?more)(?! (here|in|with|like|at|there|alone|on|near|off|for|early|late|so|up early)\b)",
    r"\b(no|any) (reason|point|sense) (to live|to go on living|to be alive|in living|in going on|in being alive)\b",
    r"\b(life|it)('s| is|) ?(not|isn'?t|no longer) worth living\b",
)
_HARM = re.compile(any_of(_PATTERNS), re.IGNORECASE)


def speaks_of_harm(text: str) -> bool:
    """Whether a user's turn speaks of suicide or of harming oneself."""
    return _HARM.search(text) is not None
