"""Rows that are decoded together: their keys and values on the device, and the step that adds one token to each.

Each row has a place, and its token at position p lies in column p, so that rows can enter and leave while others are decoded. A
step reads the first places and columns, writes the keys and values of each row's last token, calls the model, and samples. On a
CPU a step is exactly as large as needed. On a GPU it is a recorded CUDA graph, which starts about a thousand kernels with one
call. The sampled tokens are copied to the host once per step.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from engage.engines.embedded.attention import Place, Visible, buffer_cache, looking_at
from engage.engines.embedded.sampling import NUCLEUS_CANDIDATES, Row, choose, invert, logprob_of, nucleus_settings

_STEADY = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
"""Without cuDNN's attention: it plans again for each number of columns, 0.8 ms per call."""
WARM_UPS = 2
Tensors = tuple[Any, ...]
Record = Callable[[Callable[[], Tensors]], tuple[Callable[[], None], Tensors]]
"""Records a call; returns a function that replays it, and the tensors that each replay writes its results to."""


def call_model(model: Any, ids: Any, positions: Any, keys: Any, cache: Any) -> Any:
    """Logits [rows, vocabulary] after the last of `ids` [rows, length]; `keys` [rows or 1, columns]: positions of the columns."""
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


@torch.inference_mode()
def fuse_norms(model: Any) -> int:
    """Replace a model's root-mean-square norms by one kernel each instead of six; returns how many. Other norms stay."""
    fused = 0
    for module in model.modules():
        epsilon, weight = getattr(module, "variance_epsilon", None), getattr(module, "weight", None)
        if not isinstance(epsilon, float) or weight is None or weight.dim() != 1:
            continue
        norm = partial(torch.nn.functional.rms_norm, normalized_shape=weight.shape, weight=weight, eps=epsilon)
        trial = torch.linspace(-2, 3, len(weight), dtype=weight.dtype, device=weight.device)[None, None]
        if torch.allclose(module(trial), norm(trial), rtol=0.02, atol=1e-3):  # bfloat16 rounds by up to 0.004
            module.forward = norm
            fused += 1
    return fused


class Batch:
    """See the module. `states` [2 × layers, key heads, places, columns, width] must contain no NaN.

    A place without a row is computed too; its result is ignored.
    """

    def __init__(self, model: Any, states: Any) -> None:
        self.model, self.states = model, states
        self.places, self.columns = states.shape[2:4]
        device = states.device
        self._place = Place((slice(0), slice(0)), 0, 0)
        self._cache = buffer_cache(states, self._place)
        self._numbers = torch.arange(self.places, device=device)[:, None]
        self._keys = torch.arange(self.columns, device=device)[None]
        self._tokens = torch.zeros(self.places, 1, dtype=torch.long, device=device)
        self._positions = torch.zeros(self.places, 1, dtype=torch.long, device=device)
        self._uniforms = torch.zeros(self.places, self.columns, dtype=torch.float64, device=device)
        self._temperature = torch.ones(self.places, device=device)
        self._top_p = torch.zeros(self.places, device=device)
        self._drawn: Any = None

    def begin(self, places: Any, rows: Sequence[Row], logits: Any) -> Any:
        """Start rows whose states are in their places; `logits` follow their prompts. Returns the first tokens as `fetch` does."""
        device = self.states.device
        lengths = [len(row.tokens) for row in rows]
        uniforms = np.zeros((len(rows), self.columns + 1))
        for own, row, length in zip(uniforms, rows, lengths, strict=True):
            # the token in column c is sampled with the number in column c
            own[length : length + row.sampling.max_tokens] = np.random.default_rng(row.seed).random(
                row.sampling.max_tokens
            )
        firsts = torch.from_numpy(uniforms[np.arange(len(rows)), lengths]).to(device)
        index = torch.from_numpy(places).to(device)
        temperature, top_p = nucleus_settings([row.sampling for row in rows], device)
        tokens = choose(logits, temperature, top_p, firsts)
        self._tokens[index] = tokens[:, None]
        self._positions[index] = torch.tensor(lengths, device=device)[:, None]
        self._uniforms[index] = torch.from_numpy(uniforms[:, 1:]).to(device)
        self._temperature[index], self._top_p[index] = temperature, top_p
        return torch.stack([tokens.double(), logprob_of(logits, tokens).double()]).cpu().numpy()

    def advance(self, places: int, columns: int) -> None:
        """Start a step: one more token for the rows in the first `places`, whose tokens all lie in the first `columns`."""
        logits = self._ask(places, columns)
        tokens = choose(logits, *self._settings(places))
        self._note(tokens)
        self._drawn = torch.stack([tokens.double(), logprob_of(logits, tokens).double()])

    def fetch(self, live: Any) -> Any:
        """The last step's tokens and natural-log probabilities for the places `live`, as numpy [2, places]."""
        return self._drawn.cpu().numpy()[:, live]

    def move(self, sources: Any, targets: Any, columns: int) -> None:
        """Move rows to free places; all their tokens lie in the first `columns`."""
        device = self.states.device
        source, target = torch.from_numpy(sources).to(device), torch.from_numpy(targets).to(device)
        states = self.states[:, :, :, :columns]
        states.index_copy_(2, target, states.index_select(2, source))
        for values in (self._tokens, self._positions, self._uniforms, self._temperature, self._top_p):
            values.index_copy_(0, target, values.index_select(0, source))

    def _ask(self, places: int, columns: int) -> Any:
        positions = self._positions[:places]
        self._place.write, self._place.rows, self._place.columns = (self._numbers[:places], positions), places, columns
        return call_model(self.model, self._tokens[:places], positions, self._keys[:, :columns], self._cache)

    def _settings(self, places: int) -> Tensors:
        uniforms = self._uniforms[:places].gather(1, self._positions[:places])[:, 0]
        return self._temperature[:places], self._top_p[:places], uniforms

    def _note(self, tokens: Any) -> None:
        places = len(tokens)
        self._tokens[:places] = tokens[:, None]
        # clamped, because places without a row count on too
        self._positions[:places].add_(1).clamp_max_(self.columns - 1)


