"""The benches of the search and of the scheduler, on scripted answers; no time is asserted."""

import asyncio
from types import SimpleNamespace

import pytest

from engage.bench import scheduler
from engage.bench.search import Answer, SearchRun, repeated, run_search, run_sequentially, summarise
from engage.engines.scripted import ScriptedEngine
from engage.scenario import SHIPPED, load_scenarios
from engage.search import SearchConfig
from engage.simulation import DialogueConfig

SEARCH = SearchConfig(num_simulations=4, round_size=4)
DIALOGUE = DialogueConfig(max_exchanges=1)
SATURATION = SimpleNamespace(decode_tok_s=100.0, prefill_tok_s=1000.0)


def run_of(*answers: Answer, full_s: float, wall_s: float) -> SearchRun:
    return SearchRun(2, 8, answers, 50.0, full_s, wall_s, 0.5)


def test_utilisation_counts_decoded_and_fresh_tokens_against_saturation():
    run = run_of(Answer(51.0, 1000, 500, 50), Answer(54.0, 500, 0, 0), full_s=2.0, wall_s=4.0)
    assert run.used(SATURATION, run.full_s) == pytest.approx((50 / 100 + 500 / 1000) / 2)
    assert run.used(SATURATION, run.wall_s) == pytest.approx((50 / 100 + 1000 / 1000) / 4)
    found = summarise(run, SATURATION, 0.5)
    assert (found["simulations_per_s"], found["speedup"]) == (2.0, 4.0)
    assert (found["prompt_tokens"], found["prompt_tokens_reused"], found["reused_share"]) == (1500, 500, 1 / 3)
    assert found["bookkeeping_ms_per_call"] == 250.0


def test_a_search_is_metered_whole():
    scenarios = repeated(load_scenarios(SHIPPED), 5)
    run = asyncio.run(run_search(ScriptedEngine(latency_s=0.001, slots=8), scenarios, DIALOGUE, SEARCH))
    assert (run.trees, run.simulations) == (5, 20)
    assert len(run.answers) >= 5 * (1 + 4 * 2) and run.prompt_tokens > 0
    assert 0 < run.full_s <= run.wall_s


@pytest.mark.slow
def test_a_sequential_search_ends_in_time_with_some_simulations():
    scenarios = repeated(load_scenarios(SHIPPED), 1000)
    assert asyncio.run(run_sequentially(ScriptedEngine(latency_s=0.001), scenarios, DIALOGUE, SEARCH, 0.5)) > 0


def test_scenarios_repeat_under_names_of_their_own():
    scenarios = load_scenarios(SHIPPED)
    many = repeated(scenarios, len(scenarios) + 3)
    assert len({s.scenario_id for s in many}) == len(many)
    assert many[-1].opening == scenarios[2].opening
    assert not {s.scenario_id for s in repeated(scenarios, 5, first=5)} & {s.scenario_id for s in many[:5]}


@pytest.mark.slow
def test_the_scheduler_is_measured_in_processes_of_its_own(monkeypatch):
    monkeypatch.setattr(scheduler, "FEW_TREES", 3)
    said: list[str] = []
    found = scheduler.measure_scheduler(8, 16, 0.001, said.append)
    assert said == ["3 trees", "8 trees"]
    assert found["trees"] == 8 and found["calls"] >= 8 * 20
    assert 0 < found["utilisation"] <= 1.05 and found["peak_mb"] > 0
