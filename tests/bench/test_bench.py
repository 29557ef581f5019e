"""The benches in small: their figures are right. No test asserts a time."""

import asyncio
import json
import math
import os
from pathlib import Path

import pytest
from tiny_models import save_tiny_model

from engage.bench import align as align_bench
from engage.bench import engine as engine_bench
from engage.bench.align import bench_align, bench_pairs
from engage.bench.engine import saturation
from engage.bench.night import bench_night
from engage.bench.process import Measured, in_own_process
from engage.bench.store import StoreFigures, bench_store
from engage.bench.store_filling import copy_templates, insert_measured, search_templates
from engage.engines.base import Completion, Prompt, Sampling
from engage.engines.scripted import ScriptedEngine
from engage.errors import ConfigError, ModelError
from engage.search import SearchConfig
from engage.simulation import DialogueConfig
from engage.store import PairConfig, TrajectoryStore
from engage.training import AlignConfig, DpoSettings
from engage.training.trainer import LoraSettings

pytestmark = pytest.mark.slow

PAIRS = PairConfig(min_q_gap=0.005, confidence=0.7)


@pytest.fixture(scope="module")
def filled(tmp_path_factory) -> TrajectoryStore:
    """Eight searched trees, stored twice under two names, and 60 copies of each in SQL."""
    folder = tmp_path_factory.mktemp("bench")
    store = TrajectoryStore(folder / "engage.duckdb")
    insert_measured(store, folder, search_templates(8, DialogueConfig(max_exchanges=2), SearchConfig()), 2)
    copy_templates(store.path, 8, 60, lambda what, share: None)
    return store


def total(store: TrajectoryStore, what: str) -> int:
    return store.select(f"select count(*) from {what}")[1][0][0]


def test_copies_are_whole_trees(filled):
    assert total(filled, "tree") == 8 * 2 + 8 * 60
    # as many rows as the templates have, for each of the 62 names
    for table in ("node", "visit"):
        assert total(filled, table) == 62 * total(filled, f"{table} where tree_id ~ '/b[0-9]+$'")
    assert total(filled, "trajectory") == total(filled, "reaction")
    assert total(filled, "tree left join scenario using (scenario_id) where scenario.scenario_id is null") == 0


def test_what_a_measured_process_prints_is_not_among_the_figures(capfd):
    assert in_own_process(os.write, 1, b"100 %").result == 5
    assert capfd.readouterr().out == ""


def test_the_night_bench_takes_every_tree_through_to_the_pairs():
    found = bench_night(6, DialogueConfig(max_exchanges=2), SearchConfig(num_simulations=8), PAIRS, templates=4)
    # 8 simulations at each of two search roots; two exchanges after openings of one turn (support) or two (persuasion)
    assert found.rows["tree"] == found.rows["scenario"] == 6
    assert found.rows["trajectory"] == found.rows["reaction"] == 6 * 2 * 8
    assert found.rows["turn"] == 3 * 16 * (1 + 4) + 3 * 16 * (2 + 4)
    assert found.outbox_bytes > 0 and found.database_bytes > found.outbox_bytes
    assert [step.peak_mb > 1 for step in found.steps] == [True] * 4


def test_the_store_bench_measures_what_it_stored():
    told: list[str] = []
    found = bench_store(1_000, PAIRS, lambda what, share: told.append(what), templates=4)
    assert found.pairs >= found.accepted
    assert 500 < found.nodes < 1_500
    assert found.sql.peak_mb > 1
    assert told[-1] == "extracting pairs in SQL"
    flat = found.as_json()
    assert flat["sql_seconds"] == found.sql.seconds
    assert json.loads(json.dumps(flat)).keys() >= StoreFigures.__dataclass_fields__.keys() - {"sql"}


def test_a_size_that_makes_no_sense_is_refused():
    with pytest.raises(ConfigError, match="use a number from 1000"):
        bench_store(10, PAIRS)


def test_work_in_its_own_process_gives_result_memory_and_its_error():
    measured = in_own_process(math.sqrt, 4.0)
    assert measured.result == 2.0
    assert measured.peak_mb >= measured.start_mb > 1
    with pytest.raises(ValueError):
        in_own_process(math.sqrt, -1.0)


class TokenEngine(ScriptedEngine):
    """Two tokens a word and a frame of ten; all tokens asked for come back, and a prompt seen before is cached."""

    def __init__(self) -> None:
        super().__init__()
        self.prompts: list[tuple[str, int]] = []
        self.most = self.under_way = 0

    async def complete(self, prompt: Prompt, sampling: Sampling, seeds) -> list[Completion]:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await asyncio.sleep(0.001 * sampling.max_tokens)
        self.under_way -= 1
        self.prompts.append((prompt.messages[0].content, sampling.max_tokens))
        tokens = 10 + 2 * len(prompt.messages[0].content.split())
        return [Completion("x", tokens, 4, sampling.max_tokens, -1.0, "length", seed) for seed in seeds]


def swept(engine, **changes):
    settings = {"batch_sizes": (1, 4), "prompt_lengths": (60, 200), "sampling": Sampling(max_tokens=8), **changes}
    return asyncio.run(saturation(engine, **settings))


