"""The embedded engine on a tiny random Llama with one token per byte, so that texts and counts can be checked by hand."""

import asyncio
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny_models import save_adapter
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModelForCausalLM, AutoTokenizer

from engage.engines import EngineConfig, Side, TransformersConfig, engine_identity
from engage.engines.base import Message, Prompt, Sampling
from engage.engines.embedded.attention import ATTENTION
from engage.engines.embedded.batch import fuse_norms
from engage.engines.embedded.decoder import COLUMN_STEP, Decoder
from engage.engines.embedded.engine import TransformersEngine
from engage.engines.embedded.jobs import Job
from engage.engines.embedded.prefill import CALL_TOKENS, PREFILL_TOKENS, Closed
from engage.engines.embedded.sampling import Row, choose, nucleus_settings
from engage.errors import EngineError, ModelError
from engage.models import ModelsConfig, resolve_model

GREEDY = Sampling(temperature=0.0, max_tokens=12)
DRAWN = Sampling(temperature=1.0, top_p=1.0, max_tokens=12)
LENGTHS = (1, 7, 20, 41)


@pytest.fixture(scope="module")
def tiny(tiny_model) -> Path:
    return tiny_model


@pytest.fixture(scope="module")
def engine(tiny):
    engine = open_engine(tiny)
    yield engine
    engine.close()


def open_engine(tiny: Path, **settings) -> TransformersEngine:
    models = ModelsConfig(
        policy_model=str(tiny),
        simulator_model=str(tiny),
        policy_adapter=settings.pop("policy_adapter", None),
        simulator_adapter=settings.pop("simulator_adapter", None),
    )
    return TransformersEngine(
        models, TransformersConfig(**{"dtype": "float32", **settings})
    )  # exact whatever the batch


def prompt(text: str, *more: Message, adapter: str | None = None, side: Side = Side.POLICY) -> Prompt:
    messages = (Message("system", "Be kind."), Message("user", text), *more)
    return Prompt(f"key of {text[:10]}", side, messages, adapter)


def complete(engine, asked, sampling=GREEDY, seeds=(1,)):
    return asyncio.run(engine.complete(asked, sampling, seeds))


def together(engine, prompts, sampling=GREEDY, seeds=(1,)):
    async def all_of_them():
        return await asyncio.gather(*(engine.complete(asked, sampling, seeds) for asked in prompts))

    return asyncio.run(all_of_them())


def token_ids(tiny: Path, asked: Prompt) -> tuple[int, ...]:
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    chat = [{"role": message.role, "content": message.content} for message in asked.messages]
    return tuple(tokenizer.apply_chat_template(chat, add_generation_prompt=True)["input_ids"])


def plain_logprobs(tiny: Path, tokens: tuple[int, ...]):
    """Log-probabilities [position, vocabulary] by transformers' own attention, without a cache."""
    model = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32, attn_implementation="eager")
    with torch.no_grad():
        return model(input_ids=torch.tensor([tokens])).logits[0].log_softmax(-1)


def decoder(tiny: Path, end_tokens: set[int], cache_bytes: int = 10**8) -> Decoder:
    model = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32, attn_implementation=ATTENTION).eval()
    return Decoder(model, end_tokens, cache_bytes)


def rows(sampling: Sampling = GREEDY) -> list[Row]:
    """Prompts of four lengths; the two longest share their first twenty tokens."""
    return [Row(tuple(5 + (7 * i) % 200 for i in range(length)), sampling, seed=length) for length in LENGTHS]


def test_the_same_seed_gives_the_same_text_and_another_seed_another(engine):
    asked = prompt("I am sad.")
    first, second, again = complete(engine, asked, DRAWN, (11, 12, 11))
    assert first.text == again.text != second.text
    assert [first.seed, second.seed] == [11, 12]
    assert complete(engine, asked, DRAWN, (12, 11))[1].text == first.text


def test_at_temperature_zero_the_seed_does_not_matter(engine):
    texts = {completion.text for completion in complete(engine, prompt("I am sad."), GREEDY, (1, 2, 3))}
    assert len(texts) == 1


