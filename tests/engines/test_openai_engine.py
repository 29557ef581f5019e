"""The engine for servers, against a local server that misbehaves on purpose."""

import asyncio
import logging
import math
import socket
import threading
import time
from dataclasses import replace

import pytest
from chat_server import ChatServer, answer, cut_line, refuse, trickle
from pydantic import ValidationError

from engage.dialogue import Dialogue, Role, Turn
from engage.domains import load_domain
from engage.engines import EngineConfig, engine_identity
from engage.engines.base import Message, Prompt, Sampling, ScoresUnavailable, Side
from engage.engines.openai.config import OpenAIConfig, ServerConfig
from engage.engines.openai.engine import OpenAIEngine, choice_logprobs
from engage.engines.recording import RecordingEngine
from engage.errors import ConfigError, EngineError
from engage.models import ModelsConfig
from engage.scenario import load_scenarios
from engage.simulation import SpeechConfig, UserSimulator

SAMPLING = Sampling(temperature=0.7, top_p=0.9, max_tokens=16)
PROMPT = Prompt("s1/0/replies", Side.POLICY, (Message("system", "Be kind."), Message("user", "Hi.")))
FROM_USER = Prompt("s1/0/survey", Side.SIMULATOR, PROMPT.messages)


@pytest.fixture
def open_engine():
    opened = []

    def create(*servers, simulator=None, model="m", adapter=None, **settings) -> OpenAIEngine:
        policy = ServerConfig(base_urls=tuple(s if isinstance(s, str) else s.url for s in servers), model=model)
        settings = {"timeout_s": 5.0, "retry_s": 20.0, **settings}
        models = ModelsConfig(policy_adapter=adapter)
        opened.append(OpenAIEngine(models, OpenAIConfig(policy=policy, simulator=simulator, **settings)))
        return opened[-1]

    yield create
    for engine in opened:
        engine.close()


def complete(engine, prompt=PROMPT, seeds=(1,)):
    return asyncio.run(engine.complete(prompt, SAMPLING, list(seeds)))


def first_then_well(behaviour, times=1):
    """Misbehave a number of times, then answer."""
    return lambda handler, body, before: behaviour(handler, body, before) if before < times else answer(body)


def free_url() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/v1"


