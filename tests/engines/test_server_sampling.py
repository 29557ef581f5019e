"""What a server's program, or the served model's own configuration, adds to the sampling of replies is switched off."""

import asyncio

import pytest
from chat_server import ChatServer

from engage.engines.base import Message, Prompt, Sampling, Side
from engage.engines.openai.config import OpenAIConfig, ServerConfig
from engage.engines.openai.engine import OpenAIEngine
from engage.engines.openai.models import NEUTRAL
from engage.errors import ConfigError
from engage.models import ModelsConfig

ASKED = Prompt("k", Side.POLICY, (Message("user", "Hi."),))
SAMPLING = Sampling(temperature=0.7, top_p=0.9, max_tokens=16)
ADDED = sorted({name for parameters in NEUTRAL.values() for name in parameters})


def ask(*servers, times=1, **settings):
    """The parameters, of those that a program may add, of each request for two replies."""
    policy = ServerConfig(base_urls=tuple(one.url for one in servers), model="m", **settings)
    engine = OpenAIEngine(ModelsConfig(), OpenAIConfig(policy=policy, timeout_s=5.0, retry_s=2.0))

    async def at_once():
        await asyncio.gather(*(engine.complete(ASKED, SAMPLING, [number, number + 1]) for number in range(times)))

    try:
        asyncio.run(at_once())
    finally:
        engine.close()
    return [{name: body[name] for name in ADDED if name in body} for one in servers for body in one.bodies]


@pytest.mark.parametrize("owner", NEUTRAL)
def test_a_known_programs_own_sampling_is_switched_off(server, owner):
    server.owned_by = owner
    assert ask(server) == [NEUTRAL[owner]]
    assert [{name: body.get(name) for name in NEUTRAL[owner]} for body in server.probes] == [NEUTRAL[owner]] * 2


@pytest.mark.parametrize("owner", ["x", None, ["vllm"]])
def test_an_unknown_program_is_sent_nothing_of_its_own(server, owner):
    server.owned_by = owner
    assert ask(server) == [{}]


def test_settings_come_first(server):
    server.owned_by = "vllm"
    (sent,) = ask(server, extra_body={"top_k": 20}, omit=("min_p",))
    assert sent == {"top_k": 20, "repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}


def test_each_of_several_servers_gets_what_its_program_takes(server):
    server.owned_by, other = "vllm", ChatServer()
    try:
        assert ask(server, other, times=6) == [NEUTRAL["vllm"]] * len(server.bodies) + [{}] * len(other.bodies)
        assert server.bodies and other.bodies
    finally:
        other.stop()


@pytest.mark.parametrize("words", ["Unrecognized argument: min_p", "bad request"])
def test_what_such_a_server_refuses_all_the_same_is_left_out(server, caplog, words):
    server.owned_by = "vllm"
    server.takes = lambda body: (400, {"error": {"message": words}}) if "min_p" in body else None
    kept = {name: value for name, value in NEUTRAL["vllm"].items() if name != "min_p"}
    assert ask(server) == [kept]
    assert "refuses min_p (the server's own is used)" in caplog.text


def test_a_users_own_parameter_that_is_refused_ends_the_run(server):
    server.owned_by = "vllm"
    server.takes = lambda body: (400, {"error": {"message": "Unknown parameter: 'top_k'"}}) if "top_k" in body else None
    with pytest.raises(ConfigError, match="Unknown parameter: 'top_k'"):
        ask(server, extra_body={"top_k": 5})
