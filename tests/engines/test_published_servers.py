"""Fakes of four kinds of servers by their published schemas: what the engine finds out at the start, sends and reads.

Sources:

- text-generation-inference 3.3.7 (github.com/huggingface/text-generation-inference): docs/openapi.json for fields and statuses,
  router/src/validation.rs and router/src/infer/mod.rs for what is refused, router/src/lib.rs for answers;
- Ollama (github.com/ollama/ollama, commit 634c4166): openai/openai.go, and docs/openai.md for prompts that are cached;
- OpenRouter: "Errors and Debugging" and "API Reference, overview" of its documentation (read in November 2026);
- Azure OpenAI: inference.json of the data plane, API version 2024-10-21 (github.com/Azure/azure-rest-api-specs), and authoring
  of the same version for the list of models.
"""

import asyncio
import json

import pytest
from chat_server import ChatServer

from engage.engines.base import Message, Prompt, Sampling, ScoresUnavailable, Side
from engage.engines.openai.complaints import complaint_of
from engage.engines.openai.config import OpenAIConfig, ServerConfig
from engage.engines.openai.engine import OpenAIEngine
from engage.engines.openai.models import listed_models
from engage.engines.openai.status import is_filtered
from engage.errors import EngineError
from engage.models import ModelsConfig

ASKED = Prompt("s1/0/replies", Side.POLICY, (Message("system", "Be kind."), Message("user", "Hi.")))
LONG = Prompt("s1/1/replies", Side.POLICY, (Message("user", "Long. " * 50),))
LISTED = [("3", -0.5), ("4", -1.0), ("the", -4.0), ("5", -5.0), ("2", -6.0)]


@pytest.fixture
def server():
    server = ChatServer()
    yield server
    server.stop()


@pytest.fixture
def engine(server):
    """Opens an engine on the server."""
    opened = []

    def create(model="m", retry_s=2.0):
        config = OpenAIConfig(policy=ServerConfig(base_urls=(server.url,), model=model), timeout_s=5.0, retry_s=retry_s)
        opened.append(OpenAIEngine(ModelsConfig(), config))
        return opened[-1]

    yield create
    for one in opened:
        one.close()


def replies(engine, prompt=ASKED, temperature=0.7, top_p=0.9):
    sampling = Sampling(temperature=temperature, top_p=top_p, max_tokens=16)
    return asyncio.run(engine.complete(prompt, sampling, [11, 12, 13]))


def scores(engine):
    try:
        return asyncio.run(engine.score(ASKED, ["3", "4"])).logprobs
    except ScoresUnavailable:
        return None


def token(text, logprob, listed, **more):
    return {
        "token": text,
        "logprob": logprob,
        **more,
        "top_logprobs": [{"token": t, "logprob": p, **more} for t, p in listed],
    }


# text-generation-inference


def tgi_refuses(message):
    return 422, {"error": f"Input validation error: {message}", "error_type": "validation"}


def tgi_takes(body):
    if body.get("temperature") is not None and body["temperature"] <= 0:
        return tgi_refuses("`temperature` must be strictly positive")
    if body.get("top_p") is not None and not 0 < body["top_p"] < 1:
        return tgi_refuses("`top_p` must be > 0.0 and < 1.0")
    if body.get("top_logprobs", 0) > 5:
        return tgi_refuses(f"`top_n_tokens` must be >= 0 and <= 5. Given: {body['top_logprobs']}")
    if sum(len(message["content"]) for message in body["messages"]) > 200:
        limit = body["max_tokens"]
        said = "`inputs` tokens + `max_new_tokens` must be <= 64. Given: 60 `inputs` tokens and"
        return tgi_refuses(f"{said} {limit} `max_new_tokens`")
    return None


