import numpy as np
import pytest

from engage.stats import LEAST_SCENARIOS, Rewards, paired_comparison, simultaneous_comparison
from engage.stats.simultaneous import _bounds

SIX = [f"s{n}" for n in range(6)]
BASE: Rewards = dict.fromkeys(SIX, 0.5)


def moved(*differences: float) -> Rewards:
    return {name: 0.5 + difference for name, difference in zip(SIX, differences, strict=True)}


def test_each_policy_is_compared_with_the_common_one_as_alone():
    policies = {"a": moved(0.1, 0.2, 0.0, -0.1, 0.1, 0.3), "base": BASE, "b": moved(0, 0, 0.1, 0, 0, 0.1)}
    found = simultaneous_comparison(policies, "base")
    assert list(found) == ["a", "b"]
    assert {name: one.alone for name, one in found.items()} == {
        name: paired_comparison(BASE, policies[name]) for name in ("a", "b")
    }


def test_bounds_are_the_mean_with_the_same_number_of_standard_errors_on_both_sides():
    first, second = moved(0.1, 0.2, 0.0, -0.1, 0.1, 0.3), moved(0.3, -0.3, 0.0, 0.3, 0.0, 0.3)
    found = simultaneous_comparison({"base": BASE, "first": first, "second": second}, "base")
    # first: mean 0.1, squares about it .01 .01 .04 .04 0 .04 = 0.1, over 5 is 0.02; second: mean 0.1, .04 .16 .01 .04 .01 .04 = 0.3
    errors = {"first": (0.02 / 6) ** 0.5, "second": (0.06 / 6) ** 0.5}
    reaches = {name: (found[name].high - found[name].low) / 2 / errors[name] for name in errors}
    assert (found["first"].low + found["first"].high) / 2 == pytest.approx(0.1)
    assert reaches["first"] == pytest.approx(reaches["second"])
    alone = simultaneous_comparison({"base": BASE, "first": first}, "base")["first"]
    assert reaches["first"] > (alone.high - alone.low) / 2 / errors["first"] > 1.96


def test_copies_of_one_policy_need_no_wider_bounds_than_one():
    one = moved(0.1, 0.2, 0.0, -0.1, 0.1, 0.3)
    alone = simultaneous_comparison({"base": BASE, "a": one}, "base")["a"]
    many = simultaneous_comparison({"base": BASE, **{f"copy {n}": one for n in range(8)}}, "base")
    assert {(found.low, found.high) for found in many.values()} == {(alone.low, alone.high)}


def test_equal_differences_give_the_point_and_disturb_no_other_policy():
    uneven = moved(0.1, 0.2, 0.0, -0.1, 0.1, 0.3)
    found = simultaneous_comparison({"base": BASE, "even": moved(*[0.25] * 6), "uneven": uneven}, "base")
    assert (found["even"].low, found["even"].high) == pytest.approx((0.25, 0.25))
    alone = simultaneous_comparison({"base": BASE, "uneven": uneven}, "base")["uneven"]
    assert (found["uneven"].low, found["uneven"].high) == (alone.low, alone.high)


def test_too_few_scenarios_have_no_simultaneous_bounds_but_their_own_comparison():
    short = {name: 0.6 for name in SIX[: LEAST_SCENARIOS - 1]}
    found = simultaneous_comparison({"base": BASE, "a": short}, "base")["a"]
    assert (found.alone.n, found.low, found.high) == (LEAST_SCENARIOS - 1, None, None)


def test_a_policy_counts_on_the_scenarios_that_it_has():
    # the second dialogue of s0 could not be read, and s6 is unknown to the base
    more: Rewards = {**moved(0.1, 0.2, 0.0, -0.1, 0.1, 0.3), "s0": [0.6, None], "s6": 0.9}
    found = simultaneous_comparison({"base": BASE, "a": more}, "base")["a"]
    assert (found.alone.n, found.alone.n_unreadable) == (6, 2)
    assert (found.low + found.high) / 2 == pytest.approx(0.1)  # type: ignore[operator]


@pytest.mark.slow
def test_the_bounds_of_four_policies_hold_together_about_as_often_as_promised():
    """Coverage in simulation: the differences of four policies share the base's noise; 24 scenarios."""
    random, gains, hits = np.random.default_rng(1), np.array([0.0, 0.0, 0.02, 0.05]), 0
    for number in range(200):
        table = gains + random.normal(0, 0.1, (24, 4)) - random.normal(0, 0.1, (24, 1))
        bounds = _bounds(table, 0.95, number)
        hits += all(low <= gain <= high for gain, (low, high) in zip(gains, bounds, strict=True))
    # 95 % of 200 are 190, three standard errors are 9; four intervals of their own hold together in about 87 %: 174
    assert 181 <= hits < 200
