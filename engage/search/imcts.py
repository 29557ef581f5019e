"""i×MCTS (arXiv 2506.21497): Monte Carlo tree search over the dialogue between the assistant and one simulated user.

Selection: PUCT at decision nodes, progressive widening at both kinds (`engage.search.puct`). Expansion: missing replies in one
request, a fresh user turn. Rollout: both sides to the end, then the survey. Backup: the reward to every node of the path.
`num_simulations` are spent at each search root; then the root moves on one exchange, until the dialogue ends.

Simulations run in parallel *rounds*; virtual visits keep them on different paths. Descents and results are processed in slot order,
whatever the order of the engine's answers. So the tree is a function of the seed and of the answers, never of timing.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict, Field

from engage.dialogue import Trajectory
from engage.errors import EngineError
from engage.search.early_stop import separated
from engage.search.puct import Arm, select, widened
from engage.search.tree import Node, NodeKind, SimulationRecord, Tree
from engage.simulation import Episode, SampledTurn, play_out

UNKNOWN_Q = 0.5


class SearchConfig(BaseModel):
    """Budget and shape of the search."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_simulations: int = Field(16, ge=1, le=10_000, description="simulations per search root")
    round_size: int = Field(8, ge=1, le=1_000, description="simulations of one tree that run in parallel")
    c_puct: float = Field(1.0, ge=0.0, le=100.0, description="weight of exploration in PUCT")
    reply_factor: float = Field(3.0, gt=0.0, le=100.0, description="k of ceil(k·(N+1)^α) replies per decision node")
    reply_exponent: float = Field(0.2, ge=0.0, le=1.0, description="α of the number of replies")
    outcome_factor: float = Field(1.0, gt=0.0, le=100.0, description="m of ceil(m·(N+1)^β) user turns per chance node")
    outcome_exponent: float = Field(0.7, ge=0.0, le=1.0, description="β of the number of user turns")
    min_visits: int = Field(2, ge=1, le=1_000, description="visits that every reply at a search root gets first")
    stop_confidence: float | None = Field(
        None,
        ge=0.5,
        lt=1.0,
        description="stop searching a root early once its best reply is better than its worst with this probability; unset: never",
    )


@dataclass(slots=True)
class _Slot:
    """One simulation of a round: the path of its descent and, once it has ended, its result."""

    simulation: int
    path: list[Node]
    outcome_sample: int = 0
    descended: bool = False
    failed: bool = False
    answer: SampledTurn | None = None
    trajectory: Trajectory | None = None
    rollout: "asyncio.Task[None] | None" = None


@dataclass
class _Pending:
    """Per node: user turns that are being sampled and not yet applied, and replies already requested."""

    outcomes: dict[int, int] = field(default_factory=dict)
    outcome_samples: dict[int, int] = field(default_factory=dict)
    reply_samples: dict[int, int] = field(default_factory=dict)