def test_the_sweep_meets_lengths_and_sizes_and_shares_no_prefix():
    engine = TokenEngine()
    found = swept(engine)
    assert [(point.requests, point.prompt_length) for point in found.points] == [(1, 60), (4, 60), (1, 200), (4, 200)]
    assert engine.most == 4
    for point in found.points:
        assert abs(point.prompt_tokens / point.requests - point.prompt_length) <= 2
        assert point.completion_tokens == 8 * point.requests
        assert point.full_length == 1.0
    beginnings = [text.split()[0] for text, _ in engine.prompts]
    assert len(set(beginnings)) == len(beginnings)


def test_rates_count_fresh_prompt_tokens_and_tokens_after_the_first():
    point = swept(TokenEngine(), batch_sizes=(4,)).points[0]
    # 4 of each prompt's tokens were cached; of 8 tokens the first belongs to the prefill
    assert point.prefill_tok_s * point.first_token_s == pytest.approx(point.prompt_tokens - 4 * 4)
    assert point.decode_tok_s * point.decode_s == pytest.approx(4 * 7)


def test_saturation_is_the_best_of_the_sweep():
    found = swept(TokenEngine())
    assert found.decode_tok_s == max(point.decode_tok_s for point in found.points)
    assert found.prefill_tok_s == max(point.prefill_tok_s for point in found.points)
    assert found.as_json()["decode_saturated_tok_s"] == found.decode_tok_s
    assert len(found.as_json()["sweep"]) == 4


def test_the_sweep_ends_when_two_sizes_gain_nothing(monkeypatch):
    monkeypatch.setattr(engine_bench, "ENOUGH_GAIN", 1e9)
    assert [
        point.requests for point in swept(TokenEngine(), batch_sizes=(1, 2, 3, 4), prompt_lengths=(60,)).points
    ] == [1, 2, 3]


@pytest.mark.parametrize(
    "changes",
    [
        {"batch_sizes": ()},
        {"batch_sizes": (0,)},
        {"batch_sizes": (10**9,)},
        {"prompt_lengths": ()},
        {"prompt_lengths": (10**9,)},
        {"sampling": Sampling(max_tokens=1)},
    ],
)
def test_a_sweep_of_nothing_is_refused(changes):
    with pytest.raises(ConfigError):
        swept(TokenEngine(), **changes)


def test_pairs_of_the_align_bench_are_real_and_differ():
    pairs = bench_pairs(50)
    assert len(pairs) == 50
    assert all(pair.prompt[0]["role"] == "system" and pair.chosen != pair.rejected for pair in pairs)


def test_the_align_bench_trains_both_ways_to_the_same_first_loss(tmp_path, monkeypatch):
    monkeypatch.setattr(align_bench, "in_own_process", lambda work, *arguments: Measured(work(*arguments), 1, 1, 1, 1))
    model = str(save_tiny_model(tmp_path / "model"))
    dpo = DpoSettings(batch_size=2, gradient_accumulation=1, max_length=1024)
    config = AlignConfig(lora=LoraSettings(r=4, alpha=8), dpo=dpo)
    found = bench_align(model, 2, config)
    assert found.pairs == 4
    assert found.tokens > 4 * 2 * 50
    # candidate and reference are the same model before the first step
    assert found.first_loss == pytest.approx(math.log(2), abs=1e-4)
    assert found.plain_first_loss == pytest.approx(math.log(2), abs=1e-4)
    # our replies end at their end token, the plain script's with the line break that the template writes after it
    assert found.largest_loss_difference < 0.05
    with pytest.raises(ConfigError, match="fewer --steps"):
        bench_align(model, 1000, config)


def test_no_model_and_no_step_are_refused():
    with pytest.raises(ModelError):
        bench_align("nope", 1, AlignConfig())
    with pytest.raises(ConfigError, match="--steps 0"):
        bench_align("nope", 0, AlignConfig())


SMALL = ("--set", "engine.kind=scripted", "--requests", "1,2", "--prompt-tokens", "64")


def test_json_is_one_object_and_nothing_else_on_standard_output(engage):
    code, out, err = engage("bench", "engine", *SMALL, "--json")
    assert code == 0
    figures = json.loads(out.splitlines()[-1])
    assert figures["decode_saturated_tok_s"] > 0 < figures["prefill_saturated_tok_s"]
    assert len(out.splitlines()) == 1
    assert "2 requests of 64 prompt tokens" in err


def test_the_table_fits_80_columns(engage):
    code, out, _ = engage("bench", "engine", *SMALL)
    assert code == 0
    assert "prefill, saturated" in out
    assert max(len(line) for line in out.splitlines()) <= 80


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["bench", "store", "--nodes", "5"], "--nodes 5: use a number from 1000"),
        (["bench", "align", "--steps", "0"], "--steps 0: use a number from 1 to 1000"),
        (["bench", "engine", "--requests", "many"], "write whole numbers of at least 1, separated by commas"),
        (["bench", "engine", "--prompt-tokens", "0"], "write whole numbers of at least 1, separated by commas"),
        (["bench", "store", "--profile", "nope"], "profile 'nope' is not there"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(engage, arguments, said):
    code, out, err = engage(*arguments)
    assert code == 2
    assert said in " ".join(err.split())
    assert out == ""


def test_a_bench_leaves_no_store_behind(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    bench_store(1_000, PAIRS, templates=4)
    assert list(Path(tmp_path).iterdir()) == []
