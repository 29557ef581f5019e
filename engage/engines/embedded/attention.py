"""Attention of the embedded engine: one function for all model families, and a check of which families it can serve.

Keys and values lie in a buffer whose columns may be in any order. Masks are built from the positions of queries and keys. Sliding
windows, capped scores and attention sinks work as in transformers' eager attention. `check_family` refuses models that need more
than that.
"""

import contextlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer
from transformers.masking_utils import sdpa_mask

from engage.errors import ModelError
from engage.models import check_plain, open_config

ATTENTION = "engage_grouped"
_WATCHED = "engage_watched"
NOWHERE = 2**30
"""Position of a column that holds no key."""
_SERVED_LAYERS = {"full_attention", "sliding_attention"}
_KNOWN_TENSORS = {"s_aux", "position_ids", "cache_position"}


class Visible:
    """The attention masks of one call: 0 (visible) or −inf (hidden), added to the scores.

    Boolean masks are seven times slower on a CPU. `queries` [rows, length] and `keys` [rows, columns] are positions within each
    row. A query sees keys at its own and at earlier positions, within the layer's window if it has one. Masks are [rows, 1,
    groups × length, columns].
    """

    def __init__(self, queries: Any, keys: Any, dtype: torch.dtype) -> None:
        self._distance = queries[:, :, None] - keys[:, None, :]
        self._dtype = dtype
        self._masks: dict[tuple[int | None, int], Any] = {}

    def mask(self, window: int | None, groups: int = 1) -> Any:
        """The mask for layers whose queries see the last `window` positions (None: all), each query repeated `groups` times."""
        if window is not None and window >= NOWHERE:
            window = None
        if (window, groups) not in self._masks:
            hidden = self._distance < 0
            if window is not None:
                hidden = hidden | (self._distance >= window)
            mask = torch.zeros(hidden.shape, dtype=self._dtype, device=hidden.device)
            mask = mask.masked_fill_(hidden, float("-inf"))[:, None]
            self._masks[window, groups] = mask.repeat(1, 1, groups, 1) if groups > 1 and mask.shape[2] > 1 else mask
        return self._masks[window, groups]


_visible: ContextVar[Visible] = ContextVar("visible")


@contextmanager
def looking_at(visible: Visible) -> Iterator[None]:
    """A context in which models with ATTENTION use these masks and ignore the mask that they are called with."""
    token = _visible.set(visible)
    try:
        yield
    finally:
        _visible.reset(token)


def grouped_attention(
    module: Any,
    query: Any,
    key: Any,
    value: Any,
    attention_mask: Any,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Any = None,
    **_: Any,
) -> tuple[Any, None]:
    """Grouped-query attention without copies of shared key heads: the queries of one key head become more query positions.

    `query` [rows, heads, length, width], `key` and `value` [rows, key heads, columns, width]. Rows and key heads are swapped for
    the kernel, because the buffers store the columns of one key head together.
    """
    rows, heads, length, width = query.shape
    groups = heads // key.shape[1]
    folded = query.reshape(rows, key.shape[1], groups * length, width).transpose(0, 1)
    key, value = key.transpose(0, 1), value.transpose(0, 1)
    mask = _visible.get().mask(sliding_window, groups).transpose(0, 1)
    scale = width**-0.5 if scaling is None else scaling
    if softcap is None and s_aux is None:
        out = torch.nn.functional.scaled_dot_product_attention(folded, key, value, attn_mask=mask, scale=scale)
    else:
        out = _capped(folded, key, value, mask, scale, softcap, s_aux, length)
    return out.transpose(0, 1).reshape(rows, heads, length, width).transpose(1, 2).contiguous(), None