@pytest.mark.slow
def test_a_row_computes_in_a_batch_what_it_computes_alone(tiny):
    for sampling in (GREEDY, DRAWN):
        batch = rows(sampling)
        decoder(tiny, {1}).generate(batch)
        for row, alone in zip(batch, rows(sampling), strict=True):
            decoder(tiny, {1}).generate([alone])
            assert row.generated == alone.generated
            assert row.logprobs == pytest.approx(alone.logprobs, abs=1e-4)


def test_logits_and_log_probabilities_are_those_of_a_plain_forward(tiny):
    one = decoder(tiny, {1})
    found = one.next_logits([row.tokens for row in rows()])
    batch = rows(DRAWN)
    one.generate(batch)
    for row in batch:
        plain = plain_logprobs(tiny, (*row.tokens, *row.generated))
        at = len(row.tokens) - 1
        assert torch.allclose(found.logits[found.rows[row.tokens]].log_softmax(-1), plain[at], atol=1e-4)
        said = [float(plain[at + step, token]) for step, token in enumerate(row.generated)]
        assert row.logprobs == pytest.approx(said, abs=1e-3)


def test_prompts_are_prefilled_in_batches_that_waste_no_more_than_a_call_costs(tiny, monkeypatch):
    monkeypatch.setitem(PREFILL_TOKENS, "cpu", 600)
    prompts = [tuple(range(5 + number, 5 + number + 4 * number)) for number in range(1, 40)]
    batches = decoder(tiny, {1})._prefill_batches(prompts)
    assert sorted(prompt for batch in batches for prompt, _ in batch) == sorted(prompts)
    for batch in batches:
        lengths = [len(prompt) for prompt, _ in batch]
        padded = len(batch) * max(lengths)
        assert padded - sum(lengths) <= CALL_TOKENS["cpu"]
        assert len(batch) == 1 or padded <= 600
    assert len(batches) < len(prompts) / 2  # and no more calls than that takes


@pytest.mark.slow
def test_rows_that_end_at_different_steps_do_not_disturb_the_others(tiny):
    def mixed() -> list[Row]:
        return [
            Row(row.tokens, Sampling(temperature=1.0, max_tokens=2 + 3 * n), seed=n) for n, row in enumerate(rows() * 2)
        ]

    batch = mixed()
    decoder(tiny, {1}).generate(batch)
    for row, alone in zip(batch, mixed(), strict=True):
        decoder(tiny, {1}).generate([alone])
        assert row.generated == alone.generated
    assert [len(row.generated) for row in batch] == [2, 5, 8, 11, 14, 17, 20, 23]


def test_a_reply_ends_before_the_end_token_or_at_its_length(tiny):
    (free,) = longest = rows()[-1:]
    decoder(tiny, set()).generate(longest)
    assert (len(free.generated), free.stopped) == (12, False)
    end = free.generated[3]
    assert end not in free.generated[:3]
    (ended,) = longest = rows()[-1:]
    decoder(tiny, {end}).generate(longest)
    # three tokens of text; the end token was drawn and has its log-probability, but is no text
    assert (ended.generated, ended.stopped, len(ended.logprobs)) == (free.generated[:3], True, 4)


def test_the_completion_says_why_it_ended_and_what_it_cost(tiny, engine):
    asked = prompt("I am sad.")
    (completion,) = complete(engine, asked, Sampling(temperature=0.0, max_tokens=5))
    assert completion.finish_reason == "length"
    assert completion.completion_tokens == 5
    assert completion.prompt_tokens == len(token_ids(tiny, asked))
    assert completion.mean_logprob < 0


def draw(logits, sampling: Sampling, uniform: float) -> int:
    return int(choose(logits, *nucleus_settings([sampling], "cpu"), torch.tensor([uniform], dtype=torch.float64)))


