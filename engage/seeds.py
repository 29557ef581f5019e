"""One seed per request, derived from the request's identity and independent of timing."""

import hashlib


def derive_seed(*parts: str | int) -> int:
    """Seed in [0, 2**63) from (cycle seed, scenario, node path, sample index, …); stable across processes and platforms."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
