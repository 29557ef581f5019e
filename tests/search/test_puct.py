import pytest
from hypothesis import given
from hypothesis import strategies as st

from engage.search.puct import Arm, normalise, puct_score, select, widened


def test_score_by_hand():
    # Q = (0.6 - 0.2) / (0.8 - 0.2) = 2/3; exploration = 1.5 * 0.5 * sqrt(9) / (1 + 2) = 0.75
    arm = Arm(visit_count=2, q_value=0.6, prior=0.5)
    assert puct_score(arm, 9, 0.5, 0.2, 0.8, 1.5) == pytest.approx(2 / 3 + 0.75)


def test_unvisited_child_takes_its_parents_q():
    # Q = (0.5 - 0) / (1 - 0) = 0.5; exploration = 1 * 0.25 * sqrt(4) / 1 = 0.5
    assert puct_score(Arm(0, None, 0.25), 4, 0.5, 0.0, 1.0, 1.0) == pytest.approx(1.0)


def test_ties_go_to_the_lowest_index():
    assert select([Arm(1, 0.5, 0.5), Arm(1, 0.5, 0.5)], 2, 0.5, 0.0, 1.0, 1.0) == 0


def test_a_tiny_range_does_not_blow_up_noise():
    assert normalise(0.5 + 1e-9, 0.5, 0.5 + 1e-9) == 0.5


def test_virtual_visits_push_the_next_simulation_aside():
    arms = [Arm(0, None, 0.5), Arm(0, None, 0.5)]
    first = select(arms, 1, 0.5, 0.0, 1.0, 1.0)
    arms[first] = Arm(1, None, 0.5)
    assert (first, select(arms, 2, 0.5, 0.0, 1.0, 1.0)) == (0, 1)


@pytest.mark.parametrize(("visits", "expected"), [(0, 2), (3, 4), (8, 6)])
def test_widening_by_hand(visits, expected):
    # 2 * 1, 2 * sqrt(4), 2 * sqrt(9)
    assert widened(visits, 2.0, 0.5) == expected


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_normalised_q_stays_in_the_unit_interval(q, a, b):
    assert 0.0 <= normalise(q, min(a, b), max(a, b)) <= 1.0