def tgi_answer(body):
    """One choice, whatever n is; `model` is the server's own name."""
    choice = {"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}
    if body.get("logprobs"):
        choice["logprobs"] = {"content": [token("Hello", -0.5, LISTED[: body.get("top_logprobs", 0)])]}
    usage = {"prompt_tokens": 20, "completion_tokens": 1, "total_tokens": 21}
    sent = {"object": "chat.completion", "id": "", "created": 1706270835, "model": "org/model"}
    return {**sent, "system_fingerprint": "3.3.7-native", "choices": [choice], "usage": usage}


@pytest.fixture
def tgi(server):
    server.takes = tgi_takes
    server.shape = lambda content: tgi_answer(server.probes[-1]) if content["id"] == "x" else content
    server.behave = lambda handler, body, before: tgi_answer(body)
    return server


def test_tgi_gives_one_reply_per_request_and_lists_five_tokens(tgi, engine, caplog):
    opened = engine()
    found = replies(opened)
    assert [(one.text, one.completion_tokens, one.prompt_tokens, one.seed) for one in found] == [
        ("Hello", 1, 60, 11), ("Hello", 1, 60, 12), ("Hello", 1, 60, 13),  # three prompts of 20
    ]  # fmt: skip
    assert sorted(body["seed"] for body in tgi.bodies) == [11, 12, 13] and not any("n" in body for body in tgi.bodies)
    assert scores(opened) == pytest.approx((-0.5, -1.0))
    assert tgi.bodies[-1]["top_logprobs"] == 5
    (line,) = [record.message for record in caplog.records if "refuses" in record.message]
    assert "top_logprobs above 5" in line and "ignores n" in line and "max_tokens" not in line


def test_tgi_samples_always(tgi, engine):
    assert len(replies(engine(), temperature=0.0, top_p=1.0)) == 3
    last = tgi.bodies[-1]
    assert last["temperature"] == 0.01 and "top_p" not in last and last["max_tokens"] == 16


def test_a_prompt_too_long_for_tgi_leaves_the_limit_of_later_replies(tgi, engine):
    opened = engine()
    with pytest.raises(EngineError, match=r"`inputs` tokens \+ `max_new_tokens` must be <= 64"):
        replies(opened, LONG)
    replies(opened)
    assert tgi.bodies[-1]["max_tokens"] == 16


@pytest.mark.usefixtures("short_pauses")
def test_a_generation_that_failed_in_tgi_is_tried_again(tgi, engine):
    opened, failed = engine(), []

    def behave(handler, body, before):
        if before:
            return tgi_answer(body)
        failed.append(body["seed"])
        said = {"error": "Request failed during generation: Server error: CUDA", "error_type": "generation"}
        return handler.send_json(said, 424)

    tgi.behave = behave
    assert [one.text for one in replies(opened)] == ["Hello"] * 3
    assert sorted(body["seed"] for body in tgi.bodies) == sorted([11, 12, 13, *failed])


# Ollama


def ollama_takes(body):
    if 0 <= body.get("top_logprobs", 0) <= 20:
        return None
    said = "top_logprobs must be between 0 and 20"
    return 400, {"error": {"message": said, "type": "invalid_request_error", "param": None, "code": None}}


def ollama_answer(body, prompt_tokens=20, thought=""):
    """One choice, whatever n is; no details of usage; each token with its bytes."""
    message = {"role": "assistant", "content": "" if thought else "Hello"} | ({"reasoning": thought} if thought else {})
    choice = {"index": 0, "message": message, "finish_reason": "length" if thought else "stop"}
    if body.get("logprobs"):
        choice["logprobs"] = {"content": [token("Hello", -0.5, LISTED[: body.get("top_logprobs", 0)], bytes=[72])]}
    usage = {"prompt_tokens": prompt_tokens, "completion_tokens": 1, "total_tokens": prompt_tokens + 1}
    sent = {"id": "chatcmpl-768", "object": "chat.completion", "created": 1744445346, "model": body["model"]}
    return {**sent, "system_fingerprint": "fp_ollama", "choices": [choice], "usage": usage}


@pytest.fixture
def ollama(server):
    server.models = ("m:latest",)
    server.takes = ollama_takes
    server.shape = lambda content: ollama_answer(server.probes[-1]) if content["id"] == "x" else content
    server.behave = lambda handler, body, before: ollama_answer(body)
    return server


def test_ollama_is_asked_under_the_name_without_its_tag(ollama, engine, caplog):
    opened = engine("m")
    assert [(one.text, one.mean_logprob) for one in replies(opened)] == [("Hello", -0.5)] * 3
    assert scores(opened) == pytest.approx((-0.5, -1.0))
    assert "lists 'm:latest', not 'm'" in caplog.text and "ignores n" in caplog.text and "refuses" not in caplog.text


def test_a_prompt_cached_by_ollama_has_an_unknown_length_and_not_zero(ollama, engine):
    opened = engine("m")
    ollama.behave = lambda handler, body, before: ollama_answer(body, prompt_tokens=0)
    assert [(one.prompt_tokens, one.completion_tokens) for one in replies(opened)] == [(None, 1)] * 3


def test_a_model_that_only_thought_in_ollama_has_said_nothing(ollama, engine):
    opened = engine("m")
    ollama.behave = lambda handler, body, before: ollama_answer(body, thought="The user greets me, so")
    assert [(one.text, one.finish_reason) for one in replies(opened)] == [("", "thought")] * 3


def test_an_ollama_without_a_model_has_an_empty_list(ollama, engine):
    ollama.models_answer = b'{"object": "list", "data": null}'
    assert len(replies(engine("m"))) == 3


# OpenRouter


def openrouter_error(status, message, **metadata):
    return {"error": {"code": status, "message": message, **({"metadata": metadata} if metadata else {})}}


def openrouter_answer(body, **choice):
    first = {"index": 0, "finish_reason": "stop", "native_finish_reason": "completed", "logprobs": None}
    first["message"] = {"role": "assistant", "content": "Hello", "refusal": None, "reasoning": None}
    usage = {"prompt_tokens": 20, "completion_tokens": 3, "total_tokens": 23, "cost": 0.0003, "is_byok": False}
    usage["prompt_tokens_details"] = {"cached_tokens": 16, "cache_write_tokens": 0}
    usage["completion_tokens_details"] = {"reasoning_tokens": 0}
    sent = {"id": "gen-1", "provider": "Some", "model": body["model"], "object": "chat.completion", "created": 1}
    return {**sent, "choices": [first | choice], "usage": usage}


@pytest.fixture
def openrouter(server):
    server.shape = lambda content: openrouter_answer({"model": "m"}) if content.get("id") == "x" else content
    server.behave = lambda handler, body, before: openrouter_answer(body)
    return server


def test_openrouter_counts_tokens_and_what_was_cached(openrouter, engine):
    opened = engine("m:nitro")
    assert [(one.text, one.prompt_tokens, one.cached_tokens, one.completion_tokens) for one in replies(opened)] == [
        ("Hello", 60, 48, 3)  # three prompts of 20, 16 of them cached
    ] * 3
    assert scores(opened) is None  # this provider gives no log-probabilities


def test_an_input_that_openrouter_flags_is_a_filtered_reply_and_no_refused_key(openrouter, engine):
    opened = engine()
    flagged = {"reasons": ["self-harm"], "flagged_input": "I wa...", "provider_name": "Some", "model_slug": "m"}
    said = openrouter_error(403, "Forbidden", **flagged)
    openrouter.behave = lambda handler, body, before: handler.send_json(said, 403)
    assert [(one.text, one.finish_reason) for one in replies(opened)] == [("", "content_filter")] * 3
    openrouter.behave = lambda handler, body, before: handler.send_json(openrouter_error(403, "Forbidden"), 403)
    with pytest.raises(EngineError, match="refuses the key"):
        replies(opened)


@pytest.mark.slow
@pytest.mark.usefixtures("short_pauses")
@pytest.mark.parametrize("late", [False, True], ids=["in the answer", "in the choice"])
def test_what_fails_at_a_provider_of_openrouter_is_tried_again(late, openrouter, engine):
    opened, failed = engine(), []
    error = openrouter_error(502, "Provider returned error", provider_name="Some", raw='{"message": "upstream"}')

    def behave(handler, body, before):
        if before:
            return openrouter_answer(body)
        failed.append(body)
        return openrouter_answer(body, finish_reason="error", **error) if late else error

    openrouter.behave = behave
    assert [one.text for one in replies(opened)] == ["Hello"] * 3 and len(failed) == 1


def test_credits_of_openrouter_that_are_used_up_end_at_once(openrouter, engine):
    opened = engine(retry_s=20.0)
    said = openrouter_error(402, "Insufficient credits")
    openrouter.behave = lambda handler, body, before: handler.send_json(said, 402)
    with pytest.raises(EngineError, match="asks for payment: Insufficient credits"):
        replies(opened)
    assert len(openrouter.bodies) <= 3  # none of the three is sent again


# Azure

SAFE = {"filtered": False, "severity": "safe"}
UNDONE = {"error": {"code": "content_filter_error", "message": "The contents are not filtered"}}


def azure_answer(body, filtered=False, unchecked=False):
    choices = []
    for index in range(body.get("n", 1)):
        message = {"role": "assistant"} | ({} if filtered else {"content": "Hello"})
        results = UNDONE if unchecked else {"hate": SAFE, "violence": {**SAFE, "filtered": filtered}}
        choice = {"index": index, "finish_reason": "content_filter" if filtered else "stop", "message": message}
        if body.get("logprobs") and not filtered:
            listed = LISTED if body.get("top_logprobs") else []
            choice["logprobs"] = {"content": [token("Hello", -0.5, listed, bytes=None)]}
        choices.append({**choice, "content_filter_results": results})
    usage = {"completion_tokens": len(choices), "prompt_tokens": 33, "total_tokens": 33 + len(choices)}
    about = [
        {
            "prompt_index": 0,
            "content_filter_results": {"hate": SAFE, "jailbreak": {"filtered": False, "detected": False}},
        }
    ]
    return {"id": "c", "created": 1, "choices": choices, "prompt_filter_results": about, "usage": usage}


@pytest.fixture
def azure(server):
    listed = [
        {"id": "gpt-4o-2024-08-06", "object": "model", "status": "succeeded", "lifecycle_status": "generally-available"}
    ]
    server.models_answer = json.dumps({"object": "list", "data": listed}).encode()
    server.shape = lambda content: azure_answer(server.probes[-1]) if content["id"] == "x" else content
    server.behave = lambda handler, body, before: azure_answer(body)
    return server


def test_a_deployment_of_azure_is_on_no_list_of_models(azure, engine):
    opened = engine("our-deployment")
    assert [(one.text, one.completion_tokens, one.prompt_tokens) for one in replies(opened)] == [("Hello", 1, 33)] * 3
    assert scores(opened) == pytest.approx((-0.5, -1.0))
    assert listed_models('{"data": [{"id": "a", "object": "model"}]}') == ["a"]


def test_a_reply_that_azure_filters_or_could_not_check(azure, engine):
    opened = engine("our-deployment")
    azure.behave = lambda handler, body, before: azure_answer(body, filtered=True)
    assert [(one.text, one.finish_reason) for one in replies(opened)] == [("", "content_filter")] * 3
    azure.behave = lambda handler, body, before: azure_answer(body, unchecked=True)
    assert [(one.text, one.finish_reason) for one in replies(opened)] == [("Hello", "stop")] * 3


@pytest.mark.slow
@pytest.mark.parametrize("inner", ["innererror", "inner_error"])
@pytest.mark.parametrize("code", ["content_filter", "400", None])
def test_a_prompt_that_azure_filters_is_told_by_the_inner_code_too(code, inner, azure, engine):
    opened = engine("our-deployment")
    error = {"message": "The response was filtered", "type": None, "param": "prompt", "code": code}
    error[inner] = {
        "code": "ResponsibleAIPolicyViolation",
        "content_filter_results": {"hate": {**SAFE, "filtered": True}},
    }
    assert is_filtered(complaint_of({"error": error}))
    azure.behave = lambda handler, body, before: handler.send_json({"error": error}, 400)
    assert [(one.text, one.finish_reason) for one in replies(opened)] == [("", "content_filter")] * 3


def test_a_deployment_that_azure_does_not_have_is_named(azure, engine):
    opened = engine("our-deployment")
    said = {"error": {"code": "DeploymentNotFound", "message": "The API deployment for this resource does not exist."}}
    azure.behave = lambda handler, body, before: handler.send_json(said, 404)
    with pytest.raises(EngineError, match=r"does not know the model 'our-deployment' \(The API deployment"):
        replies(opened)
