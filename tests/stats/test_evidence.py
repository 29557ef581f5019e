import math

import numpy as np
import pytest

from engage.stats import BETS, batch_evidence, log_evidence, stream_level


def test_the_evidence_of_one_batch_by_hand():
    # stakes 0.3 and 0.95 on 0.5 and −0.2: 1.15 · 0.94 = 1.081 and 1.475 · 0.81 = 1.19475
    assert np.exp(batch_evidence([0.5, -0.2])) == pytest.approx([1.081, 1.19475])
    assert math.exp(log_evidence(batch_evidence([0.5, -0.2]))) == pytest.approx((1.081 + 1.19475) / 2)


def test_equal_dialogues_are_no_evidence_and_a_total_loss_is_not_the_end():
    assert list(batch_evidence([0.0, 0.0, 0.0])) == [0.0] * len(BETS)
    assert log_evidence(batch_evidence([])) == 0.0
    assert math.exp(log_evidence(batch_evidence([-1.0]))) == pytest.approx((0.7 + 0.05) / 2)


def test_the_e_value_is_at_most_one_on_average_where_the_mean_gain_is_nothing():
    # two scenarios: one gains 0.3 for certain, the other loses 1 with chance 0.3; their mean is exactly 0
    expected = 0.7 * np.exp(batch_evidence([0.3, 0.0])) + 0.3 * np.exp(batch_evidence([0.3, -1.0]))
    # (1 + 0.3 λ) (1 − 0.3 λ) = 1 − 0.09 λ²
    assert expected == pytest.approx([1 - 0.09 * bet**2 for bet in BETS])


def test_many_batches_of_losses_leave_nothing():
    batches = batch_evidence(np.random.default_rng(1).normal(-0.02, 0.1, (60, 16)))
    assert log_evidence(batches.sum(axis=0)) < -5
    assert batches.shape == (60, len(BETS))


def test_levels_by_hand_and_their_sum():
    # 1 / (2 ln² 2) is 1.0407; over 2.10974 that is 0.4933
    assert stream_level(1, 0, 0.05) == pytest.approx(0.05 * 0.49327, rel=1e-4)
    assert stream_level(1, 3, 0.05) == pytest.approx(4 * stream_level(1, 0, 0.05))
    spent = stream_level(np.arange(1, 1_000_000), 0, 0.05).sum()
    assert 0.9 * 0.05 < spent < 0.05
    # after ten years of nights without a promotion a candidate needs an e-value of e^16: some more nights, not never
    assert -math.log(stream_level(3650, 0, 0.05)) == pytest.approx(16.2, abs=0.1)
