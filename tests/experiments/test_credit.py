"""The credit check's statistics: by hand where that is possible, else on worlds whose truth is drawn. Seeded."""

import math
from collections import Counter
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest

from engage.experiments import CreditFigures, PairCheck, credit_lines, fresh_difference, reliability, search_shifts
from engage.experiments.value_check import Difference, noise_floor

PHI = NormalDist()


def test_a_difference_has_welchs_error_and_leaves_out_what_is_unreadable():
    # Means 0.75 and 0.25; variances 0.125 (two readable) and 1/48 (three).
    found = fresh_difference([1.0, None, 0.5], [0.125, 0.25, 0.375])
    assert found.mean == pytest.approx(0.5)
    assert found.standard_error == pytest.approx(math.sqrt(0.125 / 2 + 0.015625 / 3))
    assert found.count == 2


def test_equal_rewards_are_not_certain():
    found = fresh_difference([1.0] * 8, [0.0] * 8)
    assert found.standard_error == pytest.approx(math.sqrt(2 * 1e-6 / 8))
    assert found.is_precise
    assert not fresh_difference([0.5] * 8, [0.5] * 8).is_precise


def test_one_readable_rollout_is_no_difference():
    assert fresh_difference([1.0, None], [0.0, 0.5]) is None


def test_precise_is_a_third_of_the_difference():
    assert Difference(0.375, 0.125, 8).is_precise
    assert Difference(-0.375, 0.125, 8).is_precise
    assert not Difference(0.37, 0.125, 8).is_precise


# Turn means 0.5, 0 (reply mean 0.25) and 1, 0.5 (0.75). Squares within turns 0.5 on 4 degrees of freedom, of turn means
# 2·0.125 on 2, of reply means 0.125 on 1, of which 0.125·(1/2 + 1/2)/2 is noise.
FIRST, SECOND = [[1.0, 0.0], [0.0, 0.0]], [[1.0, 1.0], [0.5, 0.5]]


def test_the_noise_floor_by_hand():
    found = noise_floor("support", [[FIRST, SECOND]])
    assert found.below_sd**2 == pytest.approx(0.125)
    assert found.turn_sd**2 == pytest.approx(0.125 - 0.125 / 2)
    assert found.rollout_sd**2 == pytest.approx(0.1875)
    assert found.sibling_sd**2 == pytest.approx(0.125 - 0.0625)
    assert found.median_gap == pytest.approx(0.9539 * 0.25, abs=1e-4)  # √2·0.6745
    assert found.simulations_needed == pytest.approx(1.557 * 0.1875 / 0.0625, rel=1e-3)
    assert (found.prefixes, found.replies, found.rollouts, found.reward_mean) == (1, 2, 8, 0.5)


def test_a_turn_with_an_unreadable_rollout_is_left_out_and_counted():
    found = noise_floor("support", [[[*FIRST, [None, 1.0]], SECOND]])
    assert found.sibling_sd**2 == pytest.approx(0.0625)
    assert (found.rollouts, found.unreadable) == (10, 1)


def test_siblings_without_a_spread_need_no_number_of_simulations():
    found = noise_floor("support", [[FIRST, FIRST]])
    assert found.sibling_sd == 0
    assert found.simulations_needed == math.inf


def test_nothing_to_compare_is_no_noise_floor():
    assert noise_floor("support", []) is None
    assert noise_floor("support", [[FIRST]]) is None


@pytest.mark.slow
def test_the_noise_floor_finds_the_spreads_of_a_drawn_world():
    rng = np.random.default_rng(3)
    shape = (400, 3, 6, 2)  # prefixes, siblings, user turns, rollouts
    rewards = (
        0.5
        + 0.20 * rng.standard_normal(shape[:1])[:, None, None, None]
        + 0.05 * rng.standard_normal(shape[:2])[:, :, None, None]
        + 0.10 * rng.standard_normal(shape[:3])[..., None]
        + 0.08 * rng.standard_normal(shape)
    )
    found = noise_floor("support", rewards.tolist())
    assert found.below_sd == pytest.approx(0.08, abs=0.003)
    assert found.turn_sd == pytest.approx(0.10, abs=0.004)
    assert found.sibling_sd == pytest.approx(0.05, abs=0.005)
    assert found.low < 1.557 * (0.1**2 + 0.08**2) / 0.05**2 < found.high