class Recorder:
    """Records CUDA graphs that share their memory: the results of one are lost when another runs."""

    def __init__(self) -> None:
        self._pool: Any = None

    def __call__(self, call: Callable[[], Tensors]) -> tuple[Callable[[], None], Tensors]:
        """See Record; the call is warmed up first, so that kernels are chosen and memory is allocated before the recording."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UPS if self._pool is None else 1):
                call()
        torch.cuda.current_stream().wait_stream(stream)
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            results = call()
        return graph.replay, results


class RecordedBatch(Batch):
    """A batch whose steps are recorded (CUDA graphs on a GPU), one for each number of places and columns, and replayed."""

    def __init__(self, model: Any, states: Any, record: Record) -> None:
        super().__init__(model, states)
        self._record = record
        self._recorded: dict[tuple[int, int], tuple[Callable[[], None], Tensors]] = {}
        self._logits: Any = None

    @property
    def recorded(self) -> set[tuple[int, int]]:
        """The numbers of places and columns that have a recorded step."""
        return set(self._recorded)

    def advance(self, places: int, columns: int) -> None:
        """See Batch; the first step of a size is recorded, which takes up to half a second."""
        if (places, columns) not in self._recorded:
            kept = self._tokens.clone(), self._positions.clone()
            self._recorded[places, columns] = self._record(lambda: self._step(places, columns))
            self._tokens.copy_(kept[0])  # undo the recording's own step; the columns that it wrote are written again
            self._positions.copy_(kept[1])
        replay, (self._drawn, self._logits) = self._recorded[places, columns]
        replay()

    def _step(self, places: int, columns: int) -> Tensors:
        logits = self._ask(places, columns)
        temperature, top_p, uniforms = self._settings(places)
        probabilities = torch.softmax(logits / temperature[:, None], -1)
        count = min(NUCLEUS_CANDIDATES[-1], probabilities.shape[-1])
        tokens, covered = invert(probabilities, top_p, uniforms, count)
        self._note(tokens)
        return torch.stack([tokens.double(), logprob_of(logits, tokens).double(), covered.double()]), logits

    def fetch(self, live: Any) -> Any:
        """See Batch; if the nucleus is larger than the candidates of the recorded step, the token is sampled again from all."""
        drawn = self._drawn.cpu().numpy()[:, live]
        wide = live[drawn[2] == 0]
        if len(wide):
            index = torch.from_numpy(wide).to(self.states.device)
            uniforms = self._uniforms[index].gather(1, self._positions[index] - 1)[:, 0]
            logits = self._logits[index]
            tokens = choose(logits, self._temperature[index], self._top_p[index], uniforms)
            self._tokens[index] = tokens[:, None]
            drawn[:2, drawn[2] == 0] = torch.stack([tokens.double(), logprob_of(logits, tokens).double()]).cpu().numpy()
        return drawn[:2]
