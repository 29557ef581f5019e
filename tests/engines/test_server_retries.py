"""How long a request is retried, how Retry-After is respected, and one odd answer among good ones."""

import asyncio
import time
from email.utils import formatdate

import pytest
from chat_server import ChatServer, answer, cut_line, refuse

from engage.engines.base import Message, Prompt, Sampling, Side
from engage.engines.openai.config import OpenAIConfig, ServerConfig
from engage.engines.openai.engine import OpenAIEngine
from engage.engines.openai.status import retry_after
from engage.errors import EngineError
from engage.models import ModelsConfig

ASKED = Prompt("s1/0/replies", Side.POLICY, (Message("user", "Hi."),))


@pytest.fixture
def open_engine(server):
    opened = []

    def create(retry_s):
        config = OpenAIConfig(policy=ServerConfig(base_urls=(server.url,), model="m"), timeout_s=5.0, retry_s=retry_s)
        opened.append(OpenAIEngine(ModelsConfig(), config))
        return opened[-1]

    yield create
    for engine in opened:
        engine.close()


def complete(engine, seeds=(1,)):
    return asyncio.run(engine.complete(ASKED, Sampling(max_tokens=16), list(seeds)))


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "-7"}, 0.0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"retry-after": "9" * 400}, float("inf")),
    ],
)
def test_what_a_server_asks_to_wait(headers, seconds):
    assert retry_after(headers) == seconds


def test_a_date_to_wait_for():
    assert 55 < retry_after({"retry-after": formatdate(time.time() + 60, usegmt=True)}) <= 60


@pytest.mark.slow
@pytest.mark.parametrize(
    "asked", ["86400", "9" * 400, formatdate(time.time() + 9e5, usegmt=True)], ids=["day", "huge", "date"]
)
def test_a_servers_retry_after_is_respected_within_the_time_for_retries(asked, server, open_engine):
    server.behave = refuse(429, "rate limit of the provider", Retry_After=asked)
    with pytest.raises(
        EngineError, match=r"\('rate limit of the provider'\) has too many requests \(429\) \(tried for 0.5 s\)"
    ):
        complete(open_engine(0.5))
    assert len(server.bodies) == 2


@pytest.mark.slow
def test_a_crowded_server_that_answers_others_is_waited_for(server, open_engine):
    began = time.monotonic()
    late = {"user": "Late."}

    def behave(handler, body, _):
        if body["messages"][-1]["content"] == late["user"] and time.monotonic() - began < 3.0:
            return refuse(429, Retry_After="0.2")(handler, body, 0)
        return answer(body)

    server.behave = behave
    engine = open_engine(1.0)

    async def beside():
        waiting = asyncio.create_task(
            engine.complete(Prompt("late", Side.POLICY, (Message("user", late["user"]),)), Sampling(max_tokens=16), [1])
        )
        while not waiting.done():
            await engine.complete(ASKED, Sampling(max_tokens=16), [1])
            await asyncio.sleep(0.3)
        return await waiting

    assert asyncio.run(beside())[0].text == "Hello there."


@pytest.mark.slow
def test_a_request_that_always_fails_ends_although_others_are_answered(server, open_engine):
    def behave(handler, body, _):
        bad = body["messages"][-1]["content"] == "Poison."
        return refuse(500, "CUDA error")(handler, body, 0) if bad else answer(body)

    server.behave = behave
    engine = open_engine(0.5)

    async def beside():
        poison = Prompt("poison", Side.POLICY, (Message("user", "Poison."),))
        waiting = asyncio.create_task(engine.complete(poison, Sampling(max_tokens=16), [1]))
        while not waiting.done():
            await engine.complete(ASKED, Sampling(max_tokens=16), [1])
            await asyncio.sleep(0.1)
        return await waiting

    with pytest.raises(EngineError, match=r"\('CUDA error'\) fails"):
        asyncio.run(beside())


def test_a_payment_that_is_due_is_not_waited_for(server, open_engine):
    server.behave = refuse(429, "You exceeded your current quota, please check your plan and billing details.")
    with pytest.raises(EngineError, match="asks for payment: You exceeded your current quota"):
        complete(open_engine(20.0))
    assert len(server.bodies) == 1


