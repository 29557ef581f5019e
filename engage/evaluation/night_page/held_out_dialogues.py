"""The held-out dialogues that a page shows: the best, the worst and the most changed, incumbent and candidate side by side."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engage.evaluation.night_page.speakers import Speakers, end_in_words, speakers_of
from engage.evaluation.simulators import deciding
from engage.pages import number
from engage.store import Challenges, TrajectoryStore

Row = Mapping[str, Any]
EACH = 3
"""Dialogues of each kind."""


@dataclass(frozen=True)
class Policies:
    """Labels of the policies of a cycle's evaluation, and of the simulator that decides (the held-out one, if there is one).

    None for what did not talk, or, as a simulator, gave no reward: the adversarial users of a comparison are not asked for one.
    """

    incumbent: str | None
    candidate: str | None
    simulator: str | None

    @property
    def named(self) -> dict[str, str]:
        """Role to label, of those that talked."""
        found = {"incumbent": self.incumbent, "candidate": self.candidate}
        return {name: label for name, label in found.items() if label}


def policies_of(dialogues: Sequence[Row], candidate: str | None) -> Policies:
    """From the rows of sql/inspect/page_dialogues.sql; `candidate` is the label of the cycle's present candidate."""
    labels = dict.fromkeys(row["policy"] for row in dialogues)
    simulators = dict.fromkeys(row["simulator"] for row in dialogues if row["reward"] is not None)
    champions = [label for label in labels if label.startswith("champion")]
    incumbent = champions[0] if champions else "base" if "base" in labels else None
    return Policies(incumbent, candidate if candidate in labels else None, deciding(simulators))


def judged_scenarios(store: TrajectoryStore, dialogues: Sequence[Row], policies: Policies) -> list[str]:
    """The scenarios on which a page compares the policies: those of the candidate's challenge on which all of them talked.

    Others have dialogues of one side, or were held for a comparison (`engage compare`) on the other half of the validation split.
    """
    talked = [{row["scenario_id"] for row in dialogues if row["policy"] == label} for label in policies.named.values()]
    shared = set.intersection(*talked) if talked else set()
    for one in Challenges(store).all():
        if one.policy == policies.candidate and one.incumbent == policies.incumbent:
            shared &= set(one.scenarios)
    return sorted(shared)


@dataclass(frozen=True)
class Side:
    """One policy's dialogue below the shared opening, to the answer in words."""

    name: str
    turns: tuple[tuple[str, str], ...]
    answer: str
    reward: float | None
    end: str
    dialogue: str


@dataclass(frozen=True)
class Shown:
    """One scenario's dialogue: why it is shown (best, worst, most changed), the opening, and the sides."""

    kinds: tuple[str, ...]
    scenario: str
    speakers: Speakers
    opening: tuple[tuple[str, str], ...]
    sides: tuple[Side, ...]


@dataclass(frozen=True)
class Match:
    """One scenario and seed with the rows of every policy that talked."""

    rows: Mapping[str, Row]

    @property
    def last(self) -> Row:
        return self.rows["candidate"] if "candidate" in self.rows else next(iter(self.rows.values()))

    @property
    def change(self) -> float:
        rewards = [row["reward"] for row in self.rows.values()]
        return abs(rewards[-1] - rewards[0])

    @property
    def key(self) -> tuple[str, int]:
        return self.last["scenario_id"], self.last["seed"]


def shown_dialogues(store: TrajectoryStore, cycle_id: str, dialogues: Sequence[Row], policies: Policies) -> list[Shown]:
    """Three of each kind, or fewer where one is of several kinds; only dialogues with a reward on every side."""
    chosen = _chosen(matches(dialogues, policies))
    scenarios = sorted({match.last["scenario_id"] for _, match in chosen})
    turns = {
        row["trajectory_id"]: row
        for label in policies.named.values()
        for row in store.rows(
            "evaluation_turns",
            {"cycle": cycle_id, "policy": label, "simulator": policies.simulator, "scenarios": scenarios},
        )
    }
    return [_shown(kinds, match, turns) for kinds, match in chosen]


def matches(dialogues: Iterable[Row], policies: Policies) -> list[Match]:
    """The scenarios and seeds at which every policy talked with the deciding simulator and could be rewarded."""
    roles = {label: name for name, label in policies.named.items()}
    found: dict[tuple[str, int], dict[str, Row]] = {}
    for row in dialogues:
        if row["simulator"] == policies.simulator and row["policy"] in roles and row["reward"] is not None:
            found.setdefault((row["scenario_id"], row["seed"]), {})[roles[row["policy"]]] = row
    whole = [rows for rows in found.values() if len(rows) == len(roles)]
    return [Match({name: rows[name] for name in policies.named}) for rows in whole]


def _chosen(matches: Sequence[Match]) -> list[tuple[tuple[str, ...], Match]]:
    """With the kinds that each is of, in the order best, worst, most changed."""
    orders = {
        "best": sorted(matches, key=lambda match: (-match.last["reward"], -match.change, match.key)),
        "worst": sorted(matches, key=lambda match: (match.last["reward"], -match.change, match.key)),
        "most changed": sorted(matches, key=lambda match: (-match.change, match.key)) if _both(matches) else [],
    }
    kinds: dict[tuple[str, int], tuple[str, ...]] = {}
    for kind, order in orders.items():
        for match in order[:EACH]:
            kinds[match.key] = (*kinds.get(match.key, ()), kind)
    by_key = {match.key: match for match in matches}
    return [(found, by_key[key]) for key, found in kinds.items()]


def _both(matches: Sequence[Match]) -> bool:
    return bool(matches) and len(matches[0].rows) > 1


def _shown(kinds: tuple[str, ...], match: Match, turns: Mapping[str, Row]) -> Shown:
    speakers = speakers_of(match.last["domain"])
    opening = turns[match.last["trajectory_id"]]
    sides = []
    for name, row in match.rows.items():
        said = turns[row["trajectory_id"]]
        below = tuple((turn["role"], turn["text"]) for turn in said["turns"][said["opening_turns"] :])
        sides.append(
            Side(
                name,
                below,
                _answer(row, speakers),
                row["reward"],
                end_in_words(row["end_reason"]),
                row["trajectory_id"],
            )
        )
    first = tuple((turn["role"], turn["text"]) for turn in opening["turns"][: opening["opening_turns"]])
    return Shown(kinds, match.last["scenario_id"], speakers, first, tuple(sides))


def _answer(row: Row, speakers: Speakers) -> str:
    if row["reader"] == "expected":
        return f"Expected answer {number(row['value'], '{:.2f}')} ({speakers.unit})."
    return f"Answer “{row['reaction_text']}”: {number(row['value'], '{:.2f}')} ({speakers.unit})."
