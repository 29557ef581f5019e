"""The search tree, its invariants, and the record of it that is stored.

A node is a dialogue prefix. At a *decision* node the assistant speaks next, at a *chance* node the user does, at a
*terminal* node nobody. Knows nothing of engines, prompts or the selection rule.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from engage.dialogue import Dialogue, Role, Trajectory, Turn
from engage.engines.recording import CallRecord


class NodeKind(StrEnum):
    """Who speaks next."""

    DECISION = "decision"
    CHANCE = "chance"
    TERMINAL = "terminal"


@dataclass(slots=True, eq=False)
class Node:
    """One dialogue prefix. `turn` is its last turn, added to `parent`; None at the tree's root, whose prefix is the opening.

    `visit_count` counts finished simulations through the node, `virtual_visits` running ones. `reward_sum` and `reward_count` cover
    the simulations with a readable reaction. `sample_count` counts the samples that had this same text.
    """

    node_id: int
    kind: NodeKind
    dialogue: Dialogue
    parent: "Node | None" = None
    turn: Turn | None = None
    index: int = 0
    depth: int = 0
    exchanges: int = 0
    mean_logprob: float | None = None
    sample_count: int = 1
    end_reason: str | None = None
    spine_index: int | None = None
    visit_count: int = 0
    virtual_visits: int = 0
    own_rollouts: int = 0
    reward_sum: float = 0.0
    reward_count: int = 0
    children: list["Node"] = field(default_factory=list)

    @property
    def q_value(self) -> float | None:
        """Mean reward of the simulations through the node, None before the first readable one."""
        return self.reward_sum / self.reward_count if self.reward_count else None

    @property
    def visits(self) -> int:
        """N for the selection rule: finished plus running simulations."""
        return self.visit_count + self.virtual_visits

    @property
    def spoken_children(self) -> list["Node"]:
        """The children whose turn has usable text; the others are never visited."""
        return [child for child in self.children if child.turn is None or not child.turn.unspoken]

    def most_visited(self) -> "Node | None":
        """The reply with the most visits (then the higher value, then the earlier), None if none was visited."""
        visited = [child for child in self.children if child.children]
        return max(visited, key=lambda child: (child.visit_count, child.q_value or 0.0, -child.index), default=None)

    def prefixes(self) -> list["Node"]:
        """The nodes from the tree's root down to this one."""
        return [*(self.parent.prefixes() if self.parent else ()), self]

    @property
    def prior(self) -> float:
        """Selection prior: uniform over the siblings."""
        return 1.0 / len(self.parent.children) if self.parent else 1.0

    @property
    def path(self) -> str:
        """Indices from the tree's root, such as `r.0.2`."""
        return f"{self.parent.path}.{self.index}" if self.parent else "r"


class Tree:
    """All nodes of one scenario's search, in order of creation; `nodes[0]` is the tree's root."""

    def __init__(self, opening: Dialogue) -> None:
        self.nodes = [Node(0, NodeKind.DECISION, opening)]

    def add_child(
        self, parent: Node, turn: Turn, kind: NodeKind, mean_logprob: float | None, end_reason: str | None = None
    ) -> Node:
        """Append a node under `parent`; a user turn completes an exchange."""
        child = Node(
            node_id=len(self.nodes),
            kind=kind,
            dialogue=parent.dialogue.add(turn),
            parent=parent,
            turn=turn,
            index=len(parent.children),
            depth=parent.depth + 1,
            exchanges=parent.exchanges + (turn.role is Role.USER),
            mean_logprob=mean_logprob,
            end_reason=end_reason,
        )
        parent.children.append(child)
        self.nodes.append(child)
        return child

    def q_range(self) -> tuple[float, float]:
        """Smallest and largest Q in the tree; (0.5, 0.5) before the first reward."""
        values = [node.q_value for node in self.nodes if node.q_value is not None]
        return (min(values), max(values)) if values else (0.5, 0.5)


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """A node as stored: structure and text; N and Q are views over the simulations."""

    node_id: int
    parent_id: int | None
    kind: str
    depth: int
    spine_index: int | None
    role: str | None
    text: str | None
    attempts: int
    flaw: str | None
    sample_count: int
    mean_logprob: float | None
    end_reason: str | None
    first_flaw: str | None = None
    redrawn: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SimulationRecord:
    """One simulation: the nodes on its path, from the tree's root down, and its trajectory."""

    simulation: int
    root_id: int
    node_ids: tuple[int, ...]
    trajectory: Trajectory


@dataclass(frozen=True, slots=True)
class TreeRecord:
    """A finished search of one scenario. `seed` is the cycle's; `withdrawn` counts failed simulations.

    `simulator` is the label of the user that the tree drew; None where all trees of the cycle have the same.
    """

    cycle_id: str
    scenario_id: str
    seed: int
    nodes: tuple[NodeRecord, ...]
    simulations: tuple[SimulationRecord, ...]
    calls: tuple[CallRecord, ...]
    withdrawn: int
    wall_s: float
    simulator: str | None = None

    @property
    def tree_id(self) -> str:
        """One tree per cycle and scenario."""
        return f"{self.cycle_id}/{self.scenario_id}"


CHATS = "chat"
"""The `cycle_id` of the conversations that `engage chat --save` keeps; no cycle may have this id."""


@dataclass(frozen=True)
class DialogueRecord:
    """A finished plain dialogue. `purpose` is `evaluation`, `human` or `fork`; `policy` and `simulator` are labels; `seed` is its own."""

    cycle_id: str
    purpose: str
    policy: str
    simulator: str
    seed: int
    trajectory: Trajectory
    calls: tuple[CallRecord, ...] = ()


@dataclass(frozen=True)
class ForkRecord(DialogueRecord):
    """A continuation of a forked dialogue. `forked` begins its id: the dialogue, the turn, and a digest of what is said there and by whom."""

    forked: str = ""


def node_records(tree: Tree) -> tuple[NodeRecord, ...]:
    """The tree's nodes as records, in order of creation."""
    return tuple(
        NodeRecord(
            node_id=node.node_id,
            parent_id=node.parent.node_id if node.parent else None,
            kind=node.kind.value,
            depth=node.depth,
            spine_index=node.spine_index,
            role=node.turn.role.value if node.turn else None,
            text=node.turn.text if node.turn else None,
            attempts=node.turn.attempts if node.turn else 1,
            flaw=node.turn.flaw if node.turn else None,
            sample_count=node.sample_count,
            mean_logprob=node.mean_logprob,
            end_reason=node.end_reason,
            first_flaw=node.turn.first_flaw if node.turn else None,
            redrawn=node.turn.redrawn if node.turn else (),
        )
        for node in tree.nodes
    )