def test_n_replies_are_one_request_with_all_that_the_server_tells(server, open_engine):
    replies = complete(open_engine(server), seeds=(7, 8, 9))
    assert [(r.text, r.seed, r.finish_reason) for r in replies] == [("Hello there.", s, "stop") for s in (7, 8, 9)]
    assert (replies[0].prompt_tokens, replies[0].cached_tokens, replies[0].completion_tokens) == (20, 16, 3)
    assert replies[0].mean_logprob == -0.5
    (body,) = server.bodies
    assert {name: body[name] for name in ("n", "seed", "max_tokens", "temperature", "top_p", "model")} == {
        "n": 3, "seed": 7, "max_tokens": 16, "temperature": 0.7, "top_p": 0.9, "model": "m",
    }  # fmt: skip
    assert body["messages"] == [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi."}]


def test_every_token_that_a_server_reports_is_counted(server, open_engine):
    def behave(_, body, __):  # a thought, and a choice that nobody asked for: 7 tokens of 21 are in the two replies
        content = answer({**body, "n": 3})
        content["choices"][1]["logprobs"] = {"content": 6 * content["choices"][1]["logprobs"]["content"]}
        return {**content, "usage": {"prompt_tokens": 20, "completion_tokens": 21}}

    server.behave = behave
    assert [reply.completion_tokens for reply in complete(open_engine(server), seeds=(7, 8))] == [1 + 7, 6 + 7]


def test_a_server_without_n_gets_one_request_per_reply(server, open_engine):
    server.behave = lambda _, body, __: answer({**body, "n": 1})
    engine = open_engine(server)
    assert [r.seed for r in complete(engine, seeds=(7, 8, 9))] == [7, 8, 9]
    assert sorted(body["seed"] for body in server.bodies) == [7, 8, 9]
    complete(engine, seeds=(1, 2))
    assert "n" not in server.bodies[-1]


def test_a_server_without_n_is_asked_for_all_replies_to_a_prompt_at_once(server, open_engine):
    all_there = threading.Barrier(4)

    def behave(_, body, before):
        if before > 1:  # two requests have found out that it ignores n
            all_there.wait(10)  # breaks, if one request waits for another
        return answer({**body, "n": 1}, f"Reply {body['seed']}.")

    server.behave = behave
    engine = open_engine(server)
    complete(engine, seeds=(1, 2))
    replies = complete(engine, seeds=(7, 8, 9, 10))
    assert [(reply.text, reply.seed) for reply in replies] == [(f"Reply {seed}.", seed) for seed in (7, 8, 9, 10)]
    assert (replies[0].prompt_tokens, replies[0].cached_tokens) == (80, 64)


def test_one_reply_that_is_refused_gives_up_the_others(server, open_engine):
    def behave(handler, body, _):
        if body["seed"] == 9:
            return refuse(400, "not this one")(handler, body, 0)
        return answer({**body, "n": 1})

    server.behave = behave
    engine = open_engine(server)
    with pytest.raises(EngineError, match="not this one"):
        complete(engine, seeds=(7, 8, 9, 10))
    assert len(complete(engine, seeds=(1, 2))) == 2


def test_a_prompt_that_is_sent_once_for_each_reply_counts_each_time(server, open_engine):
    server.behave = lambda _, body, before: {**answer({**body, "n": 1}), **({"usage": None} if before > 2 else {})}
    engine = RecordingEngine(open_engine(server))
    complete(engine, seeds=(7, 8, 9))  # three requests with 20 prompt tokens each, 16 of them cached
    complete(engine, seeds=(7, 8))  # without counts
    counts = [(call.samples, call.prompt_tokens, call.cached_tokens) for call in engine.calls]
    assert counts == [(3, 60, 48), (2, None, None)]


@pytest.mark.slow
@pytest.mark.usefixtures("short_pauses")
@pytest.mark.parametrize(
    "fault",
    [
        refuse(429, Retry_After="0.1"),
        refuse(500),
        refuse(503),
        cut_line,
        lambda handler, *_: handler.send_json(b"{nothing that json knows"),
        lambda handler, *_: handler.send_json(b"<html>busy</html>", headers={"Content-Type": "text/html"}),
        lambda handler, body, _: handler.send_json({**answer(body), "choices": []}),
        lambda handler, body, _: handler.send_json({**answer(body), "choices": None}),
    ],
    ids=["429", "500", "503", "cut", "bad json", "html", "no choices", "null choices"],
)
def test_what_passes_is_tried_again(fault, server, open_engine):
    server.behave = first_then_well(fault, 2)
    assert complete(open_engine(server))[0].text == "Hello there."
    assert len(server.bodies) == 3


@pytest.mark.slow
def test_a_servers_retry_after_is_respected(server, open_engine):
    server.behave = first_then_well(refuse(429, Retry_After="1.5"))
    engine = open_engine(server)
    started = time.monotonic()
    complete(engine)
    assert time.monotonic() - started >= 1.5
    assert engine._groups[Side.POLICY].limit.limit == 16


@pytest.mark.slow
def test_a_slow_body_is_given_up(server, open_engine):
    server.behave = first_then_well(trickle)
    assert complete(open_engine(server, timeout_s=1.0))[0].text == "Hello there."


@pytest.mark.slow
def test_what_does_not_pass_fails_with_its_reason_and_the_requests_key(server, open_engine):
    server.behave = refuse(500)
    engine = open_engine(server, retry_s=1.0)
    with pytest.raises(EngineError, match=r"fails \(500\) \(tried for 1 s\) \(request s1/0/replies\)"):
        complete(engine)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, "refuses the key; put a valid one into the environment variable OPENAI_API_KEY"),
        (403, "refuses the key"),
        (404, "does not know the model 'm' (no)"),
        (400, "refuses the request: no"),
        (501, "does not offer chat completions (501): correct base_urls"),
    ],
)
def test_a_refusal_is_not_tried_again(status, said, server, open_engine):
    server.behave = refuse(status)
    with pytest.raises(EngineError) as raised:
        complete(open_engine(server))
    assert said in str(raised.value)
    assert len(server.bodies) == 1


