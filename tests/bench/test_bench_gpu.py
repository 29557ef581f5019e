"""The measurements for a GPU machine, in small and on a CPU. No test asserts a time."""

import asyncio
import json
import math
from dataclasses import replace

import pytest
from tiny_models import save_adapter, save_tiny_model
from transformers import AutoTokenizer

from engage.bench.agreement import Agreement, Difference, agreement_prompts, compare, halved
from engage.bench.engine import saturation
from engage.bench.plain import PlainGenerate
from engage.engines.base import Message, Prompt, Sampling, Side
from engage.engines.embedded.engine import TransformersConfig, TransformersEngine
from engage.errors import EngineError
from engage.models import ModelsConfig
from engage.scenario import SHIPPED, load_scenarios

pytestmark = pytest.mark.slow

FLOAT32 = TransformersConfig(dtype="float32", device="cpu")


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> ModelsConfig:
    model = save_tiny_model(tmp_path_factory.mktemp("tiny") / "model")
    config = json.loads((model / "config.json").read_text())
    # one token a byte: a survey's prompt is longer than the tiny model's usual 1024
    (model / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 4096}))
    return ModelsConfig(policy_model=str(model), simulator_model=str(model))


@pytest.fixture(scope="module")
def plain(models):
    import torch

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("engage.bench.plain.native_dtype", lambda: torch.float32)
        yield PlainGenerate(models)


def chat(text: str, **changes) -> Prompt:
    return Prompt(text[:10], Side.POLICY, (Message("user", text),), **changes)


def asked(engine, prompts, sampling):
    async def together():
        return await asyncio.gather(*(engine.complete(prompt, sampling, [7]) for prompt in prompts))

    return [reply for (reply,) in asyncio.run(together())]


def test_plain_generate_answers_what_is_asked_together_in_one_call(plain, models, monkeypatch):
    rows = []
    generate = plain._model.generate
    monkeypatch.setattr(plain._model, "generate", lambda ids, **rest: rows.append(len(ids)) or generate(ids, **rest))
    prompts = [chat("I am sad."), chat("I have not slept since Monday, and nobody asks."), chat("Hello.")]
    found = asked(plain, prompts, Sampling(temperature=0.0, max_tokens=6))
    assert rows == [3]
    engine = TransformersEngine(models, FLOAT32)
    try:
        expected = asked(engine, prompts, Sampling(temperature=0.0, max_tokens=6))
    finally:
        engine.close()
    for mine, other in zip(found, expected, strict=True):
        assert (mine.prompt_tokens, mine.finish_reason) == (other.prompt_tokens, other.finish_reason)
        assert (mine.text, mine.completion_tokens) == (other.text, other.completion_tokens)


def test_plain_generate_fails_for_everybody_who_still_waits(plain, monkeypatch):
    def out_of_memory(*_):
        raise RuntimeError("out of memory")

    async def one_is_cancelled():
        given_up, waiting = (
            asyncio.create_task(plain.complete(chat(text), Sampling(max_tokens=4), [7])) for text in ("One.", "Two.")
        )
        await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.wait_for(waiting, 10)

    monkeypatch.setattr(plain, "_generate", out_of_memory)
    with pytest.raises(EngineError, match="out of memory"):
        asyncio.run(one_is_cancelled())


def test_plain_generate_is_swept_like_an_engine(plain):
    sweep = saturation(plain, batch_sizes=(1, 3), prompt_lengths=(200,), sampling=Sampling(max_tokens=4))
    points = asyncio.run(sweep).points
    assert [point.requests for point in points] == [1, 3]
    assert all(point.completion_tokens <= 4 * point.requests and point.decode_tok_s > 0 for point in points)


def test_plain_generate_refuses_an_adapter_and_the_other_side(plain):
    for changes in ({"adapter": "/an/adapter"}, {"side": Side.SIMULATOR}):
        prompt = Prompt("key", **{"side": Side.POLICY, "messages": (Message("user", "Hi"),), **changes})
        with pytest.raises(EngineError, match="base weights only"):
            asked(plain, [prompt], Sampling(max_tokens=1))


