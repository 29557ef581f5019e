"""Survey choices at a vLLM server, which gives the probability of any token; test_openai_engine has servers that list a few tokens."""

import asyncio
import math

import pytest
from chat_server import answer

from engage.engines import EngineConfig
from engage.engines.base import Message, Prompt, ScoresUnavailable, Side
from engage.engines.openai.engine import OpenAIEngine

ASKED = Prompt("k", Side.SIMULATOR, (Message("user", "How strong is it now?"),))


def told(logprobs):
    """A behaviour: vLLM's answer, with the sampled token first and then the requested ones."""

    def behave(_, body, __):
        found = answer({**body, "logprobs": True, "top_logprobs": 1})
        listed = [{"token": token, "logprob": logprob, "bytes": None} for token, logprob in logprobs]
        found["choices"][0]["logprobs"]["content"][0]["top_logprobs"] = listed
        return found

    return behave


def scores(server, choices, times=1):
    bare = {"policy_adapter": "bare", "simulator_adapter": "bare"}
    config = EngineConfig(kind="openai", openai={"policy": {"base_urls": [server.url], "model": "m"}}, **bare)
    engine = OpenAIEngine(config, config.openai)
    try:
        return [asyncio.run(engine.score(ASKED, choices)).logprobs for _ in range(times)]
    finally:
        engine.close()


def test_each_choice_is_asked_for_by_its_token(server):
    server.vocabulary = {"1": [33], "2": [34]}
    server.behave = told([(" 1", -0.1), ("1", -7.0), ("2", -9.5)])
    assert scores(server, ("1", "2"), times=2) == [(-7.0, -9.5), (-7.0, -9.5)]
    assert [body["logprob_token_ids"] for body in server.bodies] == [[33, 34]] * 2


SAMPLED = {"1": 0.05, "2": 0.1, "3": 0.5, "4": 0.3, "5": 0.05}


def processed(*limits):
    """A behaviour: a model with limits of its own, which cut all but 3 and 4 off unless a request names them; it lists what is left."""

    def behave(_, body, before):
        kept = tuple(SAMPLED) if set(limits) <= set(body) else ("3", "4")
        mass = sum(SAMPLED[token] for token in kept)
        return told([(token, math.log(SAMPLED[token] / mass)) for token in kept])(_, body, before)

    return behave


@pytest.mark.parametrize("exact", [True, False], ids=["vllm", "another"])
def test_a_models_own_top_p_and_top_k_cut_nothing_off_a_survey(server, exact):
    server.owned_by = "vllm" if exact else "x"
    server.vocabulary = {choice: [30 + int(choice)] for choice in SAMPLED} if exact else {}
    server.behave = processed("top_p", "top_k") if exact else processed("top_p")
    (found,) = scores(server, tuple(SAMPLED))
    assert [math.exp(value) for value in found] == pytest.approx(list(SAMPLED.values()))
    (body,) = server.bodies
    assert (body["top_p"], body.get("top_k")) == (1.0, -1 if exact else None)


def test_a_server_that_refuses_top_k_gives_the_probabilities_without(server):
    server.owned_by, server.vocabulary = "vllm", {"1": [33], "2": [34]}
    server.behave = told([("1", -7.0), ("2", -9.5)])
    unknown = (400, {"error": {"message": "Unrecognized request argument supplied: top_k", "type": "invalid"}})
    server.takes = lambda body: unknown if "top_k" in body else None
    assert scores(server, ("1", "2"), times=2) == [(-7.0, -9.5)] * 2
    assert not any("top_k" in body for body in server.bodies)
    assert all("logprob_token_ids" in body and body["top_p"] == 1.0 for body in server.bodies)


@pytest.mark.usefixtures("short_pauses")
def test_a_server_that_is_busy_when_it_is_asked_for_the_tokens_is_asked_again(server):
    server.vocabulary, server.busy = {"1": [33], "2": [34]}, 2
    server.behave = told([("1", -7.0), ("2", -9.5)])
    assert scores(server, ("1", "2")) == [(-7.0, -9.5)]
    assert server.bodies[0]["logprob_token_ids"] == [33, 34]


def test_choices_of_several_tokens_are_read_from_the_listed_ones(server):
    server.vocabulary = {"1": [33], "10": [33, 32]}
    server.behave = told([("1", -1.0), ("10", -2.0)])
    assert scores(server, ("1", "10")) == [pytest.approx((-1.0, -2.0))]
    assert "logprob_token_ids" not in server.bodies[0]


def test_a_server_that_ignores_token_ids_is_read_by_its_listed_tokens(server):
    server.vocabulary = {"1": [33], "2": [34]}
    server.behave = told([("1", -0.02), ("the", -4.5)])  # 0.98 and 0.01: at most 0.01 is left for 2
    (found,) = scores(server, ("1", "2"))
    assert found[0] == pytest.approx(-0.02) and found[1] <= -4.5


def test_choices_that_are_not_listed_are_not_invented(server):
    server.behave = told([("1", -1.0), ("the", -2.0)])  # 0.37 and 0.14: the 2 may have as much as 0.14
    with pytest.raises(ScoresUnavailable, match="too few of the survey's choices"):
        scores(server, ("1", "2"))
