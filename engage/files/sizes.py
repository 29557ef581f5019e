"""How much of a disk files take."""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


def disk_bytes(places: Iterable[Path]) -> int:
    """Bytes of all files below these places; a file with several names counts once."""
    found: dict[tuple[int, int], int] = {}
    for place in places:
        for path in (place, *place.rglob("*")) if place.exists() else ():
            with suppress(OSError):
                status = path.lstat()
                if not path.is_dir():
                    found[(status.st_dev, status.st_ino)] = status.st_size
    return sum(found.values())


def shown_size(count: int) -> str:
    """Bytes as people read them: 1.20 GB, 30.1 MB."""
    return f"{count / 1e9:.2f} GB" if abs(count) >= 1e9 else f"{count / 1e6:.1f} MB"