@pytest.fixture(scope="module")
def adapters(models, tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("adapters")
    own = str(save_adapter(models.policy_model, folder / "own"))
    return {"own": own, "half": halved(own, folder / "half"), "none": ""}


def opened(models, **changes):
    return lambda: TransformersEngine(models, FLOAT32.model_copy(update=changes))


def test_an_engine_agrees_with_itself(models, adapters):
    found = compare(opened(models), opened(models), load_scenarios(SHIPPED), models, adapters, tokens=6)
    assert (found.replies, found.equal_replies, found.differences) == (30, 30, ())
    assert found.changed_by_adapter > 0 and found.again_equal == 10
    assert found.survey_difference < 1e-4 and found.again_difference < 1e-4
    assert found.faults == []
    assert json.loads(json.dumps(found.as_json()))["agree"] is True


def test_an_engine_with_other_weights_differs_in_replies_and_surveys(models, adapters, tmp_path):
    """The other engine uses each adapter at half its strength, as if it had not loaded the new weights."""

    class Stale(TransformersEngine):
        def _model_of(self, job):
            path, adapter = super()._model_of(job)
            return path, adapters["half"] if adapter == adapters["own"] else adapter

    found = compare(
        opened(models),
        lambda: Stale(models, FLOAT32),
        load_scenarios(SHIPPED),
        models,
        {name: adapters[name] for name in ("own", "none")},
        tokens=6,
    )
    assert found.survey_difference > 0.02
    assert found.differences and {one.adapter for one in found.differences} == {"own"}
    assert max(one.margin for one in found.differences) > 0.1
    assert found.faults and not found.as_json()["agree"]


def test_prompts_are_ten_and_evenly_over_the_domains():
    speaking, surveys = agreement_prompts(load_scenarios(SHIPPED))
    assert len({prompt.key for prompt in speaking}) == len(surveys) == 10
    assert len({prompt.messages[0].content for prompt in speaking}) == 2
    assert {len(choices) for _, choices in surveys} == {5, 9}


class Cut(TransformersEngine):
    """Ends its greedy replies early: the same words, but fewer."""

    async def complete(self, prompt, sampling, seeds):
        found = await super().complete(prompt, sampling, seeds)
        return [replace(one, text=one.text[:2], finish_reason="stop") for one in found]


def test_a_margin_is_that_of_the_models_own_next_tokens(models):
    """After the same beginning one engine ends its turn and the other continues; both probabilities are computed by hand."""
    import torch
    from transformers import AutoModelForCausalLM

    scenarios = load_scenarios(SHIPPED)
    found = compare(opened(models), lambda: Cut(models, FLOAT32), scenarios, models, {"none": ""}, tokens=6)
    one = next(one for one in found.differences if one.other == "(end)")
    prompt = next(prompt for prompt in agreement_prompts(scenarios)[0] if prompt.key == one.prompt)
    engine = TransformersEngine(models, FLOAT32)
    try:
        (reply,) = asked(engine, [replace(prompt, adapter="")], Sampling(temperature=0.0, max_tokens=6))
    finally:
        engine.close()
    tokenizer = AutoTokenizer.from_pretrained(models.policy_model)
    chat = [{"role": message.role, "content": message.content} for message in prompt.messages]
    ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True)["input_ids"]
    model = AutoModelForCausalLM.from_pretrained(models.policy_model, dtype=torch.float32)
    said = tokenizer(reply.text).input_ids
    at = one.tokens
    logprobs = model(torch.tensor([ids + said[:at]])).logits[0, -1].log_softmax(-1)
    assert one.reference == tokenizer.decode([said[at]])
    assert one.margin == pytest.approx(abs(float(logprobs[said[at]] - logprobs[tokenizer.eos_token_id])), abs=1e-4)


AGREED = Agreement(
    adapters=("own", "none"),
    replies=20,
    equal_replies=19,
    changed_by_adapter=9,
    differences=(Difference("own", "s1", 4, "so", "to", 0.09),),
    survey_difference=0.02,
    again_difference=0.02,
    again_equal=10,
    used_gb=(1.0, 70.0, 1.4, 1.2),
)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({}, None),
        (
            {"differences": (Difference("own", "s1", 4, "so", "to", 0.11),)},
            "s1 (own): 'so' and 'to' are 0.11 nats apart",
        ),
        ({"differences": (Difference("own", "s1", 4, "so", "to", math.nan),)}, "nan nats"),
        ({"survey_difference": 0.021}, "a survey probability differs by 0.021"),
        ({"survey_difference": math.nan}, "a survey probability differs"),
        ({"again_difference": 0.021}, "an adapter asked again differs by 0.021"),
        ({"changed_by_adapter": 0}, "no adapter changed any reply"),
        ({"used_gb": (1.0, 70.0, 1.2, 9.0)}, "8.0 GB are not freed"),
        ({"used_gb": ()}, None),
    ],
)
def test_what_is_more_than_rounding_is_a_fault(change, fault):
    found = Agreement(**{**AGREED.__dict__, **change}).faults
    assert (len(found), fault is None or fault in found[0]) == (int(fault is not None), True)