class Search:
    """The search of one scenario. `run` is awaited once; the tree stays readable afterwards.

    `on_simulations` is called after each round with the number of simulations spent. A reply without usable text is never visited.
    A simulation with no other reply fails; it is counted in `withdrawn`, and in `unspoken` by reason.
    """

    def __init__(
        self, episode: Episode, config: SearchConfig, on_simulations: Callable[[int], None] = lambda _: None
    ) -> None:
        self._on_simulations = on_simulations
        self.episode = episode
        self.config = config
        self.tree = Tree(episode.scenario.opening)
        self.simulations: list[SimulationRecord] = []
        self.withdrawn = 0
        self.unspoken: Counter[str] = Counter()
        self.first_error: EngineError | None = None
        self._started = 0
        self._pending = _Pending()

    async def run(self) -> None:
        """Search every prefix of the spine, from the opening to the end of the dialogue."""
        root: Node | None = self.tree.nodes[0]
        spine_index = 0
        while root is not None:
            root.spine_index = spine_index
            await self._search_root(root)
            root = self._move_on(root)
            spine_index += 1

    async def best_reply(self) -> Node | None:
        """Search the first root alone, instead of `run`; returns its most visited reply, None if every simulation failed."""
        root = self.tree.nodes[0]
        await self._search_root(root)
        return root.most_visited()

    async def _search_root(self, root: Node) -> None:
        spent = 0
        while spent < self.config.num_simulations and not self._is_decided(root):
            size = min(self.config.round_size, self.config.num_simulations - spent)
            await self._round(root, size)
            spent += size

    def _is_decided(self, root: Node) -> bool:
        """Whether to stop early; depends on the tree alone, not on timing."""
        if self.config.stop_confidence is None:
            return False
        visited = [reply for reply in root.children if reply.children]
        if len(visited) < len(root.spoken_children):
            return False
        groups = [[turn.q_value for turn in reply.children if turn.q_value is not None] for reply in visited]
        return separated(groups, self.config.stop_confidence)

    async def _round(self, root: Node, size: int) -> None:
        slots = [_Slot(self._started + index, [self.tree.nodes[0]]) for index in range(size)]
        self._started += size
        for slot in slots:
            slot.path = root.prefixes()
            for node in slot.path:
                node.virtual_visits += 1
        while waiting := [slot for slot in slots if not slot.descended]:
            wanted: dict[int, Node] = {}
            for slot in waiting:
                needy = self._descend(slot, root)
                if needy is not None:
                    wanted[needy.node_id] = needy
                elif not slot.failed:
                    slot.rollout = asyncio.create_task(self._simulate(slot))
            failed = await self._expand(list(wanted.values()))
            for slot in waiting:
                if not slot.descended and slot.path[-1].node_id in failed:
                    self._give_up(slot)
        await asyncio.gather(*(slot.rollout for slot in slots if slot.rollout))
        for slot in slots:
            self._apply(slot, root)
        self._on_simulations(size)

    def _give_up(self, slot: _Slot) -> None:
        """End the descent at a node that has no reply to visit."""
        slot.descended, slot.failed, node = True, True, slot.path[-1]
        if node.children:  # all of them unspoken
            reason = str(node.children[0].turn.flaw) if node.children[0].turn else ""
            self.unspoken[reason] += 1
            self.first_error = self.first_error or EngineError(
                f"the policy gave no usable reply ({reason})", self.episode.key_of(node.path, "replies")
            )

    def _descend(self, slot: _Slot, root: Node) -> Node | None:
        """Walk down; returns the node at which replies are missing, or None when the descent has ended."""
        while True:
            node = slot.path[-1]
            if node.kind is NodeKind.DECISION:
                if self._missing_replies(node):
                    return node
                if not node.spoken_children:
                    self._give_up(slot)
                    return None
                child = self._choose_reply(node, at_root=node is root)
            else:
                outcome = self._choose_outcome(node)
                if outcome is None:
                    self._reserve_outcome(slot, node)
                    return None
                child = outcome
            child.virtual_visits += 1
            slot.path.append(child)

    def _missing_replies(self, node: Node) -> int:
        """Number of replies to request. The current simulation is itself a virtual visit, so N here excludes it."""
        visits = node.visits - 1
        allowed = widened(max(0, visits), self.config.reply_factor, self.config.reply_exponent)
        return max(0, allowed - self._pending.reply_samples.get(node.node_id, 0))

    def _choose_reply(self, node: Node, at_root: bool) -> Node:
        children = node.spoken_children
        if at_root:
            fewest = min(children, key=lambda child: (child.visits, child.index))
            if fewest.visits < self.config.min_visits:
                return fewest
        parent_q = UNKNOWN_Q if node.q_value is None else node.q_value
        arms = [Arm(child.visits, child.q_value, child.prior) for child in children]
        return children[select(arms, node.visits - 1, parent_q, *self.tree.q_range(), self.config.c_puct)]

    def _choose_outcome(self, node: Node) -> Node | None:
        """A known user turn to continue from, or None to sample a new one."""
        sampled = len(node.children) + self._pending.outcomes.get(node.node_id, 0)
        if sampled < widened(node.visits - 1, self.config.outcome_factor, self.config.outcome_exponent):
            return None
        going_on = [child for child in node.children if child.kind is not NodeKind.TERMINAL]
        return min(going_on, key=lambda child: (child.visits, child.index), default=None)

    def _reserve_outcome(self, slot: _Slot, node: Node) -> None:
        samples = self._pending.outcome_samples
        slot.outcome_sample = samples.get(node.node_id, 0)
        samples[node.node_id] = slot.outcome_sample + 1
        self._pending.outcomes[node.node_id] = self._pending.outcomes.get(node.node_id, 0) + 1
        slot.descended = True

    async def _expand(self, nodes: Sequence[Node]) -> set[int]:
        """Request all missing replies of the nodes together; returns the ids of nodes that still have no usable reply."""
        first = [self._pending.reply_samples.get(node.node_id, 0) for node in nodes]
        counts = [self._missing_replies(node) for node in nodes]
        asked = [
            self.episode.policy.replies(
                node.dialogue,
                self.episode.key_of(node.path, "replies"),
                [self.episode.seed_of(node.path, "reply", start + index) for index in range(count)],
            )
            for node, start, count in zip(nodes, first, counts, strict=True)
        ]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        failed = set()
        for node, start, count, drawn in zip(nodes, first, counts, answers, strict=True):
            self._pending.reply_samples[node.node_id] = start + count
            if isinstance(drawn, EngineError):
                self.first_error = self.first_error or drawn
                if not node.children:
                    self._pending.reply_samples[node.node_id] = start
            elif isinstance(drawn, BaseException):
                raise drawn
            else:
                self._add_replies(node, drawn)
            if not node.spoken_children:
                failed.add(node.node_id)
        return failed

    def _add_replies(self, node: Node, drawn: Sequence[SampledTurn]) -> None:
        known = {child.turn.text: child for child in node.children if child.turn}
        for reply in drawn:
            if reply.turn.text in known:
                known[reply.turn.text].sample_count += 1
            else:
                known[reply.turn.text] = self.tree.add_child(node, reply.turn, NodeKind.CHANCE, reply.mean_logprob)

    async def _simulate(self, slot: _Slot) -> None:
        """Sample the new user turn and play to the end; the tree does not change until the round is applied."""
        node = slot.path[-1]
        purpose = f"outcome{slot.outcome_sample}"
        try:
            slot.answer = await self.episode.user.next_turn(
                node.dialogue,
                self.episode.key_of(node.path, purpose),
                self.episode.seed_of(node.path, "outcome", slot.outcome_sample),
            )
            dialogue = node.dialogue.add(slot.answer.turn)
            slot.trajectory = await play_out(
                self.episode, dialogue, node.exchanges + 1, f"{node.path}.{purpose}", slot.simulation
            )
        except EngineError as error:
            self.first_error = self.first_error or error
            slot.failed = True

    def _apply(self, slot: _Slot, root: Node) -> None:
        for node in slot.path:
            node.virtual_visits -= 1
        last = slot.path[-1]
        if slot.rollout:
            self._pending.outcomes[last.node_id] -= 1
        if slot.failed or slot.answer is None or slot.trajectory is None:
            self.withdrawn += 1
            return
        exchanges = last.exchanges + 1
        reason = self.episode.end_reason(last.dialogue.add(slot.answer.turn), exchanges)
        kind = NodeKind.TERMINAL if reason else NodeKind.DECISION
        outcome = self.tree.add_child(last, slot.answer.turn, kind, slot.answer.mean_logprob, reason)
        outcome.own_rollouts = 1
        path = [*slot.path, outcome]
        backup(path, slot.trajectory.reward)
        node_ids = tuple(node.node_id for node in path)
        self.simulations.append(SimulationRecord(slot.simulation, root.node_id, node_ids, slot.trajectory))

    def _move_on(self, root: Node) -> Node | None:
        """The next search root: the most visited reply, then one of its user turns at random; None if the dialogue ends."""
        reply = root.most_visited()
        if reply is None:
            return None
        outcome = reply.children[self.episode.seed_of(reply.path, "spine") % len(reply.children)]
        return outcome if outcome.kind is NodeKind.DECISION else None


def backup(path: Sequence[Node], reward: float | None) -> None:
    """Count the visit on every node of the path and add the reward; None (unreadable) adds only the visit."""
    for node in path:
        node.visit_count += 1
        if reward is not None:
            node.reward_sum += reward
            node.reward_count += 1
