"""Agreement against its published example; planted reviewers are recovered; what one reviewer alone can say."""

import random

import pytest

from engage.stats import accuracies, dawid_skene, krippendorff_alpha

# Krippendorff 2011, "Computing Krippendorff's alpha-reliability", section C: four observers, twelve units, α = 0.743.
PUBLISHED = [
    "1 2 3 3 2 1 4 1 2 . . .",
    "1 2 3 3 2 2 4 1 2 5 . 3",
    ". 3 3 3 2 3 4 2 2 5 1 .",
    "1 2 3 3 2 4 4 1 2 5 1 .",
]


def by_item(observers):
    return [
        [None if value == "." else int(value) for value in row] for row in zip(*map(str.split, observers), strict=True)
    ]


def test_alpha_is_that_of_its_published_example():
    found = krippendorff_alpha(by_item(PUBLISHED))
    assert found.value == pytest.approx(0.743, abs=0.0005)
    assert found.n == 11  # one unit has a single observer
    assert found.low < 0.743 < found.high <= 1


@pytest.mark.parametrize(
    ("rows", "value"),
    [
        ([[1, 1], [2, 2], [3, 3]], 1.0),
        # two of three agree: o = 2 + 2 of 6 values, categories 3 and 3: (5·4 − 12)/(30 − 12)
        ([[1, 1], [2, 2], [1, 2]], 8 / 18),
        ([[1, 1], [1, 1]], None),  # one category: chance would agree as well
        ([[1, None], [None, 2]], None),
        ([], None),
    ],
)
def test_alpha_by_hand(rows, value):
    assert krippendorff_alpha(rows).value == (None if value is None else pytest.approx(value))


def test_the_interval_of_alpha_counts_what_belongs_together_once():
    rows = [[1, 1], [1, 2], [2, 2], [2, 1], [1, 1], [2, 2]]
    nine_times = [row for row in rows for _ in range(9)]
    alone, apart = krippendorff_alpha(rows), krippendorff_alpha(nine_times)
    together = krippendorff_alpha(nine_times, unit=[place for place in range(6) for _ in range(9)])
    assert apart.value == together.value
    assert apart.high - apart.low < 0.6 < 1.2 < together.high - together.low
    assert together.high - together.low == pytest.approx(alone.high - alone.low, abs=0.15)


def planted(accuracies, share_right=0.8, items=150, seed=5):
    """Votes on labels of which `share_right` are right, by reviewers of these accuracies; and which labels are right."""
    chance = random.Random(seed)
    right = [chance.random() < share_right for _ in range(items)]
    return [[int((chance.random() < accuracy) == label) for accuracy in accuracies] for label in right], right


def test_planted_reviewers_are_recovered_within_their_intervals():
    # over 25 such draws the intervals held the truth in 94 % of cases
    truth = (0.8, 0.8, 0.8, 0.5)
    votes, right = planted(truth[1:], seed=104)
    found = accuracies(votes)
    for one, planted_value in zip(found, truth, strict=True):
        assert one.low <= planted_value <= one.high and one.high - one.low < 0.25 and one.n == 150
    _, *reviewers = found
    assert reviewers[2].high < min(reviewers[0].value, reviewers[1].value)
    # the posterior is right about more labels than taking all of them for right
    posterior = dawid_skene(votes)
    assert sum((p > 0.5) == label for p, label in zip(posterior, right, strict=True)) > sum(right)


def test_a_vote_of_an_accurate_reviewer_moves_a_label_further():
    votes, _ = planted((0.8, 0.8, 0.5), items=400)
    votes += [[0, 0, None], [None, None, 0], [1, 1, None], [None, None, None]]
    *_, against_two, against_by_chance, for_two, unseen = dawid_skene(votes)
    assert against_two < 0.35 < against_by_chance < for_two
    assert against_by_chance == pytest.approx(unseen, abs=0.08)
    assert unseen == pytest.approx(0.8, abs=0.06)


def test_with_one_reviewer_labels_and_reviewer_are_both_doubted():
    # 40 labels, half of them confirmed. By the prior the reviewer is right 3 times of 4, so half of the labels are wrong, and a
    # confirmed label is right with probability 0.75; 36 of 40 confirmed: most labels are right, and the reviewer is better than that.
    half, most = ([[int(place % one > 0)] for place in range(40)] for one in (2, 10))
    assert dawid_skene(half)[:2] == [pytest.approx(0.25, abs=0.001), pytest.approx(0.75, abs=0.001)]
    share, reviewer = accuracies(most)
    assert share.value > 0.9 and reviewer.value > 0.9
    assert (
        0.4 < dawid_skene(most)[0] < 0.5 < 0.95 < dawid_skene(most)[1]
    )  # the one no: label or reviewer, about as probable


def test_labels_without_a_vote_take_the_share_of_right_labels_and_change_nothing():
    votes, _ = planted((0.8, 0.8), items=40)
    more = dawid_skene(votes + [[None, None]] * 400)
    assert more[:40] == pytest.approx(dawid_skene(votes), abs=1e-6)
    assert more[40] == more[-1] == pytest.approx(accuracies(votes)[0].value, abs=1e-4)


def test_nothing_judged_is_no_error():
    assert dawid_skene([]) == []
    assert [one.value for one in accuracies([])] == [None]
