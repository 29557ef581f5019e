"""The command that serves a policy with vLLM's own server. Does not import vLLM."""

import json
from collections.abc import Iterable
from pathlib import Path

from engage.engines.vllm.config import CPU_CACHE_BYTES, CPU_DEFAULTS
from engage.errors import ModelError

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""The values that vLLM takes for --max-lora-rank, read at 0.32."""


def largest_rank(adapter: Path) -> int:
    """The largest rank among an adapter's modules (`rank_pattern` may differ from `r`); ModelError if its configuration does not say it."""
    path = adapter / "adapter_config.json"
    try:
        shape = json.loads(path.read_text(encoding="utf-8"))
        return max(map(int, [shape["r"], *(shape.get("rank_pattern") or {}).values()]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{path}: does not say the adapter's rank; copy the whole folder") from error


def lora_rank(adapter: Path) -> int:
    """The least rank that vLLM takes for this adapter; ModelError if its configuration does not say its rank, or it is above vLLM's largest."""
    rank = largest_rank(adapter)
    found = next((known for known in RANKS if known >= rank), None)
    if found is None:
        raise ModelError(f"{adapter}: its rank {rank} is above vLLM's largest, {RANKS[-1]}; merge it: `engage merge`")
    return found


def server(model: str, cpu: bool) -> list[str]:
    """What starts vLLM's server. The CPU build's own command `vllm` fails (0.32): it asks for the version of a package of another name."""
    return ["python", "-m", "vllm.entrypoints.openai.api_server", "--model", model] if cpu else ["vllm", "serve", model]


def with_lora(name: str, adapter: str, rank: int) -> list[str]:
    """The arguments that serve an adapter under a name."""
    return ["--enable-lora", "--max-lora-rank", str(rank), "--lora-modules", f"{name}={adapter}"]


def on_this_device(cpu: bool) -> Iterable[str]:
    """The arguments that this machine needs: on a CPU, those without which vLLM ends at its start (it wants most of the memory) or at the first seeded request."""
    for name, value in CPU_DEFAULTS.items() if cpu else ():
        option = name.replace("_", "-")
        yield from (
            [f"--{option}"] if value is True else [f"--no-{option}"] if value is False else [f"--{option}", str(value)]
        )
    if cpu:
        yield from ("--kv-cache-memory-bytes", str(CPU_CACHE_BYTES))
