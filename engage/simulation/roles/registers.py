"""Reads `registers.txt` (lines with alternatives that show how assistants and users speak) and samples turns from it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from engage.simulation.roles.weights import REGISTERS

DRAWS = 96
"""Turns sampled from one line; equal ones count once."""
_PART = re.compile(r"\\.|[()|]|[^\\()|]+")


@dataclass(frozen=True)
class SampledTurn:
    """A turn sampled from line `line` (from 1) of the file, in a section such as `assistant: refusals`."""

    text: str
    assistant: bool
    section: str
    line: int


def draw_registers(path: Path = REGISTERS, seed: int = 0) -> list[SampledTurn]:
    """Turns of one line, and turns of two lines.

    30 % of the assistant lines get another assistant line after them, and 30 % a user line before them (a turn may begin as a user
    and end as an assistant). 60 % of the user lines get another user line after them.
    """
    single = [drawn for line in _lines(path) for drawn in line]
    rng = Random(seed)
    sides = {side: [one for one in single if one.assistant is side] for side in (True, False)}
    double = []
    for one in single:
        chance = rng.random()
        if chance < (0.3 if one.assistant else 0.6):
            text = f"{one.text} {rng.choice(sides[one.assistant]).text}"
        elif one.assistant and chance < 0.6:
            text = f"{rng.choice(sides[False]).text} {one.text}"
        else:
            continue
        double.append(SampledTurn(text, one.assistant, one.section, one.line))
    return single + double


def _lines(path: Path) -> Iterator[list[SampledTurn]]:
    names: dict[str, list[str]] = {}
    section = ""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.startswith("## "):
            section = line[3:].strip()
        elif line.startswith("= "):
            name, _, words = line[2:].partition(":")
            names[name.strip()] = [word.strip() for word in words.split("|")]
        elif line.strip() and not line.startswith("#"):
            rng = Random(line)
            texts = {_tidy(_fill(_parsed(line), names, rng)) for _ in range(DRAWS)}
            yield [SampledTurn(text, section.startswith("assistant"), section, number) for text in sorted(texts)]


Alternatives = list[list["str | Alternatives"]]


def _parsed(line: str) -> Alternatives:
    """Alternatives of parts; a part is text, `{name}`, or alternatives again. ValueError for unmatched brackets."""
    open_groups: list[Alternatives] = [[[]]]
    for part in _PART.findall(line):
        if part == "(":
            open_groups.append([[]])
        elif part == ")":
            group = open_groups.pop()
            if not open_groups:
                raise ValueError(f"a bracket too many: {line}")
            open_groups[-1][-1].append(group)
        elif part == "|":
            open_groups[-1].append([])
        else:
            open_groups[-1][-1].append(part[1:] if part.startswith("\\") else part)
    if len(open_groups) != 1:
        raise ValueError(f"a bracket is left open: {line}")
    return open_groups[0]


def _fill(alternatives: Alternatives, names: Mapping[str, Sequence[str]], rng: Random) -> str:
    filled = "".join(part if isinstance(part, str) else _fill(part, names, rng) for part in rng.choice(alternatives))
    return re.sub(r"\{(\w+)\}", lambda found: rng.choice(names[found[1]]), filled)


def _tidy(text: str) -> str:
    """One space between words, none before punctuation, one punctuation character at a sentence's end."""
    text = re.sub(r" +([.!?,])", r"\1", " ".join(text.split()))
    return re.sub(r"([.!?])[.,]+", r"\1", text).strip(" ,")
