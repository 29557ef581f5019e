"""The instructions, the greedy replies of a policy to them, and which replies are right."""

import asyncio
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from engage.engines.base import Engine, Message, Prompt, Sampling, Side
from engage.files.kept import Kept

GREEDY = Sampling(temperature=0.0, max_tokens=48)
_AT_ONCE = 40
"""Instructions that are asked together; after each such batch the replies are kept."""
_FENCE = re.compile(r"^```\w*\n(.*?)\n?```$", re.DOTALL)


@dataclass(frozen=True)
class Instruction:
    """One instruction. `check` is the right answer, or a regular expression between slashes."""

    id: str
    kind: str
    instruction: str
    check: str

    def right(self, reply: str) -> bool:
        """Whether a reply passes.

        An answer has to be the whole reply, whatever its case, spaces, surrounding quotation marks or final full stop. A regular expression
        has to be found in the reply, whatever its case.
        """
        if self.check.startswith("/"):
            return re.search(self.check[1:-1], _without_fence(reply), re.IGNORECASE | re.DOTALL) is not None
        return _plain(reply) == _plain(self.check)


def _without_fence(text: str) -> str:
    """The text without the code fence around it."""
    text = text.strip()
    return found[1] if (found := _FENCE.match(text)) else text


def _plain(text: str) -> str:
    words = " ".join(_without_fence(text).lower().split())
    return words.strip("\"'“”*` ").removesuffix(".").strip("\"'“”*` ")


@cache
def instructions() -> tuple[Instruction, ...]:
    """All of them, in the order of the file."""
    text = (resources.files("engage") / "data" / "abilities.jsonl").read_text(encoding="utf-8")
    return tuple(Instruction(**json.loads(line)) for line in text.splitlines())


def kept_replies(path: Path) -> Kept:
    """The replies that are kept, by instruction."""
    return Kept(path, "instruction", "reply", "the instructions are asked again")


async def ask(
    engine: Engine,
    adapter: str,
    asked: Sequence[Instruction],
    path: Path,
    on_done: Callable[[int], None] = lambda _: None,
) -> None:
    """Keep in `path` the policy's greedy replies to the instructions that it lacks; `adapter` is a folder, "" for the base alone.

    `on_done` gets numbers of answered instructions. Raises EngineError.
    """
    kept = kept_replies(path)
    replied = kept.read()
    missing = [one for one in asked if one.instruction not in replied]
    on_done(len(asked) - len(missing))
    for first in range(0, len(missing), _AT_ONCE):
        some = missing[first : first + _AT_ONCE]
        replies = await asyncio.gather(*(_reply(engine, adapter, one) for one in some))
        kept.add({one.instruction: reply for one, reply in zip(some, replies, strict=True)})
        on_done(len(some))


async def _reply(engine: Engine, adapter: str, one: Instruction) -> str:
    prompt = Prompt(f"abilities/{one.id}", Side.POLICY, (Message("user", one.instruction),), adapter)
    return (await engine.complete(prompt, GREEDY, [0]))[0].text
