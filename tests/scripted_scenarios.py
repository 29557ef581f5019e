"""Scenarios and searches on scripted engines, for the tests of the search."""

import asyncio
import dataclasses
import json

from engage.engines.base import Side
from engage.engines.scripted import ScriptedEngine
from engage.scenario import parse_scenario
from engage.search import Adapters, SearchConfig
from engage.search.collect import search_scenario
from engage.simulation import DialogueConfig

SUPPORT = parse_scenario(
    {
        "id": "s1",
        "domain": "emotional_support",
        "user_condition": {
            "person": "a 40-year-old baker",
            "emotion": "sadness",
            "problem": "bereavement",
            "situation": "My dog died on Sunday and the house is silent.",
            "initial_intensity": 4,
        },
        "opening": [{"role": "user", "text": "My dog died."}],
    }
)


def searched(engine=None, search=None, dialogue=None, seed=7, scenario=SUPPORT):
    """The TreeRecord of one search, wall time and latencies set to 0 so that records can be compared."""
    record = asyncio.run(
        search_scenario(
            engine or ScriptedEngine(),
            scenario,
            dialogue or DialogueConfig(max_exchanges=2),
            search or SearchConfig(num_simulations=8, round_size=4),
            cycle_id="c1",
            seed=seed,
            adapters=Adapters(),
        )
    )
    calls = tuple(dataclasses.replace(call, latency_s=0.0) for call in record.calls)
    return dataclasses.replace(record, wall_s=0.0, calls=tuple(sorted(calls, key=lambda call: (call.key, call.kind))))


def as_json(record) -> str:
    return json.dumps(dataclasses.asdict(record), indent=1, ensure_ascii=False)


def rewarding(good: str, *, otherwise: float = 5.0):
    """An engine with three replies; the survey's answer is 1 (released) if the assistant ever said `good`, else `otherwise`."""
    replies = ("That is how life goes.", good, "You will find another one soon.")
    lines = ("I see him everywhere.", "He used to wait at the door.", "I miss him a lot.", "I cry every morning.")

    def reply(prompt, seed):
        options = replies if prompt.side is Side.POLICY else lines
        return options[seed % len(options)]

    def choose(prompt, choices):
        moved = any(message.content == good for message in prompt.messages)
        target = 1.0 if moved else otherwise
        return [1.0 if float(choice) == target else 1e-9 for choice in choices]

    return ScriptedEngine(reply, choose)
