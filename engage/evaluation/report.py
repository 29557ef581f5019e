"""The report of a cycle as Markdown: the verdict, a table per domain, and what became of the candidate pairs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from engage.evaluation.promotion import Verdict
from engage.pages import difference, number, page, sentence, signed, spaced, table
from engage.stats import Comparison

_WORDS = {
    "mean_words": ("words per reply", "{:.1f}"),
    "distinct_1": ("distinct words", "{:.3f}"),
    "distinct_2": ("distinct word pairs", "{:.3f}"),
    "repetition": ("replies that repeat an earlier one", "{:.1%}"),
    "flaw_rate": ("flawed replies", "{:.1%}"),
}


@dataclass(frozen=True)
class DomainReport:
    """One domain's part of the report: comparisons by simulator name (such as `search`, `held-out bare`), text measures and hacking rates of incumbent and candidate."""

    domain: str
    comparisons: Mapping[str, Comparison]
    text_base: Mapping[str, float] = field(default_factory=dict)
    text_candidate: Mapping[str, float] = field(default_factory=dict)
    hacking_base: Mapping[str, float] = field(default_factory=dict)
    hacking_candidate: Mapping[str, float] = field(default_factory=dict)


def report(
    title: str,
    verdict: Verdict | None,
    domains: Sequence[DomainReport],
    pairs: Mapping[str, int],
    base_name: str = "champion",
    to_base: Mapping[str, Mapping[str, Comparison]] | None = None,
    notes: Sequence[str] = (),
    people: Sequence[str] = (),
) -> str:
    """The whole page; `pairs` counts pairs by what became of them (`accepted`, then one entry per reason for dropping).

    `base_name` is what the candidate is compared with. If that is a champion, `to_base` compares the candidate with the base, by
    simulator and domain: the gain of all nights so far. `notes` are sentences that follow the verdict, `people` those about what
    reviewers said. Numbers that do not exist are shown as a dash.
    """
    parts = [f"# {title}", f"**{sentence(verdict.reason)}**" if verdict else "No candidate was judged."]
    parts += [sentence(note) for note in notes]
    for domain in domains:
        parts += [f"## {domain.domain}", _table(domain, base_name)]
        parts += [sentence(_in_words(name, found)) for name, found in domain.comparisons.items()]
    if to_base:
        parts += ["## Against the base", *_against_base(to_base)]
    parts += ["## Pairs", _pairs(pairs)]
    if people:
        parts += ["## What people say", " ".join(people)]
    return page(parts)


def _against_base(found: Mapping[str, Mapping[str, Comparison]]) -> list[str]:
    return [
        sentence(f"{spaced(domain)}: {_in_words(simulator, comparison)}")
        for simulator, by_domain in found.items()
        for domain, comparison in by_domain.items()
    ]


def _table(domain: DomainReport, base_name: str) -> str:
    rows = [
        [f"reward, {name} simulator", number(found.mean_base), number(found.mean_candidate), difference(found)]
        for name, found in domain.comparisons.items()
    ]
    for key, (label, shape) in _WORDS.items():
        rows.append(_row(label, shape, domain.text_base.get(key), domain.text_candidate.get(key)))
    for check in {**domain.hacking_base, **domain.hacking_candidate}:
        sides = domain.hacking_base.get(check), domain.hacking_candidate.get(check)
        rows.append(_row(f"replies with {spaced(check)}", "{:.1%}", *sides))
    return table(["", base_name, "candidate", "difference"], rows)


def _row(label: str, shape: str, base: float | None, candidate: float | None) -> list[str]:
    change = None if base is None or candidate is None else candidate - base
    return [label, number(base, shape), number(candidate, shape), signed(change, shape)]


def _in_words(name: str, found: Comparison) -> str:
    """One comparison as a sentence, with the number of unreadable dialogues."""
    left_out = f"; {found.n_unreadable} dialogue pairs had no readable survey answer" if found.n_unreadable else ""
    if found.difference is None or found.low is None or found.high is None or found.win_rate is None:
        return f"{name} simulator: only {found.n} scenarios could be compared, too few for a result{left_out}"
    direction = "better" if found.low > 0 else "worse" if found.high < 0 else "not significantly different"
    relative = "" if found.relative is None else f" ({found.relative:+.1%})"
    return (
        f"{name} simulator: the candidate is {direction} at {found.confidence:.2%} confidence; reward {found.difference:+.3f}{relative}, "
        f"it wins {found.win_rate:.0%} of {found.n} scenarios{left_out}"
    )


def _pairs(pairs: Mapping[str, int]) -> str:
    if not pairs:
        return "No pair was built."
    dropped = [[spaced(reason), str(count)] for reason, count in pairs.items() if reason != "accepted"]
    return table(["", "pairs"], [["accepted", str(pairs.get("accepted", 0))], *dropped])
