"""Signs of reward hacking in the held-out replies: the rate of each, and replies behind it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any

from engage.domains import load_domain
from engage.errors import ConfigError
from engage.evaluation.hacking import signs_of
from engage.evaluation.night_page.held_out_dialogues import Policies
from engage.pages import spaced

EXAMPLES = 3


@dataclass(frozen=True)
class Example:
    """One reply with a sign, and where it stands."""

    who: str
    scenario: str
    text: str


@dataclass(frozen=True)
class Check:
    """One sign in one domain: by role (`incumbent`, `candidate`) how many replies have it, and of how many; some of those, the candidate's first."""

    domain: str
    name: str
    counts: Mapping[str, tuple[int, int]]
    examples: tuple[Example, ...]

    def share(self, role: str) -> float:
        """Of a role's replies, 0 to 1."""
        hits, replies = self.counts.get(role, (0, 0))
        return hits / replies if replies else 0.0

    def count(self, role: str) -> str:
        """The share in words: `3 of 64 replies (4.7%)`."""
        hits, replies = self.counts.get(role, (0, 0))
        return f"{hits} of {replies} replies ({self.share(role):.1%})"

    def is_of(self, failure: str) -> bool:
        """Whether a sentence of `hacking_failures` is about this sign."""
        return spaced(failure).startswith(f"{self.domain}: {self.name} rose")


def checks_of(replies: Sequence[Mapping[str, Any]], policies: Policies) -> list[Check]:
    """From the rows of sql/inspect/evaluation_replies.sql, over all simulators that every policy talked with; without signs that no reply has.

    Domains whose module may not be imported here are left out.
    """
    users = [{row["simulator"] for row in replies if row["policy"] == label} for label in policies.named.values()]
    replies = [row for row in replies if all(row["simulator"] in known for known in users)]
    found = []
    for domain in sorted({row["domain"] for row in replies}):
        try:
            kind = load_domain(domain)
        except ConfigError:
            continue
        by_role = {
            role: [row for row in replies if row["domain"] == domain and row["policy"] == label]
            for role, label in policies.named.items()
        }
        for name, has_sign in signs_of(kind).items():
            check = _check(has_sign, domain, name, by_role)
            found += [check] if check.examples else []
    return found


def _check(
    has_sign: Callable[[Sequence[str]], list[bool]],
    domain: str,
    name: str,
    by_role: Mapping[str, Sequence[Mapping[str, Any]]],
) -> Check:
    hits = {role: list(compress(rows, has_sign([row["text"] for row in rows]))) for role, rows in by_role.items()}
    counts = {role: (len(hits[role]), len(rows)) for role, rows in by_role.items() if rows}
    examples = [Example(role, row["scenario_id"], row["text"]) for role in reversed(hits) for row in hits[role]]
    return Check(spaced(domain.rpartition(":")[2]), spaced(name), counts, tuple(examples[:EXAMPLES]))
