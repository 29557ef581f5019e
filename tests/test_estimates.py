import math

import numpy as np
import pytest
from scipy.stats import t

from engage.stats import Estimate, auc, estimate, jackknife, mean, rate, ratio, spearman


def test_auc_is_the_share_of_pairs_in_the_right_order_with_ties_as_half():
    # positives 3 and 2, negatives 1 and 2: 3>1, 3>2, 2>1 right, 2=2 half
    assert auc(np.array([3.0, 2.0, 1.0, 2.0]), np.array([True, True, False, False])) == 3.5 / 4


def test_auc_does_not_exist_without_both_kinds():
    assert math.isnan(auc(np.array([1.0, 2.0]), np.array([True, True])))


def test_spearman_correlates_ranks():
    # ranks 1 2 3 against 1 3 2: 1 - 6 * (0 + 1 + 1) / (3 * 8)
    assert spearman(np.array([0.1, 0.2, 9.0]), np.array([1.0, 30.0, 20.0])) == pytest.approx(0.5)
    assert math.isnan(spearman(np.array([1.0, 1.0]), np.array([1.0, 2.0])))


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
    found = estimate(3, lambda index: auc(np.arange(3.0)[index], labels[index]))
    assert (found.value, found.low, found.high) == (0.0, None, None)


def test_a_ratio_weighs_dialogues_by_their_turns():
    # (1 + 3) / (1 + 4)
    assert ratio([1, 3], [1, 4]).value == 0.8


def test_a_rate_of_zero_still_has_an_upper_bound():
    found = rate([0] * 10, [2] * 10)
    # Clopper-Pearson with ten trials: 1 - 0.025 ** (1 / 10)
    assert (found.value, found.low, found.high) == (0.0, 0.0, pytest.approx(1 - 0.025**0.1))


def test_the_jackknife_of_a_mean_is_its_standard_error():
    values = np.array([1.0, 2.0, 4.0, 5.0])
    found = jackknife(4, lambda index: float(values[index].mean()))
    reach = t.ppf(0.975, 3) * values.std(ddof=1) / 2
    assert (found.value, found.high) == (3.0, pytest.approx(3.0 + reach))