def test_a_filtered_reply_is_empty(server, open_engine):
    server.behave = lambda handler, *_: handler.send_json(
        {"error": {"message": "The prompt triggered our content management policy.", "code": "content_filter"}}, 400
    )
    replies = complete(open_engine(1.0), (1, 2))
    assert [(reply.text, reply.finish_reason) for reply in replies] == [("", "content_filter")] * 2


def uncounted(usage):
    """Gives an answer this usage and no log-probabilities."""
    return lambda content: (
        content
        | {
            "usage": usage,
            "choices": [choice | {"logprobs": None} for choice in content["choices"]],
        }
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "usage", [None, "x", {}, {"prompt_tokens": None}, {"prompt_tokens": 0, "completion_tokens": 0}], ids=str
)
def test_token_counts_that_a_server_leaves_out_are_unknown(usage, server, open_engine):
    server.shape = uncounted(usage)
    engine = open_engine(1.0)
    (reply,) = complete(engine)
    assert (reply.prompt_tokens, reply.cached_tokens, reply.completion_tokens) == (None, None, None)
    assert engine.uncounted == f"{server.url} (m)"


def test_a_model_whose_tokenizer_is_here_is_counted(server, open_engine, monkeypatch):
    class Counter:
        def prompt(self, messages):
            return 10 * len(messages)

        def text(self, text):
            return len(text.split())

    monkeypatch.setattr(
        "engage.engines.openai.engine.TokenCounter.of", lambda model: Counter() if model == "m" else None
    )
    server.shape = uncounted(None)
    engine = open_engine(1.0)
    (reply,) = complete(engine)
    assert (reply.prompt_tokens, reply.completion_tokens, engine.uncounted) == (10, 2, "")


def redirect(status, place):
    """A behaviour: an answer that is elsewhere."""
    return lambda handler, *_: handler.send_json(b"", status, {"Location": place})


@pytest.mark.parametrize("status", [301, 302, 303])
def test_a_redirect_that_would_lose_the_request_names_the_address_to_use(status, server, open_engine):
    server.behave = redirect(status, "https://127.0.0.1:9/api/v1/chat/completions?token=secret")
    with pytest.raises(EngineError, match=r"redirects to https://127\.0\.0\.1:9/api/v1/chat/completions") as raised:
        complete(open_engine(20.0))
    assert "secret" not in str(raised.value) and len(server.bodies) == 1
    server.behave = redirect(status, "https://127.0.0.1:9/v1/chat/completions")
    with pytest.raises(EngineError, match=r"redirects to https://127\.0\.0\.1:9/v1: correct base_urls"):
        complete(open_engine(20.0))


@pytest.mark.parametrize("status", [307, 308])
def test_a_redirect_that_keeps_the_request_is_followed(status, server, open_engine):
    other = ChatServer()
    server.behave = redirect(status, f"{other.url}/chat/completions")
    assert [reply.text for reply in complete(open_engine(2.0))] == ["Hello there."]
    other.stop()


@pytest.mark.parametrize(
    ("behave", "said"),
    [
        (cut_line, "gives no whole answer (RemoteProtocolError) (tried for 0 s)"),
        (lambda handler, *_: handler.send_json(b"{}", headers={"Content-Encoding": "gzip"}), "gives no whole answer (DecodingError)"),
        (lambda handler, *_: handler.send_json(b"", 304), "refuses the request: status 304"),
    ],
    ids=["cut", "not gzip", "no words"],
)  # fmt: skip
def test_what_is_no_whole_answer_is_not_called_a_server_that_cannot_be_reached(behave, said, server, open_engine):
    server.behave = behave
    with pytest.raises(EngineError) as raised:
        complete(open_engine(0.0))
    assert said in str(raised.value)


def test_a_server_that_is_gone_cannot_be_reached(server, open_engine):
    server.behave = lambda handler, *_: handler.send_json(b"{}", 500, {"Connection": "close"})
    engine = open_engine(0.0)
    server.stop()
    with pytest.raises(EngineError, match="500"):  # on the connection that is still open
        complete(engine)
    with pytest.raises(EngineError, match="cannot be reached"):
        complete(engine)
