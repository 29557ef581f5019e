"""What the processor and the graphics cards can do. Loads no model."""

import gc
import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SMI = "nvidia-smi"


def native_dtype() -> Any:
    """torch's fastest number type here: bfloat16 on a GPU or on a CPU with bfloat16 instructions, else float32."""
    import torch

    return torch.bfloat16 if torch.cuda.is_available() or cpu_has_bfloat16() else torch.float32


def cpu_has_bfloat16() -> bool:
    """Whether this CPU has instructions for bfloat16 matrices (AVX-512 BF16 or AMX); without them bfloat16 is slower than float32."""
    import torch

    known: dict[str, Any] = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(known.get("amx_bf16") or known.get("avx512_bf16"))


@dataclass(frozen=True)
class Gpu:
    """One card that torch can use. Memory in 10⁹ bytes; `gb_per_s` is its memory bandwidth, 0 if the driver does not report it."""

    name: str
    memory_gb: float
    free_gb: float
    gb_per_s: float


def driver_cards() -> list[tuple[str, str]]:
    """The cards that NVIDIA's driver lists, as (name, driver version); empty without a driver."""
    rows = [line.split(", ") for line in _ask_driver("name,driver_version")]
    return [(row[0], row[1]) for row in rows if len(row) == 2]


def cards_described() -> list[str]:
    """One line per card: name, memory, driver version."""
    return _ask_driver("name,memory.total,driver_version")


def used_gb() -> float | None:
    """Memory that all processes use on all cards, in 10⁹ bytes; None if NVIDIA's driver does not report it."""
    try:
        used = [float(line.removesuffix(" MiB")) for line in _ask_driver("memory.used")]
    except ValueError:
        return None
    return sum(used) * 2**20 / 1e9 if used else None


def _ask_driver(fields: str) -> list[str]:
    """One line per card; empty without a driver or without its answer."""
    if shutil.which(SMI) is None:
        return []
    asked = [SMI, f"--query-gpu={fields}", "--format=csv,noheader"]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in done.stdout.splitlines() if line.strip()]


def release_memory() -> None:
    """Return the GPU memory that torch caches to other processes; does nothing if this process uses no GPU."""
    import torch

    gc.collect()
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def has_accelerator() -> bool:
    """Whether a driver for graphics cards is installed; does not import torch, which takes seconds."""
    return bool(driver_cards()) or Path("/dev/kfd").exists()


def gpus() -> list[Gpu]:
    """The cards that torch can use."""
    import torch

    cards = []
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        known = torch.cuda.get_device_properties(index)
        free, total = torch.cuda.mem_get_info(index)
        # kHz and bits; two transfers a clock
        bytes_per_s = 2e3 * getattr(known, "memory_clock_rate", 0) * getattr(known, "memory_bus_width", 0) / 8
        cards.append(Gpu(known.name, total / 1e9, free / 1e9, bytes_per_s / 1e9))
    return cards


def decode_limit(model: Path, gb_per_s: float, rows: int, context: int) -> float | None:
    """Upper bound of tokens per second from the memory bandwidth: each step reads all weights and `rows × context` keys and values.

    It assumes bfloat16 and ignores arithmetic and kernel starts, so no engine reaches it. None if the model's `config.json` lacks
    the usual fields.
    """
    try:
        config = json.loads((model / "config.json").read_text(encoding="utf-8"))
        stored = 4 if config.get("dtype", config.get("torch_dtype")) == "float32" else 2
        weights = sum(path.stat().st_size for path in model.glob("*.safetensors")) * 2 / stored
        heads = config["num_attention_heads"]
        head_dim = config.get("head_dim") or config["hidden_size"] // heads
        state = 2 * 2 * config["num_hidden_layers"] * config.get("num_key_value_heads", heads) * head_dim
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return rows * gb_per_s * 1e9 / (weights + rows * context * state) if weights else None
