"""Weights: finding, converting and fingerprinting them; adapters and their cards; chat templates; the machine's devices."""

from engage.models.chat_template import ChatTemplate, render
from engage.models.device import (
    SMI,
    cards_described,
    cpu_has_bfloat16,
    decode_limit,
    driver_cards,
    gpus,
    has_accelerator,
    native_dtype,
    release_memory,
    used_gb,
)
from engage.models.embedded import EMBEDDED_WHEEL, cache_folder, embedded_status
from engage.models.markers import MARKER, neutral
from engage.models.opening import check_weights, open_config, open_model, open_tokenizer, put_adapter
from engage.models.thoughts import strip_thoughts, without_blocks
from engage.models.weights import (
    ADAPTER_WEIGHTS,
    BARE,
    CARD_NAME,
    EMBEDDED,
    AdapterCard,
    DataSource,
    ModelRef,
    ModelsConfig,
    adapter_fingerprint,
    adapter_folder,
    check_adapter,
    find_model,
    resolve_model,
)

__all__ = [
    "ADAPTER_WEIGHTS",
    "BARE",
    "CARD_NAME",
    "EMBEDDED",
    "EMBEDDED_WHEEL",
    "MARKER",
    "SMI",
    "AdapterCard",
    "ChatTemplate",
    "DataSource",
    "ModelRef",
    "ModelsConfig",
    "adapter_fingerprint",
    "adapter_folder",
    "cache_folder",
    "cards_described",
    "check_adapter",
    "check_weights",
    "cpu_has_bfloat16",
    "decode_limit",
    "driver_cards",
    "embedded_status",
    "find_model",
    "gpus",
    "has_accelerator",
    "native_dtype",
    "neutral",
    "open_config",
    "open_model",
    "open_tokenizer",
    "put_adapter",
    "release_memory",
    "render",
    "resolve_model",
    "strip_thoughts",
    "used_gb",
    "without_blocks",
]
