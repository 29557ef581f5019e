"""`engage plan`: what a home's evaluations say about the size of a comparison; the store is written by hand."""

import duckdb
import pytest
from small_stores import filled, hand_dialogue, support_scenario

from engage.engines.prices import Price, Prices
from engage.errors import ConfigError
from engage.evaluation import HeldOutConfig, plan
from engage.stats import Spread, scenarios_needed

A, B = "held-out a", "held-out b"
NAMES = ("s0", "s1")
SCENARIOS = [support_scenario(name, "validation", f"My dog died. I call it {name}.") for name in NAMES]
GAINS = {"s0": (0.0, 0.25), "s1": (0.25, 0.5)}
"""By scenario: candidate minus base for two seeds. Within: (2 · 0.125² + 2 · 0.125²) / 2 = 0.03125; the means 0.125 and 0.375 vary by 0.03125,
of which half of the former is noise."""
FOUND = Spread(between=0.015625, within=0.03125)


def talked(simulator, gains, cycle="c1", candidate="candidate-x"):
    return [
        hand_dialogue(one, reward, cycle, policy, simulator, seed)
        for one in SCENARIOS
        for seed, gain in enumerate(gains[one.scenario_id])
        for policy, reward in (("base", 0.25), (candidate, None if gain is None else 0.25 + gain))
    ]


def planned(store, gain=0.05, prices=None, scenarios=SCENARIOS, **settings):
    return plan(store, scenarios, HeldOutConfig(**settings), prices or Prices(), gain)


def test_variances_sizes_and_costs_by_hand(tmp_path):
    store = filled(tmp_path, SCENARIOS, dialogues=[*talked("search", GAINS), *talked(A, GAINS)])
    found = planned(store, prices=Prices(policy=Price(prompt=1.0)))
    assert found.decides.simulator == A and found.decides.spread == FOUND and found.decides.differences == 4
    assert [one.simulator for one in found.measured] == ["held-out a", "search"]
    (one, two, *_) = found.sizes
    assert (one.dialogues, one.scenarios) == (1, scenarios_needed(0.05, FOUND, 1))
    assert two.scenarios == scenarios_needed(0.05, FOUND, 2) < one.scenarios
    # both policies with both simulators
    assert two.talks == two.scenarios * 2 * 2 * 2
    # 60 prompt tokens a dialogue at one dollar a million
    assert one.usd == pytest.approx(one.talks * 60e-6)
    assert one.minutes is None  # all were stored at once
    assert found.sources == {"emotional_support": 2} and one.per_domain is None


def test_the_minutes_come_from_when_batches_were_stored(tmp_path):
    store = filled(tmp_path, SCENARIOS, dialogues=talked(A, GAINS))
    with duckdb.connect(str(store.path)) as connection:
        connection.execute("update trajectory set stored_at = timestamp '2026-01-01' where policy = 'base'")
        connection.execute("update trajectory set stored_at = timestamp '2026-01-01 00:00:20' where policy <> 'base'")
    # four dialogues took 20 seconds
    (one, *_) = planned(store).sizes
    assert one.minutes == pytest.approx(one.talks * 5 / 60)


def test_with_a_panel_its_mean_decides(tmp_path):
    opposite = {"s0": (0.25, 0.0), "s1": (0.5, 0.25)}
    store = filled(tmp_path, SCENARIOS, dialogues=[*talked(A, GAINS), *talked(B, opposite)])
    found = planned(store)
    # the means are 0.125 and 0.375 in each dialogue: no noise within scenarios
    assert found.decides.simulator == f"{A} + {B}" and found.decides.spread == Spread(0.03125, 0.0)
    assert [one.simulator for one in found.measured] == [A, B, f"{A} + {B}"]


def test_dialogues_of_a_kept_candidate_in_two_nights_are_one_comparison(tmp_path):
    first, second = ({name: [gains[n]] for name, gains in GAINS.items()} for n in (0, 1))
    once = talked(A, first)
    store = filled(tmp_path / "one", SCENARIOS, dialogues=once)
    assert planned(store).decides.spread == Spread(0.03125, None)
    assert [one.dialogues for one in planned(store).sizes] == [1]
    store = filled(tmp_path / "two", SCENARIOS, dialogues=[*once, *talked(A, second, "c2")], cycle_ids=("c1", "c2"))
    assert planned(store).decides.spread == FOUND and planned(store).cycles == 2


def test_a_candidate_whose_answers_could_not_be_read_is_not_counted(tmp_path):
    unread, single = {name: (None, None) for name in NAMES}, {"s0": (0.0, None), "s1": (None, None)}
    others = [*talked(A, unread, "c2", "candidate-y"), *talked(A, single, "c3", "candidate-z")]
    store = filled(tmp_path, SCENARIOS, dialogues=[*talked(A, GAINS), *others], cycle_ids=("c1", "c2", "c3"))
    found = planned(store)
    assert (found.decides.comparisons, found.decides.differences, found.cycles) == (1, 4, 3)
    assert found.decides.spread == FOUND


def test_the_sources_say_which_setting_gives_enough(tmp_path):
    many = [*SCENARIOS, *(support_scenario(f"t{n}", "validation", f"My dog {n} died.") for n in range(60))]
    half = planned(filled(tmp_path, SCENARIOS, dialogues=talked(A, GAINS)), 0.2, scenarios=many)
    (one, *_) = half.sizes
    # one domain, so that as many are needed of it; only the promotion half counts
    assert one.per_domain == one.scenarios <= half.sources["emotional_support"] < 50


def test_unreadable_answers_are_left_out_and_nothing_measured_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no candidate has been evaluated yet in this home; run `engage nightly`"):
        planned(filled(tmp_path / "none", SCENARIOS))
    unread = {"s0": (0.0, 0.25), "s1": (None, None)}
    with pytest.raises(ConfigError, match="no candidate was compared with its incumbent on two scenarios"):
        planned(filled(tmp_path / "unread", SCENARIOS, dialogues=talked(A, unread)))