def test_the_nucleus_is_inverted_at_the_uniform_number():
    # sorted: token 2 with 0.5, token 0 with 0.3, token 1 with 0.2; top_p 0.7 keeps the first two, 0.5 / 0.8 = 0.625
    logits = torch.log(torch.tensor([[0.3, 0.2, 0.5]]))
    nucleus = Sampling(temperature=1.0, top_p=0.7)
    drawn = [draw(logits, nucleus, u) for u in (0.0, 0.62, 0.63, 0.999, 1 - 2**-53)]
    assert drawn == [2, 2, 0, 0, 0]
    # top_p 1 keeps all three: bounds 0.5, 0.8, 1
    drawn = [draw(logits, Sampling(temperature=1.0, top_p=1.0), u) for u in (0.49, 0.51, 0.79, 0.81)]
    assert drawn == [2, 0, 0, 1]
    # temperature 0.5 squares the odds, 25 : 9 : 4 of 38: bounds 0.658, 0.895
    drawn = [draw(logits, Sampling(temperature=0.5, top_p=1.0), u) for u in (0.65, 0.67, 0.89, 0.9)]
    assert drawn == [2, 0, 0, 1]


@pytest.mark.slow
def test_a_flat_distribution_keeps_its_nucleus_beyond_the_first_candidates():
    logits = torch.zeros(1, 1000)
    sampling = Sampling(temperature=1.0, top_p=0.9)
    drawn = {draw(logits, sampling, u) for u in np.linspace(0, 0.9999, 4000)}
    assert 895 <= len(drawn) <= 905


def test_a_second_turn_reuses_the_first_and_says_the_same_without_a_cache(tiny):
    with_cache, without = open_engine(tiny), open_engine(tiny, cache_mb=0)
    try:
        first = prompt("I am sad.")
        (reply,) = complete(with_cache, first, DRAWN)
        second = prompt("I am sad.", Message("assistant", reply.text), Message("user", "My dog died."))
        (cached,), (fresh,) = complete(with_cache, second, DRAWN), complete(without, second, DRAWN)
        assert cached.text == fresh.text
        assert cached.mean_logprob == pytest.approx(fresh.mean_logprob, abs=1e-4)
        assert cached.cached_tokens >= len(token_ids(tiny, first))
        assert fresh.cached_tokens == 0
        complete(without, first, DRAWN)
        assert complete(without, second, DRAWN)[0].cached_tokens == 0
    finally:
        with_cache.close()
        without.close()


def test_prompts_that_split_known_segments_are_computed_as_if_nothing_was_known(tiny):
    warm = decoder(tiny, {1})
    base = tuple(range(10, 110))
    prompts = [base, base[:60], (*base[:60], 7, 8, 9), (*base[:30], 5), base[:1], (*base, 3)]
    for tokens in prompts:
        found = warm.next_logits([tokens])
        assert torch.allclose(found.logits[0].log_softmax(-1), plain_logprobs(tiny, tokens)[-1], atol=1e-4)
    assert found.cached == {tokens: 100}


def test_the_cache_stays_within_its_budget_and_is_not_moved_from_batch_to_batch(tiny):
    # a token has 2 sides x 2 layers x 2 heads x 8 numbers x 4 bytes = 256 bytes; a prompt of 40 finds room where a tenth is free
    small = decoder(tiny, {1}, cache_bytes=256 * 400)
    where, used = small.cache.states.data_ptr(), []
    for start in range(10, 58):
        small.next_logits([tuple(range(start, start + 40))])
        used.append(small.cache.used_tokens)
    assert small.cache.states.data_ptr() == where
    # 40 to 360 in nine prompts; then a tenth (40) beside the next prompt's 40 is not free: three prompts leave before it
    assert used[:9] == list(range(40, 361, 40)) and used[9] == 280
    assert max(used) == 360 and min(used[9:]) == 280


def test_a_batch_of_new_prompts_finds_room_without_a_larger_cache(tiny):
    small = decoder(tiny, {1}, cache_bytes=256 * 400)
    where = small.cache.states.data_ptr()
    for start in range(10, 40, 10):
        small.next_logits([tuple(range(start + one, start + one + 60)) for one in range(5)])  # 300 of the 400 tokens
        assert small.cache.states.data_ptr() == where and small.cache.used_tokens == 300


