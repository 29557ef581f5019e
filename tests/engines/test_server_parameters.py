"""Parameters that a server refuses are found at the start, reported in one line, and omitted."""

import asyncio
import logging

import pytest
from chat_server import answer

from engage.engines import EngineConfig, engine_identity
from engage.engines.base import Message, Prompt, Sampling, ScoresUnavailable, Side
from engage.engines.openai.config import OpenAIConfig, ServerConfig
from engage.engines.openai.engine import OpenAIEngine
from engage.errors import ConfigError
from engage.models import ModelsConfig

SAMPLING = Sampling(temperature=0.7, top_p=0.9, max_tokens=16)
ASKED = Prompt("s1/0/replies", Side.POLICY, (Message("system", "Be kind."), Message("user", "Hi.")))
LARGE = 2**62


@pytest.fixture
def ask(server):
    """Opens an engine on the server and asks it for three replies and a survey; returns texts and scores."""
    opened = []

    def asked(sampling=SAMPLING, model="m", **settings):
        policy = ServerConfig(base_urls=(server.url,), model=model, **settings)
        opened.append(OpenAIEngine(ModelsConfig(), OpenAIConfig(policy=policy, timeout_s=5.0, retry_s=2.0)))
        replies = asyncio.run(opened[-1].complete(ASKED, sampling, [LARGE, LARGE + 1, LARGE + 2]))
        try:
            scores = asyncio.run(opened[-1].score(ASKED, ["3", "4"])).logprobs
        except ScoresUnavailable:
            scores = None
        return [reply.text for reply in replies], scores

    asked.opened = opened
    yield asked
    for engine in opened:
        engine.close()


