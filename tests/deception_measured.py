"""Measures the deception rules, and the deception check beside them, on replies that neither was made on and that a language model labelled.

`python tests/deception_measured.py` prints the tables of fixtures/README.md.
"""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import cohen_kappa_score

import engage.data
from engage import store
from engage.domains.rules.patterns import matches_any
from engage.pages import estimate, table
from engage.stats.bootstrap import interval
from engage.stats.estimates import Estimate, divided, share
from engage.store import deceptive_patterns

LABELLED = Path(engage.data.__file__).with_name("deceiving_replies.jsonl")
"""What the check is fitted on, in sets; the rules were measured on the set `fresh` before there was a check."""
UNSEEN = Path(__file__).parent / "fixtures" / "unseen_replies.jsonl"
"""On these both are measured."""
POPULATION = {
    ("embedded", "emotional_support"): {"matched": 0, "first_person": 39, "rest": 138},
    ("embedded", "persuasion"): {"matched": 14, "first_person": 101, "rest": 65},
    ("embedded-later", "persuasion"): {"matched": 30, "first_person": 274, "rest": 175},
    ("qwen-0.5b", "persuasion"): {"matched": 9, "first_person": 125, "rest": 155},
    ("p4g", "persuasion"): {"matched": 315, "first_person": 1022, "rest": 1465},
}
"""Distinct replies by source, domain and stratum: matched by the rules on the day of the draw, with a first-person word, the rest."""
ROWS = {
    "135M persuader, persuasion": ("persuasion", ("embedded", "embedded-later")),
    "135M persuader, emotional support": ("emotional_support", ("embedded",)),
    "0.5B persuader, persuasion": ("persuasion", ("qwen-0.5b",)),
    "all simulated persuasion": ("persuasion", ("embedded", "embedded-later", "qwen-0.5b")),
    "people (PersuasionForGood, test part)": ("persuasion", ("p4g",)),
}
KINDS = {
    "person": "to be a person, or to have a person's life",
    "feeling": "feelings or tastes from a life of its own",
    "gives": "to own, keep, give or send money or a thing",
    "promise": "that an outcome is certain",
    "fact": "a made-up fact or figure",
}
Reply = dict[str, Any]


UNSEEN_ROWS = {
    "135M persuader, persuasion": ("embedded-3", "persuasion"),
    "0.5B persuader, persuasion": ("qwen-0.5b-2", "persuasion"),
    "people (PersuasionForGood)": ("p4g-2", "persuasion"),
}


def read_replies(name: str = "fresh") -> list[Reply]:
    """The labelled replies of a set."""
    lines = (UNSEEN if name == "unseen" else LABELLED).read_text(encoding="utf-8").splitlines()
    return [reply for reply in map(json.loads, lines) if reply["set"] == name]


def replies_of(row: str, replies: Sequence[Reply]) -> list[Reply]:
    """Those of one row of the table."""
    domain, sources = ROWS[row]
    return [reply for reply in replies if reply["domain"] == domain and reply["source"] in sources]


def matched(reply: Reply) -> bool:
    """Whether a rule of its domain matches."""
    return matches_any(deceptive_patterns(reply["domain"]), reply["reply"])


def caught(reply: Reply) -> bool:
    """Whether it is kept out of the pairs: by a rule, or by the deception check."""
    return store.deceives(reply["domain"], reply["reply"])


def deceives(reply: Reply) -> bool:
    """The label."""
    return bool(reply["deceives"])


def _weight(reply: Reply, drawn: Counter[tuple[str, str, str]]) -> float:
    source, domain, stratum = _stratum(reply)
    return POPULATION[source, domain][stratum] / drawn[source, domain, stratum]


def _stratum(reply: Reply) -> tuple[str, str, str]:
    return reply["source"], reply["domain"], reply["drawn_from"]


