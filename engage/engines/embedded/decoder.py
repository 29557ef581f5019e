"""Batched generation on one transformers model with key/value reuse and one random stream per row.

Prompts are prefilled; their rows then take places in a batch, are decoded together, and leave when they are complete. New rows may
enter while others are decoded. Masks are built from each row's own positions, so a row gets the same result as alone.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from engage.engines.embedded.batch import Batch, Record, RecordedBatch, Recorder
from engage.engines.embedded.prefill import NextLogits, Prefill, one_of, power_of_two
from engage.engines.embedded.sampling import Row

WORTH_COMPACTING = {"cpu": 0.75, "cuda": 0.7}
"""Rows move to the front if a step then has at most this share of its places."""
WORTH_FILLING = {"cpu": 0.5, "cuda": 0.75}
"""Waiting rows enter a batch when at most this share of its places is taken."""
COLUMN_STEP = {"cpu": 1, "cuda": 128}
"""A step reads a multiple of this many columns, so that a few graphs on a GPU serve all batches."""
STEP_ROWS = (1, 8, 32, 64, 128, 192, 256, 384)
"""Numbers of rows of recorded steps; each needs a graph of its own."""
LEAST_COLUMNS = 512
"""Smallest number of columns of a batch on a GPU, so that short rows share its graphs."""
PROMPT_SHARE = 0.3
"""The share of a GPU's buffer memory for prefilling prompts; the rest is for decoding."""
COPY_BYTES = 100_000_000
"""Most bytes of prompt states that are copied at once, to bound the temporary memory."""


