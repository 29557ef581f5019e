"""Collect within a budget, through the real flow: limits stop whole trees, and the searched trees do not depend on timing."""

import duckdb
import pytest
from scripted_engines import ask

import engage.engines
import engage.store.plan
from engage.engines.scripted import ScriptedEngine, canned_choice
from engage.errors import StoreError
from engage.evaluation import Places, stage_text
from engage.keeping import at_work
from engage.store import Cycle, Outbox, TrajectoryStore
from flows.align import align
from flows.cli.profiles import load_config
from flows.collect import collect
from tasks.planning import foretell

HERE = Places(None, "sqlite:///mlflow.db")
pytestmark = pytest.mark.usefixtures("prefect_server")

SETTINGS = (
    "engine.kind=scripted",
    "engine.policy_adapter=bare",
    "engine.simulator_adapter=bare",
    "scenarios.per_domain=4",
    "search.num_simulations=6",
    "search.round_size=6",
    "collect.shard_size=2",
    "seed=3",
)


def config(*more: str):
    return load_config("laptop", [*SETTINGS, *more])


def test_a_limit_stops_whole_trees_and_a_larger_one_goes_on(home):
    collect(config(), "all")
    (calls,) = ask(home, "select count(*) from engine_call")[0]
    limited = config(f"collect.budget.max_calls={calls * 3 // 4}")
    summary = collect(limited, "limited")
    searched = ask(home, "select scenario_id from tree where cycle_id = 'limited'")
    assert 4 <= len(searched) < 8
    assert summary.unsearched == 8 - len(searched)
    (spent,) = ask(home, "select count(*) from engine_call where cycle_id = 'limited'")[0]
    assert spent <= calls * 3 // 4
    said = stage_text("limited", summary, HERE)
    assert "were not searched because the budget (collect.budget) was used up" in said and "--cycle limited" in said
    assert collect(limited, "limited").unsearched == summary.unsearched
    assert collect(config(), "limited").unsearched == 0
    same = "select scenario_id, count(*) from trajectory where cycle_id = ? group by scenario_id order by 1"
    with duckdb.connect(str(home.database), read_only=True) as connection:
        rows = [connection.execute(same, [cycle]).fetchall() for cycle in ("all", "limited")]
    assert rows[0] == rows[1]


def test_a_stage_alone_renews_the_copy_for_readers_and_says_how_it_ended(home):
    without_pairs = config("scenarios.per_domain=1", "pairs.min_q_gap=0.99")
    collect(without_pairs, "alone")
    assert len(TrajectoryStore(home.snapshot).stored_tree_ids("alone")) == 2
    work = at_work.read(home, "alone")
    assert (work.command, work.stage, work.ended) == ("collect", "collect", "completed")
    align(without_pairs, "alone")
    work = at_work.read(home, "alone")
    assert (work.command, work.ended, work.tries) == ("align", "completed", 1)


def test_a_limit_below_the_cost_of_a_tree_is_exceeded_by_one_tree_only(home):
    summary = collect(config("collect.budget.max_calls=1"), "tiny")
    assert (ask(home, "select count(*) from tree where cycle_id = 'tiny'"), summary.unsearched) == ([(1,)], 7)


def test_a_pilot_foretells_what_the_cycle_takes(home, capsys):
    collect(config("collect.budget.max_calls=100000"), "piloted")
    from mlflow import MlflowClient

    client = MlflowClient(home.tracking_uri)
    experiment = client.get_experiment_by_name("engage")
    (run,) = client.search_runs(
        [experiment.experiment_id], "tags.`engage.cycle_id` = 'piloted' and tags.`engage.stage` = 'collect'"
    )
    (calls,) = ask(home, "select count(*) from engine_call")[0]
    assert run.data.metrics["forecast/trees"] == 8
    assert run.data.metrics["forecast/calls"] == pytest.approx(calls, rel=0.3)


def test_a_tree_that_cannot_be_stored_is_not_searched_for_ever(home, monkeypatch):
    collect(config(), "whole")
    read = Outbox.read

    def damaged(outbox, path):
        if "persuasion-" in path.name:
            raise ValueError("columns of another version")
        return read(outbox, path)

    monkeypatch.setattr(Outbox, "read", damaged)
    summary = collect(config(), "damaged")
    assert [row.domain for row in summary.rewards] == ["emotional_support"]
    assert len(list(home.outbox.glob("*.damaged"))) == 4
    monkeypatch.undo()
    monkeypatch.setenv("ENGAGE_HOME", str(home.path))
    collect(config(), "damaged")
    assert ask(home, "select count(*) from tree where cycle_id = 'damaged'") == [(8,)]


def test_a_pilot_is_not_foretold_while_the_store_is_somebody_elses(home, monkeypatch):
    limited = config("collect.budget.max_calls=100000")

    def locked(*_):
        raise StoreError("locked by another program")

    monkeypatch.setattr(engage.store.plan, "spent_by", locked)
    assert foretell.fn(limited, Cycle(cycle_id="c", seed=1, champion_version=None, champion_adapter=None), 0.0) == {}


def test_an_hours_limit_ends_the_search_between_waves(home):
    summary = collect(config("collect.budget.max_hours=1e-9"), "late")
    assert summary.unsearched == 4  # the pilot is searched: what a limit is for cannot be known before


def test_saved_simulations_search_more_scenarios_in_their_order(home, monkeypatch):
    def noisy(prompt, choices):
        """Replies differ much and user turns little, so that every root is separated soon."""
        said = [message.content for message in prompt.messages if message.role != "system"]
        peak = sum(map(len, said[1:2])) % len(choices)
        return [3.0 if index == peak else w for index, w in enumerate(canned_choice(prompt, choices))]

    monkeypatch.setattr(engage.engines, "_create", lambda _: ScriptedEngine(choose=noisy))
    settings = ("search.stop_confidence=0.5", "search.num_simulations=24", "dialogue.max_exchanges=1")
    found = []
    for cycle, workers in (("one", 1), ("two", 2)):
        engage.engines.close_engines()
        collect(config(*settings, f"collect.workers={workers}", "collect.shard_size=1"), cycle)
        found.append({row[0] for row in ask(home, f"select scenario_id from tree where cycle_id = '{cycle}'")})
    assert all(len(trees) > 8 for trees in found)
    (spent,) = ask(home, "select count(*) from trajectory where cycle_id = 'one'")[0]
    assert spent <= 8 * 24
