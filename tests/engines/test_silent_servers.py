"""What a server does without saying so is one line in the log: another model, a limit of its own, a prompt cut short, equal replies."""

import asyncio
import logging

import pytest
from chat_server import answer

from engage.engines.base import Message, Prompt, Sampling, Side
from engage.engines.openai.config import OpenAIConfig, ServerConfig
from engage.engines.openai.engine import OpenAIEngine
from engage.engines.openai.silent import SURE, alike
from engage.errors import ConfigError
from engage.models import ModelsConfig

SAMPLING = Sampling(temperature=0.7, max_tokens=16)
MESSAGES = (Message("system", "Be kind."), Message("user", "Hi."))


@pytest.fixture
def said(server, caplog):
    """Asks the server in turn for one reply to each prompt (or `replies` of them); returns the lines in the log."""
    opened = []

    def ask(*prompts, replies=1, sampling=SAMPLING):
        config = OpenAIConfig(policy=ServerConfig(base_urls=(server.url,), model="m"), timeout_s=5.0, retry_s=2.0)
        opened.append(OpenAIEngine(ModelsConfig(), config))
        with caplog.at_level(logging.WARNING):
            for messages in prompts or (MESSAGES,):
                asyncio.run(opened[-1].complete(Prompt("s1/0", Side.POLICY, messages), sampling, range(replies)))
        return [record.message.removeprefix(f"{server.url} ") for record in caplog.records]

    yield ask
    for engine in opened:
        engine.close()


def replies(*texts, reason="stop", tokens=None):
    """A behaviour: these replies."""
    choices = [
        {"index": place, "finish_reason": reason, "message": {"content": text}} for place, text in enumerate(texts)
    ]
    usage = {"prompt_tokens": 20, "completion_tokens": tokens} if tokens else None
    return lambda _, body, __: {"model": "m", "choices": choices, "usage": usage}


def test_a_model_that_changes_in_the_middle_of_a_run_is_said_once(server, said):
    server.behave = lambda _, body, before: {**answer(body), "model": "m" if before < 2 else "tiny"}
    (line,) = said(*[MESSAGES] * 4)
    assert line.startswith("answers as 'tiny' when 'm' is asked for: if that is another model, stop this run")


def test_another_model_than_asked_for_is_said_at_the_start_and_when_it_changes(server, said):
    server.shape = lambda content: {**content, "model": "tiny" if len(server.bodies) < 2 else "large"}
    first, second = said(*[MESSAGES] * 4)
    assert first.startswith("answers as 'tiny' when 'm'")
    assert second.startswith("answers as 'large', and no longer as 'tiny', when 'm'")


@pytest.mark.parametrize(
    ("asked", "reported", "same"),
    [
        ("m", "m", True),
        ("gpt-4o", "gpt-4o-2024-08-06", True),
        ("llama3:latest", "llama3", True),
        ("llama3", "llama3:8b", True),
        ("Qwen/Qwen2.5-7B", "qwen2.5-7b", True),
        ("phi", "/models/phi.gguf", True),
        ("gpt-4", "gpt-4o", False),
        ("gpt-4o", "gpt-4o-mini", False),
        ("llama-3", "llama-3.1", False),
        ("m", "tiny", False),
    ],
)
def test_which_names_may_be_one_model(asked, reported, same):
    assert alike(asked, reported) is alike(reported, asked) is same


@pytest.mark.parametrize(
    ("behave", "line"),
    [
        (replies("I am", reason="length", tokens=8), "(m) ends replies before max_tokens is reached"),
        (replies("I am", reason="length", tokens=15), None),  # an end of turn may not count
        (replies("I am", reason="stop", tokens=8), None),
        (replies("I am", reason="stop", tokens=40), "(m) writes more than max_tokens allows"),
        (replies("I am", reason="length", tokens=18), None),
        (replies("and so on " * 20), "(m) writes more than max_tokens allows"),  # 200 letters are more than 18 tokens
    ],
)
def test_a_limit_that_is_not_ours_is_said(behave, line, server, said):
    server.behave = behave
    lines = said(MESSAGES, MESSAGES)
    assert (lines == []) if line is None else (len(lines) == 1 and lines[0].startswith(line))


def test_a_prompt_that_was_cut_off_is_said_once(server, said):
    long = (Message("user", "word " * 400),)  # 2000 letters; the server counts 20 tokens for every prompt
    (line,) = said(MESSAGES, long, long)
    assert line.startswith("(m) counts too few tokens for a long prompt: it cuts long prompts off")


@pytest.mark.parametrize("gives", [1, 2])
def test_equal_replies_to_all_prompts_are_said_once(gives, server, said):
    server.behave = lambda _, body, __: answer({**body, "n": gives})
    lines = [line for line in said(*[MESSAGES] * (SURE + 3), replies=2) if "refuses n" not in line]
    (line,) = lines
    assert line.startswith(f"(m) gave equal replies to each of {SURE} prompts: it ignores temperature and seed")


def test_equal_replies_are_nothing_special_at_temperature_zero_or_if_others_differ(server, said):
    assert said(*[MESSAGES] * SURE, replies=2, sampling=Sampling(temperature=0.0, max_tokens=16)) == []
    different = replies("Hi.", "Hello.")
    server.behave = lambda handler, body, before: different(handler, body, before) if before % 7 == 0 else answer(body)
    assert said(*[MESSAGES] * SURE, replies=2) == []


@pytest.mark.parametrize(
    ("texts", "what"),
    [
        (("system\nBe brief.\nuser\nSay hello.\nassistant\nHi!",) * 2, "the prompt"),
        (("Be brief. Say hello. Hi!",) * 2, "the prompt"),
        (("assistant\n\nHi!", "assistant\n\nHello."), "the speaker's name"),
        (("<|assistant|>\nHi!", "<|assistant|>\nHello."), "the speaker's name"),
        (("assistant\n\nHi!", "Hello."), None),
        (("Say hello. Hi!",) * 2, None),  # a small model may do that
        (("Model trains are fun.",) * 2, None),
    ],
)
def test_a_server_that_repeats_the_prompt_is_refused_at_the_start(texts, what, server, said):
    def shape(content):
        for choice, text in zip(content["choices"], texts, strict=False):
            choice["message"]["content"] = text
        return content

    server.shape = shape
    if what is None:
        said()
    else:
        with pytest.raises(ConfigError, match=f"begins its replies with {what} .*: let it return the new text alone"):
            said()
