"""How the two sides of a domain, its survey and the fates of its pairs are named on a page."""

from collections.abc import Iterable
from dataclasses import dataclass

from engage.domains import load_domain
from engage.domains.rules.crisis import CRISIS
from engage.errors import ConfigError
from engage.pages import spaced

FATES = {
    "accepted": "accepted",
    "not_train": "dropped: the scenario is not in the training split",
    "min_groups": "dropped: too few sampled user turns behind a reply",
    "gap": "dropped: the values differ too little",
    "confidence": "dropped: too uncertain which reply is better",
    "empty": "dropped: a reply says nothing",
    "same_text": "dropped: both replies are the same",
    "flawed": "dropped: the better reply was kept with a flaw",
    "thought": "dropped: a reply contains a model's thought",
    "role_leak": "dropped: a reply speaks for the other side too",
    "deceptive": "dropped: the better reply promises, invents or claims to be a person",
    "crisis": "dropped: the better reply led to a user who spoke of self-harm",
    "per_prefix": "dropped: this prefix has enough better pairs",
    "duplicate": "dropped: another tree gave the same pair",
    "harmful": "dropped: most reviewers called it harmful",
    "nonsense": "dropped: most reviewers called it nonsense",
}
"""What became of a pair, in words, by `pair.drop_reason` (see sql/README.md) and `accepted`."""

ENDS = {
    "max_exchanges": "the dialogue had its full length",
    "farewell": "the user said goodbye",
    CRISIS: "the user spoke of self-harm",
    "empty": "a turn without words",
    "refusal": "the model refused",
    "content_filter": "the server's filter withheld a turn",
    "thought": "a turn that was only a thought",
}
"""Why dialogues end, in words; a domain may have reasons of its own."""


@dataclass(frozen=True)
class Speakers:
    """A domain's words: its title, the two sides, the exit survey's question, and the unit of its answers."""

    title: str
    assistant: str
    user: str
    question: str
    unit: str


def end_in_words(reason: str) -> str:
    """Why a dialogue ended."""
    return ENDS.get(reason, spaced(reason))


def speakers_of(domain: str | None) -> Speakers:
    """General words for a domain whose module may not be imported here, and for trees of a scenario without one."""
    title = spaced((domain or "unknown").rpartition(":")[2])
    try:
        found = load_domain(domain or "")
    except ConfigError:
        return Speakers(title, "assistant", "user", "How did it go?", "on the survey's scale")
    return Speakers(title, found.assistant_name, found.user_name, found.survey.question, found.survey_unit)


def all_speakers(domains: Iterable[str | None]) -> dict[str, Speakers]:
    """Those of several domains, by name (empty for none)."""
    return {domain or "": speakers_of(domain) for domain in dict.fromkeys(domains)}
