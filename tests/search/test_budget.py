"""Limits, pilot and extra scenarios: pure arithmetic; and token counts that a server does not report."""

import dataclasses

import duckdb
import pytest
from rich.console import Console
from small_stores import filled, hand_tree, support_scenario

from engage.engines.prices import Prices
from engage.engines.scripted import ScriptedEngine
from engage.errors import ConfigError
from engage.search import BudgetConfig, Spent, affordable_trees, extra_scenarios, forecast, pilot_size, waves
from engage.search.early_stop import separated
from engage.store import Cycle, Outbox, Plan, TrajectoryStore
from flows.cli.asking import Question, answer
from flows.cli.profiles import load_config
from tasks.collecting import search_shard

SPENT = Spent(trees=4, simulations=80, calls=400, tokens=40_000, most_calls=150, most_tokens=12_000, longest_s=60.0)


@pytest.mark.parametrize(
    ("scenarios", "limited", "size"), [(49, False, 0), (50, False, 4), (300, False, 12), (20, True, 4), (3, True, 3)]
)
def test_a_pilot_is_a_few_per_cent_where_it_is_worth_it(scenarios, limited, size):
    assert pilot_size(scenarios, limited) == size


@pytest.mark.parametrize(
    ("limits", "hours", "trees"),
    [
        ({}, 99.0, None),
        ({"max_calls": 849}, 0.0, 2),
        ({"max_calls": 850}, 0.0, 3),
        ({"max_tokens": 63_999}, 0.0, 1),
        ({"max_calls": 850, "max_tokens": 63_999}, 0.0, 1),
        ({"max_calls": 300}, 0.0, 0),
        ({"max_hours": 2.0}, 1.9, None),
        ({"max_hours": 2.0}, 1.99, 0),
        ({"max_hours": 2.0}, 2.0, 0),
    ],
)
def test_no_tree_is_begun_that_might_exceed_a_limit(limits, hours, trees):
    assert affordable_trees(BudgetConfig(**limits), SPENT, hours) == trees


def test_nothing_is_known_before_the_first_tree():
    assert affordable_trees(BudgetConfig(max_calls=10), Spent(), 0.0) is None


def test_saved_simulations_pay_for_more_scenarios():
    assert extra_scenarios(100, SPENT, 24) == 20  # 20 a tree instead of 24: 100 · 24 / 20 trees
    assert extra_scenarios(100, SPENT, 20) == 0
    assert extra_scenarios(100, Spent(), 24) == 0


def test_a_tree_that_another_process_stores_at_this_moment_is_not_searched_again(tmp_path):
    scenario, outbox = support_scenario("baker"), Outbox(tmp_path / "outbox")

    class DrainedMeanwhile(TrajectoryStore):
        def stored_tree_ids(self, cycle_id):
            found = super().stored_tree_ids(cycle_id)
            self.drain(outbox)
            return found

    filled(tmp_path, [scenario])
    outbox.put_tree(hand_tree(scenario, {"A": [[1.0]]}))
    cycle = Cycle(cycle_id="c1", seed=7, champion_version=None, champion_adapter=None)
    plan = Plan(DrainedMeanwhile(tmp_path / "engage.duckdb", wait_s=10.0), outbox, cycle, [scenario], 1, Prices())
    assert plan.missing(["baker", "clerk"]) == ["clerk"]


def test_waves_keep_the_order_and_cut():
    ids = [str(n) for n in range(7)]
    assert waves(ids, 3, None) == [ids[:3], ids[3:6], ids[6:]]
    assert waves(ids, 3, 2) == [ids[:3], ids[3:6]]
    assert waves([], 3, 2) == []


def test_a_forecast_scales_the_pilot():
    assert forecast(SPENT, 40, 360.0, 3) == {
        "trees": 40,
        "calls": 4000.0,
        "tokens": 400_000.0,
        "hours": 1.0,
        "pairs": 30.0,
        "usd": None,
    }


