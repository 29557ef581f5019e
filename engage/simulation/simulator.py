"""The two speakers: prompts of both sides, their next turns, and the exit survey.

Every prompt extends the previous one of its side (stable system text first, nothing variable after the history), so that an engine
can reuse its computation. The survey extends the simulator's prompt. This module does not know trees.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from engage.dialogue import UNSPOKEN, Dialogue, Reaction, Role, Turn
from engage.domains import Domain, UserCondition
from engage.domains.rules.patterns import says_something
from engage.engines.base import Completion, Engine, Message, Prompt, Sampling, ScoresUnavailable, Side
from engage.models import POLICY_MODEL, neutral, strip_thoughts, without_blocks
from engage.seeds import derive_seed
from engage.simulation.flaws import find_flaw, heard
from engage.simulation.leaks import cut_leak
from engage.simulation.reaction import read_expected, read_pattern

UNSAID = "…"


class SpeechConfig(BaseModel):
    """How both sides speak and how the survey is read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    policy: Sampling = Sampling(temperature=0.7, top_p=0.9, max_tokens=48)
    user: Sampling = Sampling(temperature=0.7, top_p=0.9, max_tokens=40)
    reader: Literal["expected", "pattern"] = Field(
        "expected",
        description="how the survey answer is read: `expected`, the probability-weighted mean; `pattern`, a regular expression on a sampled answer",
    )
    max_attempts: int = Field(
        3, ge=1, le=10, description="maximum number of draws per turn; a flawed turn is drawn again"
    )


@dataclass(frozen=True, slots=True)
class SampledTurn:
    """A turn and the mean log-probability of its tokens."""

    turn: Turn
    mean_logprob: float | None


def _history(dialogue: Dialogue, own: Role) -> list[Message]:
    """The dialogue as messages, the model's own side as `assistant`; text only, without thoughts and marks of chat templates."""
    said = ((turn.role, neutral(without_blocks(turn.text)) or UNSAID) for turn in dialogue.turns)
    return [Message("assistant" if role is own else "user", text) for role, text in said]


def policy_messages(domain: Domain, dialogue: Dialogue) -> tuple[Message, ...]:
    """The dialogue as the assistant sees it; it never sees the user condition."""
    return (Message("system", neutral(domain.policy_prompt())), *_history(dialogue, Role.ASSISTANT))


def simulator_messages(domain: Domain, condition: UserCondition, dialogue: Dialogue) -> tuple[Message, ...]:
    """The dialogue as the user sees it: the user's turns are the model's own."""
    return (Message("system", neutral(domain.simulator_prompt(condition))), *_history(dialogue, Role.USER))


def survey_messages(domain: Domain, condition: UserCondition, dialogue: Dialogue) -> tuple[Message, ...]:
    """The simulator's prompt followed by the exit survey's question; the assistant never sees it."""
    return question_messages(domain, condition, dialogue, domain.exit_question(dialogue))


def question_messages(domain: Domain, condition: UserCondition, dialogue: Dialogue, asked: str) -> tuple[Message, ...]:
    """The simulator's prompt followed by a question to the user alone."""
    messages, question = simulator_messages(domain, condition, dialogue), neutral(asked)
    if messages[-1].role == "user":  # ends with the assistant: one message, because roles must alternate
        return (*messages[:-1], Message("user", f"{messages[-1].content}\n\n{question}"))
    return (*messages, Message("user", question))


def read_answer(domain: Domain, written: str) -> Reaction:
    """The reaction in a sampled answer to the exit survey; thoughts, and text for the other side, are not part of the answer."""
    said, _ = strip_thoughts(written)
    return read_pattern(domain.survey, cut_leak(domain, Role.USER, said)[0])


