"""The engine `vllm` on vLLM's CPU build and the embedded model; run with that build's own Python (`make integration`)."""

import asyncio
import importlib.util
import math
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pytest
from tiny_models import save_adapter

from engage.engines.base import Message, Prompt, Sampling, Side
from engage.engines.vllm.config import VllmConfig
from engage.errors import EngineError
from engage.models import ModelsConfig

CLONE = Path(__file__).resolve().parents[2]
BARE = {"policy_adapter": "bare", "simulator_adapter": "bare"}
GREEDY = Sampling(temperature=0.0, max_tokens=16)
DRAWN = Sampling(temperature=1.0, max_tokens=16)
SYSTEM = (
    "You listen to people who are in distress. You ask, you do not judge, and you never promise what you cannot keep. "
)

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="no vLLM here; `make integration` brings it"),
]


@pytest.fixture(scope="module")
def engine():
    from engage.engines.vllm.engine import VllmEngine

    engine = VllmEngine(ModelsConfig(**BARE), VllmConfig(engine_args={"max_model_len": 2048, "max_num_seqs": 8}))
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def adapter(tmp_path_factory) -> Path:
    return save_adapter("embedded", tmp_path_factory.mktemp("adapter") / "drawn")


def prompt(text: str, adapter: str | None = None, side: Side = Side.POLICY) -> Prompt:
    return Prompt(f"key of {text[:10]}", side, (Message("system", SYSTEM * 4), Message("user", text)), adapter)


def complete(engine, asked, sampling=GREEDY, seeds=(1,)):
    return asyncio.run(engine.complete(asked, sampling, seeds))


def test_a_collect_runs_on_it_and_closing_leaves_no_process(tmp_path):
    settings = (
        "engine.kind=vllm",
        *(f"engine.{name}={value}" for name, value in BARE.items()),
        "engine.vllm.engine_args.max_model_len=2048",
        "scenarios.per_domain=2",
        "search.num_simulations=6",
    )
    command = [sys.executable, "-m", "flows.cli", "collect", "--profile", "laptop", "--cycle", "c1"]
    env = {**os.environ, "ENGAGE_HOME": str(tmp_path / "home"), "PREFECT_HOME": str(tmp_path / "prefect")}
    process = subprocess.Popen(
        [*command, *(part for setting in settings for part in ("--set", setting))],
        env=env,
        cwd=CLONE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    out, err = process.communicate(timeout=600)
    assert (process.returncode, err) == (0, ""), out
    time.sleep(2)
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
    with duckdb.connect(str(tmp_path / "home" / "engage.duckdb"), read_only=True) as store:
        trees, asked, reused, read, unread, unasked = store.execute(
            "select (select count(*) from tree), (select sum(prompt_tokens) from engine_call), "
            "(select sum(cached_tokens) from engine_call), count(*) filter (reward is not null), "
            "count(*) filter (reward is null and reader != 'unasked'), count(*) filter (reader = 'unasked') from reaction"
        ).fetchone()
    print(f"prompt tokens {asked}, reused {reused} ({reused / asked:.0%})")
    assert trees == 4
    assert reused > 0.3 * asked
    assert read >= 4 * 6 and unread == 0
    # a prompted model of 135M parameters may refuse to speak; which dialogue does is the draw's business
    assert unasked <= 4


def test_each_reply_is_drawn_by_its_own_seed_whatever_is_drawn_beside_it(engine):
    three = complete(engine, prompt("My dog died."), DRAWN, (5, 91, 7))
    again = complete(engine, prompt("My dog died."), DRAWN, (91, 5))
    assert [reply.seed for reply in three] == [5, 91, 7]
    assert [reply.text for reply in again] == [three[1].text, three[0].text]
    assert len({reply.text for reply in three}) == 3
    assert all(-20 < reply.mean_logprob < 0 for reply in three)


def test_replies_asked_together_compute_their_prompt_once(engine):
    found = complete(engine, prompt("I have not slept since Monday."), DRAWN, (1, 2, 3))
    size = found[0].prompt_tokens
    assert size > 100
    assert all(reply.cached_tokens > size - 33 for reply in found[1:])  # whole blocks of 32 are shared


def test_choices_are_read_from_the_next_token_distribution(engine):
    asked = prompt("How strong is it now, 1 to 5? Answer with one digit.", side=Side.SIMULATOR)
    scores = asyncio.run(engine.score(asked, ("1", "2", "3", "4", "5")))
    assert len(set(scores.logprobs)) > 1
    assert sum(map(math.exp, scores.logprobs)) <= 1.0
    # bfloat16: what is computed in another batch differs a little
    single, longer = asyncio.run(engine.score(asked, ("1", "10"))).logprobs
    assert single == pytest.approx(scores.logprobs[0], abs=0.2) and longer < single
    (greedy,) = complete(engine, asked, Sampling(temperature=0.0, max_tokens=1))
    (best,) = asyncio.run(engine.score(asked, (greedy.text,))).logprobs
    assert best >= max(scores.logprobs) - 0.2


def test_adapters_are_loaded_and_replaced_while_the_engine_runs(engine, adapter, tmp_path):
    folder = tmp_path / "adapter"
    shutil.copytree(adapter, folder)
    before, changed = complete(engine, prompt("I am sad.")), complete(engine, prompt("I am sad.", str(folder)))
    assert before[0].text != changed[0].text
    assert complete(engine, prompt("I am sad.", ""))[0].text == before[0].text
    shutil.rmtree(folder)
    shutil.copytree(CLONE / "engage" / "data" / "adapter", folder)
    replaced = complete(engine, prompt("I am sad.", str(folder)))
    assert replaced[0].text not in {before[0].text, changed[0].text}
    assert complete(engine, prompt("I am sad."))[0].text == before[0].text


def test_what_cannot_be_answered_fails_alone(engine, tmp_path):
    foreign = save_adapter("embedded", tmp_path / "foreign", fingerprint="f" * 64)

    async def together():
        asked = (prompt("I am sad."), prompt("I am sad.", str(foreign)), prompt("sad " * 3000), prompt("Hello."))
        return await asyncio.gather(*(engine.complete(one, GREEDY, (1,)) for one in asked), return_exceptions=True)

    first, strange, long, last = asyncio.run(together())
    assert isinstance(strange, EngineError) and "use the same base model" in str(strange)
    assert isinstance(long, EngineError) and "max_model_len" in str(long)
    assert first[0].text and last[0].text


def test_there_is_room_until_all_sequences_are_taken_and_none_is_left_behind(engine):
    async def crowd():
        asked = asyncio.create_task(engine.complete(prompt("Tell me a story."), Sampling(max_tokens=400), range(8)))
        await asyncio.sleep(2)
        full = not engine.has_room
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        await asyncio.sleep(0.5)
        return full, engine.has_room

    assert engine.has_room
    assert asyncio.run(crowd()) == (True, True)
