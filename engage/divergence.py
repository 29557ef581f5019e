"""How far a policy has moved from the base: both rate the policy's own replies."""

import asyncio
from collections.abc import Mapping, Sequence
from random import Random
from statistics import fmean

from engage.dialogue import Dialogue, Role
from engage.domains import Domain
from engage.engine import Engine, Prompt, ScoresUnavailable, Side
from engage.seeds import derive_seed
from engage.simulator import policy_messages

Said = tuple[Sequence[Mapping[str, str]], int]
"""A dialogue's turns (`role`, `text`) and how many of them are its opening."""


async def mean_divergence(
    engine: Engine, domain: Domain, dialogues: Sequence[Said], *, adapter: str | None, replies: int, seed: int
) -> float | None:
    """Mean of log p(reply | policy) − log p(reply | base) over at most `replies` of the policy's own, in nats a reply.

    An estimate of the divergence KL(policy ‖ base) of a whole reply (Kullback and Leibler 1951); replies were drawn at the
    configured temperature, both are rated at 1. None without a reply, and where the engine rates no whole replies.
    """
    places = [
        (Dialogue.of(turns[:index]), turns[index]["text"])
        for turns, opening in dialogues
        for index in range(opening, len(turns))
        if turns[index]["role"] == Role.ASSISTANT
    ]
    drawn = Random(derive_seed(seed, "divergence")).sample(places, min(replies, len(places)))

    async def rate(prefix: Dialogue, reply: str, of: str | None) -> float:
        prompt = Prompt(f"divergence/{domain.name}", Side.POLICY, policy_messages(domain, prefix), of)
        return (await engine.score(prompt, (reply,))).logprobs[0]

    try:
        own = await asyncio.gather(*(rate(prefix, reply, adapter) for prefix, reply in drawn))
        base = await asyncio.gather(*(rate(prefix, reply, None) for prefix, reply in drawn))
    except ScoresUnavailable:
        return None
    return fmean(one - other for one, other in zip(own, base, strict=True)) if drawn else None
