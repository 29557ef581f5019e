"""Batched generation on one transformers model with key/value reuse and one random stream per row.

Prompts are prefilled in sub-batches from what the prefix cache holds, then decoded together in preallocated buffers. Masks come
from positions, which are each row's own, so a row computes what it would alone.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from engage.engines.embedded.attention import NOWHERE, AttentionShape, Place, buffer_cache
from engage.engines.embedded.batch import Batch, RecordedBatch, Recorder, call_model
from engage.engines.embedded.prefix_cache import PADDING, PrefixCache
from engage.engines.embedded.sampling import Row

PREFILL_TOKENS = {"cpu": 4096, "cuda": 32768}
CALL_TOKENS = {"cpu": 96, "cuda": 4096}
"""What a call of the model costs before its first token, in tokens: weights read, kernels started."""
WORTH_SHARING = {"cpu": 32, "cuda": 1024}
"""Tokens of an unknown prefix from which on it pays to compute it for one prompt first, with a call of its own."""
WORTH_COMPACTING = {"cpu": 0.75, "cuda": 0.5}
COLUMN_STEP = {"cpu": 1, "cuda": 64}
"""Buffers have a multiple of this many columns: on a GPU, so that few graphs serve all batches."""
RECORDED_ROOM = 1024
"""Tokens that a recorded batch can give a row; longer replies are decoded without a graph."""


class Closed(Exception):
    """The batch was given up, because nobody waits for it any more."""


@dataclass
class Found:
    """What comes after distinct prompts: `logits` [prompts, vocabulary]; each prompt's row there, and how much of it was reused."""

    logits: Any
    rows: dict[tuple[int, ...], int]
    cached: dict[tuple[int, ...], int]