def test_a_model_that_is_not_served_is_told_before_anything_is_asked(server, open_engine):
    with pytest.raises(ConfigError, match="does not serve 'n' but m: correct the model's name"):
        open_engine(server, model="n")


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        ({"models": ("small",)}, "does not serve 'm' but small: correct the model's name"),
        ({"models_status": 401}, "refuses the key; put a valid one into"),
        ({"models_status": 403}, "refuses the key; put a valid one into"),
        ({"models_answer": b"<html>Welcome</html>"}, "is not an OpenAI-compatible server"),
    ],
    ids=["other model", "key", "key of others", "page"],
)
def test_one_wrong_server_among_several_is_told_before_anything_is_asked(odd, said, server, open_engine):
    other = ChatServer()
    vars(other).update(odd)
    for servers in ((server, other), (other, server), (free_url(), server, other)):
        with pytest.raises(ConfigError, match=f"{other.url} {said}"):
            open_engine(*servers)
    assert not server.probes and not other.probes
    other.stop()


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_server_that_cannot_say_yet_what_it_serves_is_asked_again(status, server, open_engine, caplog):
    other = ChatServer(("small",))
    other.models_status = status
    engine = open_engine(server, other)
    assert f"{other.url} is not ready to say which models it has; the other servers work without it" in caplog.text
    for _ in range(6):
        complete(engine)
    assert len(server.bodies) == 6 and not other.bodies
    other.stop()


def test_no_server_at_all_is_reported_at_once(open_engine):
    with pytest.raises(ConfigError, match="no server answers at http://127"):
        open_engine(free_url())


def test_the_key_comes_from_the_environment_and_shows_nowhere(server, open_engine, monkeypatch, caplog):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    server.behave = refuse(400)
    with caplog.at_level(logging.DEBUG), pytest.raises(EngineError) as raised:
        complete(open_engine(server))
    assert server.keys == {"Bearer sk-very-secret"}
    assert "sk-very-secret" not in caplog.text + str(raised.value)


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8000/v1", "http://127.0.0.1:99999/v1", "http://[::1/v1", "http://", "http://a b/v1"]
)
def test_an_invalid_address_is_refused_when_the_settings_are_read(url):
    with pytest.raises(ValidationError, match=r"http|port|IPv6|address"):
        ServerConfig(base_urls=(url,))


def test_a_server_that_answers_with_a_page_is_reported_at_once(server, open_engine):
    server.models_answer = b"<html>Welcome</html>"
    with pytest.raises(ConfigError, match=r"is not an OpenAI-compatible server .*: correct base_urls"):
        open_engine(server)


