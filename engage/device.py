"""What the processor is good at. Loads no model."""

from typing import Any


def native_dtype() -> Any:
    """torch's type in which matrices are multiplied fastest here: bfloat16 on a GPU, and on a CPU that multiplies it itself
    (AVX-512 BF16 or AMX; without that it is slower than float32), else float32."""
    import torch

    return torch.bfloat16 if torch.cuda.is_available() or cpu_has_bfloat16() else torch.float32


def cpu_has_bfloat16() -> bool:
    """Whether this CPU multiplies matrices of bfloat16 itself."""
    import torch

    known: dict[str, Any] = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(known.get("amx_bf16") or known.get("avx512_bf16"))
