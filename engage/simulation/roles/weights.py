"""The file of the fitted role check: compressed JSON (`xz -dc weights.json.xz` shows it)."""

import json
import lzma
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib import resources
from pathlib import Path

FOLDER = Path(str(resources.files("engage.simulation.roles")))
WEIGHTS, REGISTERS, CLASSES = (FOLDER / name for name in ("weights.json.xz", "registers.txt", "classes.txt"))


@dataclass(frozen=True)
class Weights:
    """The log odds of an assistant's turn are `bias` plus the scaled sum of its n-grams' `weights`; it counts as one above `threshold`.

    `made_from` maps the names of the training files to their SHA-256.
    """

    bias: float
    threshold: float
    weights: Mapping[str, float]
    made_from: Mapping[str, str]


@cache
def load_weights() -> Weights:
    """The shipped weights."""
    return read_weights(WEIGHTS)


def read_weights(path: Path) -> Weights:
    """Read a file written by `save_weights`."""
    return Weights(**json.loads(lzma.decompress(path.read_bytes())))


def save_weights(weights: Weights, path: Path = WEIGHTS) -> None:
    """Write one n-gram per line, sorted, so that two fits can be compared; equal weights give equal bytes."""
    text = json.dumps(asdict(weights), indent=0, sort_keys=True, ensure_ascii=False) + "\n"
    path.write_bytes(lzma.compress(text.encode(), preset=9))
