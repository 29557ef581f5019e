"""The estimate of a policy's divergence from the base, on replies whose distributions are known."""

import asyncio
import math
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest

from engage.domains import load_domain
from engage.engines.base import Completion, Prompt, Sampling, Scores, ScoresUnavailable
from engage.evaluation import mean_divergence

TRAINED = {"Yes.": 0.9, "No.": 0.1}
BASE = {"Yes.": 0.4, "No.": 0.6}
TURNS = [
    {"role": "assistant", "text": "Hello."},
    {"role": "user", "text": "Hi."},
    {"role": "assistant", "text": "Will you give?"},
]


class TwoReplies:
    """Answers for the trained policy (adapter `trained`) and for the base; notes how it was asked to draw."""

    has_room = True

    def __init__(self, rates: bool = True) -> None:
        self.rates = rates
        self.samplings: list[Sampling] = []

    async def complete(self, prompt: Prompt, sampling: Sampling, seeds: Sequence[int]) -> list[Completion]:
        self.samplings.append(sampling)
        known = TRAINED if prompt.adapter == "trained" else BASE
        texts = [Random(seed).choices(list(known), list(known.values()))[0] for seed in seeds]
        return [Completion(text, 1, 0, 1, None, "stop", seed) for text, seed in zip(texts, seeds, strict=True)]

    async def score(self, prompt: Prompt, choices: Sequence[str]) -> Scores:
        if not self.rates:
            raise ScoresUnavailable("no log-probabilities", prompt.key)
        known = TRAINED if prompt.adapter == "trained" else BASE
        return Scores(tuple((math.log(known[choice]) if known[choice] else -math.inf) for choice in choices), 1, 0)

    def close(self) -> None:
        pass


def measure(engine: TwoReplies, dialogues: int, adapter: str | None, turns: Any = TURNS) -> float | None:
    said = [(turns, 2)] * dialogues
    domain = load_domain("persuasion")
    work = mean_divergence(engine, domain, said, adapter=adapter, replies=4_000, max_tokens=24, seed=1)
    return asyncio.run(work)


def test_it_estimates_the_divergence_of_the_distributions_whatever_was_said_in_the_dialogues():
    engine = TwoReplies()
    truth = sum(p * math.log(p / BASE[text]) for text, p in TRAINED.items())
    assert measure(engine, 4_000, "trained") == pytest.approx(truth, abs=0.04)
    assert {(s.temperature, s.top_p, s.max_tokens) for s in engine.samplings} == {(1.0, 1.0, 24)}


def test_the_base_does_not_diverge_from_itself():
    assert measure(TwoReplies(), 20, None) == 0.0


def test_a_reply_that_one_side_cannot_rate_gives_no_number(monkeypatch):
    monkeypatch.setitem(BASE, "Yes.", 0.0)
    assert measure(TwoReplies(), 20, "trained") is None


def test_it_is_none_where_nothing_can_be_rated_and_where_the_policy_never_spoke():
    assert measure(TwoReplies(rates=False), 5, "trained") is None
    assert measure(TwoReplies(), 5, "trained", TURNS[:2]) is None
