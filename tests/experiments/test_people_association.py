"""What a policy's log-ratio has to do with what a reply achieved: by hand, and on dialogues whose truth is planted. Seeded."""

import numpy as np
import pytest

from engage.experiments.people.association import Covariates, Sample, association, cross_fitted


def of_numbers(numbers, target, dialogues):
    column = np.array(numbers, dtype=float)[:, None]
    return Sample(Covariates(("",) * len(target), column), np.array(target, dtype=float), np.array(dialogues))


def test_each_dialogue_is_predicted_from_the_others_alone():
    # two folds of one dialogue: the line through (0, 0), (1, 2) predicts the second at 2 and 3, that through (2, 1), (3, 1) the first
    found = cross_fitted(of_numbers([0, 1, 2, 3], [0, 2, 1, 1], [0, 0, 1, 1]))
    assert found == pytest.approx([1.0, 1.0, 4.0, 6.0])


def test_dialogues_beside_help_to_predict_and_are_not_predicted():
    # (0, 0), (1, 2), (4, 8), (5, 10) lie on y = 2x; of (2, 1), (3, 1), (4, 8), (5, 10) the means are 3.5 and 5, the sums of products
    # 6 + 2 + 1.5 + 7.5 = 17 over 2.25 + 0.25 + 0.25 + 2.25 = 5: y = 3.4x − 6.9
    beside = of_numbers([4, 5], [8, 10], [0, 0])
    found = cross_fitted(of_numbers([0, 1, 2, 3], [0, 2, 1, 1], [0, 0, 1, 1]), beside)
    assert found == pytest.approx([-6.9, -3.5, 4.0, 6.0])


def test_words_of_the_prefix_predict_dialogues_that_were_not_seen():
    prefixes = tuple("u:yes u:gladly" if number % 2 else "u:no u:sorry" for number in range(40))
    target = np.arange(40) % 2 * 1.0
    found = cross_fitted(Sample(Covariates(prefixes, np.zeros((40, 0))), target, np.arange(40)))
    assert found == pytest.approx(target, abs=0.1)


def test_the_correlation_of_ranks_and_the_slope_by_hand():
    # ranks 1 2 3 4 and 1 3 2 4: 1 − 6·2/(4·15) = 0.8
    first, second = np.array([0.0, 1.0, 2.0, 3.0]), np.array([0.0, 5.0, 1.0, 9.0])
    found = association(first, second, np.array([0, 0, 1, 1]))
    assert found.rank.value == pytest.approx(0.8)
    # covariance ((−1.5)(−3.75) + (−0.5)(1.25) + (0.5)(−2.75) + (1.5)(5.25))/4 = 2.875; over the deviation √1.25
    assert found.slope.value == pytest.approx(2.875 / np.sqrt(1.25))
    assert found.rank.n == 2


def test_a_constant_has_no_association():
    found = association(np.zeros(6), np.arange(6.0), np.arange(6) // 2)
    assert found.rank.value is None and found.slope.value is None


DIALOGUES, REPLIES = 80, 6


def planted(seed):
    """Dialogues whose user is warm or cold from the beginning, which the prefix shows and which decides most of the outcome."""
    rng = np.random.default_rng(seed)
    warm = rng.integers(0, 2, DIALOGUES)
    luck = rng.normal(0, 0.2, DIALOGUES)
    dialogues = np.repeat(np.arange(DIALOGUES), REPLIES)
    prefixes = tuple(f"u:{'love' if warm[one] else 'doubt'} a:w{rng.integers(9)}" for one in dialogues)
    lengths = rng.integers(3, 30, len(dialogues)).astype(float)
    covariates = Covariates(prefixes, np.column_stack([lengths, np.tile(np.arange(REPLIES), DIALOGUES)]))
    return rng, covariates, warm, luck, dialogues


def measured(covariates, ratios, outcome, dialogues):
    sides = [Sample(covariates, target, dialogues) for target in (ratios, outcome)]
    rests = [side.target - cross_fitted(side) for side in sides]
    return association(ratios, outcome, dialogues).rank, association(*rests, dialogues).rank


def test_a_planted_association_is_found():
    rng, covariates, warm, luck, dialogues = planted(1)
    outcome = (0.5 * warm + luck)[dialogues]
    _, found = measured(covariates, luck[dialogues] + rng.normal(0, 0.2, len(outcome)), outcome, dialogues)
    assert found.low > 0.3 and found.n == DIALOGUES


def test_where_there_is_none_the_interval_covers_0():
    rng, covariates, warm, luck, dialogues = planted(2)
    outcome = (0.5 * warm + luck)[dialogues]
    ratios = rng.normal(0, 0.2, len(outcome)) - 0.01 * covariates.numbers[:, 0]
    _, found = measured(covariates, ratios, outcome, dialogues)
    assert found.low < 0 < found.high


def test_a_policy_that_asks_those_who_lean_already_is_not_taken_for_a_good_one():
    rng, covariates, warm, luck, dialogues = planted(3)
    outcome, ratios = (0.5 * warm + luck)[dialogues], warm[dialogues] + rng.normal(0, 0.2, len(dialogues))
    raw, found = measured(covariates, ratios, outcome, dialogues)
    assert raw.low > 0.5
    assert abs(found.value) < 0.1 and found.low < 0 < found.high
