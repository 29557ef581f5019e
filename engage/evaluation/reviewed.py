"""What people said of a cycle's pairs and held-out dialogues: which side they prefer, against what the search states; whether they agree."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

from engage.pages import bounded, counted, number
from engage.stats import Estimate, accuracies, krippendorff_alpha, rate, ratio
from engage.store import FAULTS, TrajectoryStore

Row = Mapping[str, Any]
LEAST_SHARED = 20
"""Items that at least two reviewers judged, below which an estimate of their accuracy would say more than is known."""


@dataclass(frozen=True)
class Reviewer:
    """One person: judgements, median seconds of one, and accuracy (None with fewer than `LEAST_SHARED` items that two judged)."""

    name: str
    judgements: int
    seconds: float
    accuracy: Estimate | None


@dataclass(frozen=True)
class Reviewed:
    """The judgements of one kind of items, `pairs` or `dialogues`.

    `side` is what `share` counts (`chosen`, `candidate`) against `other`: the mean, over the decided items of the random sample, of the share
    of its deciding reviewers who prefer it; scenarios are resampled. `stated` is the search's mean P on the same items, `excess` the share
    less that; None for dialogues. `listed` judgements come from chosen lists: they count for the agreement and the reviewers alone.
    """

    what: str
    side: str
    other: str
    items: int
    size: int
    population: int
    decided: int
    scenarios: int
    share: Estimate
    stated: float | None
    excess: Estimate | None
    verdicts: Mapping[str, int]
    listed: int
    agreement: Estimate
    reviewers: tuple[Reviewer, ...]

    def sentences(self) -> list[str]:
        """For a page, in plain words."""
        found = list(self._preference())
        alpha = bounded(self.agreement.value, self.agreement.low, self.agreement.high, "{:.2f}")
        if self.agreement.value is not None:
            found.append(
                f"Agreement of the reviewers: Krippendorff’s α {alpha} over {self.agreement.n} {self.what} that at least two judged "
                "(1: they always agree, 0: as by chance)."
            )
        elif len(self.reviewers) == 1:
            found.append("There is one reviewer, so that agreement cannot be computed.")
        if self.listed:
            found.append(
                f"{counted(self.listed, 'further judgement')} from chosen lists {'does' if self.listed == 1 else 'do'} not count in the share."
            )
        return found

    def _preference(self) -> list[str]:
        if not self.items:
            return []
        verdicts = ", ".join(f"{count} {verdict}" for verdict, count in self.verdicts.items())
        one = self.what.removesuffix("s")
        sample = (
            f"People judged {counted(self.items, one)} of a random sample of {self.size} from {self.population}, "
            f"with {counted(sum(self.verdicts.values()), 'judgement')}: {verdicts}."
        )
        if self.share.value is None:
            return [sample]
        share = bounded(self.share.value, self.share.low, self.share.high, "{:.0%}")
        decided = f"{counted(self.decided, f'decided {one}')} from {counted(self.scenarios, 'scenario')}"
        unit = f"A decided {one} is one with a side that somebody preferred; it counts once, however many people judged it."
        return [
            sample,
            f"They preferred the {self.side} side in {share} of {decided}{self._calibration()}.",
            unit,
        ]

    def _calibration(self) -> str:
        """How the stated P compares with the share; empty without P."""
        if self.stated is None or self.excess is None or self.excess.value is None:
            return ""
        low, high = self.excess.low, self.excess.high
        stated = f"; the search stated P = {number(self.stated, '{:.2f}')} on average"
        by = bounded(self.excess.value, low, high, "{:+.2f}")
        if low is not None and high is not None and (low > 0 or high < 0):
            return f"{stated}, which is too {'low' if low > 0 else 'high'}: the difference is {by}"
        return f"{stated}: the difference of {by} may be chance"


def reviewed(store: TrajectoryStore, cycle_id: str, candidate: str | None) -> list[Reviewed]:
    """From sql/inspect/judged_pairs.sql and judged_dialogues.sql; a kind that nobody judged is left out.

    Of dialogues only those of this candidate count (its label; None: of all), not those of an earlier training of the cycle.
    """
    kinds = (
        ("pairs", "chosen", "rejected", "judged_pairs"),
        ("dialogues", "candidate", "incumbent", "judged_dialogues"),
    )
    found = []
    for what, side, other, query in kinds:
        rows = [
            row
            for row in store.rows(query, {"cycle": cycle_id})
            if candidate is None or row.get("candidate_policy", candidate) == candidate
        ]
        found += [_reviewed(what, side, other, rows)] if rows else []
    return found


def _reviewed(what: str, side: str, other: str, rows: Sequence[Row]) -> Reviewed:
    sampled = [row for row in rows if row["sample"] == "random"]
    decided: dict[str, list[Row]] = {}
    for row in sampled:
        if row["verdict"] in (side, other):
            decided.setdefault(row["item_id"], []).append(row)
    scenarios = sorted({item[0]["scenario_id"] for item in decided.values()})
    sums = {scenario: [0.0, 0.0, 0.0] for scenario in scenarios}
    for item in decided.values():
        prefer, stated = fmean(row["verdict"] == side for row in item), item[0].get("p_greater") or 0.0
        for place, value in enumerate((1.0, prefer, prefer - stated)):
            sums[item[0]["scenario_id"]][place] += value
    count, hits, above = (list(column) for column in zip(*sums.values(), strict=True)) if sums else ([], [], [])
    with_p = what == "pairs" and bool(decided)
    verdicts = Counter(row["verdict"] for row in sampled)
    return Reviewed(
        what=what,
        side=side,
        other=other,
        items=len({row["item_id"] for row in sampled}),
        size=max((row["sample_size"] for row in sampled), default=0),
        population=max((row["population"] for row in sampled), default=0),
        decided=len(decided),
        scenarios=len(scenarios),
        share=rate(hits, count) if decided else Estimate(),
        stated=fmean(item[0]["p_greater"] for item in decided.values()) if with_p else None,
        excess=ratio(above, count) if with_p else None,
        verdicts={name: verdicts[name] for name in (side, other, "equal", *FAULTS) if verdicts[name]},
        listed=len(rows) - len(sampled),
        **_between(rows, side, other),
    )


def _between(rows: Sequence[Row], side: str, other: str) -> dict[str, Any]:
    """The agreement of the reviewers, and each of them."""
    names = sorted({row["reviewer"] for row in rows})
    codes = {verdict: code for code, verdict in enumerate((other, side, "equal", *FAULTS))}
    said: dict[str, dict[str, int]] = {}
    for row in rows:
        said.setdefault(row["item_id"], {})[row["reviewer"]] = codes[row["verdict"]]
    scenario_of = {row["item_id"]: row["scenario_id"] for row in rows}
    places = {scenario: place for place, scenario in enumerate(dict.fromkeys(scenario_of.values()))}
    unit = [places[scenario_of[item]] for item in said]
    values = [[item.get(name) for name in names] for item in said.values()]
    votes = [[value if value in (0, 1) else None for value in item] for item in values]
    shared = sum(len(item) > 1 for item in said.values())
    measured = accuracies(votes, unit)[1:] if shared >= LEAST_SHARED else [None] * len(names)
    return {
        "agreement": krippendorff_alpha(values, unit),
        "reviewers": tuple(
            Reviewer(name, len(own), median(row["seconds"] for row in own), accuracy)
            for name, accuracy in zip(names, measured, strict=True)
            if (own := [row for row in rows if row["reviewer"] == name])
        ),
    }
