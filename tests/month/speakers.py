"""The flow `nightly` with scripted speakers instead of a model; what the simulated month schedules.

Every adapter has a level from 1 to 12, the base model has 3. The policy's replies name a level around it, and users
end the better off the higher the levels they heard: so some candidates are better than the champion.
"""

import hashlib
import math
import re
from pathlib import Path

import engage.engines
from engage.engines import EngineConfig
from engage.engines.base import Engine, Side
from engage.engines.scripted import ScriptedEngine, canned_reply
from flows.nightly import nightly

BASE, HIGHEST = 3, 12
WORDS = ["and", "then", "we", "can", "look", "at", "what", "would", "help", "you", "most", "of", "all", "this", "week"]


def level(adapter: str | None) -> int:
    """1 to 12, by the cycle that trained the adapter: the same in a home that was moved, and in every month."""
    if adapter is None:
        return BASE
    cycle = Path(adapter).parts[-4]  # CYCLE/align/TRAINING/adapter
    return 1 + int(hashlib.sha256(cycle.encode()).hexdigest(), 16) % HIGHEST


def reply(prompt, seed: int) -> str:
    """A policy's turn names its level, one more or one less; users say canned lines."""
    if prompt.side is not Side.POLICY:
        return canned_reply(prompt, seed)
    heard = min(HIGHEST + 1, max(0, level(prompt.adapter) + (-1, 0, 0, 1)[seed % 4]))
    words = [WORDS[(seed >> index) % len(WORDS)] for index in range(8)]
    return f"Level{heard} {' '.join(words)} {seed % 9973}?"


def choose(prompt, choices) -> list[float]:
    """Weights of the survey's answers around the mean level heard, in [0, 1]; support's scale runs the other way."""
    heard = [int(found) for message in prompt.messages for found in re.findall(r"Level(\d+)", message.content)]
    share = sum(heard) / len(heard) / (HIGHEST + 1) if heard else 0.5
    peak = (1 - share if choices[0] == "1" else share) * (len(choices) - 1)
    return [math.exp(-2 * abs(index - peak)) for index in range(len(choices))]


def create(config: EngineConfig) -> Engine:
    """The scripted engine, whatever the configuration."""
    return ScriptedEngine(reply, choose, latency_s=0.01, slots=8)


engage.engines._create = create
assert nightly