def test_a_cache_that_outgrew_its_budget_gives_the_memory_back(tiny):
    small = decoder(tiny, {1}, cache_bytes=256 * 50)
    for start in range(10, 60, 10):
        small.next_logits([tuple(range(start, start + 40))])
        small.cache.tick += 1
        small.cache.shrink()
        assert small.cache.used_tokens <= 50 and small.cache.states.shape[2] == 51


def test_completed_rows_are_cached_before_new_prompts_are_prefilled(tiny):
    some = decoder(tiny, set(), cache_bytes=256 * 40)
    some.next_logits([tuple(range(10, 90))])  # more than the cache holds: it is made anew while it is used
    rows = [Row((5, 6, 7), Sampling(max_tokens=count), 1) for count in (2, 6)]
    some.begin(rows, some.next_logits([row.tokens for row in rows]))
    while not rows[0].done:
        some.step()
    known = some.next_logits([(*rows[0].tokens, *rows[0].generated)])
    assert known.cached == {(5, 6, 7, *rows[0].generated): 4}


def test_scores_are_the_log_probabilities_of_a_plain_forward(tiny, engine):
    asked = prompt("How bad is it, 1 to 5?", side=Side.SIMULATOR)
    tokens = token_ids(tiny, asked)
    scores = asyncio.run(engine.score(asked, ("1", "10", "five")))
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    for choice, found in zip(("1", "10", "five"), scores.logprobs, strict=True):
        ids = tuple(tokenizer(choice)["input_ids"])
        assert len(ids) == len(choice)
        plain = plain_logprobs(tiny, (*tokens, *ids))
        assert found == pytest.approx(sum(float(plain[len(tokens) - 1 + i, t]) for i, t in enumerate(ids)), abs=1e-3)
    assert scores.logprobs[0] > scores.logprobs[1]
    assert scores.prompt_tokens == len(tokens)


def test_an_adapter_is_chosen_by_each_request(tiny, tmp_path, engine):
    adapter = save_adapter(tiny, tmp_path / "adapter")
    plain, adapted = prompt("I am sad."), prompt("I am sad.", adapter=str(adapter))
    (before,), (changed,), (after,) = together(engine, [plain, adapted, plain])
    assert before.text == after.text != changed.text
    assert complete(engine, adapted)[0].text == changed.text


@pytest.mark.slow
def test_the_simulators_own_adapter_is_not_the_policys(tiny, tmp_path):
    adapter = save_adapter(tiny, tmp_path / "adapter")
    engine = open_engine(tiny, simulator_adapter=str(adapter))
    try:
        (policy,), (simulator,) = together(engine, [prompt("I am sad."), prompt("I am sad.", side=Side.SIMULATOR)])
        assert policy.text != simulator.text
        assert simulator.text == complete(engine, prompt("I am sad.", adapter=str(adapter)))[0].text
    finally:
        engine.close()


def test_a_bare_side_answers_as_one_without_an_adapter(tiny, engine):
    bare = open_engine(tiny, policy_adapter="bare", simulator_adapter="bare")
    try:
        assert complete(bare, prompt("I am sad."))[0].text == complete(engine, prompt("I am sad."))[0].text
        config = EngineConfig(
            policy_model=str(tiny), simulator_model=str(tiny), policy_adapter="bare", simulator_adapter="bare"
        )
        assert engine_identity(config) == {str(tiny): resolve_model(str(tiny)).fingerprint}
    finally:
        bare.close()


def test_an_adapter_of_other_weights_fails_its_own_requests_only(tiny, tmp_path, engine):
    foreign = save_adapter(tiny, tmp_path / "adapter", fingerprint="f" * 64)
    with pytest.raises(EngineError, match=r"trained on .*tiny"):
        complete(engine, prompt("I am sad.", adapter=str(foreign)))
    assert complete(engine, prompt("I am sad."))[0].text


def test_a_missing_model_is_reported_when_the_engine_is_made(tmp_path):
    with pytest.raises(ModelError, match="no such folder"):
        open_engine(tmp_path / "nothing")


