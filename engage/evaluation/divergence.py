"""Estimates how far a policy has moved from the base, from the probabilities that both give to the policy's replies."""

import asyncio
import math
from collections.abc import Mapping, Sequence
from random import Random
from statistics import fmean
from typing import Any

from engage.dialogue import Dialogue, Role
from engage.domains import Domain, load_domain
from engage.engines.base import Engine, Prompt, Sampling, ScoresUnavailable, Side
from engage.seeds import derive_seed
from engage.simulation import policy_messages

Said = tuple[Sequence[Mapping[str, str]], int]
"""A dialogue's turns (`role`, `text`) and how many of them are its opening."""


async def divergence_by_domain(
    engine: Engine, rows: Sequence[Mapping[str, Any]], *, adapter: str | None, replies: int, max_tokens: int, seed: int
) -> dict[str, float | None]:
    """`mean_divergence` in each domain; `rows` are dialogues of sql/inspect/evaluation_turns.sql."""
    found: dict[str, float | None] = {}
    for name in sorted({row["domain"] for row in rows}):
        said = [(row["turns"], row["opening_turns"]) for row in rows if row["domain"] == name]
        domain = load_domain(name)
        found[name] = await mean_divergence(
            engine, domain, said, adapter=adapter, replies=replies, max_tokens=max_tokens, seed=seed
        )
    return found


async def mean_divergence(
    engine: Engine,
    domain: Domain,
    dialogues: Sequence[Said],
    *,
    adapter: str | None,
    replies: int,
    max_tokens: int,
    seed: int,
) -> float | None:
    """Estimate of the divergence KL(policy ‖ base) of a reply's text (Kullback and Leibler 1951), in nats per reply.

    It is the mean of log p(words | policy) − log p(words | base) over replies of at most `max_tokens`. The replies are sampled here at
    temperature 1, one at each of at most `replies` places in the policy's own dialogues. The end-of-turn token is not included: the
    estimate is too low for a policy that only learnt to stop earlier, and too high for one that writes more. None without a place,
    and if the engine cannot score whole replies.
    """
    places = [
        Dialogue.of(turns[:index])
        for turns, opening in dialogues
        for index in range(opening, len(turns))
        if turns[index]["role"] == Role.ASSISTANT
    ]
    drawn = Random(derive_seed(seed, "divergence")).sample(places, min(replies, len(places)))
    sampling = Sampling(temperature=1.0, top_p=1.0, max_tokens=max_tokens)

    async def difference(number: int, prefix: Dialogue) -> float:
        messages, key = policy_messages(domain, prefix), f"divergence/{domain.name}/{number}"
        own, base = (Prompt(key, Side.POLICY, messages, of) for of in (adapter, None))
        (reply,) = await engine.complete(own, sampling, [derive_seed(seed, key)])
        if not reply.text:
            return 0.0
        rated = [(await engine.score(prompt, (reply.text,))).logprobs[0] for prompt in (own, base)]
        return rated[0] - rated[1]

    try:
        found = await asyncio.gather(*(difference(number, prefix) for number, prefix in enumerate(drawn)))
    except ScoresUnavailable:
        return None
    mean = fmean(found) if found else math.nan
    return mean if math.isfinite(mean) else None  # a server that knows the likeliest tokens only rates a reply at −inf
