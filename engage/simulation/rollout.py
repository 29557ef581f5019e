"""Plain dialogues: both sides speak to the end, then the survey is asked. Used for the search's rollouts and for evaluation."""

from collections.abc import Callable
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from engage.dialogue import UNSPOKEN, Dialogue, Reaction, Role, Trajectory, Turn
from engage.domains import Domain, load_domain, reward_of
from engage.domains.rules.crisis import CRISIS, speaks_of_harm
from engage.engines.base import Engine
from engage.engines.recording import CallRecord, RecordingEngine
from engage.scenario import Scenario
from engage.seeds import derive_seed
from engage.simulation.simulator import Policy, SpeechConfig, UserSimulator


class DialogueConfig(BaseModel):
    """Length of a conversation, and how both sides speak."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_exchanges: int = Field(
        4, ge=1, le=50, description="maximum number of exchanges (assistant reply plus user turn) after the opening"
    )
    speech: SpeechConfig = SpeechConfig()


@dataclass(frozen=True)
class Episode:
    """One scenario with its two speakers; `seed` is the cycle's."""

    scenario: Scenario
    domain: Domain
    policy: Policy
    user: UserSimulator
    max_exchanges: int
    seed: int

    def seed_of(self, *parts: str | int) -> int:
        """Seed of one request of this scenario."""
        return derive_seed(self.seed, self.scenario.scenario_id, *parts)

    def key_of(self, *parts: str | int) -> str:
        """Name of one request of this scenario, for logs and errors."""
        return "/".join(str(part) for part in (self.scenario.scenario_id, *parts))

    def end_reason(self, dialogue: Dialogue, exchanges: int) -> str | None:
        """Why the dialogue is over after a user turn; None if it goes on.

        A turn without usable text and a crisis always end it, whatever the domain says.
        """
        last = dialogue.last
        if last is not None and last.unspoken:
            return last.flaw
        if last is not None and last.role is Role.USER and speaks_of_harm(last.text, self.domain.crisis):
            return CRISIS
        return self.domain.end_reason(dialogue) or ("max_exchanges" if exchanges >= self.max_exchanges else None)


def begin_episode(
    engine: Engine,
    scenario: Scenario,
    config: DialogueConfig,
    seed: int,
    policy_adapter: str | None,
    simulator_adapter: str | None,
) -> Episode:
    """Both speakers of a scenario on one engine; adapters are folders, None for the side's own model."""
    domain = load_domain(scenario.domain)
    policy = Policy(engine, domain, config.speech, policy_adapter)
    user = UserSimulator(engine, domain, config.speech, scenario.user_condition, simulator_adapter)
    return Episode(scenario, domain, policy, user, config.max_exchanges, seed)


async def play_out(episode: Episode, dialogue: Dialogue, exchanges: int, path: str, simulation: int) -> Trajectory:
    """Continue from a prefix that ends with a user turn to the end of the dialogue and the survey; raises EngineError.

    `path` and `simulation` name the requests; `exchanges` is the number of exchanges in the prefix. There is no survey and no reward
    after a crisis (the user gets a referral to people who can help) or after a turn without usable text (`UNSPOKEN`).
    """
    reason = episode.end_reason(dialogue, exchanges) if exchanges else None
    while reason is None:
        seed = episode.seed_of(path, "rollout", simulation, exchanges, "assistant")
        reply = (
            await episode.policy.replies(dialogue, episode.key_of(path, "rollout", simulation, exchanges), [seed])
        )[0]
        dialogue = dialogue.add(reply.turn)
        if reply.turn.unspoken:
            reason = str(reply.turn.flaw)
            break
        seed = episode.seed_of(path, "rollout", simulation, exchanges, "user")
        answer = await episode.user.next_turn(dialogue, episode.key_of(path, "rollout", simulation, exchanges), seed)
        dialogue = dialogue.add(answer.turn)
        exchanges += 1
        reason = episode.end_reason(dialogue, exchanges)
    return await conclude(episode, dialogue, exchanges, reason, path, simulation)


async def conclude(
    episode: Episode, dialogue: Dialogue, exchanges: int, reason: str, path: str, simulation: int
) -> Trajectory:
    """End a dialogue for this reason and ask the survey; what the arguments mean, and when there is no survey: see `play_out`."""
    if reason == CRISIS:
        dialogue = dialogue.add(Turn(Role.ASSISTANT, episode.domain.referral))
    if reason == CRISIS or reason in UNSPOKEN:
        return Trajectory(
            episode.scenario.scenario_id, dialogue, Reaction("unasked", "", None), None, exchanges, reason
        )
    key, seed = episode.key_of(path, "survey", simulation), episode.seed_of(path, "survey", simulation)
    reaction = await episode.user.react(dialogue, key, seed)
    reward = reward_of(episode.domain, reaction.value)
    return Trajectory(episode.scenario.scenario_id, dialogue, reaction, reward, exchanges, reason)


async def play_on(episode: Episode, dialogue: Dialogue, exchanges: int, path: str, simulation: int) -> Trajectory:
    """Continue from a prefix that ends with a reply: the user answers it, then as `play_out`. `exchanges` includes that reply."""
    seed = episode.seed_of(path, "answer", simulation)
    answer = await episode.user.next_turn(dialogue, episode.key_of(path, "answer", simulation), seed)
    return await play_out(episode, dialogue.add(answer.turn), exchanges, path, simulation)


def exchanges_held(episode: Episode, dialogue: Dialogue) -> int:
    """Number of replies after the scenario's opening."""
    said = dialogue.turns[len(episode.scenario.opening.turns) :]
    return sum(turn.role is Role.ASSISTANT for turn in said)


Recast = Callable[[Episode], Episode]
"""Replaces the policy or the user of an episode, for example by best-of-n or a scripted user."""


async def hold_dialogue(
    engine: Engine,
    scenario: Scenario,
    config: DialogueConfig,
    seed: int,
    policy_adapter: str | None,
    simulator_adapter: str | None,
    recast: Recast | None = None,
) -> tuple[Trajectory, tuple[CallRecord, ...]]:
    """Run one fresh dialogue from the opening. With the same seed two policies get common random numbers. Raises EngineError."""
    recorder = RecordingEngine(engine)
    episode = begin_episode(recorder, scenario, config, seed, policy_adapter, simulator_adapter)
    if recast is not None:
        episode = recast(episode)
    trajectory = await play_out(episode, scenario.opening, 0, "fresh", 0)
    return trajectory, tuple(recorder.calls)
