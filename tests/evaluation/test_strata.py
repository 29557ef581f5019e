"""Gains among users of one kind."""

from dataclasses import replace

import pytest
from scripted_scenarios import SUPPORT

from engage.evaluation import MIN_STRATUM, compare_strata


def users(attitude: str, count: int):
    condition = SUPPORT.user_condition.model_copy(update={"attitude": attitude, "difficulty": "terse"})
    names = [f"{attitude}-{number}" for number in range(count)]
    return {name: replace(SUPPORT, scenario_id=name, user_condition=condition) for name in names}


def test_a_gain_is_told_apart_by_what_the_domain_names():
    doubtful, hopeful = users("doubtful", MIN_STRATUM), users("hopeful", MIN_STRATUM)
    base = dict.fromkeys([*doubtful, *hopeful], 0.5)
    own = {name: 0.7 if name in hopeful else 0.5 for name in base}
    rows = compare_strata("sft", "search", doubtful | hopeful, base, own)
    found = {(row.condition, row.level): row.comparison.difference for row in rows}
    assert found == {
        ("attitude", "doubtful"): pytest.approx(0.0),
        ("attitude", "hopeful"): pytest.approx(0.2),
        ("difficulty", "terse"): pytest.approx(0.1),
    }
    assert {(row.policy, row.simulator, row.domain) for row in rows} == {("sft", "search", "emotional_support")}


def test_a_kind_of_which_too_few_could_be_compared_is_not_told():
    known = users("doubtful", MIN_STRATUM)
    base, own = dict.fromkeys(known, 0.5), dict.fromkeys(known, 0.7)
    assert len(compare_strata("sft", "search", known, base, own)) == 2
    del own["doubtful-0"]
    assert compare_strata("sft", "search", known, base, own) == []