def test_as_many_simulations_as_needed_tell_the_median_gap_apart_four_times_in_five():
    floor = noise_floor("support", [[FIRST, SECOND]])
    error = math.sqrt(2 / floor.simulations_needed) * floor.rollout_sd
    assert PHI.cdf(floor.median_gap / error) == pytest.approx(0.8)
    assert floor.rollouts_for_precision == pytest.approx(2 * (3 * floor.rollout_sd / floor.median_gap) ** 2)
    assert noise_floor("support", [[FIRST, FIRST]]).rollouts_for_precision == math.inf


def test_a_shift_counts_every_prefix_once():
    rows = [
        ("support", True, "a", 0.1),
        ("support", True, "a", 0.3),
        ("support", True, "b", 0.4),
        ("support", False, "a", 0.0),
    ]
    off, on = search_shifts(rows)
    assert (off.on_spine, off.replies, off.mean, off.standard_error) == (False, 1, 0.0, None)
    # prefix means 0.2 and 0.4
    assert (on.replies, on.mean, on.standard_error) == (3, pytest.approx(0.3), pytest.approx(0.1))


def check(p, mean, scenario="s", *, stratum=1, gap=0.1, error=0.001):
    place = min(9, int((p - 0.5) * 20))
    return PairCheck("support", scenario, place, stratum, p, gap, Difference(mean, error, 8))


def test_the_calibration_error_by_hand():
    # Bin 0.6: two pairs stand for 6, stated 0.6, half agree. Bin 0.9: one pair stands for 2, stated 0.9, and agrees.
    checks = [
        check(0.6, 0.1, "a", stratum=6),
        check(0.6, -0.1, "b", stratum=6, error=0.05),
        check(0.9, 0.1, "c", stratum=2),
    ]
    found = reliability(checks)
    assert [(one.pairs, one.share, one.stated, one.outcomes["sign"]) for one in found.bins] == [
        (2, pytest.approx(0.75), pytest.approx(0.6), 0.5),
        (1, pytest.approx(0.25), pytest.approx(0.9), 1.0),
    ]
    error = found.errors["sign"]
    assert error.ece == pytest.approx(0.75 * 0.1 + 0.25 * 0.1)
    assert error.excess == pytest.approx(0.75 * 0.1 - 0.25 * 0.1)
    assert (found.pairs, found.scenarios, found.precise) == (3, 3, 2)


def test_no_difference_agrees_by_half():
    assert check(0.9, 0.0).sign == 0.5


def test_the_posterior_weighs_the_stated_belief_and_the_rollouts():
    # Φ(1) stated for a gap of 0.1: belief N(0.1, 0.1²). Rollouts: N(−0.1, 0.1²). Together N(0, 0.1²/2).
    one = check(PHI.cdf(1.0), -0.1, error=0.1)
    assert one.posterior == pytest.approx(PHI.cdf(-1.0))
    assert one.posterior_stated == pytest.approx(0.5)
    assert check(PHI.cdf(1.0), 0.02, error=1e-4).posterior_stated == pytest.approx(
        1.0
    )  # rollouts that leave nothing open


def test_a_gap_of_zero_states_nothing():
    one = check(0.5, 0.1, gap=0.0, error=0.1)
    assert one.posterior_stated == one.posterior


def drawn_pairs(pairs, error, *, boldness=1.0, seed=5):
    """Pairs of a world in which the true difference is N(gap, sd²), with P stated as for sd/boldness; fresh ones have an error."""
    rng = np.random.default_rng(seed)
    sd = 0.05
    gaps = rng.uniform(0.0, 2.0 * sd, pairs)
    true = gaps + sd * rng.standard_normal(pairs)
    fresh = true + error * rng.standard_normal(pairs)
    stated = [PHI.cdf(boldness * gap / sd) for gap in gaps]
    numbers = zip(stated, fresh, gaps, strict=True)
    checks = [check(p, mean, f"s{i}", gap=gap, error=error) for i, (p, mean, gap) in enumerate(numbers)]
    sizes = Counter(one.p_bin for one in checks)
    return [replace(one, stratum_pairs=sizes[one.p_bin]) for one in checks]


