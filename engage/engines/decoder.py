"""Batched generation on one transformers model with key/value reuse and one random stream per row.

Prompts are prefilled in sub-batches from what the prefix cache holds, then decoded together in preallocated buffers. Rows are
left-padded to common columns; masks hide the padding and positions are each row's own, so a row computes what it would alone.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.cache_utils import Cache, DynamicLayer
from transformers.masking_utils import sdpa_mask

from engage.engines.prefix_cache import PrefixCache
from engage.engines.sampling import Row, choose

ATTENTION = "engage_grouped"
PREFILL_TOKENS = 4096
CALL_TOKENS = {"cpu": 96, "cuda": 2048}
"""What a call of the model costs before its first token, in tokens: weights read, kernels started."""
WORTH_SHARING = 32
WORTH_COMPACTING = 0.75


def grouped_attention(
    module: Any, query: Any, key: Any, value: Any, attention_mask: Any, scaling: float | None = None, **_: Any
) -> tuple[Any, None]:
    """Scaled dot-product attention that never copies shared heads: the queries of one key head become more query positions."""
    batch, heads, length, width = query.shape
    groups = heads // key.shape[1]
    folded = query.reshape(batch, key.shape[1], groups * length, width)
    mask = None if attention_mask is None else attention_mask.repeat(1, 1, groups, 1) if length > 1 else attention_mask
    out = torch.nn.functional.scaled_dot_product_attention(folded, key, value, attn_mask=mask, scale=scaling)
    return out.reshape(batch, heads, length, width).transpose(1, 2).contiguous(), None


AttentionInterface.register(ATTENTION, grouped_attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)


class _Layer(DynamicLayer):
    """Keys and values in a buffer allocated once: [batch, kv_heads, capacity, head_dim], filled up to `length` columns."""

    def __init__(self, keys: Any, values: Any, length: int) -> None:
        super().__init__()
        self.buffer_keys, self.buffer_values, self.length = keys, values, length
        self.is_initialized = True

    def update(self, key_states: Any, value_states: Any, *_: Any, **__: Any) -> tuple[Any, Any]:
        end = self.length + key_states.shape[2]
        self.buffer_keys[:, :, self.length : end] = key_states
        self.buffer_values[:, :, self.length : end] = value_states
        self.length = end
        return self.buffer_keys[:, :, :end], self.buffer_values[:, :, :end]

    def get_seq_length(self) -> int:
        return self.length


class Closed(Exception):
    """The batch was given up, because nobody waits for it any more."""


class Decoder:
    """One model, its prefix cache and its counters; used from one thread. Gives up with Closed once `is_closed` says so."""

    def __init__(
        self, model: Any, end_tokens: set[int], cache: PrefixCache, is_closed: Callable[[], bool] = lambda: False
    ) -> None:
        self.model, self.end_tokens, self.cache = model, end_tokens, cache
        self._is_closed = is_closed
        self.device, self.dtype = model.device, model.dtype
        config = model.config
        self.layers = config.num_hidden_layers
        self.kv_heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        self.width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        self.max_length = config.max_position_embeddings
        self.prefill_tokens = self.cached_tokens = self.decode_tokens = 0
        # The last positions of a batch are a view with gaps, for which torch would copy the output weights once a row.
        head = model.get_output_embeddings()
        if head is not None:
            head.register_forward_pre_hook(lambda _, inputs: tuple(value.contiguous() for value in inputs))

    @torch.inference_mode()
    def next_logits(self, prompts: Sequence[tuple[int, ...]]) -> dict[tuple[int, ...], tuple[Any, int]]:
        """Logits [vocabulary] of the token after each distinct prompt, and how many of its tokens were reused."""
        self.cache.tick += 1
        self.cache.shrink()
        found: dict[tuple[int, ...], tuple[Any, int]] = {}
        for wave in self._waves(sorted(set(prompts))):
            for batch in self._prefill_batches(wave):
                self._give_up_if_closed()
                found |= self._prefill(batch)
        return found

    def _give_up_if_closed(self) -> None:
        if self._is_closed():
            raise Closed

    def _waves(self, prompts: Sequence[tuple[int, ...]]) -> list[list[tuple[int, ...]]]:
        """Prompts that share an unknown prefix with an earlier one come in the second wave, when it is known."""
        first: list[tuple[int, ...]] = []
        second: list[tuple[int, ...]] = []
        for prompt in prompts:
            shared = _common_length(first[-1], prompt) if first else 0
            (second if shared - self._known(prompt) >= WORTH_SHARING else first).append(prompt)
        return [wave for wave in (first, second) if wave]

    def _known(self, prompt: tuple[int, ...]) -> int:
        """Tokens in the cache; the last one is always computed, for its logits."""
        return min(sum(length for _, length in self.cache.match(prompt)), len(prompt) - 1)

    def _prefill_batches(self, prompts: Sequence[tuple[int, ...]]) -> list[list[tuple[int, ...]]]:
        """Prompts with about as many new tokens together: another batch where padding would cost more than its call does."""
        batches: list[list[tuple[int, ...]]] = []
        fresh = 0  # new tokens of the latest batch
        for new, prompt in sorted((len(prompt) - self._known(prompt), prompt) for prompt in prompts):
            padded = (len(batches[-1]) + 1) * new if batches else 0
            if not batches or padded > PREFILL_TOKENS or padded - fresh - new > CALL_TOKENS[self.device.type]:
                batches.append([])
                fresh = 0
            batches[-1].append(prompt)
            fresh += new
        return batches

    def _prefill(self, prompts: Sequence[tuple[int, ...]]) -> dict[tuple[int, ...], tuple[Any, int]]:
        known = [self._known(prompt) for prompt in prompts]
        past, new = max(known), max(len(p) - k for p, k in zip(prompts, known, strict=True))
        cache, valid = self._assemble(prompts, known, past, new)
        ids = torch.zeros(len(prompts), new, dtype=torch.long, device=self.device)
        positions = torch.zeros_like(ids)
        for index, (prompt, k) in enumerate(zip(prompts, known, strict=True)):
            fresh = len(prompt) - k
            ids[index, new - fresh :] = torch.tensor(prompt[k:], device=self.device)
            positions[index, new - fresh :] = torch.arange(k, len(prompt), device=self.device)
            valid[index, past + new - fresh : past + new] = True
            self.prefill_tokens += fresh
            self.cached_tokens += k
        causal = torch.ones(new, past + new, dtype=torch.bool, device=self.device).tril(past)
        mask = causal & valid[:, None, :]
        mask[:, :, 0] |= ~mask.any(-1)  # a padding query must attend to something, or its softmax is undefined
        out = self.model(
            input_ids=ids,
            attention_mask=self._additive(mask[:, None]),
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        found = {}
        for index, (prompt, k) in enumerate(zip(prompts, known, strict=True)):
            states = self._states(cache, index, past + new - (len(prompt) - k), past + new)
            self.cache.insert(prompt, k, states)
            found[prompt] = (out.logits[index, -1].float(), k)
        return found

    def _assemble(
        self, prompts: Sequence[tuple[int, ...]], known: Sequence[int], past: int, room: int
    ) -> tuple[Cache, Any]:
        """Buffers with each row's first `known` tokens right-aligned at column `past`, and which columns are valid."""
        shape = (len(prompts), self.kv_heads, past + room, self.width)
        buffers = [
            [torch.zeros(shape, dtype=self.dtype, device=self.device) for _ in range(self.layers)] for _ in range(2)
        ]
        valid = torch.zeros(len(prompts), past + room, dtype=torch.bool, device=self.device)
        for index, (prompt, k) in enumerate(zip(prompts, known, strict=True)):
            column, left = past - k, k
            valid[index, column:past] = True
            for segment, length in self.cache.match(prompt):
                take = min(length, left)
                for side in range(2):
                    for layer in range(self.layers):
                        buffers[side][layer][index, :, column : column + take] = segment.states[side, layer, :, :take]
                column, left = column + take, left - take
        return Cache(layers=[_Layer(keys, values, past) for keys, values in zip(*buffers, strict=True)]), valid

    def _additive(self, mask: Any) -> Any:
        """0 where a query may look and −inf elsewhere: with a boolean mask the CPU's attention is seven times slower."""
        return torch.zeros(mask.shape, dtype=self.dtype, device=self.device).masked_fill_(~mask, float("-inf"))

    def _states(self, cache: Any, index: int, start: int, end: int) -> Any:
        return torch.stack(
            [
                torch.stack([layer.buffer_keys[index, :, start:end] for layer in cache.layers]),
                torch.stack([layer.buffer_values[index, :, start:end] for layer in cache.layers]),
            ]
        )

    @torch.inference_mode()
    def generate(self, rows: Sequence[Row]) -> None:
        """Complete the rows in place; rows of equal prompts prefill once. None may outgrow `max_length`."""
        found = self.next_logits([row.tokens for row in rows])
        for row in rows:
            row.logits, row.cached = found[row.tokens]
        longest, room = max(len(row.tokens) for row in rows), max(row.sampling.max_tokens for row in rows)
        uniforms = [np.random.default_rng(row.seed).random(row.sampling.max_tokens) for row in rows]
        cache, valid = self._assemble([row.tokens for row in rows], [len(row.tokens) for row in rows], longest, room)
        live = list(
            range(len(rows))
        )  # buffer row -> row of `rows`; finished rows ride along until it pays to drop them
        logits = torch.stack([row.logits for row in rows])
        for step in range(room):
            self._give_up_if_closed()
            active = self._take_tokens(logits, rows, live, uniforms, step, cache, longest)
            self.decode_tokens += len(active)
            going = [place for place in active if not rows[live[place]].finished]
            if not going:
                break
            chosen = torch.tensor([rows[i].last for i in live], device=self.device)
            if len(going) <= WORTH_COMPACTING * len(live):
                index = torch.tensor(going, device=self.device)
                for layer in cache.layers:
                    layer.buffer_keys, layer.buffer_values = layer.buffer_keys[index], layer.buffer_values[index]
                valid, chosen, live = valid[index], chosen[index], [live[place] for place in going]
            valid[:, longest + step] = True
            positions = torch.tensor([[len(rows[i].tokens) + step] for i in live], device=self.device)
            mask = self._additive(valid[:, None, None, : longest + step + 1])
            out = self.model(
                input_ids=chosen[:, None],
                attention_mask=mask,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
            )
            logits = out.logits[:, -1].float()

    def _take_tokens(
        self, logits: Any, rows: Sequence[Row], live: Sequence[int], uniforms: Any, step: int, cache: Any, longest: int
    ) -> list[int]:
        """Draw the next token of every unfinished row; places (in the buffers) of the rows that drew one."""
        active = [place for place, i in enumerate(live) if not rows[i].finished]
        some = logits if len(active) == len(live) else logits[torch.tensor(active, device=self.device)]
        at = [live[place] for place in active]
        chosen = choose(some, [rows[i].sampling for i in at], [float(uniforms[i][step]) for i in at])
        logprobs = torch.log_softmax(some, -1).gather(1, chosen[:, None])[:, 0].tolist()
        for place, i, token, logprob in zip(active, at, chosen.tolist(), logprobs, strict=True):
            row = rows[i]
            row.take(token, logprob, token in self.end_tokens)
            if row.finished:
                self._keep(cache, row, place, longest)
        return active

    def _keep(self, cache: Any, row: Row, place: int, longest: int) -> None:
        """Remember a finished row; the states of its last token were never computed."""
        tokens = (*row.tokens, *(row.generated if row.stopped else row.generated[:-1]))
        if len(tokens) > len(row.tokens):
            states = self._states(cache, place, longest, longest + len(tokens) - len(row.tokens))
            self.cache.insert(tokens, len(row.tokens), states)


def _common_length(one: Sequence[int], other: Sequence[int]) -> int:
    for index, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return index
    return min(len(one), len(other))