@pytest.mark.slow
def test_event_loops_of_several_threads_share_one_engine(engine):
    texts = [f"I am sad, and that is reason {n}." for n in range(12)]
    alone = [complete(engine, prompt(text), DRAWN, (n,))[0].text for n, text in enumerate(texts)]
    found: dict[int, str] = {}

    def run(part: int) -> None:
        for n in range(part, len(texts), 3):
            found[n] = complete(engine, prompt(texts[n]), DRAWN, (n,))[0].text

    threads = [threading.Thread(target=run, args=(part,)) for part in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[n] for n in range(12)] == alone


class Gate:
    """Holds the decoder's first batch until `open`, so that requests made meanwhile form one batch."""

    def __init__(self, engine: TransformersEngine, failures: int = 0) -> None:
        self._decoder_of, self.failures = engine._decoder, failures
        self.entered, self.open = threading.Event(), threading.Event()
        self.sizes: list[int] = []
        engine._decoder = self._pass  # type: ignore[method-assign]

    def _pass(self, *model):
        self.decoder = self._decoder_of(*model)
        return self

    def __getattr__(self, name):
        return getattr(self.decoder, name)

    def begin(self, batch, found):
        self.sizes.append(len(batch))
        if not self.entered.is_set():
            self.entered.set()
            assert self.open.wait(30)
        elif self.failures:
            self.failures -= 1
            raise MemoryError
        return self.decoder.begin(batch, found)


async def ask_behind(gate: Gate, engine, prompts, meanwhile):
    """Hold the first prompt's batch while the other prompts are asked; `meanwhile` runs before it continues."""
    first = asyncio.create_task(engine.complete(prompts[0], GREEDY, (1,)))
    while not gate.entered.is_set():
        await asyncio.sleep(0.005)
    others = [asyncio.create_task(engine.complete(asked, GREEDY, (1,))) for asked in prompts[1:]]
    while len(engine._waiting) < len(others):
        await asyncio.sleep(0.005)
    await meanwhile()
    gate.open.set()
    return await asyncio.gather(first, *others, return_exceptions=True)


async def nothing() -> None:
    pass


def test_a_batch_that_does_not_fit_in_memory_is_halved_until_it_does(tiny):
    engine = open_engine(tiny)
    prompts = [prompt(f"I am sad, {n}.") for n in range(5)]
    expected = [completions[0].text for completions in together(engine, prompts)]
    gate = Gate(engine, failures=2)
    found = asyncio.run(ask_behind(gate, engine, prompts, nothing))
    assert [completions[0].text for completions in found] == expected
    # 4 fail, their first 2 fail, then 1 and 1, then the other 2
    assert gate.sizes == [1, 4, 2, 1, 1, 2]
    engine.close()


def test_one_request_that_does_not_fit_fails_alone_and_says_what_to_lower(tiny):
    engine = open_engine(tiny)
    prompts = [prompt(f"{n}: I am sad.") for n in range(3)]
    gate = Gate(engine, failures=2)
    _, lost, kept = asyncio.run(ask_behind(gate, engine, prompts, nothing))
    assert isinstance(lost, EngineError) and "max_batch" in str(lost) and lost.request_key == prompts[1].key
    assert kept[0].text
    engine.close()


def test_a_prompt_that_is_too_long_for_the_model_fails_alone(tiny):
    engine = open_engine(tiny)
    prompts = [prompt("I am sad."), prompt("x" * 1100), prompt("I am glad.")]
    gate = Gate(engine)
    _, lost, kept = asyncio.run(ask_behind(gate, engine, prompts, nothing))
    assert isinstance(lost, EngineError) and "1024" in str(lost) and lost.request_key == prompts[1].key
    assert kept[0].text
    with pytest.raises(EngineError, match="1024"):
        asyncio.run(engine.score(prompts[1], ("1", "2")))
    engine.close()


def test_closing_fails_waiting_and_running_requests(tiny):
    engine = open_engine(tiny)
    gate = Gate(engine)

    async def close() -> None:
        threading.Thread(target=engine.close).start()
        while not engine._closed:
            await asyncio.sleep(0.005)

    errors = asyncio.run(ask_behind(gate, engine, [prompt(str(n)) for n in range(3)], close))
    assert [(type(error), "the engine was closed" in str(error)) for error in errors] == [(EngineError, True)] * 3
    with pytest.raises(EngineError, match="closed"):
        complete(engine, prompt("too late"))


