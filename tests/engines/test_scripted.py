import asyncio

from engage.engines.base import Message, Prompt, Sampling, Side
from engage.engines.scripted import ScriptedEngine


def test_one_engine_with_few_slots_serves_one_event_loop_after_the_other():
    engine = ScriptedEngine(reply=lambda prompt, seed: str(seed), latency_s=0.001, slots=1)
    prompt = Prompt("k", Side.POLICY, (Message("user", "Hello."),))

    async def three() -> list[str]:
        found = await asyncio.gather(*(engine.complete(prompt, Sampling(), (seed,)) for seed in (5, 6, 7)))
        return [completion.text for (completion,) in found]

    assert asyncio.run(three()) == ["5", "6", "7"]
    assert asyncio.run(three()) == ["5", "6", "7"]
