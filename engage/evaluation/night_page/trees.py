"""The evidence of a cycle's search trees in the form that the page's script reads: columns by node, simulations, pairs.

Every number is a column of a named query (sql/inspect/page_*.sql); only the marks (most visited path, higher values beside it, widest
disagreement) are derived here.
"""

import itertools
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from engage.errors import QueryError
from engage.simulation import without_value
from engage.store import FAULTS, TrajectoryStore

Row = Mapping[str, Any]
Judged = tuple[str, int, int]
"""Tree, and the two replies of a judged pair."""
_COLUMNS = {
    "parent": "parent_id", "kind": "kind", "text": "text", "visits": "visits", "groups": "groups", "q": "q_value", "low": "q_low", "high": "q_high",
    "prior": "prior", "value": "value", "error": "standard_error", "draws": "draws", "flawed": "flawed_draws", "flaw": "flaw", "end": "end_reason",
}  # fmt: skip
"""Names in the page's data, and the columns of page_nodes."""


def tree_sizes(store: TrajectoryStore, cycle_id: str) -> dict[str, int]:
    """Number of nodes by scenario, of a cycle's trees."""
    return {row["scenario_id"]: row["nodes"] for row in store.rows("page_trees", {"cycle": cycle_id})}


def read_trees(store: TrajectoryStore, cycle_id: str, scenarios: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The trees of some of a cycle's scenarios, in the order of sql/inspect/page_trees.sql; QueryError if one has none."""
    given = {"cycle": cycle_id, "scenarios": list(scenarios)}
    heads = store.rows("page_trees", given)
    if missing := sorted({*scenarios} - {head["scenario_id"] for head in heads}):
        raise QueryError(
            f"scenario {missing[0]!r} has no tree in cycle {cycle_id!r}; "
            f"`engage sql --name tree_cost --param cycle={cycle_id}` lists those that have one"
        )
    nodes, simulations, pairs = (
        _by_tree(store.rows(name, given)) for name in ("page_nodes", "page_simulations", "page_pairs")
    )
    judged: dict[Judged, Counter[str]] = {}
    for row in store.rows("judged_pairs", {"cycle": cycle_id}):
        judged.setdefault((row["tree_id"], row["chosen_id"], row["rejected_id"]), Counter())[row["verdict"]] += 1
    for head in heads:
        tree_id = head["tree_id"]
        of_tree = [
            _pair(row, judged.get((tree_id, row["chosen_id"], row["rejected_id"]), {}))
            for row in pairs.get(tree_id, [])
        ]
        yield _tree(head, nodes[tree_id], simulations.get(tree_id, []), of_tree)


def _by_tree(rows: Sequence[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row["tree_id"], []).append(row)
    return found


def _tree(head: Row, nodes: Sequence[Row], simulations: Sequence[Row], pairs: Sequence[Row]) -> dict[str, Any]:
    path = visited_path(nodes)
    return {
        "scenario": head["scenario_id"],
        "domain": head["domain"] or "",
        "condition": json.loads(head["user_condition"] or "{}"),
        "opening": [[turn["role"], turn["text"]] for turn in json.loads(head["opening"] or "[]")],
        "nodes": {name: [row[column] for row in nodes] for name, column in _COLUMNS.items()},
        "simulations": [_simulation(row) for row in simulations],
        "pairs": list(pairs),
        "spine": spine(nodes),
        "visited": path,
        "higher": higher_values(nodes, path),
        "widest": widest_disagreement(nodes),
    }


def _simulation(row: Row) -> dict[str, Any]:
    return {
        "number": row["simulation"],
        "leaf": row["leaf_id"],
        "turns": [[turn["role"], turn["text"], turn["flaw"]] for turn in row["turns"]],
        "answer": row["reaction_text"],
        "reader": row["reader"],
        "unread": without_value(row["reader"], row["reaction_text"]) if row["value"] is None else None,
        "value": row["value"],
        "reward": row["reward"],
        "end": row["end_reason"],
    }


def _pair(row: Row, judged: Mapping[str, int]) -> dict[str, Any]:
    """`people` is what they said of it, in words; `faulty`: most called it nonsense or harmful."""
    return {
        "people": ", ".join(f"{count} {verdict}" for verdict, count in sorted(judged.items())),
        "faulty": 2 * sum(judged.get(name, 0) for name in FAULTS) > sum(judged.values()),
        "decision": row["decision_id"],
        "exchange": row["spine_index"],
        "chosen": row["chosen_id"],
        "rejected": row["rejected_id"],
        "groups": [row["chosen_groups"], row["rejected_groups"]],
        "gap": row["q_gap"],
        "raw": row["q_gap_raw"],
        "p": row["p_greater"],
        "fate": row["fate"],
    }


def spine(nodes: Sequence[Row]) -> list[int]:
    """The search path, from the tree's root to the last search root."""
    path: list[int] = []
    at = max((row["node_id"] for row in nodes if row["spine_index"] is not None), default=None)
    while at is not None:
        path.insert(0, at)
        at = nodes[at]["parent_id"]
    return path


def visited_path(nodes: Sequence[Row]) -> list[int]:
    """From the root down, the most visited child each time; of equally visited ones the highest Q. It ends where nothing below was visited."""
    below = _children(nodes)
    path = [0] if nodes else []
    while path and (found := [row for row in below.get(path[-1], []) if row["visits"]]):
        path.append(max(found, key=lambda row: (row["visits"], *_by_value(row)))["node_id"])
    return path


def higher_values(nodes: Sequence[Row], path: Sequence[int]) -> list[int]:
    """At each decision on a path the reply of the highest Q, where it has a higher one than the reply that the path takes."""
    below = _children(nodes)
    found = []
    for decision, taken in itertools.pairwise(path):
        highest = max(below[decision], key=_by_value)
        if nodes[decision]["kind"] == "decision" and _by_value(highest)[0] > _by_value(nodes[taken])[0]:
            found.append(highest["node_id"])
    return found


def widest_disagreement(nodes: Sequence[Row]) -> int | None:
    """The decision whose replies' values lie furthest apart; None if no decision has two replies with a value."""
    spreads = {}
    for parent, children in _children(nodes).items():
        values = [row["value"] for row in children if row["value"] is not None]
        if nodes[parent]["kind"] == "decision" and len(values) > 1:
            spreads[parent] = max(values) - min(values)
    return max(spreads, key=lambda parent: (spreads[parent], -parent), default=None)


def _by_value(row: Row) -> tuple[float, int]:
    return (-1.0 if row["q_value"] is None else row["q_value"], -row["node_id"])


def _children(nodes: Sequence[Row]) -> dict[int, list[Row]]:
    found: dict[int, list[Row]] = {}
    for row in nodes:
        if row["parent_id"] is not None:
            found.setdefault(row["parent_id"], []).append(row)
    return found