def test_a_decoder_gives_up_between_two_tokens_once_it_is_closed(tiny):
    model = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32, attn_implementation=ATTENTION).eval()
    looked: list[bool] = []  # before the prefill, which gives the first token, and before each of two more it is open

    def is_closed():
        looked.append(len(looked) >= 3)
        return looked[-1]

    closing = Decoder(model, set(), 10**8, is_closed)
    with pytest.raises(Closed):
        closing.generate(rows()[-1:])
    assert looked == [False, False, False, True]


def test_a_cancelled_caller_does_not_stop_the_others(tiny):
    engine = open_engine(tiny)
    gate = Gate(engine)

    async def run():
        first = asyncio.create_task(engine.complete(prompt("first"), GREEDY, (1,)))
        while not gate.entered.is_set():
            await asyncio.sleep(0.005)
        second = asyncio.create_task(engine.complete(prompt("second"), GREEDY, (1,)))
        first.cancel()
        gate.open.set()
        return await asyncio.gather(first, second, return_exceptions=True)

    gone, answered = asyncio.run(run())
    assert isinstance(gone, asyncio.CancelledError)
    assert answered[0].text
    engine.close()


def test_a_prompt_that_the_template_refuses_is_an_engine_error(engine):
    twice = (Message("system", "Be kind."), Message("user", "One."))
    tokenizer = engine._sides.templates[Side.POLICY].tokenizer
    known = tokenizer.chat_template
    tokenizer.chat_template = "{{ raise_exception('no chats today') }}"
    try:
        with pytest.raises(EngineError, match="no chats today"):
            complete(engine, Prompt("k", Side.POLICY, twice))
    finally:
        tokenizer.chat_template = known


def recording(tiny: Path, end_tokens: set[int], buffer_tokens: int = 1600) -> Decoder:
    """A decoder as on a GPU, with buffers of fixed size and recorded calls; here a recording calls the function again.

    A token of the tiny model takes 256 bytes; seven of ten tokens of the buffers are for rows, three for prompts.
    """
    model = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32, attn_implementation=ATTENTION).eval()
    found = Decoder(model, end_tokens, 10**8, buffer_bytes=256 * buffer_tokens, most_rows=64)
    found._record_step = found._record_prompts = recorder
    return found


def test_a_row_draws_the_same_token_beside_a_row_with_a_wide_nucleus():
    draws = torch.Generator().manual_seed(0)
    for _ in range(40):  # rounded to bfloat16, so that many tokens are equally probable
        row = (3 * torch.randn(1, 2000, generator=draws)).bfloat16().float()
        uniforms, temperature, top_p = torch.rand(2, generator=draws), torch.ones(2), torch.tensor([0.9, 0.95])
        alone = choose(row, temperature[:1], top_p[:1], uniforms[:1])
        beside = choose(torch.cat([row, torch.zeros(1, 2000)]), temperature, top_p, uniforms)
        assert alone[0] == beside[0]


def recorder(call):
    """Replays by calling again, and writes the results into the tensors of the first call, as a graph does."""
    results = call()

    def replay() -> None:
        for kept, fresh in zip(results, call(), strict=True):
            kept.copy_(fresh)

    return replay, results


@pytest.fixture
def small_batches(monkeypatch):
    monkeypatch.setitem(COLUMN_STEP, "cpu", 16)
    monkeypatch.setattr("engage.engines.embedded.decoder.LEAST_COLUMNS", 64)
    monkeypatch.setattr("engage.engines.embedded.decoder.STEP_ROWS", (1, 2, 4))
    monkeypatch.setattr("engage.engines.embedded.prefill.PROMPT_ROWS", (2, 4))
    monkeypatch.setattr("engage.engines.embedded.prefill.PROMPT_TOKENS", 16)
    monkeypatch.setattr("engage.engines.embedded.prefill.PROMPT_COLUMNS", 16)
    monkeypatch.setattr(
        "engage.engines.embedded.batch.NUCLEUS_CANDIDATES", (4, 8)
    )  # larger nuclei are drawn again from all


