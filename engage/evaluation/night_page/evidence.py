"""The page of one scenario's evidence: its tree and its pairs; and the same data for the page of a night."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from engage.evaluation.night_page.searched import thresholds
from engage.evaluation.night_page.speakers import ENDS, FATES, all_speakers
from engage.evaluation.night_page.trees import read_trees
from engage.pages import html_page
from engage.store import TrajectoryStore


def evidence_data(trees: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """What the page's script reads: trees, the words of their domains, and those for the fates of pairs and the ends of dialogues."""
    shown = list(trees)
    domains = all_speakers(tree["domain"] for tree in shown)
    return {
        "trees": shown,
        "domains": {name: asdict(found) for name, found in domains.items()},
        "fates": FATES,
        "ends": ENDS,
    }


def scenario_page(store: TrajectoryStore, cycle_id: str, scenario: str) -> str:
    """The page of one scenario of a cycle, with its whole tree; QueryError if there is none."""
    data = evidence_data(read_trees(store, cycle_id, [scenario]))
    title = f"Scenario {scenario} in cycle {cycle_id}"
    return html_page(
        "scenario.html.j2",
        title=title,
        cycle_id=cycle_id,
        evidence=data,
        sample_note="",
        thresholds=thresholds(store, cycle_id),
    )