def _capped(
    query: Any, key: Any, value: Any, mask: Any, scale: float, softcap: float | None, sinks: Any, length: int
) -> Any:
    """The same attention in single steps, with capped scores (Gemma 2) or a sink for each head (gpt-oss).

    `query` [key heads, rows, groups × length, width]; `sinks` [heads].
    """
    scores = (query @ key.transpose(-1, -2)).float() * scale
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    scores = scores + mask
    columns = scores.shape[-1]
    if sinks is not None:
        sink = sinks.float().view(key.shape[0], 1, -1, 1).repeat_interleave(length, dim=2)
        scores = torch.cat([scores, sink.expand(*scores.shape[:-1], 1)], dim=-1)
    return scores.softmax(-1)[..., :columns].to(value.dtype) @ value


AttentionInterface.register(ATTENTION, grouped_attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)


@dataclass
class Place:
    """Where a call writes its keys and values, and how many rows and columns of the buffer its queries read."""

    write: tuple[Any, Any]  # rows and columns: slices, or index tensors that broadcast
    rows: int
    columns: int


# Cache layers, masks and attention functions are internal interfaces of transformers, read at 5.19.0; only this module uses them.
# Models call a layer's update() and get_seq_length(); Cache reads is_initialized.
class BufferLayer(DynamicLayer):
    """Keys and values of one layer in a buffer allocated once: each [key heads, rows, columns, width]."""

    def __init__(self, keys: Any, values: Any, place: Place) -> None:
        super().__init__()
        self.keys_buffer, self.values_buffer, self.place = keys, values, place
        self.is_initialized = True

    def update(self, key_states: Any, value_states: Any, *_: Any, **__: Any) -> tuple[Any, Any]:
        place = self.place
        self.keys_buffer[:, *place.write] = key_states.transpose(0, 1)
        self.values_buffer[:, *place.write] = value_states.transpose(0, 1)
        buffers = (self.keys_buffer, self.values_buffer)
        return tuple(buffer[:, : place.rows, : place.columns].transpose(0, 1) for buffer in buffers)

    def get_seq_length(self) -> int:
        return 0  # the caller passes positions and masks itself


def buffer_cache(states: Any, place: Place) -> Cache:
    """A transformers Cache over `states` [2 × layers, key heads, rows, columns, width]: each layer's keys, then its values."""
    return Cache(layers=[BufferLayer(states[at], states[at + 1], place) for at in range(0, len(states), 2)])


@dataclass(frozen=True)
class AttentionShape:
    """The shape of one token's keys and values: layers, key heads per layer, numbers per head."""

    layers: int
    kv_heads: int
    width: int

    @staticmethod
    @torch.inference_mode()
    def of(model: Any) -> "AttentionShape":
        """The shape, from a call of a model with ATTENTION: the families use different names for it in their configurations."""
        kept = DynamicCache()
        positions = torch.zeros(1, 1, dtype=torch.long, device=model.device)
        visible = Visible(positions, positions, model.dtype)
        with looking_at(visible):
            model(
                input_ids=positions,
                attention_mask=visible.mask(None),
                position_ids=positions,
                past_key_values=kept,
                use_cache=True,
            )
        _, heads, _, width = kept.layers[0].keys.shape
        return AttentionShape(len(kept.layers), heads, width)

    def buffers(self, rows: int, columns: int) -> tuple[int, ...]:
        """Shape of a buffer for `rows` sequences: each layer's keys, then its values."""
        return (2 * self.layers, self.kv_heads, rows, columns, self.width)

    def empty(self, rows: int, columns: int, like: Any) -> Any:
        """A new uninitialised buffer with the type and device of `like`."""
        return torch.empty(self.buffers(rows, columns), dtype=like.dtype, device=like.device)


