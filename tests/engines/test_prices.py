"""Costs in dollars: by hand, from the store, in a budget, in the forecast and in the report."""

import dataclasses

import pytest
from small_stores import filled, hand_tree, support_scenario

from engage.engines.prices import Price, Prices, dollars
from engage.errors import ConfigError
from engage.evaluation import Collected, Places, stage_text, usd_of
from engage.search import BudgetConfig, Spent, affordable_trees, forecast, forecast_text
from engage.store import Outbox
from engage.store.plan import spent_by
from flows.cli.profiles import load_config

POLICY = Price(prompt=2.0, cached=0.5, completion=10.0)
SPENT = Spent(trees=4, tokens=40_000, most_tokens=12_000, usd=0.4, most_usd=0.15, longest_s=60.0)


def row(side="policy", prompt=1_000_000, cached=400_000, written=100_000):
    return {"side": side, "prompt_tokens": prompt, "cached_tokens": cached, "completion_tokens": written}


@pytest.mark.parametrize(
    ("prices", "rows", "usd"),
    [
        (Prices(policy=POLICY), [row()], 0.6 * 2 + 0.4 * 0.5 + 0.1 * 10),
        (Prices(policy=POLICY), [row(cached=None)], 2 + 1),  # none known to be cached
        (Prices(policy=Price(prompt=2.0, completion=10.0)), [row()], 2 + 1),  # cached ones cost as much
        (Prices(policy=POLICY), [row("simulator")], 2.4),  # the policy's price
        (Prices(policy=POLICY, simulator=Price(completion=1.0)), [row(), row("simulator")], 2.4 + 0.1),
        (Prices(simulator=Price(completion=1.0)), [row(), row("simulator")], 0.1),  # the policy runs here
        (Prices(policy=POLICY), [], 0.0),
        (Prices(policy=POLICY), [row(), row(prompt=None)], None),
        (Prices(), [row()], None),
        (Prices(policy=Price(prompt=0.0, completion=0.0)), [row()], 0.0),
    ],
)
def test_tokens_cost_what_the_prices_say(prices, rows, usd):
    assert prices.usd(rows) == (usd if usd is None else pytest.approx(usd))


def test_trees_cost_what_their_sides_wrote(tmp_path):
    scenario = support_scenario("s1")
    tree = hand_tree(scenario, {"Tell me.": [[0.5]]})
    call = tree.calls[0]
    store = filled(tmp_path, [scenario])
    Outbox(tmp_path / "outbox").put_tree(dataclasses.replace(tree, calls=(call,)))
    store.drain(Outbox(tmp_path / "outbox"))
    prices = Prices(policy=POLICY, simulator=Price(prompt=1.0, completion=1.0))
    by_hand = prices.usd([dataclasses.asdict(call)])
    assert by_hand > 0
    spent = spent_by(store, "c1", prices)
    assert (spent.usd, spent.most_usd) == (pytest.approx(by_hand), pytest.approx(by_hand))
    assert usd_of(store, "c1", prices, "search") == pytest.approx(by_hand)
    assert usd_of(store, "c1", prices, "evaluation") == 0
    assert spent_by(store, "c1", Prices()).usd is None


def test_a_budget_in_dollars_begins_no_tree_that_might_exceed_it():
    assert affordable_trees(BudgetConfig(max_usd=0.99), SPENT, 0.0) == 3  # (0.99 - 0.4) / 0.15
    assert affordable_trees(BudgetConfig(max_usd=0.3), SPENT, 0.0) == 0
    uncounted = dataclasses.replace(SPENT, tokens=None, most_tokens=None, usd=None, most_usd=None)
    with pytest.raises(ConfigError, match="max_usd cannot be enforced"):
        affordable_trees(BudgetConfig(max_usd=1.0), uncounted, 0.0)


def test_a_pilot_says_what_all_will_cost():
    found = forecast(SPENT, 40, 360.0, 3)
    assert found["usd"] == pytest.approx(4.0)
    assert "tokens for about $4.00 in" in forecast_text(SPENT, found)


def test_a_budget_in_dollars_needs_prices():
    with pytest.raises(ConfigError, match=r"--set: collect\.budget\.max_usd needs prices: set engine\.prices"):
        load_config("laptop", ["collect.budget.max_usd=2"])
    priced = ["engine.prices.policy.prompt=0.1", "engine.prices.policy.completion=0.4"]
    assert load_config("laptop", ["collect.budget.max_usd=2", *priced]).engine.prices.policy.completion == 0.4


def test_the_summary_tells_the_cost_only_with_prices():
    here = Places(None, "sqlite:///mlflow.db")
    assert "The searches cost $1.25, by the prices" in stage_text("c", Collected(usd=1.25), here)
    assert "cost" not in stage_text("c", Collected(), here)


@pytest.mark.parametrize(
    ("usd", "text"), [(None, "unknown"), (0.0, "$0.00"), (0.0123, "$0.012"), (1234.5, "$1,234.50")]
)
def test_small_amounts_keep_two_digits(usd, text):
    assert dollars(usd) == text
