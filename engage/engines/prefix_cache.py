"""Keys and values of prompts already computed, shared by common prefix: a radix tree over token ids, bounded in bytes.

Every edge holds one run of tokens and their keys and values in all layers, so a prefix that many prompts share is kept once.
The idea is SGLang's RadixAttention (Zheng et al. 2024); least recently used leaves go first.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

Tensor = Any


@dataclass(eq=False)
class Segment:
    """One edge. `states` has shape [2 (keys, values), layers, kv_heads, len(tokens), head_dim]."""

    tokens: tuple[int, ...]
    states: Tensor
    parent: "Segment | None"
    last_used: int = 0
    children: dict[int, "Segment"] = field(default_factory=dict)

    @property
    def size_bytes(self) -> int:
        """Memory of the states."""
        return int(self.states.numel() * self.states.element_size())


class PrefixCache:
    """See the module. `tick` is the current batch: what it has touched is not evicted before the next one."""

    def __init__(self, budget_bytes: int) -> None:
        self.budget_bytes = budget_bytes
        self.used_bytes = 0
        self.tick = 0
        self._root = Segment((), None, None)

    def match(self, tokens: Sequence[int]) -> list[tuple[Segment, int]]:
        """The longest known prefix as segments and how many tokens of each count (all but the last count whole)."""
        found: list[tuple[Segment, int]] = []
        node, at = self._root, 0
        while at < len(tokens) and (child := node.children.get(tokens[at])) is not None:
            shared = _common(child.tokens, tokens, at)
            child.last_used = self.tick
            found.append((child, shared))
            at += shared
            if shared < len(child.tokens):
                break
            node = child
        return found

    def insert(self, tokens: Sequence[int], known: int, states: Tensor) -> None:
        """Add the states of `tokens[known:]`; the first `known` tokens must be in the cache. What is there already is kept."""
        path = self.match(tokens)
        at = sum(length for _, length in path)
        if at >= len(tokens):
            return
        assert at >= known, "the prefix was evicted while it was in use"
        parent = self._root
        if path:
            parent, shared = path[-1]
            if shared < len(parent.tokens):
                parent = self._split(parent, shared)
        rest = tuple(tokens[at:])
        segment = Segment(rest, states[..., at - known :, :].clone(), parent, self.tick)
        parent.children[rest[0]] = segment
        self.used_bytes += segment.size_bytes

    def shrink(self) -> None:
        """Evict least recently used leaves until the budget holds, sparing what the current batch uses."""
        while self.used_bytes > self.budget_bytes:
            leaves = [leaf for leaf in self._leaves() if leaf.last_used < self.tick]
            if not leaves:
                return
            for leaf in sorted(leaves, key=lambda leaf: leaf.last_used):
                if self.used_bytes <= self.budget_bytes:
                    return
                assert leaf.parent is not None
                del leaf.parent.children[leaf.tokens[0]]
                self.used_bytes -= leaf.size_bytes

    def _split(self, segment: Segment, length: int) -> Segment:
        """Cut a segment in two; returns the upper part."""
        assert segment.parent is not None
        upper = Segment(
            segment.tokens[:length], segment.states[..., :length, :].clone(), segment.parent, segment.last_used
        )
        segment.parent.children[segment.tokens[0]] = upper
        segment.tokens, segment.states = segment.tokens[length:], segment.states[..., length:, :].clone()
        segment.parent = upper
        upper.children[segment.tokens[0]] = segment
        return upper

    def _leaves(self) -> list[Segment]:
        leaves, stack = [], list(self._root.children.values())
        while stack:
            segment = stack.pop()
            stack.extend(segment.children.values())
            if not segment.children:
                leaves.append(segment)
        return leaves


def _common(known: Sequence[int], tokens: Sequence[int], at: int) -> int:
    length = min(len(known), len(tokens) - at)
    for index in range(length):
        if known[index] != tokens[at + index]:
            return index
    return length
