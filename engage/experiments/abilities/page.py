"""Figures of the experiment and its page: shares right by kind, and what changed from one policy to the next."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from engage.experiments.abilities.instructions import GREEDY, Instruction
from engage.pages import bounded, counted, page, table
from engage.stats import interval, share

_WHAT = """\
Each policy replies once to short instructions, with the most probable token at each step and at most {tokens} tokens. A program checks each reply:
it is right or wrong. Differences are paired, and their 95 % intervals resample instructions within their kinds. "Only before" and "only after" count
the instructions that only one of the two policies got right; p is McNemar's exact test of these two numbers.

The instructions show what a training broke. They do not rank models: half of the yes-or-no questions are answered by "yes" alone, and the easiest
instructions are within reach of the smallest models."""


@dataclass(frozen=True)
class Change:
    """From one policy to the next: the difference of the shares right with its interval, and how many instructions changed sides."""

    value: float
    low: float | None
    high: float | None
    only_before: int
    only_after: int

    @property
    def p_value(self) -> float:
        """McNemar's exact test, two-sided; 1 if nothing changed sides."""
        from scipy.stats import binomtest

        changed = self.only_before + self.only_after
        return float(binomtest(self.only_after, changed).pvalue) if changed else 1.0

    def __str__(self) -> str:
        shown = bounded(self.value, self.low, self.high, "{:+.3f}")
        return f"{shown}, only before {self.only_before}, only after {self.only_after}, p = {self.p_value:.2g}"


@dataclass(frozen=True)
class Abilities:
    """What each policy replied, by its name on the page, to each of `asked`."""

    asked: tuple[Instruction, ...]
    replies: Mapping[str, Sequence[str]]

    @property
    def right(self) -> dict[str, list[bool]]:
        """Per policy, which replies are right."""
        return {
            name: [one.right(reply) for one, reply in zip(self.asked, said, strict=True)]
            for name, said in self.replies.items()
        }

    @property
    def changes(self) -> dict[str, Change]:
        """From each policy to the next."""
        kinds = [one.kind for one in self.asked]
        found = list(self.right.items())
        return {
            f"{after} − {before}": change(kinds, first, second) for (before, first), (after, second) in pairwise(found)
        }

    @property
    def line(self) -> str:
        """The shares right, and the last change, as one line."""
        shares = ", ".join(f"{name} {sum(right)}" for name, right in self.right.items())
        text = f"right of {len(self.asked)}: {shares}"
        return "; ".join([text, *(f"{name}: {found}" for name, found in [*self.changes.items()][-1:])])

    def metrics(self) -> dict[str, float | None]:
        """The figures by MLflow metric name; those of a change belong to the last one."""
        found: dict[str, float | None] = {}
        for name, right in self.right.items():
            found[f"abilities/{name}"] = sum(right) / len(right)
            for kind in dict.fromkeys(one.kind for one in self.asked):
                found[f"abilities/{name}/{kind}"] = float(
                    np.mean([hit for hit, one in zip(right, self.asked, strict=True) if one.kind == kind])
                )
        for last in [*self.changes.values()][-1:]:
            found |= {"abilities/change": last.value, "abilities/change_low": last.low}
            found |= {"abilities/change_high": last.high, "abilities/change_p": last.p_value}
            found |= {"abilities/only_before": last.only_before, "abilities/only_after": last.only_after}
        return found


def change(kinds: Sequence[str], before: Sequence[bool], after: Sequence[bool]) -> Change:
    """The paired change of the share right; the interval resamples instructions within their kinds (None if one kind has a single one)."""
    first, second = np.array(before, dtype=float), np.array(after, dtype=float)
    strata = [(second - first)[[kind == one for kind in kinds]] for one in dict.fromkeys(kinds)]
    low, high = interval(
        [*map(len, strata)],
        lambda *counts: sum(drawn @ own for drawn, own in zip(counts, strata, strict=True)) / len(kinds),
    )
    return Change(float((second - first).mean()), low, high, int((first > second).sum()), int((second > first).sum()))


def abilities_page(title: str, found: Abilities, about: Mapping[str, str]) -> str:
    """The page; `about` says what each policy is, by its name."""
    right = found.right
    kinds = list(dict.fromkeys(one.kind for one in found.asked))
    rows = []
    for kind in kinds:
        own = [place for place, one in enumerate(found.asked) if one.kind == kind]
        rows.append([kind, str(len(own)), *(str(sum(hits[place] for place in own)) for hits in right.values())])
    wilson = [share(sum(hits), len(hits)) for hits in right.values()]
    rows.append(["all", str(len(found.asked)), *(str(sum(hits)) for hits in right.values())])
    rows.append(["share", "", *(bounded(one.value, one.low, one.high, "{:.2f}") for one in wilson)])
    changes = [
        [
            name,
            bounded(one.value, one.low, one.high, "{:+.3f}"),
            str(one.only_before),
            str(one.only_after),
            f"{one.p_value:.2g}",
        ]
        for name, one in found.changes.items()
    ]
    parts = [f"# Abilities, {title}", f"**{abilities_answer(found)}**", table(["kind", "asked", *right], rows)]
    if changes:
        parts.append(table(["change", "share right [95 %]", "only before", "only after", "p"], changes))
    policies = [f"{name}: {what}." for name, what in about.items()]
    return page([*parts, _WHAT.format(tokens=GREEDY.max_tokens), "## Policies", *policies])


def abilities_answer(found: Abilities) -> str:
    """The result as one sentence."""
    if not found.changes:
        return f"Nothing to compare with: {found.line}."
    last = [*found.changes.values()][-1]
    if last.low is None or last.high is None:
        return "The change cannot be told."
    if last.high < 0:
        return f"The trained policy lost abilities: {counted(last.only_before, 'instruction')} of {len(found.asked)} right before only."
    if last.low > 0:
        return f"The trained policy gained abilities: {counted(last.only_after, 'instruction')} of {len(found.asked)} right after only."
    return f"No change was found: the interval of the difference is [{last.low:+.3f}, {last.high:+.3f}]."


def replies_csv(found: Abilities) -> str:
    """One row per instruction: what each policy replied, and whether it was right."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["id", "kind", "instruction", "check"] + [f"{name}{end}" for name in found.replies for end in ("", "_right")]
    )
    right = found.right
    for place, one in enumerate(found.asked):
        said = [cell for name in found.replies for cell in (found.replies[name][place], int(right[name][place]))]
        writer.writerow([one.id, one.kind, one.instruction, one.check, *said])
    return text.getvalue()
