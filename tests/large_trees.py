"""A search tree of any size, and a dialogue of hostile texts, for the tests of the pages. No engine is asked."""

import itertools

from small_stores import reaction_of

from engage.dialogue import Dialogue, Role, Trajectory, Turn
from engage.search import TreeRecord
from engage.search.tree import NodeRecord, SimulationRecord

HOSTILE = (
    "</script><script>window.hurt = 1</script>",
    '<img src=x onerror="window.hurt = 2">',
    "\x1b[31mred\x1b[0m [bold]markup[/bold]",
    "\u202egnp.exe\u202c right to left",
    "NUL \x00 and \u2028 a line separator",
    "long " * 2000,
    "<!-- <script> {{ 7 * 7 }} ${window.hurt = 3}",
    "שלום עולם مرحبا",
)
"""What nothing may come of on a page: markup, escapes, marks of direction, NUL, 10,000 characters."""


def large_tree(scenario, size, replies=5, turns=4, cycle_id="c1", texts=None):
    """A tree of `size` nodes, filled level by level: `replies` at every decision, `turns` user turns after every reply.

    The first search root is the opening, the next ones follow the first reply and its first user turn. One simulation ends at every
    user turn of the last whole level and below; its reward is 0, 0.25 … 1 in turn. `texts` are said in turn.
    """
    said = itertools.cycle(texts or [f"Line {number}." for number in range(7)])
    nodes = [_node(0, None, 0, None, "decision", spine_index=0)]
    spine = {0}
    for parent in itertools.count():
        assistant = nodes[parent].depth % 2 == 0
        for place in range(replies if assistant else turns):
            if len(nodes) == size:
                break
            on_spine = parent in spine and place == 0
            spine |= {len(nodes)} if on_spine else set()
            depth = nodes[parent].depth + 1
            index = depth // 2 if on_spine and depth % 2 == 0 else None
            role = Role.ASSISTANT if assistant else Role.USER
            kind = "chance" if assistant else "decision"
            nodes.append(_node(len(nodes), parent, depth, Turn(role, next(said)), kind, index))
        if len(nodes) == size:
            break
    parents = {node.parent_id for node in nodes}
    leaves = [node for node in nodes if node.role == "user" and node.node_id not in parents]
    simulations = [_simulation(scenario, nodes, number, leaf) for number, leaf in enumerate(leaves)]
    return TreeRecord(cycle_id, scenario.scenario_id, 7, tuple(nodes), tuple(simulations), (), 0, 1.0)


def _simulation(scenario, nodes, number, leaf):
    path = [leaf]
    while path[0].parent_id is not None:
        path.insert(0, nodes[path[0].parent_id])
    turns = tuple(Turn(Role(node.role), node.text) for node in path[1:])
    reward = (number % 5) / 4
    dialogue = Dialogue((*scenario.opening.turns, *turns))
    trajectory = Trajectory(
        scenario.scenario_id, dialogue, reaction_of(reward), reward, len(turns) // 2, "max_exchanges"
    )
    return SimulationRecord(number, 0, tuple(node.node_id for node in path), trajectory)


def _node(node_id, parent_id, depth, turn, kind, spine_index=None):
    return NodeRecord(
        node_id=node_id,
        parent_id=parent_id,
        kind=kind,
        depth=depth,
        spine_index=spine_index,
        role=turn.role.value if turn else None,
        text=turn.text if turn else None,
        attempts=1,
        flaw=None,
        sample_count=1,
        mean_logprob=None,
        end_reason=None,
    )
