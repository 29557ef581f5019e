"""Keys and passwords reach no message, log, record or page."""

import asyncio
import logging

import pytest
from chat_server import ChatServer

from engage.config import CycleConfig
from engage.engines.base import Message, Prompt, Sampling, Side
from engage.engines.openai.config import OpenAIConfig, ServerConfig
from engage.engines.openai.engine import OpenAIEngine
from engage.errors import ConfigError, EngineError
from engage.masking import mask, mask_setting, mask_table, mask_urls
from engage.models import ModelsConfig
from flows.cli.profiles import load_config

KEY = "sk-proj-Ab3dEf6hIj9lMn2pQr5t"
ASKED = Prompt("s1/0/replies", Side.POLICY, (Message("user", "Hi."),))


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("http://user:pa55@host:8000/v1", "http://***@host:8000/v1"),
        ("https://user@host/v1", "https://***@host/v1"),
        ("http://u:p/w@host/v1", "http://***@host/v1"),
        (
            "at http://host/v1?api_key=abc&api-version=2024-10-21 now",
            "at http://host/v1?api_key=***&api-version=2024-10-21 now",
        ),
        ("sqlite:////home/me@work/mlflow.db", "sqlite:////home/me@work/mlflow.db"),
        ("http://host:80/m@v1/x", "http://host:80/m@v1/x"),
        ("postgresql://u:p@db/mlflow", "postgresql://***@db/mlflow"),
        ("http://127.0.0.1:8000/v1", "http://127.0.0.1:8000/v1"),
        ("no address: a@b", "no address: a@b"),
    ],
)
def test_addresses_lose_their_passwords(text, masked):
    assert mask_urls(text) == masked


@pytest.mark.parametrize(
    "echo",
    [
        f"Incorrect API key provided: {KEY}.",
        f"bad header 'Authorization: Bearer {KEY}'",
        f"Incorrect API key provided: {KEY[:11]}",
        f"key {KEY[:7]}***{KEY[-4:]} is not known",
        f"key sk-p...{KEY[-4:]} is not known",
        f"keys end with {KEY[-8:]}",
    ],
)
def test_an_echoed_key_is_masked_whole_and_in_parts(echo):
    masked = mask(echo, [KEY])
    assert "***" in masked
    for part in (KEY, KEY[:7], KEY[-4:], "Ab3dEf"):
        assert part not in masked


@pytest.mark.parametrize(
    ("typed", "masked"),
    [
        ('a.extra_body={api_key="k1", top_k=5}', 'a.extra_body={api_key="***", top_k=5}'),
        ("a.extra_body={'Authorization' = 'Bearer x y'}", "a.extra_body={'Authorization' = '***'}"),
        ('a.headers={"x-api-key": "k1"}', 'a.headers={"x-api-key": "***"}'),
        ('a.base_urls=["http://u:p@h/v1"]', 'a.base_urls=["http://***@h/v1"]'),
        ('a.api_key_env="MY_KEY"', 'a.api_key_env="MY_KEY"'),
        ('a.engine_args={tokenizer="x", max_tokens=5}', 'a.engine_args={tokenizer="x", max_tokens=5}'),
    ],
)
def test_a_setting_that_is_shown_again_lost_its_secrets(typed, masked):
    assert mask_setting(typed) == masked


def test_words_beside_a_secret_stay():
    assert mask("the model is not known here", ["model-key-42", ""]) == "the model is not known here"


def test_a_table_is_masked_by_the_names_in_it():
    table = {"api_key": "k", "headers": {"Authorization": "Bearer x"}, "top_k": 5, "hook": "http://u:p@h/"}
    masked = {"api_key": "***", "headers": {"Authorization": "***"}, "top_k": 5, "hook": "http://***@h/"}
    assert mask_table(table) == masked


def test_a_password_in_an_address_is_sent_and_shown_nowhere(monkeypatch, caplog):
    server = ChatServer()
    url = server.url.replace("http://", "http://user:hunter2%21@") + "?api_key=q-secret"
    seen = {}
    server.takes = lambda body: seen.update(path=body) or None
    config = OpenAIConfig(policy=ServerConfig(base_urls=(url,), model="m"), retry_s=0.0)
    with caplog.at_level(logging.DEBUG):
        engine = OpenAIEngine(ModelsConfig(), config)
        asyncio.run(engine.complete(ASKED, Sampling(), [1]))
        server.takes = lambda _: (400, {"error": {"message": "no hunter2! nor hunter2%21 nor q-secret"}})
        with pytest.raises(EngineError) as raised:
            asyncio.run(engine.complete(ASKED, Sampling(), [1]))
    engine.close()
    server.stop()
    assert server.keys == {"Basic dXNlcjpodW50ZXIyIQ=="}  # base64 of user:hunter2!
    assert server.queries == {"api_key=q-secret"}
    whole = CycleConfig(engine={"kind": "openai", "openai": config})
    shown = [str(raised.value), whole.model_dump_json(), str(whole.model_dump(mode="json")), repr(whole), str(whole)]
    for text in (*shown, *(record.getMessage() for record in caplog.records)):
        assert "hunter2" not in text and "q-secret" not in text and "dXNlcjpodW50ZXIyIQ" not in text


def test_a_key_that_the_server_echoes_is_in_no_error_of_the_chain(monkeypatch):
    server = ChatServer()
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    engine = OpenAIEngine(
        ModelsConfig(), OpenAIConfig(policy=ServerConfig(base_urls=(server.url,), model="m"), retry_s=0.0)
    )
    for status in (400, 401, 403, 404, 429, 500):
        server.takes = lambda _, status=status: (status, {"error": {"message": f"Incorrect API key provided: {KEY}"}})
        with pytest.raises(EngineError) as raised:
            asyncio.run(engine.complete(ASKED, Sampling(), [1]))
        assert KEY not in str(raised.value)
        assert raised.value.__suppress_context__ and raised.value.__cause__ is None
    engine.close()
    server.stop()


def test_an_address_that_cannot_be_used_is_refused_without_its_password():
    with pytest.raises(ConfigError) as raised:
        load_config("laptop", ['engine.openai.policy.base_urls=["http://user:hun/ter2@host/v1"]'])
    assert "hun" not in str(raised.value) and "base_urls" in str(raised.value)


def test_a_masked_address_is_not_taken_for_an_address():
    with pytest.raises(ValueError, match="its password is masked"):
        ServerConfig(base_urls=("http://***@host/v1",))
