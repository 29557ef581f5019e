"""Hard and soft labels on planted label noise."""

import numpy as np
import pytest

from engage.experiments.label_noise import FIGURES, PROMPTS, compared, learnt, worlds
from engage.training import DpoSettings


def test_labels_are_flipped_as_often_as_they_state() -> None:
    wrong, stated = [], []
    for values, chosen, rejected, noise in worlds((0.0, 0.5), 10, 24):
        assert (chosen != rejected).all()
        wrong.append(np.take_along_axis(values, chosen, 1) < np.take_along_axis(values, rejected, 1))
        stated.append(noise)
    flips, noise = np.array(wrong).ravel(), np.array(stated).ravel()
    # 7,680 labels: a share's standard error is at most 0.006; half of them state less than 0.25, 0.125 on average
    assert flips.mean() == pytest.approx(0.25, abs=0.02)
    assert flips[noise < 0.25].mean() == pytest.approx(0.125, abs=0.025)


def test_a_policy_learns_the_order_where_no_label_is_wrong() -> None:
    figures = learnt((0.0, 0.0), DpoSettings(), 3, 60, 100)
    assert figures.shape == (3, len(FIGURES)) and PROMPTS == 32
    assert (figures[:, 0] > 0.93).all()
    # the best of eight replies has the value 1.42 on average, all of them together 0
    assert ((figures[:, 1] > 0.7) & (figures[:, 1] < 1.42)).all()


def test_unsure_labels_help_if_they_count_less_and_harm_if_they_count_more() -> None:
    apart = compared((0.0, 0.5), 20, 24, 100)["true accuracy"]
    low, high = apart["conservative"].low, apart["robust"].high
    assert low is not None and low > 0.0 and high is not None and high < 0.0
