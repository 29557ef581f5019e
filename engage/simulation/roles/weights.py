"""The fitted role check as a file: compressed JSON (`xz -dc weights.json.xz` shows it), never code."""

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
    """`bias` + scaled sum of the n-grams' `weights` is the log odds of an assistant's turn; above `threshold` the turn counts as one.

    `made_from` lists the data that it was fitted to, by SHA-256.
    """

    bias: float
    threshold: float
    weights: Mapping[str, float]
    made_from: Mapping[str, str]


@cache
def load_weights() -> Weights:
    """The weights that come with engage."""
    return read_weights(WEIGHTS)


def read_weights(path: Path) -> Weights:
    """Read a file written by `save_weights`."""
    return Weights(**json.loads(lzma.decompress(path.read_bytes())))


def save_weights(weights: Weights, path: Path = WEIGHTS) -> None:
    """One n-gram a line, sorted, so that two fits can be compared; equal weights give equal bytes."""
    text = json.dumps(asdict(weights), indent=0, sort_keys=True, ensure_ascii=False) + "\n"
    path.write_bytes(lzma.compress(text.encode(), preset=9))
