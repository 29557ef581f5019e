"""The page of a night: gathers every part from the store and the cycle's folder, and writes them as one file of HTML."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from engage.evaluation.held_out import policy_label
from engage.evaluation.night_page.checks import Check, checks_of
from engage.evaluation.night_page.evidence import evidence_data
from engage.evaluation.night_page.gains import (
    Decision,
    by_kind_of_user,
    decision,
    gains,
    nights,
    reward_by_turn,
    training_curves,
)
from engage.evaluation.night_page.held_out_dialogues import Shown, judged_scenarios, policies_of, shown_dialogues
from engage.evaluation.night_page.sampling import Sample, sample_trees, worth_reading
from engage.evaluation.night_page.searched import happened, pair_table, simulator_health, thresholds
from engage.evaluation.night_page.trees import read_trees, tree_sizes
from engage.evaluation.reviewed import reviewed
from engage.pages import html_page
from engage.store import TrajectoryStore


@dataclass(frozen=True)
class Hint:
    """One thing to look at first: a sentence, and where it leads on the page."""

    text: str
    link: str


def night_page(store: TrajectoryStore, cycle_id: str, folder: Path, adapter: Path | None, unfinished: str = "") -> str:
    """The page of a cycle as it is stored now. `folder` is the cycle's, `adapter` that of its present candidate (None: none was trained).
    `unfinished` is a sentence on how the cycle was cut off.

    QueryError for an unknown cycle.
    """
    given = {"cycle": cycle_id}
    candidate = policy_label("candidate", str(adapter)) if adapter and adapter.is_dir() else None
    dialogues = store.rows("page_dialogues", given)
    policies = policies_of(dialogues, candidate)
    compared_on = judged_scenarios(store, dialogues, policies)
    dialogues = [row for row in dialogues if row["scenario_id"] in compared_on]
    sizes = tree_sizes(store, cycle_id)
    sample = sample_trees(read_trees(store, cycle_id, worth_reading(sizes)), len(sizes))
    decided = decision(folder, candidate, unfinished)
    checks = checks_of(store.rows("evaluation_replies", {**given, "scenarios": compared_on}), policies)
    shown = shown_dialogues(store, cycle_id, dialogues, policies)
    heads, users = by_kind_of_user(store, cycle_id, policies, compared_on)
    return html_page(
        "night.html.j2",
        title=f"Cycle {cycle_id}",
        cycle_id=cycle_id,
        decision=decided,
        gains=gains(store, cycle_id, candidate),
        happened=happened(store, cycle_id),
        nights=nights(store, cycle_id),
        pairs=pair_table(store, cycle_id),
        thresholds=thresholds(store, cycle_id),
        policies=policies,
        dialogues=shown,
        by_turn=reward_by_turn(store, cycle_id),
        user_heads=heads,
        users=users,
        curves=training_curves(adapter),
        checks=checks,
        health=simulator_health(store, cycle_id),
        people=reviewed(store, cycle_id, candidate),
        hints=list(_hints(decided, checks, shown, sample)),
        sample_note=sample.note,
        evidence=evidence_data(sample.trees),
    )


def _hints(decided: Decision, checks: Sequence[Check], shown: Sequence[Shown], sample: Sample) -> Iterator[Hint]:
    for failure in decided.failures:
        place = next((place for place, check in enumerate(checks, 1) if check.is_of(failure)), None)
        yield Hint(f"A check failed: {failure}.", f"#check-{place}" if place else "#checks")
    for kind in ("most changed", "worst"):
        for number, one in enumerate(shown, 1):
            if kind in one.kinds:
                yield Hint(f"The {kind} held-out dialogue, scenario {one.scenario}.", f"#dialogue-{number}")
                break
    for place, check in enumerate(checks, 1):
        if check.share("candidate") > check.share("incumbent"):
            counts = f"{check.count('candidate')}, incumbent {check.count('incumbent')}"
            yield Hint(
                f"The candidate says more that counts as {check.name} ({check.domain}: {counts}); it may be chance.",
                f"#check-{place}",
            )
    yield from _evidence_hints(sample.trees)


def _evidence_hints(trees: Sequence[dict[str, Any]]) -> Iterator[Hint]:
    pairs = [(tree, pair) for tree in trees for pair in tree["pairs"]]
    accepted = [(tree, pair) for tree, pair in pairs if pair["fate"] == "accepted"]
    if sound := [(tree, pair) for tree, pair in accepted if not pair["faulty"]]:
        surest, doubtful = (pick(sound, key=lambda one: one[1]["p"]) for pick in (max, min))
        yield Hint(f"The surest accepted pair ({_chance(surest[1])}).", _pair_link(*surest))
        if doubtful is not surest:
            yield Hint(f"The least sure accepted pair ({_chance(doubtful[1])}).", _pair_link(*doubtful))
    elif pairs and not accepted:
        surest = max(pairs, key=lambda one: one[1]["p"])
        yield Hint(f"The surest pair, although none was accepted ({_chance(surest[1])}).", _pair_link(*surest))
    spreads = [(_spread(tree), tree) for tree in trees if tree["widest"] is not None]
    if spreads:
        spread, tree = max(spreads, key=lambda one: one[0])
        link = "#" + urlencode({"scenario": tree["scenario"], "node": tree["widest"]})
        yield Hint(
            f"The place where replies differ most: scenario {tree['scenario']}, values {spread:.2g} apart, in reward from 0 to 1.",
            link,
        )


def _chance(pair: dict[str, Any]) -> str:
    return f"the chosen reply is the better one with P {pair['p']:.2f}"


def _pair_link(tree: dict[str, Any], pair: dict[str, Any]) -> str:
    return "#" + urlencode({"scenario": tree["scenario"], "chosen": pair["chosen"], "rejected": pair["rejected"]})


def _spread(tree: dict[str, Any]) -> float:
    """How far apart the values are where they are furthest apart."""
    nodes = tree["nodes"]
    values = [
        value
        for value, parent in zip(nodes["value"], nodes["parent"], strict=True)
        if parent == tree["widest"] and value is not None
    ]
    return float(max(values) - min(values))