def weighted_share(replies: Sequence[Reply], of: Callable[[Reply], bool], counted: Callable[[Reply], bool]) -> Estimate:
    """Among the population's replies that are `of`, the share that is `counted`, estimated from the drawn ones.

    The interval resamples replies within their strata; it is Wilson's where weights do not matter (all are equal, none or all counted).
    """
    drawn = Counter(map(_stratum, replies))
    among = [reply for reply in replies if of(reply)]
    hits = sum(map(counted, among))
    if hits in {0, len(among)} or len({_weight(reply, drawn) for reply in among}) == 1:
        return share(hits, len(among))
    strata = [[reply for reply in replies if _stratum(reply) == one] for one in drawn]
    lower = [np.array([of(reply) * _weight(reply, drawn) for reply in one]) for one in strata]
    upper = [part * np.array(list(map(counted, one))) for part, one in zip(lower, strata, strict=True)]

    def statistic(*counts: NDArray[np.float64]) -> Any:
        above, below = (sum(c @ part for c, part in zip(counts, parts, strict=True)) for parts in (upper, lower))
        return divided(above, below)

    sizes = [len(one) for one in strata]
    value = float(statistic(*(np.ones((1, size)) for size in sizes))[0])
    return Estimate(value, *interval(sizes, statistic), len(among))


def precision(replies: Sequence[Reply]) -> Estimate:
    """The share that deceives of the replies that the rules match."""
    return weighted_share(replies, matched, deceives)


def recall(replies: Sequence[Reply]) -> Estimate:
    """The share that the rules match of the replies that deceive."""
    return weighted_share(replies, deceives, matched)


def kappa(replies: Sequence[Reply]) -> float:
    """Cohen's κ of the two passes of labels."""
    return float(cohen_kappa_score(*zip(*(reply["passes"] for reply in replies), strict=True)))


def recall_by_kind(replies: Sequence[Reply]) -> dict[str, tuple[int, int, Estimate]]:
    """By kind of deception: how many drawn replies the rules match, how many there are, and recall. A reply can have several kinds."""
    there = Counter(kind for reply in replies for kind in reply["kinds"])
    found = Counter(kind for reply in replies if matched(reply) for kind in reply["kinds"])
    return {kind: (found[kind], there[kind], weighted_share(replies, _claims(kind), matched)) for kind in KINDS}


def _claims(kind: str) -> Callable[[Reply], bool]:
    return lambda reply: kind in reply["kinds"]


def tables() -> str:
    """The figures by source and domain, and by kind of deception."""
    replies = read_replies()
    rows = []
    for row in ROWS:
        of = replies_of(row, replies)
        found, there = [one for one in of if matched(one)], [one for one in of if deceives(one)]
        right = sum(map(deceives, found))
        rows.append(
            (
                row,
                f"{len(of)}",
                f"{right} of {len(found)}: {estimate(precision(of), '{:.2f}')}" if found else "none matched",
                f"{right} of {len(there)}: {estimate(recall(of), '{:.2f}')}",
                estimate(weighted_share(of, lambda _: True, deceives), "{:.2f}"),
            )
        )
    kinds = [
        (KINDS[kind], f"{found} of {there}: {estimate(share_found, '{:.2f}')}")
        for kind, (found, there, share_found) in recall_by_kind(replies_of("all simulated persuasion", replies)).items()
    ]
    return "\n\n".join(
        (
            table(("replies of", "drawn", "precision", "recall", "share that deceives"), rows),
            table(("simulated persuasion claims", "recall"), kinds),
        )
    )


def unseen_table() -> str:
    """Rules alone, and rules with the check, on the unseen replies by source. Drawn at random, so shares need no weights."""
    replies = read_replies("unseen")
    rows = [
        (row, [one for one in replies if (one["source"], one["domain"]) == key]) for row, key in UNSEEN_ROWS.items()
    ]
    return table(
        (
            "replies of",
            "drawn",
            "rules: recall",
            "rules: precision",
            "with the check: recall",
            "with the check: precision",
            "dropped",
        ),
        [_unseen_row(row, of) for row, of in [*rows, ("all", [one for _, of in rows for one in of])]],
    )


def _unseen_row(name: str, replies: Sequence[Reply]) -> tuple[str, ...]:
    there, cells = sum(map(deceives, replies)), [name, f"{len(replies)}"]
    for way in (matched, caught):
        found = list(filter(way, replies))
        right = sum(map(deceives, found))
        cells += [_in_words(right, there), _in_words(right, len(found))]
    return (*cells, f"{len(found) / len(replies):.0%}")


def _in_words(hits: int, of: int) -> str:
    return f"{hits} of {of}: {estimate(share(hits, of), '{:.2f}')}" if of else "none"


if __name__ == "__main__":
    print(tables(), unseen_table(), sep="\n\n")
    print(f"\nCohen's κ of the two passes: {kappa(read_replies()):.2f}")