@pytest.mark.parametrize("sampling", [GREEDY, DRAWN, Sampling(temperature=1.0, top_p=0.3, max_tokens=12)])
def test_recorded_steps_draw_what_plain_steps_draw(tiny, small_batches, sampling):
    lengths = [Sampling(**{**sampling.model_dump(), "max_tokens": n}) for n in (2, 12, 5, 7)]
    plain, recorded = decoder(tiny, {1}), recording(tiny, {1})
    for _ in range(2):  # the second time everything is known
        batches = [[Row(row.tokens, s, row.seed) for row, s in zip(rows(), lengths, strict=True)] for _ in range(2)]
        plain.generate(batches[0])
        recorded.generate(batches[1])
        for row, again in zip(*batches, strict=True):
            assert row.generated == again.generated
            assert row.logprobs == pytest.approx(again.logprobs, abs=1e-4)
    # 1120 tokens of 64 columns: 17 places. Four rows, then two, then one of up to 20 + 7 and 41 + 12 tokens in steps of 16 columns
    assert {size for size, _ in recorded._batches[64].recorded} == {1, 2, 4}
    # prompts of 1, 7, 20 and 41 tokens: a call of four rows by 64; when all but their last tokens are known, one of four by 16
    assert {(size, new) for size, new, _ in recorded._recorded} == {(4, 64), (4, 16)}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["plain", "recorded"])
def test_rows_that_come_while_others_are_decoded_change_nothing(tiny, small_batches, kind):
    one = recording(tiny, {1}) if kind == "recorded" else decoder(tiny, {1})
    early = [Row(row.tokens, Sampling(temperature=1.0, max_tokens=3 + 2 * n), n) for n, row in enumerate(rows() * 2)]
    late = [Row((*row.tokens, 9, 8), Sampling(temperature=1.0, max_tokens=9), n) for n, row in enumerate(rows())]
    completed = one.begin(early, one.next_logits([row.tokens for row in early]))
    for _ in range(6):
        completed += one.step()
    assert len(completed) >= 2  # those of 3 and 5 tokens have left, and others go on
    completed += one.begin(late, one.next_logits([row.tokens for row in late]))
    while one.live:
        completed += one.step()
    assert sorted(map(id, completed)) == sorted(map(id, early + late))
    for row in completed:
        alone = Row(row.tokens, row.sampling, row.seed)
        decoder(tiny, {1}).generate([alone])
        assert row.generated == alone.generated
        assert row.logprobs == pytest.approx(alone.logprobs, abs=1e-4)
    # what was said is known: a further turn computes its own tokens only
    following = (*late[3].tokens, *late[3].generated[:-1], 5, 6)
    assert one.next_logits([following]).cached[following] >= len(following) - 3


def test_only_root_mean_square_norms_are_fused(tiny):
    model = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32).eval()
    model.model.norm.weight.data += 0.5
    tokens = torch.arange(5, 45)[None]
    before = model(input_ids=tokens).logits
    other = model.model.layers[1].input_layernorm
    computed, other.forward = other.forward, lambda x: 2 * computed(x)
    twice = model(input_ids=tokens).logits
    assert fuse_norms(model) == 4  # two a layer and the last one, less the one of another formula
    assert torch.allclose(model(input_ids=tokens).logits, twice, atol=1e-5)
    other.forward = computed
    assert fuse_norms(model) == 5
    assert torch.allclose(model(input_ids=tokens).logits, before, atol=1e-5)


async def first_answered(engine, *asked):
    """The index of the request (prompt, number of tokens) that was answered first; each starts after the one before it runs."""
    tasks = []
    for one, tokens in asked:
        tasks.append(asyncio.create_task(engine.complete(one, Sampling(temperature=0.0, max_tokens=tokens), (1,))))
        while not engine._running and engine._joins:
            await asyncio.sleep(0.001)
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    found = [task in done for task in tasks]
    await asyncio.gather(*tasks)
    return found