@pytest.mark.slow
@pytest.mark.parametrize("key", ["sk-é", "sk-one two", "sk-one\ntwo"])
def test_an_impossible_key_is_refused_without_showing_it(key, server, open_engine, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(ConfigError, match="the key in the environment variable OPENAI_API_KEY has") as raised:
        open_engine(server)
    assert key not in str(raised.value)


def test_a_line_break_after_the_key_is_ignored(server, open_engine, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret\n")
    complete(open_engine(server))
    assert server.keys == {"Bearer sk-secret"}


@pytest.mark.slow
def test_requests_are_spread_and_a_dead_server_is_left_out(server, open_engine):
    other = ChatServer()
    slow = lambda _, body, __: time.sleep(0.05) or answer(body)  # noqa: E731
    server.behave = other.behave = slow
    engine = open_engine(server, other)

    async def many(count):
        return await asyncio.gather(*(engine.complete(PROMPT, SAMPLING, [n]) for n in range(count)))

    assert len(asyncio.run(many(20))) == 20
    assert min(len(server.bodies), len(other.bodies)) >= 5
    other.stop()
    assert len(asyncio.run(many(20))) == 20


def test_a_faster_server_gets_more_of_the_requests(server, open_engine):
    group = open_engine(server, free_url(), free_url())._groups[Side.POLICY]
    fast, slow, once_slow = group._servers
    slow.down_until = once_slow.down_until = 0.0  # nobody answered there; these are three names

    def picked(count):
        found = []
        for _ in range(count):
            found.append(group._pick())
            found[-1].in_flight += 1
        for one in found:
            one.in_flight -= 1
        return [sum(one is other for one in found) for other in (fast, slow, once_slow)]

    fast.pace_s = 0.0  # not that of the requests at the start
    fast.answered(0.4, 4)  # four at once, so one every 0.1 s
    slow.answered(0.4, 1)
    assert picked(9) == [3, 3, 3]  # the third has not answered yet
    once_slow.answered(40.0, 1)
    assert picked(10) == [8, 2, 0]  # 8 · 0.1 s = 2 · 0.4 s
    assert picked(4000)[2] > 0  # it is tried again
    fast.pace_s = 0.1
    fast.answered(1.1, 1)
    assert fast.pace_s == pytest.approx(0.7 * 0.1 + 0.3 * 1.1)


@pytest.mark.slow
def test_a_server_that_is_restarted_loses_nothing_and_works_on(server, open_engine):
    slow = lambda _, body, __: time.sleep(0.05) or answer(body)  # noqa: E731
    first, later = ChatServer(), []
    server.behave = first.behave = slow
    engine = open_engine(server, first)

    async def restart():
        await asyncio.sleep(0.3)
        first.stop()
        await asyncio.sleep(0.3)
        later.append(ChatServer(port=int(first.url.rpartition(":")[2].removesuffix("/v1"))))
        later[0].behave = slow

    async def night():
        ends, answers = time.monotonic() + 100, []
        restarted = asyncio.create_task(restart())

        async def caller():
            while time.monotonic() < ends and not (later and len(later[0].bodies) > 20):
                answers.extend(await engine.complete(PROMPT, SAMPLING, [len(answers)]))

        await asyncio.gather(*(caller() for _ in range(8)))
        await restarted
        return answers

    answers = asyncio.run(night())
    assert len(later[0].bodies) > 20 and len(first.bodies) > 0
    assert len(answers) <= len(server.bodies) + len(first.bodies) + len(later[0].bodies)
    assert {one.text for one in answers} == {"Hello there."}
    later[0].stop()


def test_a_server_that_is_down_at_the_start_does_not_stop_the_others(server, open_engine, caplog):
    url = free_url()
    assert complete(open_engine(url, server))[0].text == "Hello there."
    assert caplog.text.count(f"no server answers at {url}") == 1


def test_a_server_that_comes_up_later_with_another_model_is_sent_nothing(server, open_engine, caplog):
    url = free_url()
    engine = open_engine(url, server)
    late = ChatServer(("small",), port=int(url.rpartition(":")[2].removesuffix("/v1")))
    for one in engine._groups[Side.POLICY]._servers:
        one.down_until = 0.0

    async def many():
        return await asyncio.gather(*(engine.complete(PROMPT, SAMPLING, [n]) for n in range(10)))

    assert len(asyncio.run(many())) == 10 and not late.bodies
    assert caplog.text.count(f"{url} does not serve 'm' but small: correct the model's name; no requests") == 1
    late.models = ("m",)
    engine._groups[Side.POLICY]._servers[0].down_until = 0.0
    assert len(asyncio.run(many())) == 10 and late.bodies
    late.stop()


@pytest.mark.slow
def test_sides_may_be_different_servers(server, open_engine):
    other = ChatServer(("u",))
    engine = open_engine(server, simulator=ServerConfig(base_urls=(other.url,), model="u"))
    complete(engine, PROMPT)
    complete(engine, FROM_USER)
    assert ([b["model"] for b in server.bodies], [b["model"] for b in other.bodies]) == (["m"], ["u"])
    other.stop()


def test_scores_come_from_the_most_probable_tokens(server, open_engine):
    scores = asyncio.run(open_engine(server).score(FROM_USER, ["3", "4", "5"]))
    assert scores.logprobs == pytest.approx((math.log(math.exp(-0.5) + math.exp(-2.5)), -1.5, math.log(1 - sum(
        map(math.exp, (-0.5, -2.5, -1.5, -3.0))
    ))))  # fmt: skip
    assert (scores.prompt_tokens, scores.cached_tokens) == (20, 16)
    assert server.bodies[0]["max_tokens"] == 1


def test_scores_of_choices_that_are_not_listed():
    assert choice_logprobs([("yes", -0.1)], ["1", "2"]) == (-math.inf, -math.inf)


def test_scores_that_are_too_small_for_a_probability_are_kept():
    # servers write such numbers for tokens that sampling has ruled out
    assert choice_logprobs([("1", 0.0), ("2", -9999.0), ("3", -math.inf)], ["1", "2", "3"]) == (0.0, -9999.0, -math.inf)


def test_without_log_probabilities_the_survey_is_read_by_pattern_and_that_is_said_once(server, open_engine, caplog):
    def behave(handler, body, _):
        if body.get("logprobs"):
            return refuse(400, "logprobs are not supported")(handler, body, 0)
        return answer(body, "Two. It is a 2 now.")

    server.behave = behave
    engine = open_engine(server)
    with pytest.raises(ScoresUnavailable):
        asyncio.run(engine.score(FROM_USER, ["1", "2"]))
    scenario = next(s for s in load_scenarios(("emotional_support",)) if s.split == "train")
    domain = load_domain(scenario.domain)
    user = UserSimulator(engine, domain, SpeechConfig(), scenario.user_condition)
    dialogue = Dialogue((Turn(Role.USER, "Hi."), Turn(Role.ASSISTANT, "Hello.")))
    reaction = asyncio.run(user.react(dialogue, "s1/survey", 1))
    assert (reaction.reader, reaction.value) == ("pattern", 2.0)
    assert caplog.text.count("gives no log-probabilities") == 1
    assert complete(engine)[0].mean_logprob is None


def listing(*pairs):
    """Gives the first token of an answer these tokens and log-probabilities."""

    def shape(content):
        listed = [{"token": token, "logprob": value} for token, value in pairs]
        token = {"token": "3", "logprob": -0.5, "top_logprobs": listed}
        return {**content, "choices": [{**one, "logprobs": {"content": [token]}} for one in content["choices"]]}

    return shape


@pytest.mark.parametrize("late", [False, True], ids=["at the start", "later"])
def test_impossible_log_probabilities_are_no_scores_and_that_is_said_once(late, server, open_engine, caplog):
    zeros = listing(*((choice, 0.0) for choice in "12345"))
    server.shape = (lambda content: content) if late else zeros
    engine = open_engine(server)
    server.shape = zeros
    for _ in range(2):
        with pytest.raises(ScoresUnavailable, match="gives impossible log-probabilities"):
            asyncio.run(engine.score(FROM_USER, list("12345")))
    assert caplog.text.count("impossible") == caplog.text.count("the survey is read by pattern") == 1


def test_a_server_that_gave_no_log_probabilities_at_the_start_is_not_asked_for_them_again(server, open_engine):
    server.shape = lambda content: {**content, "choices": [{**one, "logprobs": None} for one in content["choices"]]}
    engine = RecordingEngine(open_engine(server))
    with pytest.raises(ScoresUnavailable, match="gives no log-probabilities"):
        asyncio.run(engine.score(FROM_USER, list("12345")))
    assert server.bodies == engine.calls == []


def test_an_answer_without_usable_scores_was_paid_for_and_is_recorded(server, open_engine):
    engine = RecordingEngine(open_engine(server))
    server.shape = listing(("yes", -0.1), ("no", -3.0))
    for choices in ("12345", "1"):
        with pytest.raises(ScoresUnavailable):
            asyncio.run(engine.score(FROM_USER, list(choices)))
    assert [(call.kind, call.samples, call.prompt_tokens, call.cached_tokens) for call in engine.calls] == [
        ("score", 5, 20, 16),
        ("score", 1, 20, 16),
    ]


def test_too_few_listed_choices_are_no_scores_and_that_is_said_once_for_each_server(server, open_engine, caplog):
    other = ChatServer()
    engine = open_engine(server, other)

    async def ask_all():
        asked = (engine.score(replace(FROM_USER, key=f"k{number}"), ["1", "2", "3"]) for number in range(8))
        return await asyncio.gather(*asked, return_exceptions=True)

    for refusal in asyncio.run(ask_all()):
        assert isinstance(refusal, ScoresUnavailable) and "lists too few of the survey's choices" in str(refusal)
    assert server.bodies and other.bodies
    for one in (server, other):
        assert caplog.text.count(f"{one.url} lists too few of the survey's choices") == 1
    with pytest.raises(ScoresUnavailable, match="the text is not among"):
        asyncio.run(engine.score(PROMPT, ["I hear you."]))  # not a survey
    other.stop()


def test_adapters_are_loaded_once_and_again_after_the_server_forgot_them(server, open_engine, tmp_path):
    (tmp_path / "adapter_model.safetensors").write_bytes(b"weights")
    engine = open_engine(server, adapter=str(tmp_path))
    complete(engine)
    complete(engine)
    (loaded,) = server.loaded
    assert loaded["lora_path"] == str(tmp_path)
    assert {body["model"] for body in server.bodies} == {loaded["lora_name"]}
    asked = len(server.bodies)
    forget = refuse(404, "no such adapter")
    server.behave = lambda handler, body, before: forget(handler, body, 0) if before == asked else answer(body)
    assert complete(engine)[0].text == "Hello there."
    assert len(server.loaded) == 2
    complete(engine, Prompt("k", Side.POLICY, PROMPT.messages, adapter=""))
    assert server.bodies[-1]["model"] == "m"


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (
            {"error": "Unexpected endpoint or method. (POST /v1/load_lora_adapter)"},
            "Unexpected endpoint or method",
        ),  # LM Studio
        ({"error": {"message": "LoRA is not supported by this model"}}, "LoRA is not supported by this model"),
        ({"object": "error", "message": "no such path"}, "no such path"),
        (b"<html><title>Chat</title></html>", "a page: Chat"),
    ],
)
def test_an_adapter_is_not_loaded_if_the_answer_with_status_200_is_an_error(said, words, server, open_engine, tmp_path):
    (tmp_path / "adapter_model.safetensors").write_bytes(b"weights")
    server.load_answer = said
    with pytest.raises(EngineError) as raised:
        complete(open_engine(server, adapter=str(tmp_path)))
    assert "cannot load adapters: start vLLM with" in str(raised.value) and words in str(raised.value)
    assert not server.bodies


