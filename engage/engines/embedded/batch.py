"""Rows that are decoded together: their keys and values, and all that a step needs, on the device; on a GPU a recorded graph.

A step writes the last token's keys and values into the next column, asks the model, and draws. It is the same code on a CPU, where
a step looks over the columns filled so far, and in a CUDA graph, where it looks over all columns and its thousand kernels are
started by one call. What is drawn reaches the host once a step.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from engage.engines.embedded.attention import NOWHERE, Place, Visible, buffer_cache, looking_at
from engage.engines.embedded.sampling import NUCLEUS_CANDIDATES, Row, choose, invert, logprob_of, nucleus_settings

_STEADY = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
"""Not cuDNN's: it plans anew for each number of columns, 0.8 ms a call."""
WARM_UPS = 2
PER_ROW = ("keys", "tokens", "positions", "uniforms", "temperature", "top_p")


def call_model(model: Any, ids: Any, positions: Any, keys: Any, cache: Any) -> Any:
    """Logits [rows, vocabulary] after the last of `ids` [rows, length]; `keys` [rows, columns] are the positions of what is looked at."""
    visible = Visible(positions, keys, model.dtype)
    with looking_at(visible), sdpa_kernel(_STEADY):
        out = model(
            input_ids=ids,
            attention_mask=visible.mask(None),
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
    return out.logits[:, -1].float()


class Batch:
    """See the module. `states` [2 × layers, key heads, rows, columns, width] holds `filled` columns when decoding begins.

    A row beyond those that are loaded computes along and is not looked at.
    """

    def __init__(self, model: Any, states: Any, room: int) -> None:
        """`room`: tokens that a row may be given at most."""
        self.model, self.states = model, states
        rows, self.columns = states.shape[2:4]
        device = states.device
        self.place = Place(slice(0, 0), self.columns)
        self.cache = buffer_cache(states, self.place)
        self.keys = torch.full((rows, self.columns), NOWHERE, dtype=torch.long, device=device)
        self.tokens = torch.zeros(rows, 1, dtype=torch.long, device=device)
        self.positions = torch.zeros(rows, 1, dtype=torch.long, device=device)
        self.uniforms = torch.zeros(rows, room, dtype=torch.float64, device=device)
        self.temperature = torch.ones(rows, device=device)
        self.top_p = torch.zeros(rows, device=device)
        self.column = torch.zeros(1, dtype=torch.long, device=device)
        self.step = torch.zeros(1, dtype=torch.long, device=device)
        self.drawn: Any = None

    def load(self, rows: Sequence[Row], keys: Any, filled: int, logits: Any) -> None:
        """Begin with rows whose states are in place: `keys` [rows, columns] their positions, `logits` what comes after them."""
        count, device = len(rows), self.states.device
        self.keys.fill_(NOWHERE)[:, 0] = 0  # rows beyond the loaded ones look at something too
        self.keys[:count] = keys
        self.positions[:count, 0] = torch.tensor([len(row.tokens) for row in rows], device=device)
        room = max(row.sampling.max_tokens for row in rows)
        uniforms = np.zeros((count, room))
        for index, row in enumerate(rows):
            uniforms[index, : row.sampling.max_tokens] = np.random.default_rng(row.seed).random(row.sampling.max_tokens)
        self.uniforms[:count, :room] = torch.from_numpy(uniforms).to(device)
        self.temperature[:count], self.top_p[:count] = nucleus_settings([row.sampling for row in rows], device)
        self.column.fill_(filled)
        self.step.zero_()
        self._first(logits)

    def _first(self, logits: Any) -> None:
        count = len(logits)
        tokens = choose(logits, self.temperature[:count], self.top_p[:count], self.uniforms[:count, 0])
        self.tokens[:count, 0] = tokens
        self.drawn = torch.stack([tokens.double(), logprob_of(logits, tokens).double()])
        self.step += 1

    def fetch(self) -> Any:
        """What the last step drew, as numpy [2, rows]: tokens and their natural-log probabilities."""
        return self.drawn.cpu().numpy()

    def advance(self, filled: int) -> None:
        """One token more for every row; `filled` columns hold keys before it."""
        self.place.write, self.place.columns = slice(filled, filled + 1), filled + 1
        logits = self._ask(filled + 1)
        tokens = choose(logits, self.temperature, self.top_p, self._uniforms())
        self._note(tokens)
        self.drawn = torch.stack([tokens.double(), logprob_of(logits, tokens).double()])

    def keep_only(self, places: Any) -> "Batch":
        """The batch without all rows but these (numpy, ascending)."""
        index = torch.from_numpy(places).to(self.states.device)
        self.states = self.states.index_select(2, index)
        self.cache = buffer_cache(self.states, self.place)
        for name in PER_ROW:
            setattr(self, name, getattr(self, name)[index])
        return self

    def _ask(self, columns: int) -> Any:
        self.keys.index_copy_(1, self.column, self.positions)
        return call_model(self.model, self.tokens, self.positions, self.keys[:, :columns], self.cache)

    def _uniforms(self) -> Any:
        return self.uniforms.index_select(1, self.step)[:, 0]

    def _note(self, tokens: Any) -> None:
        self.tokens.copy_(tokens[:, None])
        self.positions += 1
        self.column += 1
        self.step += 1


class Recorder:
    """Makes CUDA graphs that share their memory: only one of them runs at a time."""

    def __init__(self) -> None:
        self._pool: Any = None

    def __call__(self, step: Callable[[], None]) -> Callable[[], None]:
        """Record a step, which leaves the counters of its batch moved on; the replay."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # kernels are chosen and memory is taken before the recording
            for _ in range(WARM_UPS):
                step()
        torch.cuda.current_stream().wait_stream(stream)
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            step()
        return graph.replay


class RecordedBatch(Batch):
    """A batch of fixed size whose step is recorded once and replayed for every batch that fits: on a GPU, one CUDA graph."""

    def __init__(
        self,
        model: Any,
        states: Any,
        room: int,
        record: Callable[[Callable[[], None]], Callable[[], None]],
        smaller: Callable[[int], "RecordedBatch"],
    ) -> None:
        """`record` records a step and returns its replay; `smaller` gives the batch of the same columns for fewer rows."""
        super().__init__(model, states, room)
        self.place.write = self.column
        self.keys[:, 0] = 0
        self._smaller = smaller
        self._replay = record(self._step)
        self._recorded = self.drawn

    def _step(self) -> None:
        self.logits = self._ask(self.columns)
        probabilities = torch.softmax(self.logits / self.temperature[:, None], -1)
        count = min(NUCLEUS_CANDIDATES[-1], probabilities.shape[-1])
        tokens, covered = invert(probabilities, self.top_p, self._uniforms(), count)
        self._note(tokens)
        self.drawn = torch.stack([tokens.double(), logprob_of(self.logits, tokens).double(), covered.double()])

    def advance(self, filled: int) -> None:
        self._replay()
        self.drawn = self._recorded

    def fetch(self) -> Any:
        """See Batch; a nucleus larger than the graph looks at is drawn again from all tokens."""
        drawn = self.drawn.cpu().numpy()
        if len(drawn) == 3 and not drawn[2].all():
            uniforms = self.uniforms.index_select(1, self.step - 1)[:, 0]
            tokens = choose(self.logits, self.temperature, self.top_p, uniforms)
            self.tokens.copy_(tokens[:, None])
            drawn = torch.stack([tokens.double(), logprob_of(self.logits, tokens).double()]).cpu().numpy()
        return drawn[:2]

    def keep_only(self, places: Any) -> "Batch":
        """See Batch: the rows move into a smaller recorded batch."""
        index = torch.from_numpy(places).to(self.states.device)
        states = self.states.index_select(2, index)
        per_row = {name: getattr(self, name)[index] for name in PER_ROW}
        smaller = self._smaller(len(places))
        smaller.states[:, :, : len(places)] = states
        smaller.keys.fill_(NOWHERE)[:, 0] = 0
        for name, values in per_row.items():
            getattr(smaller, name)[: len(places)] = values
        for name in ("column", "step"):
            getattr(smaller, name).copy_(getattr(self, name))
        return smaller