def without_ends(engine) -> None:
    engine._decoder(*engine._model_of(prompt(""))).end_tokens = np.array([], np.int64)


@pytest.mark.slow
def test_a_request_is_answered_as_its_own_rows_end_and_not_with_its_batch(tiny):
    engine = open_engine(tiny)
    without_ends(engine)
    assert asyncio.run(first_answered(engine, (prompt("long"), 300), (prompt("short"), 2))) == [False, True]
    assert engine.batches == 1
    engine.close()


@pytest.mark.slow
def test_a_request_joins_running_rows(tiny):
    engine = open_engine(tiny)
    engine._joins = True  # as on a GPU
    engine._loaded[engine._model_of(prompt(""))] = recording(tiny, set(), buffer_tokens=20_000)
    assert asyncio.run(first_answered(engine, (prompt("long"), 300), (prompt("short"), 2))) == [False, True]
    assert engine.batches == 2
    engine.close()


@pytest.mark.parametrize(
    ("live", "rows", "age_s", "taken"),
    [
        (8, [1], 0, 0),  # 1 row for 8 under way is less than a quarter
        (8, [1], 1, 1),  # but has waited for long
        (8, [1, 1], 0, 2),
        (8, [1, 1, 1], 1, 2),  # 10 rows at most: the third waits
        (9, [1, 1, 1], 1, 0),  # one place for three: they wait until more is free, however long
        (8, [3], 1, 0),
        (0, [20, 1], 0, 1),  # more than a batch, alone
    ],
)
def test_jobs_join_once_they_bring_enough_rows_or_have_waited(tiny, live, rows, age_s, taken):
    engine = open_engine(tiny, max_batch=10)
    engine._joins, model = True, engine._model_of(prompt(""))
    jobs = [Job(prompt("x"), model, (5,), GREEDY, tuple(range(count))) for count in rows]
    for job in jobs:
        job.asked_s -= age_s
    engine._loaded[model] = SimpleNamespace(live=live, waits=False, prefill_tokens=0)
    engine._waiting = jobs
    assert engine._worth_taking(model) == jobs[:taken]
    engine._waiting = []
    engine.close()


@pytest.mark.slow
def test_rows_that_the_buffers_cannot_hold_together_are_decoded_in_turn(tiny, small_batches):
    small = recording(tiny, set(), buffer_tokens=200)  # 140 for rows: two places of 64 columns
    batch = [Row(tuple(range(9 + n, 50 + n)), DRAWN, n) for n in range(5)]
    batch.append(Row(tuple(range(9, 79)), DRAWN, 5))  # needs 82 columns: a batch of 128, which has one place
    small.generate(batch)
    assert {columns: found.places for columns, found in small._batches.items()} == {64: 2, 128: 1}
    for row in batch:
        (alone,) = one = [Row(row.tokens, DRAWN, row.seed)]
        decoder(tiny, set()).generate(one)
        assert alone.generated == row.generated


class Operations(TorchDispatchMode):
    """Counts the operations that compute something, which are kernels on a GPU; views are not counted."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        self.count += not (func.is_view or func._schema.name.startswith(("aten::_unsafe_view", "aten::detach")))
        return found


def operations(tiny: Path, count: int) -> list[int]:
    """Numbers of operations for `count` rows: of a half-cached prefill, of starting the rows, of one step."""
    one, found = decoder(tiny, set()), []
    one.generate([Row(tuple(range(9, 40)), DRAWN, 1)])
    batch = [Row((*range(9, 40), *range(50 + n, 60 + n)), DRAWN, n) for n in range(count)]
    with Operations() as counted, torch.inference_mode():
        after = one.next_logits([row.tokens for row in batch])
        found.append(counted.count)
        one.begin(batch, after)
        found.append(counted.count - found[0])
        one.step()
        found.append(counted.count - sum(found))
    return found


def test_the_number_of_operations_does_not_depend_on_the_number_of_rows(tiny):
    few, many = operations(tiny, 2), operations(tiny, 40)
    assert few == many
    # a layer of the tiny model, and what a step has beside its layers: masks, the head, drawing
    assert many[2] <= 2 * 50 + 60