@cache
def check_family(name: str, folder: Path) -> None:
    """ModelError, with the family's name, if this engine cannot compute the model's attention; loads no weights.

    Recurrent and convolutional layers, position biases, attention to later tokens, and models of pictures or sound are refused. Each model
    is checked once per process.
    """
    from transformers import AutoModelForCausalLM

    def refuse(why: str, family: str) -> ModelError:
        return ModelError(
            f"model {name!r} ({family}): {why}; serve it with vLLM (--set engine.kind=vllm, or a server "
            "and engine.kind=openai), or name another model"
        )

    config = open_config(folder)
    check_plain(name, config)
    family = str(getattr(config, "model_type", "unknown"))
    if config.get_text_config() is not config:
        raise refuse("it reads more than text, which the embedded engine does not serve", family)
    unusual = set(getattr(config, "layer_types", None) or ()) - _SERVED_LAYERS
    if unusual:
        raise refuse(
            f"its layers of kind {', '.join(sorted(unusual))} keep a state that the engine does not know", family
        )
    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, attn_implementation=_WATCHED, trust_remote_code=False)
    except Exception as error:
        raise refuse("it is not a causal language model whose attention can be replaced", family) from error
    if model._is_stateful or not model._supports_attention_backend:
        raise refuse("it keeps a state other than keys and values", family)
    why = _unserved(model)
    if why:
        raise refuse(why, family)


@dataclass(frozen=True)
class _Call:
    """The arguments of one layer's attention: shapes of key and value, its window, the names of further tensors; whether it looks back only."""

    shapes: frozenset[tuple[int, ...]]
    window: int | None
    tensors: frozenset[str]
    causal: bool


_calls: ContextVar[list[_Call]] = ContextVar("calls")


def _watch(module: Any, query: Any, key: Any, value: Any, mask: Any, **more: Any) -> tuple[Any, None]:
    """Attention that computes nothing and records its arguments."""
    tensors = frozenset(name for name, given in more.items() if isinstance(given, torch.Tensor))
    shapes = frozenset((tuple(key.shape), tuple(value.shape)))
    causal = bool(getattr(module, "is_causal", True))
    _calls.get().append(_Call(shapes, more.get("sliding_window"), tensors, causal))
    return torch.empty_like(query).transpose(1, 2).contiguous(), None


AttentionInterface.register(_WATCHED, _watch)
AttentionMaskInterface.register(_WATCHED, sdpa_mask)


def _unserved(model: Any) -> str | None:
    """Why this module cannot compute a model's attention; None if it can. The model is on the device `meta`, with _WATCHED."""
    kept = DynamicCache()
    calls = _called(model, kept)
    if not calls and (scaled := re.search("longrope|dynamic", str(getattr(model.config, "rope_parameters", "")))):
        return f"it scales positions by the longest text that is computed with them (rope type {scaled[0]})"
    if not calls:
        return "its attention cannot be called as the embedded engine calls it"
    if not all(call.causal for call in calls):
        return "its tokens also attend to later ones"
    shapes = {tuple(states.shape) for layer in kept.layers for states in (layer.keys, layer.values)}
    if len(shapes.union(*(call.shapes for call in calls))) > 1:
        return "its layers keep keys and values of different shapes"
    unknown = set[str]().union(*(call.tensors for call in calls)) - _KNOWN_TENSORS
    if unknown:
        return f"its attention takes {', '.join(sorted(unknown))}, which the embedded engine does not know"
    types = getattr(model.config, "layer_types", None)
    limited = getattr(model.config, "sliding_window", None) and getattr(model.config, "use_sliding_window", True)
    limits = limited and (types is None or "sliding_attention" in types[: len(calls)])
    if limits and not any(call.window for call in calls):
        return "it does not pass its attention the window of a layer"
    return None


@torch.no_grad()
def _called(model: Any, kept: Cache) -> list[_Call]:
    """The attention calls in one call of the model with two tokens, whose states go to `kept`; incomplete if a layer needs real data to go on."""
    like = next(model.parameters())
    token = _calls.set([])
    # layers whose work depends on data (experts, say) fail on the device `meta`
    with contextlib.suppress(RuntimeError, TypeError, ValueError, AttributeError, LookupError):
        model(
            input_ids=torch.zeros(1, 2, dtype=torch.long, device="meta"),
            attention_mask=torch.zeros(1, 1, 2, 2, device="meta", dtype=like.dtype),
            position_ids=torch.arange(2, device="meta")[None],
            past_key_values=kept,
            use_cache=True,
        )
    calls = _calls.get()
    _calls.reset(token)
    return calls
