"""What a review shows: the pairs of a cycle, or its held-out dialogues of incumbent and candidate; a random sample of them, or a list."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from engage.errors import QueryError
from engage.evaluation.night_page.held_out_dialogues import matches, policies_of
from engage.pages import number
from engage.seeds import derive_seed
from engage.store import TrajectoryStore

Row = Mapping[str, Any]
Kind = Literal["pair", "dialogue"]
Turns = tuple[tuple[str, str], ...]
"""(role, text) of each turn."""
USUAL_SIZE = 30
"""Items of a sample of no stated size: about five minutes."""
_MOST_WORDS, _MOST_CHARACTERS = 15, 120
"""Of the line that says who the user is."""


@dataclass(frozen=True)
class Side:
    """One of the two things to compare: its id (node or trajectory), what it is (`chosen`, `candidate`, …), and its turns."""

    side_id: str
    name: str
    turns: Turns


@dataclass(frozen=True)
class Item:
    """Two sides after the same turns.

    The sides stand in the order chosen, rejected or incumbent, candidate; a review shuffles them. `fact` is hidden until the item is judged;
    `{}` in it is the letter under which the first side was shown, then that of the second.
    """

    kind: Kind
    item_id: str
    cycle_id: str
    scenario_id: str
    tree_id: str | None
    domain: str
    condition: Mapping[str, Any]
    before: Turns
    sides: tuple[Side, Side]
    fact: str

    @property
    def gist(self) -> str:
        """Who the user is, in at most 15 words of their situation; empty if `latest` is all that was said, because it then says so itself."""
        if not self.earlier:
            return ""
        first, *_ = re.split(
            r"(?<=[.!?])\s", str(self.condition.get("situation") or self.condition.get("person") or "")
        )
        short = " ".join(first.split()[:_MOST_WORDS])[:_MOST_CHARACTERS]
        return short if short == " ".join(first.split()) else f"{short}…"

    @property
    def latest(self) -> Turns:
        """What the two sides answer: the user's last turn and what follows it; the last turn if the user has said nothing."""
        users = [place for place, (role, _) in enumerate(self.before) if role == "user"]
        return self.before[users[-1] if users else -1 :]

    @property
    def earlier(self) -> Turns:
        """The turns before `latest`."""
        return self.before[: len(self.before) - len(self.latest)]

    @property
    def names(self) -> frozenset[str]:
        """What a user may write for it: its id; a pair's scenario, alone or with both nodes; the id of one of the dialogues."""
        one, other = (side.side_id for side in self.sides)
        if self.kind == "dialogue":
            return frozenset({self.item_id, one, other})
        scenario = self.scenario_id
        return frozenset({self.item_id, scenario, f"{scenario}:{one}:{other}", f"{scenario}:{other}:{one}"})


@dataclass(frozen=True)
class Sample:
    """Items to review. For a list, `seed` and `population` are None."""

    items: tuple[Item, ...]
    chosen_by: Literal["random", "list"]
    seed: int | None = None
    population: int | None = None


def pair_items(store: TrajectoryStore, cycle_id: str, ids: Sequence[str] | None = None) -> list[Item]:
    """A cycle's pairs that training takes, or would take but for what reviewers said; with `ids` (see `Item.names`) those named, whatever
    became of them."""
    given = {"cycle": cycle_id, "ids": None if ids is None else list(ids)}
    return [_pair(row, cycle_id) for row in store.rows("review_pairs", given)]


def _pair(row: Row, cycle_id: str) -> Item:
    ids = sorted((row["chosen_id"], row["rejected_id"]))
    before = [*json.loads(row["opening"]), *row["turns"]]
    return Item(
        kind="pair",
        item_id=f"{row['tree_id']}:{ids[0]}:{ids[1]}",
        cycle_id=cycle_id,
        scenario_id=row["scenario_id"],
        tree_id=row["tree_id"],
        domain=row["domain"] or "",
        condition=json.loads(row["user_condition"] or "{}"),
        before=tuple((turn["role"], turn["text"]) for turn in before),
        sides=(
            Side(str(row["chosen_id"]), "chosen", (("assistant", row["chosen"]),)),
            Side(str(row["rejected_id"]), "rejected", (("assistant", row["rejected"]),)),
        ),
        fact=f"the search prefers {{0}}: P {number(row['p_greater'], '{:.2f}')}, gap {number(row['q_gap'])}",
    )


def dialogue_items(store: TrajectoryStore, cycle_id: str, candidate: str | None) -> list[Item]:
    """The held-out dialogues of incumbent and candidate (its dialogues' label) with the deciding simulator, by scenario and seed.

    Without a candidate that talked there are none.
    """
    rows = store.rows("page_dialogues", {"cycle": cycle_id})
    policies = policies_of(rows, candidate)
    if policies.candidate is None or policies.incumbent is None:
        return []
    said = {
        row["trajectory_id"]: row
        for label in policies.named.values()
        for row in store.rows("evaluation_turns", {"cycle": cycle_id, "policy": label, "simulator": policies.simulator})
    }
    conditions = {row["trajectory_id"]: row["user_condition"] for row in rows}
    return [_dialogue(match.rows, said, conditions, cycle_id) for match in matches(rows, policies)]


def _dialogue(
    rows: Mapping[str, Row], said: Mapping[str, Row], conditions: Mapping[str, str | None], cycle_id: str
) -> Item:
    incumbent, candidate = (
        _dialogue_side(name, rows[name], said[rows[name]["trajectory_id"]]) for name in ("incumbent", "candidate")
    )
    row = rows["incumbent"]
    rewards = {name: number(one["reward"], "{:.2f}") for name, one in rows.items()}
    first = said[row["trajectory_id"]]
    opening = first["turns"][: first["opening_turns"]]
    return Item(
        kind="dialogue",
        item_id=" ".join(sorted((incumbent.side_id, candidate.side_id))),
        cycle_id=cycle_id,
        scenario_id=row["scenario_id"],
        tree_id=None,
        domain=row["domain"] or "",
        condition=json.loads(conditions[row["trajectory_id"]] or "{}"),
        before=tuple((turn["role"], turn["text"]) for turn in opening),
        sides=(incumbent, candidate),
        fact=f"{{1}} is the candidate (reward {rewards['candidate']}), {{0}} the incumbent ({rewards['incumbent']})",
    )


def _dialogue_side(name: str, row: Row, said: Row) -> Side:
    turns = tuple((turn["role"], turn["text"]) for turn in said["turns"][said["opening_turns"] :])
    return Side(row["trajectory_id"], name, turns)


def draw(items: Sequence[Item], size: int) -> Sample:
    """A random sample of the cycle's items. The order of the draw depends on the cycle alone: a larger sample holds the smaller ones.

    QueryError if there is nothing to draw from.
    """
    if not items:
        raise QueryError("there is nothing to review")
    seed = derive_seed("review", items[0].cycle_id, items[0].kind)
    order = sorted(items, key=lambda item: (derive_seed(seed, item.item_id), item.item_id))
    return Sample(tuple(order[:size]), "random", seed, len(items))


def named(items: Sequence[Item], ids: Sequence[str]) -> Sample:
    """The items that a user names, in that order; QueryError for a name that none has."""
    found: dict[str, Item] = {}
    for name in ids:
        hits = {item.item_id: item for item in items if name in item.names}
        if not hits:
            raise QueryError(
                f"{name!r:.200} is no pair and no held-out dialogue of this cycle; write a scenario (all of its pairs), "
                "SCENARIO:NODE:NODE (one pair), or the id of a dialogue of incumbent or candidate"
            )
        found |= hits
    return Sample(tuple(found.values()), "list")
