"""Next-token logits after prompts: they are prefilled in sub-batches with the prefix cache, on a GPU by recorded calls.

Masks are built from each row's own positions, so a prompt gets the same result as alone.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from engage.engines.embedded.attention import NOWHERE, AttentionShape, Place, buffer_cache
from engage.engines.embedded.batch import Record, Recorder, call_model
from engage.engines.embedded.prefix_cache import PADDING, PrefixCache

PREFILL_TOKENS = {"cpu": 1024, "cuda": 32768}
"""Most tokens of a call. On a CPU so few that its temporary memory is reused, not given back and faulted in again by each call."""
CALL_TOKENS = {"cpu": 96, "cuda": 4096}
"""The fixed cost of a model call (reading weights, starting kernels), in tokens."""
WORTH_SHARING = {"cpu": 32, "cuda": 1024}
"""An uncached shared prefix of at least this many tokens is computed first, for one prompt, in a call of its own."""
PROMPT_ROWS, PROMPT_TOKENS, PROMPT_COLUMNS = (16, 64, 128, 256), 32, 256
"""Sizes of recorded calls (each needs a graph): numbers of rows, least number of new tokens, step between numbers of columns."""


class Closed(Exception):
    """The engine was closed while a batch was computed."""


@dataclass
class NextLogits:
    """Result for distinct prompts: `logits` [prompts, vocabulary]; by prompt, its row there and its number of cached tokens."""

    logits: Any
    rows: dict[tuple[int, ...], int]
    cached: dict[tuple[int, ...], int]


class Prefill:
    """One model with its prefix cache; used from one thread. Raises Closed once `is_closed` returns True."""

    def __init__(self, model: Any, cache_bytes: float, is_closed: Callable[[], bool]) -> None:
        self.model = model
        self._is_closed = is_closed
        self.device = model.device
        self.shape = AttentionShape.of(model)
        self._like = torch.empty(0, dtype=model.dtype, device=model.device)
        self.cache = PrefixCache(cache_bytes, self.shape, self._like)
        self.max_length = model.config.max_position_embeddings
        self._prompt_tokens = 0  # rows × columns of the memory reserved for prompts; 0: calls are not recorded
        self._prompt_space: Any = None
        self._record_prompts: Record = Recorder()
        self._recorded: dict[tuple[int, int, int], tuple[Any, Callable[[], None], Any]] = {}
        # The last positions of a batch are a strided view, for which torch would copy the output weights once per row.
        head = model.get_output_embeddings()
        if head is not None:
            head.register_forward_pre_hook(lambda _, inputs: tuple(value.contiguous() for value in inputs))

    @torch.inference_mode()
    def next_logits(self, prompts: Sequence[tuple[int, ...]]) -> NextLogits:
        """Logits of the token after each distinct prompt."""
        self.cache.tick += 1
        distinct = sorted(set(prompts))
        self.cache.shrink()
        self.cache.shrink(self._new_tokens(distinct))  # what these prompts use is marked by now and stays
        logits: list[Any] = []
        rows: dict[tuple[int, ...], int] = {}
        cached: dict[tuple[int, ...], int] = {}
        for wave in self._waves(distinct):
            for batch in self._prefill_batches(wave):
                self._check_open()
                logits.append(self._prefill(batch))
                for prompt, known in batch:
                    rows[prompt] = len(rows)
                    cached[prompt] = known
        return NextLogits(torch.cat(logits), rows, cached)

    def _check_open(self) -> None:
        if self._is_closed():
            raise Closed

    def _waves(self, prompts: Sequence[tuple[int, ...]]) -> list[list[tuple[int, ...]]]:
        """Prompts that share an uncached prefix with an earlier prompt go into the second wave; by then it is cached."""
        first: list[tuple[int, ...]] = []
        second: list[tuple[int, ...]] = []
        for prompt in prompts:
            shared = _common_length(first[-1], prompt) if first else 0
            worth = shared - self._known(prompt) >= WORTH_SHARING[self.device.type]
            (second if worth else first).append(prompt)
        return [wave for wave in (first, second) if wave]

    def _new_tokens(self, prompts: Sequence[tuple[int, ...]]) -> int:
        """Number of tokens of the sorted `prompts` that are not in the cache; marks those that are as used now."""
        before = ((), *prompts)
        return sum(
            len(prompt) - max(self._known(prompt), _common_length(last, prompt))
            for last, prompt in zip(before, prompts, strict=False)
        )

    def _known(self, prompt: tuple[int, ...]) -> int:
        """Number of the prompt's tokens in the cache; the last token is always computed, for its logits."""
        return min(len(self.cache.match(prompt)), len(prompt) - 1)

    def _prefill_batches(self, prompts: Sequence[tuple[int, ...]]) -> list[list[tuple[tuple[int, ...], int]]]:
        """Group prompts (each with its number of cached tokens) that have about as many new tokens.

        A new batch starts where padding would cost more than a call, or where the buffers are full.
        """
        batches: list[list[tuple[tuple[int, ...], int]]] = []
        fresh = longest = 0  # new tokens of the latest batch, and its longest prompt
        sized = [(len(prompt) - known, prompt, known) for prompt in prompts for known in [self._known(prompt)]]
        for new, prompt, known in sorted(sized):
            rows = len(batches[-1]) + 1 if batches else 1
            padded = rows * new
            columns = self._prompt_columns(max(longest, len(prompt)) + new)
            full = 0 < self._prompt_tokens < one_of(PROMPT_ROWS, rows) * columns
            wasteful = padded - fresh - new > CALL_TOKENS[self.device.type]
            if not batches or full or wasteful or padded > PREFILL_TOKENS[self.device.type]:
                batches.append([])
                fresh = longest = 0
            batches[-1].append((prompt, known))
            fresh += new
            longest = max(longest, len(prompt))
        return batches

    def _prefill(self, prompts: Sequence[tuple[tuple[int, ...], int]]) -> Any:
        """Logits [prompts, vocabulary] after each prompt; its new states go into the cache."""
        past = max(known for _, known in prompts)
        new = max(len(prompt) - known for prompt, known in prompts)
        rows, new, columns, steady = self._prompt_shape(len(prompts), past, new)
        states = self._buffers(rows, columns)
        start = columns - new  # all prompts end at the last column
        keys = self._assemble([(prompt, known, start) for prompt, known in prompts], states)
        keys[len(prompts) :, start] = 0  # rows without a prompt need one visible key
        ids = np.zeros((rows, new), np.int64)
        positions = np.zeros_like(ids)
        for index, (prompt, known) in enumerate(prompts):
            fresh = len(prompt) - known
            ids[index, new - fresh :] = prompt[known:]
            positions[index, new - fresh :] = np.arange(known, len(prompt))
            keys[index, columns - fresh :] = np.arange(known, len(prompt))
        call = partial(self._call, states, slice(start, columns), steady)
        logits = call(self._tensor(ids), self._tensor(positions), self._tensor(keys))
        for index, (prompt, known) in enumerate(prompts):
            end = (index + 1) * columns
            self.cache.insert(prompt, known, np.arange(end - (len(prompt) - known), end))
        self.cache.store(states.flatten(2, 3))
        return logits[: len(prompts)]

    def _prompt_shape(self, rows: int, past: int, new: int) -> tuple[int, int, int, bool]:
        """Rows, new tokens and columns of a call, and whether it is recorded (on a GPU, in a few sizes that serve all prompts)."""
        size, wide = one_of(PROMPT_ROWS, rows), power_of_two(max(new, PROMPT_TOKENS))
        columns = self._prompt_columns(past + wide)
        if size * wide <= PREFILL_TOKENS[self.device.type] and size * columns <= self._prompt_tokens:
            return size, wide, columns, True
        return rows, new, self._prompt_columns(past + new), False

    def _prompt_columns(self, count: int) -> int:
        return -(-count // PROMPT_COLUMNS) * PROMPT_COLUMNS if self._prompt_tokens else count

    def _call(self, states: Any, write: slice, steady: bool, ids: Any, positions: Any, keys: Any) -> Any:
        """Logits after `ids`; their states go into the columns `write` of `states`. A `steady` call is recorded and replayed."""
        rows, columns = states.shape[2:4]
        cache = buffer_cache(states, Place((slice(None), write), rows, columns))
        if not steady:
            return call_model(self.model, ids, positions, keys, cache)
        key = rows, ids.shape[1], columns
        if key not in self._recorded:
            recorded = self._record_prompts(lambda: (call_model(self.model, ids, positions, keys, cache),))
            self._recorded[key] = (ids, positions, keys), *recorded
        inputs, replay, (logits,) = self._recorded[key]
        for kept, given in zip(inputs, (ids, positions, keys), strict=True):
            kept.copy_(given)
        replay()
        return logits.clone()

    def _tensor(self, values: Any) -> Any:
        return torch.from_numpy(values).to(self.device)

    def _assemble(self, rows: Sequence[tuple[tuple[int, ...], int, int]], states: Any) -> Any:
        """Fill buffers with cached states, in one gather; returns the positions of their columns, numpy [rows or more, columns].

        `rows` are (prompt, number of cached tokens, column where they end); `states` [2 × layers, key heads, rows or more,
        columns, width].
        """
        size, columns = states.shape[2:4]
        slots = np.full((size, columns), PADDING, np.int64)
        keys = np.full((size, columns), NOWHERE, np.int64)
        for index, (prompt, known, end) in enumerate(rows):
            slots[index, end - known : end] = self.cache.match(prompt)[:known]
            keys[index, end - known : end] = np.arange(known)
        self.cache.gather(self._tensor(slots.reshape(-1)), states.flatten(2, 3))
        return keys

    def _buffers(self, rows: int, columns: int) -> Any:
        """A part of the memory reserved for prompts; new memory if that is too small."""
        if rows * columns > self._prompt_tokens:
            return self.shape.empty(rows, columns, self._like)
        if self._prompt_space is None:
            self._prompt_space = self.shape.empty(1, self._prompt_tokens, self._like).flatten().zero_()
        shape = self.shape.buffers(rows, columns)
        return self._prompt_space[: math.prod(shape)].view(shape)


def one_of(sizes: Sequence[int], number: int) -> int:
    """The smallest of `sizes` that is at least `number`; if there is none, the smallest such power of two."""
    return next((size for size in sizes if size >= number), power_of_two(number))


def power_of_two(number: int) -> int:
    """The smallest power of two that is at least `number`."""
    return 1 << (number - 1).bit_length()


def _common_length(one: Sequence[int], other: Sequence[int]) -> int:
    for index, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return index
    return min(len(one), len(other))