class Speaker:
    """One side of one scenario's dialogues: samples turns, and samples flawed ones again."""

    def __init__(self, engine: Engine, domain: Domain, speech: SpeechConfig, adapter: str | None = None) -> None:
        self.engine = engine
        self.domain = domain
        self.speech = speech
        self.adapter = adapter

    async def _draw(
        self, prompt: Prompt, role: Role, sampling: Sampling, dialogue: Dialogue, seeds: Sequence[int]
    ) -> list[SampledTurn]:
        drawn: list[SampledTurn | None] = [None] * len(seeds)
        open_slots = list(range(len(seeds)))
        for attempt in range(1, self.speech.max_attempts + 1):
            tries = [seeds[slot] if attempt == 1 else derive_seed(seeds[slot], "again", attempt) for slot in open_slots]
            completions = await self.engine.complete(prompt, sampling, tries)
            for slot, completion in zip(open_slots, completions, strict=True):
                drawn[slot] = self._judge(completion, role, dialogue, drawn[slot])
            open_slots = [slot for slot in open_slots if drawn[slot] is None or drawn[slot].turn.flaw]  # type: ignore[union-attr]
            if not open_slots:
                break
        return [item for item in drawn if item is not None]

    def _judge(
        self, completion: Completion, role: Role, dialogue: Dialogue, earlier: SampledTurn | None
    ) -> SampledTurn:
        """`earlier` is the flawed draw that this one replaces."""
        text, flaw = heard(self.domain, role, completion.text, completion.finish_reason == "length")
        reason = completion.finish_reason
        flaw = reason if reason in UNSPOKEN else flaw or find_flaw(self.domain, dialogue, role, text)
        said = text if says_something(text) else UNSAID
        redrawn = (*earlier.turn.redrawn, str(earlier.turn.flaw)) if earlier else ()
        first_flaw = redrawn[0] if redrawn else flaw
        turn = Turn(role, said, len(redrawn) + 1, flaw, first_flaw, redrawn)
        return SampledTurn(turn, completion.mean_logprob)


class Policy(Speaker):
    """The assistant's side."""

    def messages(self, dialogue: Dialogue) -> tuple[Message, ...]:
        """The prompt that the policy gets."""
        return policy_messages(self.domain, dialogue)

    async def replies(self, dialogue: Dialogue, key: str, seeds: Sequence[int]) -> list[SampledTurn]:
        """One reply per seed, in one request."""
        prompt = Prompt(key, Side.POLICY, self.messages(dialogue), self.adapter)
        return await self._draw(prompt, Role.ASSISTANT, self.speech.policy, dialogue, seeds)


class UserSimulator(Speaker):
    """The user's side, with one user condition."""

    def __init__(
        self, engine: Engine, domain: Domain, speech: SpeechConfig, condition: UserCondition, adapter: str | None = None
    ) -> None:
        """`adapter` as a prompt names it; POLICY_MODEL: the policy's model without an adapter plays the user."""
        super().__init__(engine, domain, speech, "" if adapter == POLICY_MODEL else adapter)
        self.condition = condition
        self._side = Side.POLICY if adapter == POLICY_MODEL else Side.SIMULATOR

    async def next_turn(self, dialogue: Dialogue, key: str, seed: int) -> SampledTurn:
        """The user's next turn."""
        messages = simulator_messages(self.domain, self.condition, dialogue)
        drawn = await self._draw(
            Prompt(key, self._side, messages, self.adapter), Role.USER, self.speech.user, dialogue, [seed]
        )
        return drawn[0]

    async def react(self, dialogue: Dialogue, key: str, seed: int) -> Reaction:
        """The answer to the exit survey, which the assistant does not see; value None if it could not be read."""
        survey = self.domain.survey
        prompt = Prompt(key, self._side, survey_messages(self.domain, self.condition, dialogue), self.adapter)
        if self.speech.reader == "expected":
            with contextlib.suppress(ScoresUnavailable):
                scores = await self.engine.score(prompt, tuple(survey.choices))
                return read_expected(survey, scores.logprobs)
        completion = (await self.engine.complete(prompt, self.speech.user, [seed]))[0]
        return read_answer(self.domain, completion.text)
