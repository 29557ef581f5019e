import math

import numpy as np
import pytest
from scipy.stats import spearmanr, t
from sklearn.metrics import roc_auc_score

from engage.stats import Estimate, auc, estimate, interval, jackknife, mean, rate, ratio, spearman
from engage.stats.bootstrap import resamples


def of_all(statistic, n):
    return float(statistic(np.ones((1, n)))[0])


def test_auc_is_the_share_of_pairs_in_the_right_order_with_ties_as_half():
    # positives 3 and 2, negatives 1 and 2: 3>1, 3>2, 2>1 right, 2=2 half
    assert of_all(auc(np.array([3.0, 2.0, 1.0, 2.0]), np.array([True, True, False, False])), 4) == 3.5 / 4


def test_auc_does_not_exist_without_both_kinds():
    assert math.isnan(of_all(auc(np.array([1.0, 2.0]), np.array([True, True])), 2))


def test_spearman_correlates_ranks():
    # ranks 1 2 3 against 1 3 2: 1 - 6 * (0 + 1 + 1) / (3 * 8)
    assert of_all(spearman(np.array([0.1, 0.2, 9.0]), np.array([1.0, 30.0, 20.0])), 3) == pytest.approx(0.5)
    assert math.isnan(of_all(spearman(np.array([1.0, 1.0]), np.array([1.0, 2.0])), 2))


def test_rank_statistics_of_resamples_are_those_of_scipy_and_sklearn():
    rng = np.random.default_rng(3)
    left, right, labels = rng.integers(0, 5, 12) / 4, rng.integers(0, 4, 12) / 3, rng.random(12) < 0.5
    unit = np.repeat(np.arange(4), 3)
    drawn = rng.integers(0, 12, (50, 12))
    counts = np.array([np.bincount(places, minlength=12) for places in drawn], dtype=float)
    assert spearman(left, right)(counts) == pytest.approx([spearmanr(left[i], right[i]).statistic for i in drawn])
    assert auc(left, labels)(counts) == pytest.approx([roc_auc_score(labels[i], left[i]) for i in drawn])
    # whole units: cases 0 to 2 are those of unit 0, and so on
    units = np.array([[2, 0, 1, 1], [0, 1, 3, 0]], dtype=float)
    cases = [np.repeat(np.arange(12), row[unit].astype(int)) for row in units]
    assert auc(left, labels, unit)(units) == pytest.approx([roc_auc_score(labels[i], left[i]) for i in cases])


def test_a_mean_has_an_interval_that_narrows_like_the_standard_error():
    found = mean([0.0, 1.0] * 50)
    # standard error sqrt(0.25 / 100) = 0.05
    assert found.value == 0.5 and found.n == 100
    assert (found.low, found.high) == (pytest.approx(0.5 - 1.96 * 0.05, abs=0.02), pytest.approx(0.5 + 0.098, abs=0.02))
    assert found == mean([0.0, 1.0] * 50)


@pytest.mark.parametrize(("values", "expected"), [([], Estimate(n=0)), ([2.0], Estimate(2.0, n=1))])
def test_too_few_dialogues_give_no_interval(values, expected):
    assert mean(values) == expected


def test_an_interval_needs_a_statistic_that_most_resamples_have():
    # with one positive among three, (2/3)^3 = 30 % of the resamples have none
    labels = np.array([True, False, False])
    found = estimate(3, auc(np.arange(3.0), labels))
    assert (found.value, found.low, found.high) == (0.0, None, None)


def test_a_ratio_weighs_dialogues_by_their_turns():
    # (1 + 3) / (1 + 4)
    assert ratio([1, 3], [1, 4]).value == 0.8


def test_an_interval_of_two_samples_resamples_each():
    # means of 0/1 with 40 units each: standard error sqrt(0.25 / 40 + 0.25 / 40)
    values = np.array([0.0, 1.0] * 20)
    low, high = interval([40, 40], lambda a, b: (a @ values - b @ values) / 40)
    assert (low, high) == (pytest.approx(-1.96 * 0.1118, abs=0.02), pytest.approx(1.96 * 0.1118, abs=0.02))
    assert interval([40, 1], lambda a, b: a @ values) == (None, None)


def test_more_is_drawn_where_the_bounds_lie_further_out():
    # 40 · 2¹²
    assert [resamples(0.95), resamples(1 - 2**-12)] == [9_999, 163_840]


def test_a_rate_of_zero_still_has_an_upper_bound():
    found = rate([0] * 10, [2] * 10)
    # Clopper-Pearson with ten trials: 1 - 0.025 ** (1 / 10)
    assert (found.value, found.low, found.high) == (0.0, 0.0, pytest.approx(1 - 0.025**0.1))


def test_the_jackknife_of_a_mean_is_its_standard_error():
    values = np.array([1.0, 2.0, 4.0, 5.0])
    found = jackknife(4, lambda index: float(values[index].mean()))
    reach = t.ppf(0.975, 3) * values.std(ddof=1) / 2
    assert (found.value, found.high) == (3.0, pytest.approx(3.0 + reach))
