"""Loads a model for the embedded engine: merges the adapter, and sizes cache and buffers to the device's memory."""

import os
from collections.abc import Callable, Collection
from typing import Any

from engage.models import ModelRef, check_adapter, merge_adapter, open_model

CPU_CACHE_BYTES = 1_200_000_000
MEMORY_SHARE, BUFFER_SHARE = 0.1, 0.15
"""Shares of the memory that is free when a model is loaded: for its cache and, on a GPU, for its buffers."""
BUFFER_COLUMNS = 1024
"""Tokens per row that the buffers of a full batch are sized for, if memory allows."""


def load_decoder(
    ref: ModelRef,
    adapter: str | None,
    device: str,
    dtype: Any,
    end_tokens: Collection[int],
    cache_bytes: float | None,
    most_rows: int,
    is_closed: Callable[[], bool],
) -> Any:
    """The model as a Decoder. `end_tokens` end a reply, as do the model's own; `cache_bytes` None: MEMORY_SHARE of the memory."""
    import torch

    from engage.engines.embedded.attention import ATTENTION
    from engage.engines.embedded.batch import fuse_norms
    from engage.engines.embedded.decoder import Decoder

    first = torch.float32 if adapter else dtype
    model = open_model(ref.path, first, ATTENTION)
    if adapter:
        model = _merged(model, ref, adapter)
    model = model.to(device, dtype).eval()
    ends = model.generation_config.eos_token_id
    ends = {ends} if isinstance(ends, int) else set(ends or ())
    free = _free_memory(device)
    cache = MEMORY_SHARE * free if cache_bytes is None else cache_bytes
    if device == "cpu":  # where fused norms are no faster
        return Decoder(model, ends | set(end_tokens), min(cache, CPU_CACHE_BYTES), is_closed)
    fuse_norms(model)
    return Decoder(model, ends | set(end_tokens), cache, is_closed, BUFFER_SHARE * free, most_rows, BUFFER_COLUMNS)


def _merged(model: Any, ref: ModelRef, adapter: str) -> Any:
    """The base with the LoRA weights merged in (in float32, rounded once); an unmerged adapter would cost a third of the time."""
    check_adapter(adapter, ref)
    return merge_adapter(model, adapter)


def _free_memory(device: str) -> int:
    """Bytes that are free on the GPU; on a CPU, all memory of the machine."""
    import torch

    if device == "cuda":
        return int(torch.cuda.mem_get_info()[0])
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
