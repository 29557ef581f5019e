import math

import numpy as np
import pytest

from engage.stats import EFFECTS, batch_evidence, log_evidence, stream_level


def test_the_evidence_of_one_batch_by_hand():
    # root sum of squares of (3, 4) is 5; with effect c the factors are 1 + tanh(0.6 c) and 1 + tanh(0.8 c)
    expected = [math.log((1 + math.tanh(0.6 * c)) * (1 + math.tanh(0.8 * c))) for c in EFFECTS]
    assert batch_evidence([0.03, 0.04]) == pytest.approx(expected)
    assert log_evidence(batch_evidence([0.03, 0.04])) == pytest.approx(math.log(np.mean(np.exp(expected))))


def test_equal_dialogues_are_no_evidence():
    assert list(batch_evidence([0.0, 0.0, 0.0])) == [0.0] * len(EFFECTS)
    assert log_evidence(batch_evidence([])) == 0.0


def test_the_e_value_is_one_on_average_over_all_signs():
    sizes = np.array([0.01, 0.3, 0.02, 0.02, 0.1])
    signs = 2 * ((np.arange(32)[:, None] >> np.arange(5)) & 1) - 1
    assert np.exp(batch_evidence(signs * sizes)).mean(axis=0) == pytest.approx([1.0] * len(EFFECTS))


def test_many_batches_of_losses_leave_nothing():
    batches = batch_evidence(np.random.default_rng(1).normal(-0.02, 0.1, (60, 16)))
    assert log_evidence(batches.sum(axis=0)) < -5


def test_levels_by_hand_and_their_sum():
    # 1 / (2 ln² 2) is 1.0407; over 2.10974 that is 0.4933
    assert stream_level(1, 0, 0.05) == pytest.approx(0.05 * 0.49327, rel=1e-4)
    assert stream_level(1, 3, 0.05) == pytest.approx(4 * stream_level(1, 0, 0.05))
    spent = stream_level(np.arange(1, 1_000_000), 0, 0.05).sum()
    assert 0.9 * 0.05 < spent < 0.05
    # after ten years of nights without a promotion a candidate needs an e-value of e^16: some more nights, not never
    assert -math.log(stream_level(3650, 0, 0.05)) == pytest.approx(16.2, abs=0.1)