@pytest.mark.parametrize(
    "said", ["Success: LoRA adapter added", {"status": "success"}, {"error": None}, {"error": "it is already loaded"}]
)
def test_other_answers_to_loading_an_adapter_are_a_success(said, server, open_engine, tmp_path):
    (tmp_path / "adapter_model.safetensors").write_bytes(b"weights")
    server.load_answer = said
    assert complete(open_engine(server, adapter=str(tmp_path)))[0].text == "Hello there."


def test_a_reply_of_the_base_model_in_place_of_the_adapter_is_refused(server, open_engine, tmp_path):
    (tmp_path / "adapter_model.safetensors").write_bytes(b"weights")
    reported = ["m"]
    server.behave = lambda _, body, __: {**answer(body), "model": reported[0]}
    engine = open_engine(server, adapter=str(tmp_path))
    with pytest.raises(EngineError, match=r"answers as 'm', its base model, when the adapter engage-.* is asked for"):
        complete(engine)
    for other in ("org/m", "m:latest", str(tmp_path), "", None):  # servers report names in many forms
        reported[0] = other
        assert complete(engine)[0].text == "Hello there."


def test_a_closed_engine_says_so(server, open_engine):
    engine = open_engine(server)
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        complete(engine)


def test_a_cycles_identity_names_what_is_served_and_not_where():
    config = EngineConfig(kind="openai", openai=OpenAIConfig(policy=ServerConfig(model="m")))
    assert engine_identity(config) == {"served policy": "m", "served simulator": "m"}