class Decoder:
    """One model, its prefix cache and its counters; used from one thread. Gives up with Closed once `is_closed` says so."""

    def __init__(
        self,
        model: Any,
        end_tokens: set[int],
        cache_bytes: float,
        is_closed: Callable[[], bool] = lambda: False,
        buffer_bytes: float | None = None,
        buffer_tokens: int = 0,
    ) -> None:
        """`buffer_bytes`, `buffer_tokens`: memory that is kept on a GPU for buffers, at most so many bytes and rows × columns."""
        self.model, self.end_tokens = model, np.array(sorted(end_tokens), np.int64)
        self._is_closed = is_closed
        self.device = model.device
        self.shape = AttentionShape.of(model)
        self._like = torch.empty(0, dtype=model.dtype, device=model.device)
        self.cache = PrefixCache(cache_bytes, self.shape, self._like)
        self.max_length = model.config.max_position_embeddings
        self.prefill_tokens = self.cached_tokens = self.decode_tokens = 0
        self._workspace_tokens: int | None = None
        if buffer_bytes is not None:
            self._workspace_tokens = min(int(buffer_bytes // self.cache.token_bytes), buffer_tokens)
        self._workspace: Any = None
        self._recorded: dict[tuple[int, int], RecordedBatch] = {}
        self._recorder: Callable[[Callable[[], None]], Callable[[], None]] = Recorder()
        # The last positions of a batch are a view with gaps, for which torch would copy the output weights once a row.
        head = model.get_output_embeddings()
        if head is not None:
            head.register_forward_pre_hook(lambda _, inputs: tuple(value.contiguous() for value in inputs))

    @torch.inference_mode()
    def next_logits(self, prompts: Sequence[tuple[int, ...]]) -> Found:
        """Logits of the token after each distinct prompt."""
        self.cache.tick += 1
        self.cache.shrink()
        logits: list[Any] = []
        rows: dict[tuple[int, ...], int] = {}
        cached: dict[tuple[int, ...], int] = {}
        for wave in self._waves(sorted(set(prompts))):
            for batch in self._prefill_batches(wave):
                self._give_up_if_closed()
                logits.append(self._prefill(batch))
                for prompt, known in batch:
                    rows[prompt] = len(rows)
                    cached[prompt] = known
        return Found(torch.cat(logits), rows, cached)

    def _give_up_if_closed(self) -> None:
        if self._is_closed():
            raise Closed

    def _waves(self, prompts: Sequence[tuple[int, ...]]) -> list[list[tuple[int, ...]]]:
        """Prompts that share an unknown prefix with an earlier one come in the second wave, when it is known."""
        first: list[tuple[int, ...]] = []
        second: list[tuple[int, ...]] = []
        for prompt in prompts:
            shared = _common_length(first[-1], prompt) if first else 0
            worth = shared - self._known(prompt) >= WORTH_SHARING[self.device.type]
            (second if worth else first).append(prompt)
        return [wave for wave in (first, second) if wave]

    def _known(self, prompt: tuple[int, ...]) -> int:
        """Tokens in the cache; the last one is always computed, for its logits."""
        return min(len(self.cache.match(prompt)), len(prompt) - 1)

    def _prefill_batches(self, prompts: Sequence[tuple[int, ...]]) -> list[list[tuple[tuple[int, ...], int]]]:
        """Prompts, and how much of each is known, with about as many new tokens together.

        Another batch where padding would cost more than its call does, and where the buffers end.
        """
        batches: list[list[tuple[tuple[int, ...], int]]] = []
        fresh = longest = 0  # new tokens of the latest batch, and its longest prompt
        sized = [(len(prompt) - known, prompt, known) for prompt in prompts for known in [self._known(prompt)]]
        for new, prompt, known in sorted(sized):
            rows = len(batches[-1]) + 1 if batches else 1
            padded = rows * new
            columns = self._columns(max(longest, len(prompt)) + new)
            full = self._workspace_tokens is not None and rows * columns > self._workspace_tokens
            wasteful = padded - fresh - new > CALL_TOKENS[self.device.type]
            if not batches or full or wasteful or padded > PREFILL_TOKENS[self.device.type]:
                batches.append([])
                fresh = longest = 0
            batches[-1].append((prompt, known))
            fresh += new
            longest = max(longest, len(prompt))
        return batches

    def _columns(self, count: int) -> int:
        step = COLUMN_STEP[self.device.type]
        return -(-count // step) * step

    def _prefill(self, prompts: Sequence[tuple[tuple[int, ...], int]]) -> Any:
        """Logits [prompts, vocabulary] after each; what is computed for them is kept."""
        past = max(known for _, known in prompts)
        new = max(len(prompt) - known for prompt, known in prompts)
        columns = self._columns(past + new)
        states = self._buffers(len(prompts), columns)
        keys = self._assemble([(prompt, known, past) for prompt, known in prompts], states)
        ids = np.zeros((len(prompts), new), np.int64)
        positions = np.zeros_like(ids)
        for index, (prompt, known) in enumerate(prompts):
            fresh = len(prompt) - known
            ids[index, new - fresh :] = prompt[known:]
            positions[index, new - fresh :] = np.arange(known, len(prompt))
            keys[index, past + new - fresh : past + new] = np.arange(known, len(prompt))
            self.prefill_tokens += fresh
            self.cached_tokens += known
        logits = call_model(
            self.model,
            self._tensor(ids),
            self._tensor(positions),
            self._tensor(keys),
            buffer_cache(states, Place(slice(past, past + new), columns)),
        )
        for index, (prompt, known) in enumerate(prompts):
            end = index * columns + past + new
            self.cache.insert(prompt, known, np.arange(end - (len(prompt) - known), end))
        self.cache.store(states.flatten(2, 3))
        return logits

    def _tensor(self, values: Any) -> Any:
        return torch.from_numpy(values).to(self.device)

    def _assemble(self, rows: Sequence[tuple[tuple[int, ...], int, int]], states: Any) -> Any:
        """Fill buffers [2 × layers, key heads, rows or more, columns, width] with the states of (prompt, how many tokens of it,
        column where they end); the positions of their columns, as numpy [rows, columns]. One gathering, however many rows.
        """
        size, columns = states.shape[2:4]
        slots = np.full((size, columns), PADDING, np.int64)
        keys = np.full((len(rows), columns), NOWHERE, np.int64)
        for index, (prompt, known, end) in enumerate(rows):
            slots[index, end - known : end] = self.cache.match(prompt)[:known]
            keys[index, end - known : end] = np.arange(known)
        self.cache.gather(self._tensor(slots.reshape(-1)), states.flatten(2, 3))
        return keys

    def _buffers(self, rows: int, columns: int) -> Any:
        """A part of the memory that is kept for buffers; new memory where that is too small."""
        if self._workspace_tokens is None or rows * columns > self._workspace_tokens:
            return self.shape.empty(rows, columns, self._like)
        if self._workspace is None:
            self._workspace = self.shape.empty(1, self._workspace_tokens, self._like).flatten().zero_()
        shape = self.shape.buffers(rows, columns)
        return self._workspace[: math.prod(shape)].view(shape)

    def generate(self, rows: Sequence[Row]) -> None:
        """Complete the rows in place; rows of equal prompts prefill once. None may outgrow `max_length`."""
        self.decode(rows, self.next_logits([row.tokens for row in rows]))

    @torch.inference_mode()
    def decode(self, rows: Sequence[Row], found: Found) -> None:
        """Complete the rows in place, from what was found for their prompts by the `next_logits` just before."""
        for row in rows:
            row.cached = found.cached[row.tokens]
        for some in self._fitting(sorted(rows, key=lambda row: len(row.tokens))):
            self._decode(some, found)

    def _fitting(self, rows: Sequence[Row]) -> list[list[Row]]:
        """Rows that are decoded together: all of them, or as many as the buffers hold."""
        groups: list[list[Row]] = []
        room = max(row.sampling.max_tokens for row in rows)
        for row in rows:  # the shortest first, so that the latest is the longest of its group
            columns = self._columns(len(row.tokens) + room)
            limit = self._workspace_tokens
            if not groups or (limit is not None and (len(groups[-1]) + 1) * columns > limit):
                groups.append([])
            groups[-1].append(row)
        return groups

    def _decode(self, rows: Sequence[Row], found: Found) -> None:
        filled, room = max(len(row.tokens) for row in rows), max(row.sampling.max_tokens for row in rows)
        batch = self._load(rows, filled, room, found)
        limits = np.array([row.sampling.max_tokens for row in rows])
        tokens, logprobs = np.zeros((room, len(rows)), np.int64), np.zeros((room, len(rows)))
        live = np.arange(len(rows))  # place in the batch -> row; finished rows ride along until it pays to drop them
        going = np.ones(len(rows), bool)  # by place
        done: list[int] = []  # places that finished since the batch was last looked through
        for step in range(room):
            self._give_up_if_closed()
            drawn = batch.fetch()[:, : len(live)]
            tokens[step, live], logprobs[step, live] = drawn
            self.decode_tokens += int(going.sum())
            ended = np.isin(drawn[0], self.end_tokens)
            finished = going & (ended | (step + 1 >= limits[live]))
            for place in np.flatnonzero(finished):
                row, stopped = int(live[place]), bool(ended[place])
                rows[row].take(tokens[: step + 1, row].tolist(), logprobs[: step + 1, row].tolist(), stopped)
                done.append(int(place))
            going &= ~finished
            if going.sum() <= WORTH_COMPACTING[self.device.type] * len(live):
                self._keep(batch, [(place, rows[live[place]]) for place in done], filled)
                if not going.any():
                    return
                batch, live, done = batch.keep_only(np.flatnonzero(going)), live[going], []
                going = going[going]
            batch.advance(filled + step)

    def _load(self, rows: Sequence[Row], filled: int, room: int, found: Found) -> Batch:
        columns = self._columns(filled + room)
        batch: Batch
        if (
            self._workspace_tokens is not None
            and len(rows) * columns <= self._workspace_tokens
            and room <= RECORDED_ROOM
        ):
            batch = self._recorded_batch(len(rows), columns)
        else:
            batch = Batch(self.model, self._buffers(len(rows), columns), room)
        keys = self._assemble([(row.tokens, len(row.tokens), filled) for row in rows], batch.states)
        at = np.array([found.rows[row.tokens] for row in rows])
        batch.load(rows, self._tensor(keys), filled, found.logits[self._tensor(at)])
        return batch

    def _recorded_batch(self, rows: int, columns: int) -> RecordedBatch:
        """The recorded batch of the next power of two, made on first use (half a second)."""
        size = 1 << (rows - 1).bit_length()
        if size * columns > (self._workspace_tokens or 0):
            size = rows
        if (size, columns) not in self._recorded:
            self._recorded[size, columns] = RecordedBatch(
                self.model,
                self._buffers(size, columns),
                RECORDED_ROOM,
                self._recorder,
                lambda fewer: self._recorded_batch(fewer, columns),
            )
        return self._recorded[size, columns]

    def _keep(self, batch: Batch, finished: Sequence[tuple[int, Row]], filled: int) -> None:
        """Remember finished rows; the states of a row's last token were never computed."""
        for place, row in finished:
            said = row.generated if row.stopped else row.generated[:-1]
            start = place * batch.columns + filled
            if said:
                self.cache.insert((*row.tokens, *said), len(row.tokens), np.arange(start, start + len(said)))
        self.cache.store(batch.states.flatten(2, 3))


def _common_length(one: Sequence[int], other: Sequence[int]) -> int:
    for index, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return index
    return min(len(one), len(other))
