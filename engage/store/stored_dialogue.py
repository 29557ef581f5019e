"""One stored dialogue read back whole: its scenario, its turns as they were drawn, its reaction, and the requests made for it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engage.dialogue import Dialogue, Reaction, Role, Trajectory, Turn
from engage.engines.recording import CallRecord
from engage.errors import QueryError, ScenarioError
from engage.scenario import Scenario, parse_scenario
from engage.store.reader import StoreReader


@dataclass(frozen=True)
class StoredDialogue:
    """A dialogue by its id. `policy` and `simulator` are labels, None in a search, where `simulation` is its number; a search's user that
    its tree drew has a label. `seed` is the cycle's in a search, else the dialogue's own.

    `tree_depth` counts its turns after the opening that are nodes of its tree. `calls` are the requests made for it, without their
    costs; those of a search are its whole tree's.
    """

    id: str
    cycle_id: str
    purpose: str
    policy: str | None
    simulator: str | None
    simulation: int | None
    seed: int
    tree_depth: int
    scenario: Scenario
    trajectory: Trajectory
    calls: tuple[CallRecord, ...]

    @property
    def turns(self) -> tuple[Turn, ...]:
        """Its turns, the opening included."""
        return self.trajectory.dialogue.turns


def read_dialogue(store: StoreReader, trajectory_id: str) -> StoredDialogue:
    """The dialogue with this id; QueryError if it, or its scenario, is not stored or cannot be read (a domain of a module not allowed)."""
    (row,) = store.rows("stored_dialogue", {"id": trajectory_id})
    dialogue = Dialogue(tuple(_turn(turn) for turn in row["turns"]))
    reaction = Reaction(row["reader"], row["reaction_text"], row["value"], tuple(row["probabilities"]))
    return StoredDialogue(
        id=row["id"],
        cycle_id=row["cycle_id"],
        purpose=row["purpose"],
        policy=row["policy"],
        simulator=row["simulator"],
        simulation=row["simulation"],
        seed=row["seed"],
        tree_depth=row["tree_depth"] or 0,
        scenario=_scenario(row),
        trajectory=Trajectory(
            row["scenario_id"], dialogue, reaction, row["reward"], row["exchanges"], row["end_reason"]
        ),
        calls=tuple(CallRecord(**call, **_NO_COSTS) for call in row["calls"] or ()),
    )


_NO_COSTS: Mapping[str, Any] = {
    "prompt_tokens": None,
    "cached_tokens": None,
    "completion_tokens": None,
    "latency_s": 0.0,
}


def _turn(turn: Mapping[str, Any]) -> Turn:
    return Turn(**{**turn, "role": Role(turn["role"]), "redrawn": tuple(turn["redrawn"] or ())})


def _scenario(row: Mapping[str, Any]) -> Scenario:
    if row["domain"] is None:
        raise QueryError(f"the scenario {row['scenario_id']!r} of this dialogue is not in the store")
    content = {name: json.loads(row[name]) for name in ("user_condition", "opening")}
    record = {"id": row["scenario_id"], "domain": row["domain"], "source": row["source"], **content}
    try:
        return parse_scenario(record, any_language=True)
    except ScenarioError as error:
        raise QueryError(f"the scenario {row['scenario_id']!r} of this dialogue: {error}") from error
