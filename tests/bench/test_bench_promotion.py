"""The promotion rule in simulated nights: that its error control holds, and that the test would see it break."""

from functools import partial

import numpy as np
import pytest

from engage.bench.promotion import (
    RULES,
    UNCORRECTED,
    Promotion,
    World,
    kept_challenger,
    share_false,
    sign_flips,
    simulate,
)

ALPHA = 0.2
"""Larger than a home's, so that few histories show it."""


def test_the_share_of_false_promotions_stays_below_alpha_where_no_candidate_is_better():
    # 120 histories of 90 nights. Half of the candidates lose a little; the others gain nothing on exactly these scenarios.
    # Every promotion would be false: the share is that of histories with one. Three standard errors of 0.2 are 0.11.
    gains = np.where(np.arange(90) % 2, 0.0, -0.3) * np.ones((120, 1))
    found = simulate(kept_challenger, gains, World(120, between=0.0, seed=3), ALPHA)
    assert share_false(found, 120) <= ALPHA + 0.11
    # at the same level for every challenge, without the stream's correction, most histories have one
    uncorrected = simulate(UNCORRECTED, gains, World(120, between=0.0, seed=3), ALPHA)
    assert share_false(uncorrected, 120) > 2 * ALPHA


def test_rare_large_losses_do_not_pass_for_a_gain():
    # nine dialogues of ten gain a little, one loses much, nothing on average: sign flips, scaled by each batch, are deceived
    gains, rules = np.zeros((60, 90)), (kept_challenger, partial(kept_challenger, evidence=sign_flips))
    found = [simulate(rule, gains, World(60, between=0.0, seed=4, skewed=True), ALPHA) for rule in rules]
    # every promotion is false; three standard errors of 0.2 are 0.15
    bets, flips = (len({one.history for one in promotions}) / 60 for promotions in found)
    assert bets <= ALPHA + 0.15
    assert flips > 0.9


def test_true_gains_are_promoted_in_the_end_where_the_former_rule_stops():
    # after 60 nights of candidates without a gain, every candidate gains one standard error of a night
    gains = np.zeros((40, 150))
    gains[:, 60:] = 1.0
    promoted = {
        name: {one.history for one in simulate(rule, gains, World(40, seed=5)) if one.gain > 0}
        for name, rule in RULES.items()
    }
    kept, _, _, former = (len(found) for found in promoted.values())
    assert kept >= 36
    assert former <= 2


def test_a_promotion_counts_as_false_by_the_gain_on_its_scenarios():
    found = [
        Promotion(3, 0, gain=0.0, here=0.1, born=3),
        Promotion(9, 0, gain=0.0, here=-0.1, born=3),
        Promotion(4, 2, gain=1.0, here=0.9, born=4),
    ]
    # histories 0 to 3 have shares 1/2, 0, 0, 0
    assert share_false(found, 4) == pytest.approx(0.125)
