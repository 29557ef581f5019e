"""P(chosen better than rejected) as SQL states it, against the truth of simulated prefixes. Seeded: the same figures every time."""

import numpy as np
import pytest
from small_stores import filled, hand_tree, support_scenario

pytestmark = pytest.mark.slow

PREFIXES, TEXTS, NOISE = 400, ("One?", "Two?", "Three?", "Four?"), 0.12


def stated_and_true(folder, true_spread, turns, seed):
    """For each pair of sibling replies: P as stated, and whether the chosen one is truly better.

    A reply's true value is N(prefix mean, true_spread²), a user turn's reward N(true value, NOISE²); `turns` draws the number
    of user turns below each reply.
    """
    rng = np.random.default_rng(seed)
    scenarios = [support_scenario(f"s{number}") for number in range(PREFIXES)]
    truth = 0.5 + 0.05 * rng.standard_normal((PREFIXES, 1)) + true_spread * rng.standard_normal((PREFIXES, len(TEXTS)))
    trees = [
        hand_tree(
            scenario,
            {
                text: [[value + NOISE * rng.standard_normal()] for _ in range(turns(rng))]
                for text, value in zip(TEXTS, values, strict=True)
            },
        )
        for scenario, values in zip(scenarios, truth, strict=True)
    ]
    rows = filled(folder, scenarios, trees).select(
        "select pair.scenario_id, chosen.text, rejected.text, pair.p_greater from sibling_pair as pair "
        "join node as chosen on chosen.tree_id = pair.tree_id and chosen.node_id = pair.chosen_id "
        "join node as rejected on rejected.tree_id = pair.tree_id and rejected.node_id = pair.rejected_id"
    )[1]
    true_value = {
        (s.scenario_id, text): v
        for s, row in zip(scenarios, truth, strict=True)
        for text, v in zip(TEXTS, row, strict=True)
    }
    better = [true_value[name, chosen] > true_value[name, rejected] for name, chosen, rejected, _ in rows]
    return np.array([row[3] for row in rows]), np.array(better)


@pytest.mark.parametrize(
    ("true_spread", "turns"),
    [
        pytest.param(0.10, lambda rng: 3, id="spread as wide as the noise"),
        pytest.param(0.03, lambda rng: rng.choice([2, 12]), id="narrow, few user turns beside many"),
    ],
)
def test_stated_probabilities_are_the_shares_that_are_truly_better(tmp_path, true_spread, turns):
    # 400 prefixes of 4 replies give 2400 pairs; a bin of 260 has a standard error of 0.023 at a share of 0.85.
    stated, better = stated_and_true(tmp_path, true_spread, turns, seed=11)
    assert len(stated) == 2400
    for low, high in ((0.6, 0.7), (0.7, 0.8), (0.8, 0.9), (0.9, 1.0)):
        here = (stated >= low) & (stated < high)
        print(f"{low}-{high}: {here.sum()} pairs, stated {stated[here].mean():.3f}, true {better[here].mean():.3f}")
        assert here.sum() > 60
        assert better[here].mean() == pytest.approx(stated[here].mean(), abs=0.06)
