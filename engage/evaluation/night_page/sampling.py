"""Bounds a page: as many whole trees as fit, chosen by chance and told."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from engage.pages import json_block

MOST_CHARACTERS = 2_000_000
"""Of the trees' data in one page: with all else it stays under 3 MB."""

LEAST_CHARACTERS = 100
"""Of the data of one node."""


@dataclass(frozen=True)
class Sample:
    """The trees that a page shows, of `total`; in the order they were given in."""

    trees: tuple[dict[str, Any], ...]
    total: int

    @property
    def note(self) -> str:
        """One sentence; empty if every tree is shown."""
        if len(self.trees) == self.total:
            return ""
        return (
            f"This page shows {len(self.trees)} of {self.total} trees, chosen at random, so that it stays small. "
            "`engage report --scenario ID` shows any other."
        )


def worth_reading(sizes: Mapping[str, int], limit: int = MOST_CHARACTERS) -> list[str]:
    """Scenarios in an order by chance (of their names, so that it is the same the next time), as many as could fit by their numbers of nodes."""
    found, room = [], limit
    for name in sorted(sizes, key=_chance):
        if room <= 0:
            break
        found.append(name)
        room -= sizes[name] * LEAST_CHARACTERS
    return found


def sample_trees(trees: Iterable[dict[str, Any]], total: int, limit: int = MOST_CHARACTERS) -> Sample:
    """Trees whose data together have at most `limit` characters: in that same order each that still fits, and always one."""
    every = list(trees)
    room = limit
    chosen: set[int] = set()
    for place in sorted(range(len(every)), key=lambda place: _chance(every[place]["scenario"])):
        size = len(json_block(every[place]))
        if size <= room or not chosen:
            chosen.add(place)
            room -= size
    return Sample(tuple(tree for place, tree in enumerate(every) if place in chosen), total)


def _chance(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()
