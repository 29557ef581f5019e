"""What cannot be true of a tree, or of a judgement, in an outbox file, whichever home it comes from."""

import re
from typing import Any, get_args

from engage.store.judgements import Verdict


def contradiction(tree: Any) -> str | None:
    """Why a tree's ids, nodes and simulations contradict each other, None if they do not; `tree` is a pyarrow Table of one row."""
    tree_id, cycle, scenario = (tree[name][0].as_py() for name in ("tree_id", "cycle_id", "scenario_id"))
    if tree_id != f"{cycle}/{scenario}":  # it would count beside the scenario's own tree
        return f"its id {tree_id!r} is not {cycle}/{scenario}"
    nodes, simulations = tree["nodes"].combine_chunks().flatten(), tree["simulations"].combine_chunks().flatten()
    numbers = nodes.field("node_id").to_pylist()
    parents = dict(zip(numbers, nodes.field("parent_id").to_pylist(), strict=True))
    if twice := _twice(numbers):
        return f"two nodes have number {twice}"
    if list(parents.values()).count(None) != 1:
        return "not one root"
    for node, parent in parents.items():
        if parent is not None and (parent not in parents or parent >= node):
            return f"node {node} follows node {parent}, which is not before it"
    runs = simulations.field("simulation").to_pylist()
    if twice := _twice(runs):
        return f"two simulations have number {twice}"
    starts, paths = simulations.field("root_id").to_pylist(), simulations.field("node_ids").to_pylist()
    played = simulations.field("trajectory").field("scenario_id").to_pylist()
    for run, start, path, other in zip(runs, starts, paths, played, strict=True):
        if other != scenario:  # its reward would count there
            return f"simulation {run} is of scenario {other!r}"
        if not path or [parents.get(node, node) for node in path] != [None, *path[:-1]]:
            return f"the nodes of simulation {run} are no path from the root"
        if start not in path:
            return f"simulation {run} does not pass node {start}, where it began"
    return None


def odd_judgement(judgements: Any) -> str | None:
    """Why SQL could not read judgements, None if it can; `judgements` is a pyarrow Table."""
    for one in judgements.select(["kind", "left_id", "right_id", "verdict"]).to_pylist():
        if one["verdict"] not in get_args(Verdict):
            return f"there is no verdict {one['verdict']!r}"
        for side in ("left_id", "right_id") if one["kind"] == "pair" else ():
            if not re.fullmatch("[0-9]{1,9}", one[side] or ""):
                return f"the {side} {one[side]!r} of a pair is not the number of a node"
    return None


def _twice(numbers: list[Any]) -> str:
    """The first number that comes twice or is missing; empty if there is none."""
    seen = set[Any]()
    for number in numbers:
        if number is None or number in seen:
            return str(number)
        seen.add(number)
    return ""