def openai(message, param=None, status=400):
    return status, {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": None}}


def refusing(name, message, param=None, status=400, unless=lambda value: False):
    """Makes the server refuse a parameter in its own words."""
    return lambda body: openai(message, param, status) if name in body and not unless(body[name]) else None


def tgi(message):
    return 422, {"error": f"Input validation error: {message}", "error_type": "validation"}


UNKNOWN_SEED = 'Invalid JSON payload received. Unknown name "seed": Cannot find field.'
LIMIT_NAME = (
    "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
)
ONLY_ONE = (
    "Unsupported value: 'temperature' does not support 0.7 with this model. Only the default (1) value is supported."
)

REFUSALS = {
    "groq n": (refusing("n", "'n' : number must be at most 1", unless=lambda n: n == 1), {"n": None}, "n (each reply"),
    "llama.cpp n": (refusing("n", "Only one completion choice is allowed", status=500), {"n": None}, "n (each reply"),
    "fastapi n": (
        lambda body: (422, {"detail": [{"loc": ["body", "n"], "msg": "Extra inputs are not permitted"}]}) if "n" in body else None,
        {"n": None},
        "n (each reply",
    ),
    "gemini seed": (
        lambda body: (400, [{"error": {"code": 400, "message": UNKNOWN_SEED}}]) if "seed" in body else None,
        {"seed": None},
        "seed (seeds are not honoured",
    ),
    "seeds of 31 bits": (
        refusing("seed", "seed must be less than or equal to 2147483647", unless=lambda seed: seed < 2**31),
        {"seed": LARGE % (2**31 - 1) + 1},
        "large seeds",
    ),
    "gpt-5 limit": (refusing("max_tokens", LIMIT_NAME, "max_tokens"), {"max_completion_tokens": 16, "max_tokens": None}, "max_tokens (max_c"),
    "gpt-5 temperature": (
        lambda body: None if body.get("temperature") == 1 else openai(ONLY_ONE, "temperature"),
        {"temperature": 1.0},
        "temperatures other than 1",
    ),
    "no temperature": (refusing("temperature", "temperature is deprecated for this model"), {"temperature": None}, "temperature (the"),
    "temperature and top_p": (
        lambda body: openai("`temperature` and `top_p` cannot both be specified for this model.") if {"temperature", "top_p"} <= set(body) else None,
        {"temperature": 0.7, "top_p": None},
        "top_p (the",
    ),
    "tgi top_p": (
        lambda body: tgi("`top_p` must be > 0.0 and < 1.0") if "top_p" in body else None,
        {"top_p": None},
        "top_p (the",
    ),
    "says nothing of use": (refusing("seed", "Bad Request"), {"seed": None, "n": 3, "temperature": 0.7}, "seed (seeds"),
    "says nothing of two": (
        lambda body: (400, "Bad Request") if "seed" in body or "top_p" in body else None,
        {"seed": None, "top_p": None, "n": 3, "max_tokens": 16},
        "seed (seeds are not honoured: a run cannot be repeated exactly), top_p (the",
    ),
    "blames the wrong ones": (
        refusing("seed", "allowed are: model, messages, n, temperature, top_p, max_tokens, logprobs"),
        {"seed": None, "n": 3, "temperature": 0.7, "top_p": 0.9, "max_tokens": 16},
        "seed (seeds",
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("case", REFUSALS, ids=str)
def test_a_refused_parameter_is_omitted(case, server, ask, caplog):
    server.takes, expected, said = REFUSALS[case]
    texts, scores = ask()
    assert texts == ["Hello there."] * 3 and scores is not None
    assert {name: server.bodies[0].get(name) for name in expected} == expected
    (line,) = [record.message for record in caplog.records if "refuses" in record.message]
    assert said in line and server.url in line


@pytest.mark.slow
def test_a_learnt_parameter_is_not_probed_again(server, ask):
    server.takes = refusing("seed", "Bad Request")
    ask()
    assert not any("seed" in body for body in server.bodies)


@pytest.mark.slow
@pytest.mark.parametrize(("message", "most"), [("top_logprobs must be between 0 and 5", 5), ("at most 8 are given", 8)])
def test_fewer_listed_tokens_are_taken(message, most, server, ask, caplog):
    server.takes = refusing("top_logprobs", f"top_logprobs: {message}", unless=lambda count: count <= most)
    assert ask()[1] is not None
    assert server.bodies[-1]["top_logprobs"] == most
    assert f"top_logprobs above {most}" in caplog.text


def test_a_server_that_refuses_every_number_of_listed_tokens_is_not_asked_for_ever(server, ask):
    # its words hold a 3: asked for 20, then 16 (the largest below 20 that it names), 3, and then for none
    server.takes = refusing("top_logprobs", "top_logprobs is not allowed here (16, 3)")
    assert ask()[1] is None
    assert [body["top_logprobs"] for body in server.probes + server.bodies if "top_logprobs" in body] == [20, 16, 3]


def test_without_log_probabilities_nothing_of_them_is_asked_for(server, ask, caplog):
    server.takes = refusing("logprobs", "This model does not support logprobs.", "logprobs")
    assert ask() == (["Hello there."] * 3, None)
    assert not any("logprobs" in body or "top_logprobs" in body for body in server.bodies)
    assert caplog.text.count("read by pattern") == 1


def test_a_least_limit_is_kept_for_the_survey(server, ask, caplog):
    server.takes = lambda body: (
        openai("max_tokens: integer below minimum value. Expected a value >= 16") if body["max_tokens"] < 16 else None
    )
    assert ask()[1] is not None
    assert [body["max_tokens"] for body in server.bodies] == [16, 16]
    assert caplog.text.count("max_tokens below 16 (16 is sent)") == 1


def test_temperature_zero_at_a_server_that_always_samples(server, ask):
    server.takes = lambda body: tgi("`temperature` must be strictly positive") if body["temperature"] == 0 else None
    ask(SAMPLING.model_copy(update={"temperature": 0.0}))
    assert server.bodies[1]["temperature"] == 0.01  # the first was refused


@pytest.mark.slow
def test_a_prompt_that_is_too_long_costs_no_parameter(server, ask):
    ask()
    long = "This model's maximum context length is 2048 tokens. However, you requested 16 max_tokens."
    server.takes = lambda body: openai(long) if body.get("n") == 3 else None
    with pytest.raises(Exception, match="maximum context length"):
        ask()
    server.takes = lambda _: None
    ask()
    assert {"max_tokens", "n", "seed"} <= set(server.bodies[-2])


def test_a_second_server_that_accepts_less_is_learnt_later(server, ask, caplog):
    server.takes = lambda body: (
        openai("seed is not supported") if "seed" in body and body["messages"][-1]["content"] == "Hi." else None
    )
    assert ask()[0] == ["Hello there."] * 3
    assert ["seed" in body for body in server.bodies[:3]] == [True, True, False]  # as it is, of 31 bits, none
    assert [record.message for record in caplog.records if "refuses" in record.message] == [
        f"{server.url} (m) refuses large seeds (seeds are reduced to 31 bits) since the run began; all later requests of this side change",
        f"{server.url} (m) refuses seed (seeds are not honoured: a run cannot be repeated exactly) since the run began; "
        "all later requests of this side change",
    ]


def test_one_refusal_of_the_temperature_in_the_middle_of_a_run_is_said_once(server, ask, caplog):
    ask()
    assert "refuses" not in caplog.text
    server.takes = lambda body: openai(ONLY_ONE, "temperature") if len(server.bodies) == 2 else None
    for seed in range(4):
        asyncio.run(ask.opened[-1].complete(ASKED, SAMPLING, [seed]))
    assert [body["temperature"] for body in server.bodies[2:]] == [0.7, 1.0, 1.0, 1.0, 1.0]
    assert caplog.text.count("(m) refuses temperatures other than 1 (1 is sent) since the run began") == 1


def test_an_ignored_n_is_reported_at_the_start(server, ask, caplog):
    server.shape = lambda content: {**content, "choices": content["choices"][:1]}
    assert ask()[0] == ["Hello there."] * 3
    assert [body.get("n") for body in server.bodies[:3]] == [None] * 3
    assert "ignores n" in caplog.text


def test_an_error_that_no_parameter_caused_quotes_the_server(server, ask):
    server.takes = lambda _: openai("System role not supported")
    with pytest.raises(ConfigError, match="refuses the request: System role not supported"):
        ask()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("status", "said"),
    [(401, "refuses the key"), (402, "asks for payment: credits are used up"), (404, "does not know the model 'm'")],
)
def test_an_error_that_no_request_can_pass_is_reported_at_the_start(status, said, server, ask):
    server.takes = lambda _: openai("credits are used up", status=status)
    with pytest.raises(ConfigError, match=said):
        ask()


def test_settings_leave_out_and_add(server, ask, caplog):
    ask(omit=("seed", "max_tokens", "top_p"), extra_body={"chat_template_kwargs": {"enable_thinking": False}})
    for body in (*server.probes, *server.bodies):
        assert not {"seed", "max_tokens", "top_p"} & set(body)
        assert "max_completion_tokens" in body
        assert body["chat_template_kwargs"] == {"enable_thinking": False}
    assert "refuses" not in caplog.text


def test_a_users_own_parameter_is_never_omitted_silently(server, ask):
    server.takes = refusing("top_k", "Unknown parameter: 'top_k'", "top_k")
    with pytest.raises(ConfigError, match="Unknown parameter: 'top_k'"):
        ask(extra_body={"top_k": 5})


@pytest.mark.parametrize("given", [{"omit": ("messages",)}, {"extra_body": {"n": 3}}, {"extra_body": {"stream": True}}])
def test_what_each_request_decides_cannot_be_set(given):
    with pytest.raises(ValueError, match="is set by the engine in each request"):
        ServerConfig(**given)


def test_a_cycles_identity_changes_only_with_what_is_asked_for():
    def identity(**settings):
        return engine_identity(
            EngineConfig(kind="openai", openai=OpenAIConfig(policy=ServerConfig(model="m", **settings)))
        )

    plain = {"served policy": "m", "served simulator": "m"}
    assert identity() == identity(base_urls=("http://u:secret@h:1/v1?api_key=k",)) == plain
    changed = identity(extra_body={"chat_template_kwargs": {"enable_thinking": False}})
    assert set(changed) == {*plain, "asked policy", "asked simulator"}
    assert identity(omit=("seed",)) != changed


@pytest.mark.slow
@pytest.mark.parametrize(
    ("listed", "asked"),
    [
        ("acme/small", "acme/small:nitro"),
        ("m:latest", "m"),
        ("models/gemini-x", "gemini-x"),
        ("Qwen-0.5B", "qwen-0.5b"),
    ],
)
def test_a_name_that_the_server_resolves_is_asked_for_with_one_notice(listed, asked, server, ask, caplog):
    server.models = (listed,)
    ask(model=asked)
    assert {body["model"] for body in server.bodies} == {asked}
    assert caplog.text.count(f"lists '{listed}', not '{asked}'") == 1


@pytest.mark.slow
@pytest.mark.usefixtures("short_pauses")
def test_servers_that_fail_at_the_start_are_probed_again_later(server, ask, caplog):
    state = {"well": False}

    def takes(body):
        if not state["well"]:
            state["well"] = body["messages"][-1]["content"] == "Hi."
            return openai("loading the model", status=503)
        return openai("Bad Request") if "seed" in body else None

    server.takes = takes
    with caplog.at_level(logging.WARNING):
        assert ask()[0] == ["Hello there."] * 3
    assert "seed" not in server.bodies[-1]


def test_missing_replies_of_an_answer_are_requested_again(server, ask, caplog):
    server.behave = lambda _, body, before: answer({**body, "n": 2} if before == 0 else body)
    assert len(ask()[0]) == 3
    assert caplog.text.count("refuses n (each reply is a request of its own) since the run began") == 1
