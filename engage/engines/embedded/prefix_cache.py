"""A cache of keys and values, shared by common prefix: a radix tree over token ids, bounded in bytes.

All states lie in one tensor with one slot per token; the tree maps tokens to slots. So reading the prefixes of a batch is one
indexed operation, and storing its new states is another. The idea is SGLang's RadixAttention (Zheng et al. 2024). The least
recently used leaves are evicted first.
"""

import heapq
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from engage.engines.embedded.attention import AttentionShape

Slots = Any
"""Slot numbers, an int64 numpy array [tokens]."""
LEAST_FREE, FREED = 0.1, 0.25
"""Shares of the budget: if less than LEAST_FREE is free, eviction frees FREED of it."""
PADDING = 0
"""The slot that stays zero; it fills columns without a token."""


@dataclass(eq=False)
class Segment:
    """One edge of the tree: a run of tokens and the slots of their states."""

    tokens: tuple[int, ...]
    slots: Slots
    parent: "Segment | None"
    last_used: int = 0
    children: dict[int, "Segment"] = field(default_factory=dict)


class PrefixCache:
    """See the module. `tick` numbers the current batch; prefixes that it used are not evicted before the next batch.

    A batch may take more slots than the budget; the next `shrink` frees them.
    """

    def __init__(self, budget_bytes: float, shape: AttentionShape, like: Any) -> None:
        """`like` is a tensor of the model's type, on its device."""
        self.token_bytes = 2 * shape.layers * shape.kv_heads * shape.width * like.element_size()
        self.budget_tokens = int(budget_bytes // self.token_bytes)
        self.tick = 0
        self._shape, self._like = shape, like
        self._root = Segment((), np.empty(0, np.int64), None)
        self._waiting: list[tuple[Slots, Slots]] = []
        self.states = self._empty(self.budget_tokens)
        self._free = np.arange(self.budget_tokens, 0, -1)  # taken from the end

    @property
    def used_tokens(self) -> int:
        """Slots that hold a token's states."""
        return int(self.states.shape[2]) - 1 - len(self._free)

    def match(self, tokens: Sequence[int]) -> Slots:
        """Slots of the longest cached prefix; marks it as used now."""
        slots, node, at = [self._root.slots], self._root, 0
        while at < len(tokens) and (child := node.children.get(tokens[at])) is not None:
            shared = _common(child.tokens, tokens, at)
            child.last_used = self.tick
            slots.append(child.slots[:shared])
            at += shared
            if shared < len(child.tokens):
                break
            node = child
        return np.concatenate(slots)

    def insert(self, tokens: Sequence[int], known: int, places: Slots) -> None:
        """Reserve slots for `tokens[known:]`; `store` copies their states from `places`, one per token.

        The first `known` tokens must be in the cache. Tokens that are cached already keep their slots.
        """
        parent, at = self._root, 0
        while at < len(tokens) and (child := parent.children.get(tokens[at])) is not None:
            shared = _common(child.tokens, tokens, at)
            at += shared
            parent = child if shared == len(child.tokens) else self._split(child, shared)
            parent.last_used = self.tick
            if parent is not child:
                break
        if at >= len(tokens):
            return
        assert at >= known, "the prefix was evicted while it was in use"
        rest = tuple(tokens[at:])
        slots = self._take(len(rest))
        parent.children[rest[0]] = Segment(rest, slots, parent, self.tick)
        self._waiting.append((slots, places[at - known :]))

    def store(self, states: Any) -> None:
        """Copy the states of all tokens inserted since the last call from `states` [2 × layers, key heads, places, width]."""
        if self._waiting:
            slots, places = (
                torch.from_numpy(np.concatenate(part)).to(self._like.device)
                for part in zip(*self._waiting, strict=True)
            )
            self.states.index_copy_(2, slots, states.index_select(2, places))
            self._waiting.clear()

    def drop_unstored(self) -> None:
        """After an error: empty the cache if it has slots whose states were never stored."""
        if self._waiting:
            self._waiting.clear()
            self._root.children.clear()
            self._free = np.arange(self.states.shape[2] - 1, 0, -1)

    def gather(self, slots: Any, out: Any | None = None) -> Any:
        """The states in `slots` [n], as [2 × layers, key heads, n, width]."""
        return torch.index_select(self.states, 2, slots, out=out)

    def shrink(self, room: int = 0) -> None:
        """Evict the least recently used leaves if few slots are free beside `room`; those that the current batch uses stay.

        It frees enough for several batches, because walking the tree and resizing the tensor cost as much as a batch.
        """
        grown = self.states.shape[2] - 1 > self.budget_tokens
        if not grown and len(self._free) >= LEAST_FREE * self.budget_tokens + room:
            return
        over = self.used_tokens - int((1 - FREED) * self.budget_tokens) + room
        freed = [self._free]
        order = itertools.count()
        leaves = [(leaf.last_used, next(order), leaf) for leaf in self._segments() if not leaf.children]
        heapq.heapify(leaves)
        while over > 0 and leaves and leaves[0][0] < self.tick:
            leaf = heapq.heappop(leaves)[2]
            parent = leaf.parent
            assert parent is not None
            del parent.children[leaf.tokens[0]]
            freed.append(leaf.slots)
            over -= len(leaf.slots)
            if parent is not self._root and not parent.children:
                heapq.heappush(leaves, (parent.last_used, next(order), parent))
        self._free = np.concatenate(freed)
        if grown and self.used_tokens <= self.budget_tokens:
            self._resize(self.budget_tokens)

    def _take(self, count: int) -> Slots:
        if count > len(self._free):
            self._resize(self.states.shape[2] - 1 + max(count, (self.states.shape[2] - 1) // 4))
        self._free, taken = self._free[: len(self._free) - count], self._free[len(self._free) - count :]
        return taken[::-1].copy()

    def _empty(self, tokens: int) -> Any:
        shape = (2 * self._shape.layers, self._shape.kv_heads, tokens + 1, self._shape.width)
        states = torch.empty(shape, dtype=self._like.dtype, device=self._like.device)
        states[:, :, PADDING] = 0
        return states

    def _resize(self, tokens: int) -> None:
        """Move to a new tensor of `tokens` slots, the used ones first, and renumber all slots (those that wait for `store` too)."""
        old, segments = self.states, self._segments()
        kept = np.concatenate([np.array([PADDING]), *(segment.slots for segment in segments)])
        numbers = np.zeros(old.shape[2], np.int64)
        numbers[kept] = np.arange(len(kept))
        self.states = self._empty(tokens)
        self.states[:, :, : len(kept)] = old.index_select(2, torch.from_numpy(kept).to(old.device))
        for segment in segments:
            segment.slots = numbers[segment.slots]
        self._waiting = [(numbers[slots], places) for slots, places in self._waiting]
        self._free = np.arange(tokens, len(kept) - 1, -1)

    def _split(self, segment: Segment, length: int) -> Segment:
        """Cut a segment in two; returns the upper part."""
        assert segment.parent is not None
        upper = Segment(segment.tokens[:length], segment.slots[:length], segment.parent, segment.last_used)
        segment.parent.children[segment.tokens[0]] = upper
        segment.tokens, segment.slots, segment.parent = segment.tokens[length:], segment.slots[length:], upper
        upper.children[segment.tokens[0]] = segment
        return upper

    def _segments(self) -> list[Segment]:
        segments, stack = [], list(self._root.children.values())
        while stack:
            segment = stack.pop()
            stack.extend(segment.children.values())
            segments.append(segment)
        return segments


def _common(known: tuple[int, ...], tokens: Sequence[int], at: int) -> int:
    """How many of a segment's first tokens equal `tokens` from `at` on."""
    length = min(len(known), len(tokens) - at)
    if known[:length] == tuple(tokens[at : at + length]):
        return length
    return next(index for index in range(length) if known[index] != tokens[at + index])
