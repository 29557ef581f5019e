"""A domain's own measures of an answer are stored with it: a third domain's appear in the named queries without a change of SQL."""

import dataclasses
import logging
from pathlib import Path

import own_domain
import pytest
import small_stores
from small_stores import filled, hand_dialogue, hand_tree, support_scenario

from engage.dialogue import Dialogue, Reaction, Role, Turn
from engage.scenario import load_scenarios
from engage.store import writing

FIXTURES = Path(__file__).parents[1] / "fixtures"
BAKER = support_scenario("baker", initial_intensity=4)
STUDENT = load_scenarios([str(FIXTURES / "own_scenarios.jsonl")])[0]


def asked(likelihood):
    """A student's evaluation dialogue: likelihood of starting tonight, 0 to 4."""
    record = hand_dialogue(STUDENT, 0.5)
    said = Dialogue((*STUDENT.opening.turns, Turn(Role.ASSISTANT, "Open the book."), Turn(Role.USER, "Well.")))
    trajectory = dataclasses.replace(
        record.trajectory, dialogue=said, reaction=Reaction("pattern", "", likelihood), reward=likelihood / 4
    )
    return dataclasses.replace(record, seed=int(likelihood * 10), trajectory=trajectory)


def test_measures_are_stored_with_the_answer(tmp_path):
    # Values 1 (reward 1) and 5 (reward 0), having begun at 4; the third answer could not be read.
    store = filled(tmp_path, [BAKER], [hand_tree(BAKER, {"Tell me.": [[1.0], [0.0], [None]]})])
    assert store.select("select measures from search_outcome order by simulation")[1] == [
        ({"relief": 3.0, "released": 1.0, "worsened": 0.0},),
        ({"relief": -1.0, "released": 0.0, "worsened": 1.0},),
        (None,),
    ]


def test_a_third_domain_s_measures_are_in_the_named_queries(tmp_path):
    assert STUDENT.domain == own_domain.NAME
    store = filled(tmp_path, [STUDENT], [], [asked(4.0), asked(2.5), asked(3.0)])
    (row,) = store.rows("engagement_by_scenario")
    assert (row["dialogues"], row["measures"]) == (3, {"would_start": 0.667})  # 4 and 3 of three
    assert (row["relief"], row["released"], row["donation_usd"]) == (None, None, None)
    levels = {row["condition"]: row["measures"] for row in store.rows("engagement_by_condition")}
    assert levels["subject"] == {"would_start": 0.667}


@pytest.mark.slow
def test_measures_that_changed_are_computed_again_with_the_rewards(tmp_path, monkeypatch):
    store = filled(tmp_path, [STUDENT], [], [asked(4.0)])
    monkeypatch.setattr(type(own_domain.STUDY_ADVICE), "measures", lambda self, condition, value: {"half": value / 2})
    assert store.rescore(STUDENT.domain, lambda value: value / 4) == 0
    assert store.select("select measures from outcome")[1] == [({"half": 2.0},)]


def test_a_domain_that_cannot_be_loaded_costs_its_measures_and_no_dialogue(tmp_path, caplog):
    gone = dataclasses.replace(STUDENT, domain="gone_domain:ADVICE")
    with caplog.at_level(logging.WARNING):
        store = filled(tmp_path, [gone], [], [asked(4.0)])
    assert store.select("select reward, measures from outcome")[1] == [(1.0, None)]
    assert "the measures of domain 'gone_domain:ADVICE' are not stored yet" in caplog.text


def test_a_condition_that_todays_domain_refuses_costs_its_own_measures_alone(tmp_path, caplog):
    condition = STUDENT.user_condition.model_copy(update={"days_left": 400})  # an earlier version of the domain took it
    refused = dataclasses.replace(STUDENT, scenario_id="a", user_condition=condition)
    first = asked(4.0)
    first = dataclasses.replace(first, trajectory=dataclasses.replace(first.trajectory, scenario_id="a"))
    with caplog.at_level(logging.WARNING):
        store = filled(tmp_path, [refused, STUDENT], [], [first, asked(3.0)])
    assert store.select("select measures from outcome order by value")[1] == [({"would_start": 1.0},), (None,)]
    assert "cannot measure 1 answer(s): user_condition.days_left: " in caplog.text


@pytest.mark.parametrize(
    ("measures", "reason"),
    [
        (lambda value: {"odd": 1 / (value - 4)}, "division by zero"),
        (lambda value: {"odd": -1.0} if value < 4 else None, "measures returns None, not a dict"),
    ],
)
def test_an_answer_that_a_domain_cannot_measure_costs_its_own_measures_alone(
    tmp_path, monkeypatch, caplog, measures, reason
):
    monkeypatch.setattr(type(own_domain.STUDY_ADVICE), "measures", lambda self, condition, value: measures(value))
    monkeypatch.setattr(small_stores, "_filled", {})  # no store with the measures of before
    with caplog.at_level(logging.WARNING):
        store = filled(tmp_path, [STUDENT], [], [asked(4.0), asked(3.0)])
    assert store.select("select measures from outcome order by value")[1] == [({"odd": -1.0},), (None,)]
    assert "cannot measure 1 answer(s): " in caplog.text and reason in caplog.text


@pytest.mark.parametrize("odd", [float("nan"), float("inf")])
def test_a_measure_that_is_no_number_is_left_out(tmp_path, monkeypatch, odd):
    measures = lambda self, condition, value: {"odd": odd, "even": 2.0}  # noqa: E731
    monkeypatch.setattr(type(own_domain.STUDY_ADVICE), "measures", measures)
    monkeypatch.setattr(small_stores, "_filled", {})  # no store with the measures of before
    store = filled(tmp_path, [STUDENT], [], [asked(4.0)])
    assert store.select("select measures from outcome")[1] == [({"even": 2.0},)]


def test_an_answer_that_is_no_number_stays_without_reward_when_rewards_are_computed_again(tmp_path):
    # As an earlier version stored it, which did not look.
    store = filled(tmp_path, [STUDENT], [], [asked(4.0), asked(2.0)])
    with writing(store.path, 5.0) as connection:
        connection.execute("update reaction set value = 'nan', reward = 'nan' where value = 2")
    assert store.rescore(own_domain.NAME, lambda value: value / 8) == 1
    assert store.select("select reward from outcome order by seed")[1] == [(None,), (0.5,)]