class Decoder(Prefill):
    """See the module; used from one thread. Raises Closed once `is_closed` returns True."""

    def __init__(
        self,
        model: Any,
        end_tokens: set[int],
        cache_bytes: float,
        is_closed: Callable[[], bool] = lambda: False,
        buffer_bytes: float | None = None,
        most_rows: int = 0,
        most_columns: int = 1024,
    ) -> None:
        """`buffer_bytes`: most memory for buffers on a GPU (None on a CPU); no more is taken than `most_rows` × `most_columns` need."""
        super().__init__(model, cache_bytes, is_closed)
        self.end_tokens = np.array(sorted(end_tokens), np.int64)
        self._most_rows = most_rows
        self._workspace_tokens: int | None = None
        if buffer_bytes is not None:
            tokens = min(
                int(buffer_bytes // self.cache.token_bytes), int(most_rows * most_columns / (1 - PROMPT_SHARE))
            )
            self._prompt_tokens = int(PROMPT_SHARE * tokens)
            self._workspace_tokens = tokens - self._prompt_tokens
        self._space: Any = None
        self._batches: dict[int, RecordedBatch] = {}
        # Not shared with prompts: their graphs may run between a step and its `fetch`, and would overwrite its results.
        self._record_step: Record = Recorder()
        self._batch: Batch | None = None
        # rows that wait for a place, each with the index of its prompt's logits in `_after`
        self._queue: list[tuple[Row, int]] = []
        self._after: Any = None
        self._at: dict[int, Row] = {}  # by place
        self._stepping: Any = None  # the places (numpy) of the running step
        self._ended: list[tuple[int, Row]] = []  # completed rows whose states are not in the cache yet
        # by place, numpy: the row's number of tokens, its largest number, and the sampled tokens with their log-probabilities
        self._filled: Any = None
        self._limits: Any = None
        self._tokens: Any = None
        self._logprobs: Any = None

    @torch.inference_mode()
    def next_logits(self, prompts: Sequence[tuple[int, ...]]) -> NextLogits:
        """See Prefill; the texts of completed rows are in the cache."""
        self._keep()
        return super().next_logits(prompts)

    def generate(self, rows: Sequence[Row]) -> None:
        """Complete the rows in place; equal prompts are prefilled once. No row may become longer than `max_length`."""
        self.begin(rows, self.next_logits([row.tokens for row in rows]))
        while self.live:
            self.step()

    @property
    def live(self) -> int:
        """Number of rows that are not complete."""
        return len(self._at) + len(self._queue)

    @property
    def waits(self) -> bool:
        """Whether some rows still wait for a place; if so, `begin` must not be called."""
        return bool(self._queue)

    def clear(self) -> None:
        """Drop all incomplete rows after an error."""
        self._queue, self._at, self._ended = [], {}, []
        self._batch = self._after = self._stepping = None
        self.cache.drop_unstored()

    @torch.inference_mode()
    def begin(self, rows: Sequence[Row], following: NextLogits) -> list[Row]:
        """Add rows; `following` is the result of the `next_logits` call just before. Returns the rows that are complete already."""
        assert not self._queue, "rows wait for places already"
        for row in rows:
            row.cached = following.cached[row.tokens]
        shortest_first = sorted(rows, key=lambda row: len(row.tokens) + row.sampling.max_tokens)
        self._queue, self._after = [(row, following.rows[row.tokens]) for row in shortest_first], following.logits
        return self._enter()

    @torch.inference_mode()
    def step(self) -> list[Row]:
        """Add one token to every row that has a place; returns the rows that are complete now.

        A GPU gets the next step before this returns, so that it computes while the caller reads the rows.
        """
        self._check_open()
        if self._stepping is None:
            self._advance()
        assert self._batch is not None and self._stepping is not None
        live, self._stepping = self._stepping, None
        completed = self._take(live, self._batch.fetch(live))
        if self._queue and len(self._at) <= WORTH_FILLING[self.device.type] * self._batch.places:
            completed += self._enter()
        if not self._at:
            self._rest()
        elif self._workspace_tokens is not None:
            self._advance()
        return completed

    def _advance(self) -> None:
        """Start a step for the rows that have a place now."""
        assert self._batch is not None
        self._compact(self._batch)
        live = np.array(sorted(self._at), np.int64)
        self._batch.advance(self._size(int(live[-1]) + 1), self._width(self._batch, int(self._filled[live].max())))
        self._stepping = live

    def _enter(self) -> list[Row]:
        """Give free places to rows of the queue; returns the rows that are complete after their first token."""
        completed: list[Row] = []
        while self._queue and (taken := self._seats()):
            batch, entering = self._batch, self._queue[: len(taken)]
            assert batch is not None
            del self._queue[: len(taken)]
            self._keep()
            rows, places = [row for row, _ in entering], np.array(taken, np.int64)
            self._fill(batch, rows, places)
            drawn = batch.begin(places, rows, self._after[self._tensor(np.array([at for _, at in entering]))])
            for place, row in zip(taken, rows, strict=True):
                self._at[place] = row
                self._filled[place] = len(row.tokens)
                self._limits[place] = len(row.tokens) + row.sampling.max_tokens
            completed += self._take(places, drawn)
        if not self._queue:
            self._after = None
        if not self._at:
            self._rest()
        return completed

    def _rest(self) -> None:
        """No row is left: cache the completed rows' states and, on a CPU, free the batch."""
        self._keep()
        if self._workspace_tokens is None:
            self._batch = None

    def _seats(self) -> list[int]:
        """Free places for the first rows of the queue; prepares a new batch if no row is running."""
        needs = [len(row.tokens) + row.sampling.max_tokens for row, _ in self._queue]
        if not self._at:
            self._rest()
            self._prepare(needs)
        assert self._batch is not None
        columns = self._batch.columns
        fitting = next((number for number, need in enumerate(needs) if need > columns), len(needs))
        free = (place for place in range(self._batch.places) if place not in self._at)
        return list(itertools.islice(free, fitting))

    def _prepare(self, needs: Sequence[int]) -> None:
        """Make a batch for rows that need `needs` columns: on a CPU one of exactly that size, on a GPU one as wide as the first needs."""
        if self._workspace_tokens is None:
            self._batch = Batch(self.model, self._zeros(len(needs), max(needs)))
        else:
            columns = power_of_two(max(needs[0], LEAST_COLUMNS))
            if columns not in self._batches:
                places = max(1, min(self._most_rows, self._workspace_tokens // columns))
                states = self._workspace(places, columns)
                self._batches[columns] = RecordedBatch(self.model, states, self._record_step)
            self._batch = self._batches[columns]
        places, columns = self._batch.places, self._batch.columns
        self._filled, self._limits = np.zeros(places, np.int64), np.zeros(places, np.int64)
        self._tokens, self._logprobs = np.zeros((places, columns), np.int64), np.zeros((places, columns))

    def _zeros(self, rows: int, columns: int) -> Any:
        shape = self.shape.buffers(rows, columns)
        return torch.zeros(shape, dtype=self._like.dtype, device=self._like.device)

    def _workspace(self, rows: int, columns: int) -> Any:
        """A part of the decoding memory, which batches of all widths share; new memory if that is too small."""
        assert self._workspace_tokens is not None
        if rows * columns > self._workspace_tokens:
            return self._zeros(rows, columns)
        if self._space is None:
            self._space = self._zeros(1, self._workspace_tokens).flatten()
        shape = self.shape.buffers(rows, columns)
        return self._space[: math.prod(shape)].view(shape)

    def _fill(self, batch: Batch, rows: Sequence[Row], places: Any) -> None:
        """Copy the states of the rows' prompts from the cache into the rows' places."""
        slots = [self.cache.match(row.tokens) for row in rows]
        columns = [place * batch.columns + np.arange(len(own)) for place, own in zip(places, slots, strict=True)]
        source, target = self._tensor(np.concatenate(slots)), self._tensor(np.concatenate(columns))
        states = batch.states.flatten(2, 3)
        together = max(1, COPY_BYTES * len(states) // (self.cache.token_bytes * len(source)))
        for first in range(0, len(states), together):
            part = self.cache.states[first : first + together].index_select(2, source)
            states[first : first + together].index_copy_(2, target, part)

    def _take(self, places: Any, drawn: Any) -> list[Row]:
        """Append the tokens `drawn` to the rows in `places`; returns the rows that are complete now."""
        at = self._filled[places]
        self._tokens[places, at], self._logprobs[places, at] = drawn
        self._filled[places] += 1
        stopped = np.isin(drawn[0], self.end_tokens)
        completed = []
        for number in np.flatnonzero(stopped | (at + 1 >= self._limits[places])):
            place = int(places[number])
            row = self._at.pop(place)
            said = slice(len(row.tokens), int(at[number]) + 1)
            row.take(self._tokens[place, said].tolist(), self._logprobs[place, said].tolist(), bool(stopped[number]))
            self._ended.append((place, row))
            completed.append(row)
        return completed

    def _compact(self, batch: Batch) -> None:
        """Move the last rows to free places in front, if that makes a step small enough (WORTH_COMPACTING)."""
        places = np.array(sorted(self._at), np.int64)
        if self._size(len(places)) > WORTH_COMPACTING[self.device.type] * self._size(int(places[-1]) + 1):
            return
        self._keep()
        sources = places[places >= len(places)]
        targets = np.setdiff1d(np.arange(len(places)), places)
        batch.move(sources, targets, self._width(batch, int(self._filled[places].max())))
        for values in (self._filled, self._limits, self._tokens, self._logprobs):
            values[targets] = values[sources]
        for source, target in zip(sources.tolist(), targets.tolist(), strict=True):
            self._at[target] = self._at.pop(source)

    def _size(self, rows: int) -> int:
        """The number of places of a step; on a GPU one of few sizes, so that few steps are recorded."""
        if self._workspace_tokens is None or self._batch is None:
            return rows
        return min(one_of(STEP_ROWS, rows), self._batch.places)

    def _width(self, batch: Batch, columns: int) -> int:
        step = COLUMN_STEP[self.device.type]
        return min(-(-columns // step) * step, batch.columns)

    def _keep(self) -> None:
        """Put completed rows into the cache before their places are reused; a row's last token has no states yet."""
        if not self._ended or self._batch is None:
            return
        for place, row in self._ended:
            tokens = (*row.tokens, *(row.generated if row.stopped else row.generated[:-1]))
            start = place * self._batch.columns
            self.cache.insert(tokens, 0, np.arange(start, start + len(tokens)))
        self.cache.store(self._batch.states.flatten(2, 3))
        self._ended.clear()
