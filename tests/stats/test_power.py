import numpy as np
import pytest
from scipy.stats import t

from engage.stats import Spread, least_gain, power, scenarios_needed, spread


def test_variances_within_and_between_scenarios_by_hand():
    # within: (1 + 1 + 1 + 1) / 2 degrees of freedom; the means 2 and 6 vary by 8, of which 2 / 2 is noise
    assert spread([{"a": [1, 3], "b": [5, 7]}]) == Spread(between=7.0, within=2.0)
    assert Spread(7.0, 2.0).per_scenario(4) == 7.5
    # a second comparison has its own mean, and counts by its degrees of freedom: (7 + 0) / 2 with the same noise
    assert spread(
        [{"a": [1, 3], "b": [5, 7]}, {"a": [10, 12], "b": [11 - 2**0.5, 11 + 2**0.5]}]
    ).within == pytest.approx(2.5)
    assert spread([{"a": [0], "b": [2]}]) == Spread(between=2.0, within=None)
    assert spread([{"a": [0, 2], "b": [0, 2]}]) == Spread(between=0.0, within=2.0)
    assert spread([{"a": [0, 2]}, {"a": [], "b": [1]}]) is None


def test_the_power_of_the_textbooks():
    # Student's test of one sample, two-sided at 5 %, effect 0.5: 34 for 80 % (Cohen 1988; G*Power: 0.8078)
    assert power(0.5, Spread(1.0, None), 34) == pytest.approx(0.8078, abs=5e-4)
    assert scenarios_needed(0.5, Spread(1.0, None)) == 34
    # four dialogues a scenario: variance 0.5 + 2 / 4
    assert scenarios_needed(0.5, Spread(0.5, 2.0), dialogues=4) == 34
    assert least_gain(Spread(1.0, None), 34) == pytest.approx(0.4947, abs=5e-4)


def test_what_cannot_be_shown_and_what_needs_nothing():
    assert scenarios_needed(1e-9, Spread(1.0, None)) is None
    assert least_gain(Spread(1.0, None), 3) is None
    assert power(0.1, Spread(1.0, None), 1) == 0.0
    # equal differences: the least number that gets an interval
    assert scenarios_needed(0.01, Spread(0.0, 0.0)) == 6


@pytest.mark.parametrize(("between", "within", "scenarios", "dialogues"), [(0.05, 0.12, 16, 1), (0.03, 0.2, 40, 3)])
def test_the_stated_power_is_seen_in_simulated_comparisons(between, within, scenarios, dialogues):
    of = Spread(between**2, within**2)
    gain = least_gain(of, scenarios, dialogues)
    random = np.random.default_rng(0)
    effects = random.normal(gain, between, (2000, scenarios, 1))
    means = (effects + random.normal(0.0, within, (2000, scenarios, dialogues))).mean(axis=2)
    error = means.std(axis=1, ddof=1) / scenarios**0.5
    shown = means.mean(axis=1) - t.ppf(0.975, scenarios - 1) * error > 0
    assert shown.mean() == pytest.approx(0.8, abs=0.03)
