"""Policies that compute more at inference, and scripted users: the speakers of a comparison's dialogues.

Best-of-n and i×MCTS at inference simulate the same user they talk to, including the hidden user condition. So they are an upper
reference (the headroom of training), not deployable policies. A trained policy can still exceed them.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from engage.dialogue import Dialogue, Reaction, Role, Turn
from engage.engines.base import Message
from engage.errors import EngineError
from engage.models import neutral
from engage.search import Search, SearchConfig
from engage.seeds import derive_seed
from engage.simulation import (
    Episode,
    Policy,
    Recast,
    SampledTurn,
    UserSimulator,
    exchanges_held,
    play_on,
    policy_messages,
)


class StrategyPolicy(Policy):
    """The prompted baseline: its prompt contains the domain's `strategies`."""

    def messages(self, dialogue: Dialogue) -> tuple[Message, ...]:
        system, *history = policy_messages(self.domain, dialogue)
        return (Message("system", f"{system.content} {neutral(self.domain.strategies)}"), *history)


class BestOfN(Policy):
    """Samples n replies, runs `rollouts` rollouts of each, and returns the reply with the highest mean reward (the earlier of equals).

    A reply without any rollout with a reward (unreadable, or ended in a crisis) is chosen only if all replies are like this.
    """

    def __init__(self, episode: Episode, rehearsal: Episode, n: int, rollouts: int) -> None:
        super().__init__(episode.policy.engine, episode.domain, episode.policy.speech, episode.policy.adapter)
        self._rehearsal = rehearsal
        self._n = n
        self._rollouts = rollouts

    async def replies(self, dialogue: Dialogue, key: str, seeds: Sequence[int]) -> list[SampledTurn]:
        """One reply per seed; each is the best of its own n."""
        return list(await asyncio.gather(*(self._best(dialogue, key, seed) for seed in seeds)))

    async def _best(self, dialogue: Dialogue, key: str, seed: int) -> SampledTurn:
        drawn = await super().replies(dialogue, key, [derive_seed(seed, index) for index in range(self._n)])
        distinct = list({reply.turn.text: reply for reply in drawn}.values())
        if len(distinct) == 1:
            return distinct[0]
        values = await asyncio.gather(
            *(self._value(dialogue.add(r.turn), f"{key}/best{i}") for i, r in enumerate(distinct))
        )
        rated = [(value, -index) for index, value in enumerate(values) if value is not None]
        return distinct[-max(rated)[1]] if rated else distinct[0]

    async def _value(self, dialogue: Dialogue, path: str) -> float | None:
        exchanges = exchanges_held(self._rehearsal, dialogue)
        held = await asyncio.gather(
            *(play_on(self._rehearsal, dialogue, exchanges, path, index) for index in range(self._rollouts))
        )
        rewards = [trajectory.reward for trajectory in held if trajectory.reward is not None]
        return fmean(rewards) if rewards else None


class SearchedPolicy(Policy):
    """i×MCTS at inference: searches from every prefix and returns the most visited reply."""

    def __init__(self, episode: Episode, rehearsal: Episode, config: SearchConfig) -> None:
        super().__init__(episode.policy.engine, episode.domain, episode.policy.speech, episode.policy.adapter)
        self._rehearsal = rehearsal
        self._config = config

    async def replies(self, dialogue: Dialogue, key: str, seeds: Sequence[int]) -> list[SampledTurn]:
        """One reply per seed."""
        return list(await asyncio.gather(*(self._searched(dialogue, seed) for seed in seeds)))

    async def _searched(self, dialogue: Dialogue, seed: int) -> SampledTurn:
        left = self._rehearsal.max_exchanges - exchanges_held(self._rehearsal, dialogue)
        here = replace(self._rehearsal.scenario, opening=dialogue)
        search = Search(replace(self._rehearsal, scenario=here, max_exchanges=left, seed=seed), self._config)
        reply = await search.best_reply()
        if reply is None or reply.turn is None:
            raise search.first_error or EngineError("every simulation of a search failed", self._rehearsal.key_of())
        return SampledTurn(reply.turn, reply.mean_logprob)


class Adversary(UserSimulator):
    """A scripted user (`Domain.adversaries`): shows what a policy says to a user who does not respond to it."""

    def __init__(self, episode: Episode, name: str) -> None:
        user = episode.user
        super().__init__(user.engine, user.domain, user.speech, user.condition, user.adapter)
        self._lines = episode.domain.adversaries[name]

    async def next_turn(self, dialogue: Dialogue, key: str, seed: int) -> SampledTurn:
        """The next line; after the last line the first one again."""
        said = sum(turn.role is Role.USER and turn.text in self._lines for turn in dialogue.turns)
        return SampledTurn(Turn(Role.USER, self._lines[said % len(self._lines)]), None)

    async def react(self, dialogue: Dialogue, key: str, seed: int) -> Reaction:
        """The survey is not asked, because a scripted user has no answer to it."""
        return Reaction("unasked", "", None)


@dataclass(frozen=True)
class Thinking:
    """How a policy chooses its reply: `sampled`, with the domain's `strategy` prompt, `best_of` n, or after a `search`."""

    kind: str = "sampled"
    n: int = 1
    rollouts: int = 1

    @property
    def looks_ahead(self) -> bool:
        """Whether replies are simulated before one is chosen."""
        return self.kind in {"best_of", "search"}

    def recast(self, search: SearchConfig) -> Recast | None:
        """A function that puts such a policy into an episode; None for the episode's own policy."""
        if self.kind == "sampled":
            return None

        def recasting(episode: Episode) -> Episode:
            plain = episode.policy
            if self.kind == "strategy":
                return replace(episode, policy=StrategyPolicy(plain.engine, plain.domain, plain.speech, plain.adapter))
            if self.kind == "best_of":
                return replace(episode, policy=BestOfN(episode, rehearse(episode), self.n, self.rollouts))
            return replace(episode, policy=SearchedPolicy(episode, rehearse(episode), search))

        return recasting


def rehearse(episode: Episode) -> Episode:
    """The episode that simulates replies: the same scenario, user and plain policy, with other seeds than the dialogue's."""
    return replace(episode, seed=derive_seed(episode.seed, "rehearsal"))


def adversary(name: str, thinking: Recast | None = None) -> Recast:
    """A function that puts the scripted user of that name into an episode; a `thinking` policy still simulates the normal user."""

    def recasting(episode: Episode) -> Episode:
        known = thinking(episode) if thinking else episode
        return replace(known, user=Adversary(known, name))

    return recasting


def adversary_label(name: str) -> str:
    """The simulator's name under which dialogues with an adversarial user are stored."""
    return f"adversary {name}"