@pytest.mark.slow
def test_a_calibrated_p_is_found_calibrated():
    error = reliability(drawn_pairs(4000, 0.001)).errors["sign"]
    assert error.ece < 0.03
    assert error.ece < error.if_calibrated_high
    assert error.high <= 0.05
    assert error.excess_low < 0 < error.excess_high


@pytest.mark.slow
def test_an_overconfident_p_is_found_out():
    error = reliability(drawn_pairs(1000, 0.001, boldness=3.0)).errors["sign"]
    assert error.low > 0.05
    assert error.ece > error.if_calibrated_high
    assert error.excess_low > 0.05


@pytest.mark.slow
def test_noise_that_is_left_makes_the_sign_look_overconfident_but_not_the_posterior_of_the_belief():
    errors = reliability(drawn_pairs(4000, 0.05)).errors
    assert errors["sign"].excess_low > 0.03
    assert errors["posterior"].excess_low > errors["sign"].excess
    assert errors["posterior_stated"].excess_low < 0 < errors["posterior_stated"].excess_high


@pytest.mark.slow
def test_the_posterior_of_the_belief_leans_on_what_was_stated_but_finds_an_overconfident_p_through_noise():
    errors = reliability(drawn_pairs(2000, 0.02, boldness=3.0)).errors
    assert errors["posterior_stated"].low > 0.01
    assert errors["posterior_stated"].ece < errors["sign"].ece


def test_the_stated_belief_by_hand():
    # Φ(1) stated for a gap of 0.3 is N(0.3, 0.3²), for one of 0.6 N(0.6, 0.6²); rollouts with errors 0.4 and 0.8.
    one = check(PHI.cdf(1.0), 0.8, "a", gap=0.3, error=0.4)  # z = 0.5/0.5
    other = check(PHI.cdf(1.0), -0.4, "b", gap=0.6, error=0.8)  # z = -1/1
    silent = check(0.5, 0.1, "c", gap=0.0)
    belief = reliability([one, other, silent]).belief
    assert (belief.gap_ratio.value, belief.bias.value, belief.spread.value) == pytest.approx((0.4 / 0.9, 0.0, 1.0))
    assert belief.bias.n == 2
    assert reliability([silent]).belief.spread.value is None


@pytest.mark.slow
def test_a_right_belief_is_found_right_through_any_noise():
    belief = reliability(drawn_pairs(4000, 0.1)).belief
    assert belief.gap_ratio.low < 1 < belief.gap_ratio.high
    assert belief.bias.low < 0 < belief.bias.high
    assert belief.spread.low < 1 < belief.spread.high


@pytest.mark.slow
def test_a_belief_that_is_too_sure_is_found_out_through_noise_that_hides_it_from_the_sign():
    found = reliability(drawn_pairs(2000, 0.05, boldness=3.0))
    assert found.belief.spread.low > 1.1
    assert found.belief.bias.low < 0 < found.belief.bias.high  # the gaps themselves are right


def test_few_pairs_show_an_error_by_chance_which_is_told():
    error = reliability(drawn_pairs(20, 0.001)).errors["sign"]
    assert error.if_calibrated > 0.05
    assert error.low == 0.0


def test_no_pair_has_no_reliability():
    assert reliability([]) is None


def sentence(checks):
    return credit_lines(CreditFigures((), (), {}, reliability(checks), 100, 0, 0))[0]


@pytest.mark.slow
def test_the_result_says_what_can_be_told_and_no_more():
    assert "at most 0.05, the goal" in sentence(drawn_pairs(4000, 0.001))
    bold = sentence(drawn_pairs(4000, 0.001, boldness=3.0))
    assert "too few pairs to decide" in sentence(drawn_pairs(4000, 0.05))  # signs that noise has turned
    assert "above the goal of 0.05" in bold and ": overconfidence detected" in bold
    few = sentence(drawn_pairs(20, 0.001))
    assert "too few pairs to decide" in few and "no over- or underconfidence detected" in few


def test_pairs_that_could_not_be_compared_are_counted():
    lines = credit_lines(CreditFigures((), (), {}, None, 100, 2, 1))
    assert "Left out: 2 pairs had too few readable rollouts." in lines
    assert "Left out: 1 pairs have unfinished rollouts." in lines
