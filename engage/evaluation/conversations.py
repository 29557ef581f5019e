"""The held-out dialogues as a person reads them: who the user is, what was said exchange by exchange, how it ended, and what was wrong.

A sample of them is shown; both sides of a comparison show the same scenarios and seeds, so that they can be read side by side.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from engage.dialogue import Role
from engage.domains import load_domain
from engage.evaluation.hacking import signs_of
from engage.evaluation.held_out import HeldOutStore
from engage.files.digest import digest
from engage.simulation import without_value
from engage.tracking import Conversation, Exchange


def conversations(held: HeldOutStore, label: str, most: int) -> list[Conversation]:
    """A policy's dialogues, at most `most` with each simulator: which ones depends on scenario and seed alone, not on the policy."""
    given = {"cycle": held.cycle.cycle_id, "policy": label, "scenarios": list(held.scenarios)}
    rows = held.of_method(held.store.rows("evaluation_dialogues", given))
    found: list[Conversation] = []
    for simulator in sorted({row["simulator"] for row in rows}):
        own = sorted((row for row in rows if row["simulator"] == simulator), key=_order)
        found += [_conversation(row) for row in own[:most]]
    return found


def _order(row: Mapping[str, Any]) -> str:
    return digest([row["scenario_id"], row["seed"]])


def _conversation(row: Mapping[str, Any]) -> Conversation:
    domain, condition = load_domain(row["domain"]), json.loads(row["user_condition"])
    turns: Sequence[Mapping[str, Any]] = row["turns"]
    said = [turn["text"] for turn in turns[row["opening_turns"] :] if turn["role"] == Role.ASSISTANT]
    if row["value"] is None:
        survey = without_value(row["reader"], row["reaction_text"])
    else:
        survey = f"{row['reaction_text']!r}, read as {row['value']:.2f} ({domain.survey_unit})"
    manner = f", {condition['difficulty']}" if condition.get("difficulty") else ""
    return Conversation(
        dialogue_id=row["trajectory_id"],
        simulator=row["simulator"],
        domain=row["domain"],
        scenario_id=row["scenario_id"],
        goal=condition["situation"],
        persona=f"{condition['person']}{manner}",
        exchanges=tuple(_exchanges(turns)),
        ending=f"ended: {row['end_reason'].replace('_', ' ')}; exit survey: {survey}",
        reward=row["reward"],
        checks=tuple(check for check, has_sign in signs_of(domain).items() if any(has_sign(said))),
        flaws=tuple(turn["flaw"] for turn in turns if turn["flaw"]),
    )


def _exchanges(turns: Sequence[Mapping[str, Any]]) -> Iterator[Exchange]:
    before: list[dict[str, str]] = []
    for turn in turns:
        if turn["role"] == Role.ASSISTANT:
            yield Exchange(tuple(before), turn["text"])
        before.append({"role": str(turn["role"]), "content": turn["text"]})
    if turns and turns[-1]["role"] != Role.ASSISTANT:
        yield Exchange(tuple(before), "", by_assistant=False)