@pytest.mark.parametrize(
    ("groups", "apart"),
    [
        ([[0.8, 0.81], [0.2, 0.21]], True),
        ([[0.5, 0.9], [0.4, 0.8]], False),
        ([[0.8, 0.81], [0.2]], False),
        ([[0.8, 0.81]], False),
        ([[0.8, 0.8], [0.2, 0.2]], False),
        ([[0.8, 0.81], [0.5, 0.5], [0.2, 0.21]], True),
        ([], False),
    ],
)
def test_replies_are_separated_when_the_gap_is_large_for_the_noise(groups, apart):
    assert separated(groups, 0.95) is apart


def test_separation_agrees_with_the_normal_distribution():
    stats = pytest.importorskip("scipy.stats")
    best, worst = [0.6, 0.7, 0.5], [0.4, 0.5, 0.45]
    pooled = (0.01 * 2 + 0.0025 * 2) / 4
    stated = stats.norm.cdf((0.6 - 0.45) / (pooled * 2 / 3) ** 0.5)
    assert separated([best, worst], stated - 1e-9)
    assert not separated([best, worst], stated + 1e-9)


UNCOUNTED = Spent(trees=4, simulations=80, calls=400, tokens=None, most_calls=150, most_tokens=None, longest_s=60.0)


def test_uncounted_tokens_enforce_no_budget_and_are_not_zero():
    with pytest.raises(
        ConfigError, match=r"max_tokens and max_usd cannot be enforced; set collect.budget.max_calls or max_hours"
    ):
        affordable_trees(BudgetConfig(max_tokens=100_000), UNCOUNTED, 0.0)
    assert affordable_trees(BudgetConfig(max_calls=700), UNCOUNTED, 0.0) == 2  # (700 − 400) / 150
    assert forecast(UNCOUNTED, 40, 360.0, 3)["tokens"] is None


def test_a_token_budget_is_refused_before_a_server_that_counts_none_is_searched(monkeypatch, tmp_path):
    class Uncounted(ScriptedEngine):
        uncounted = "http://h/v1 (m)"

        async def complete(self, prompt, sampling, seeds):
            raise AssertionError("nothing may be asked")

    monkeypatch.setenv("ENGAGE_HOME", str(tmp_path))
    monkeypatch.setattr("tasks.collecting.shared_engine", lambda _: Uncounted())
    cycle = Cycle(cycle_id="c1", seed=7, champion_version=None, champion_adapter=None)
    limited = load_config("laptop", ["collect.budget.max_tokens=1000"])
    with pytest.raises(ConfigError, match=r"cannot be enforced; .*: http://h/v1 \(m\) does not say how many tokens"):
        search_shard.fn(limited, cycle, [])


@pytest.mark.slow
def test_unknown_token_counts_are_stored_and_shown_as_such(tmp_path, capsys, monkeypatch):
    scenario = support_scenario("s1")
    tree = hand_tree(scenario, {"Tell me.": [[0.5]]})
    known, unknown = tree.calls[0], dataclasses.replace(tree.calls[0], prompt_tokens=None, cached_tokens=None)
    store = filled(tmp_path, [scenario])
    with duckdb.connect(str(store.path)) as connection:  # as files of earlier versions are
        for column in ("prompt_tokens", "cached_tokens", "completion_tokens"):
            connection.execute(f"alter table engine_call alter column {column} set not null")
        connection.execute("update schema_version set version = 3")
    Outbox(tmp_path / "outbox").put_tree(dataclasses.replace(tree, calls=(known, unknown)))
    assert store.drain(Outbox(tmp_path / "outbox")) == 1
    (row,) = store.rows("cycle_cost", {"cycle": "c1"})
    assert (row["prompt_tokens"], row["cached_tokens"], row["completion_tokens"]) == (None, None, 60)
    (row,) = store.rows("tree_cost", {"cycle": "c1"})
    assert (row["prompt_tokens"], row["completion_tokens"]) == (None, 60)
    monkeypatch.setenv("ENGAGE_HOME", str(tmp_path))
    answer(Console(width=400), Question(name="cycle_cost", params=["cycle=c1"]))
    assert "unknown" in capsys.readouterr().out
