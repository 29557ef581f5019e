"""The queries behind the pages, on a tree by hand: visits, Q with its interval, evidence, simulations, pairs."""

import math

import pytest
from small_stores import filled, hand_dialogue, hand_tree, support_scenario

from engage.store import PairConfig

BAKER, NURSE = support_scenario("baker"), support_scenario("nurse")
# Nodes: 0 root; 1 "Tell me more." with the user turns 2 (reward 1) and 3 (1 and 0.5); 4 "Cheer up." with 5 (0), 6 (0.25), 7 (unreadable).
TREE = hand_tree(
    BAKER, {"Tell me more.": [[1.0], [1.0, 0.5]], "Cheer up.": [[0.0], [0.25], [None]]}, flaws={"Cheer up.": "too_long"}
)
JUDGED = PairConfig(min_q_gap=0.0, confidence=0.5)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    held = [hand_dialogue(BAKER, 0.75), hand_dialogue(BAKER, 1.0, policy="candidate")]
    return filled(tmp_path_factory.mktemp("cycle"), [BAKER, NURSE], [TREE, hand_tree(NURSE, {"Hm.": [[0.5]]})], held)


@pytest.fixture
def node(store):
    rows = store.rows("page_nodes", {"scenarios": ["baker"]})
    return {row["node_id"]: row for row in rows}


def test_a_reply_has_its_visits_q_and_prior(node):
    assert [(row["visits"], row["prior"]) for row in node.values()] == [
        (6, None), (3, 0.5), (1, None), (2, None), (3, 0.5), (1, None), (1, None), (1, None),
    ]  # fmt: skip
    assert node[1]["q_value"] == pytest.approx(2.5 / 3) and node[7]["q_value"] is None


def test_simulations_through_one_user_turn_are_one_group(node):
    # of the root: user turns 2, 3, 5, 6 (the one below 7 could not be read); of node 3: two dialogues that ended there
    assert [row["groups"] for row in node.values()] == [4, 2, 1, 2, 2, 1, 1, 0]


def test_the_interval_shrinks_the_variance_to_the_domains(node):
    # Means of the user turns: 1 and 0.75 below node 1, 0 and 0.25 below node 4: both variances 1/32, pooled 1/32.
    half = 1.96 * math.sqrt(1 / 32 / 2)
    assert (node[1]["q_low"], node[1]["q_high"]) == (pytest.approx(2.5 / 3 - half), 1.0)
    assert (node[4]["q_low"], node[4]["q_high"]) == (0.0, pytest.approx(0.125 + half))
    # Node 3, two dialogues with rewards 1 and 0.5: variance 1/8, with four further degrees of freedom of 1/32.
    half = 1.96 * math.sqrt((1 / 8 + 4 / 32) / 5 / 2)
    assert node[3]["q_low"] == pytest.approx(0.75 - half)
    assert node[7]["q_low"] is None and node[7]["q_high"] is None


def test_a_reply_has_the_value_that_pairs_compare(store, node):
    (stored,) = store.select("select value_mean, sqrt(value_variance) from reply_value where reply_id = 1")[1]
    assert (node[1]["value"], node[1]["standard_error"]) == pytest.approx(stored, abs=1e-9)
    assert node[0]["value"] is None and node[2]["value"] is None


def test_flawed_draws_count_the_kept_one_too(node):
    assert [(row["draws"], row["flawed_draws"]) for row in node.values()][:5] == [(1, 0)] * 4 + [(1, 1)]


def test_a_simulation_names_its_last_node_and_what_was_played_out_below(tmp_path):
    from scripted_scenarios import searched

    record = searched(scenario=BAKER)
    rows = filled(tmp_path, [BAKER], [record]).rows("page_simulations")
    for row, simulation in zip(rows, record.simulations, strict=True):
        assert row["leaf_id"] == simulation.node_ids[-1]
        below = simulation.trajectory.dialogue.turns[len(BAKER.opening.turns) + len(simulation.node_ids) - 1 :]
        assert [(turn["role"], turn["text"]) for turn in row["turns"]] == [(turn.role, turn.text) for turn in below]
        assert row["reward"] == simulation.trajectory.reward
    assert any(row["turns"] for row in rows)


@pytest.mark.slow
def test_a_pair_has_no_fate_before_it_is_judged(tmp_path):
    fresh = filled(tmp_path, [BAKER], [TREE])
    assert [(row["chosen_id"], row["rejected_id"], row["fate"]) for row in fresh.rows("page_pairs")] == [(1, 4, None)]
    fresh.score_pairs("c1", JUDGED)
    assert [row["fate"] for row in fresh.rows("page_pairs")] == ["accepted"]
    fresh.score_pairs("c1", PairConfig(min_q_gap=0.99))
    assert [row["fate"] for row in fresh.rows("page_pairs")] == ["gap"]


@pytest.mark.slow
def test_how_well_replies_could_be_told_apart(tmp_path):
    fresh = filled(tmp_path, [BAKER], [TREE])
    fresh.score_pairs("c1", JUDGED)
    (row,) = fresh.rows("page_pair_evidence")
    ((gap, p),) = fresh.select("select q_gap, p_greater from sibling_pair")[1]
    assert (row["candidates"], row["accepted"], row["q_gap_median"]) == (1, 1, gap)
    z = gap / row["gap_error_median"]  # P is the normal distribution of gap over error
    assert p == pytest.approx((1 + math.erf(z / math.sqrt(2))) / 2, abs=1e-6)


@pytest.mark.slow
def test_a_pair_keeps_its_fate_where_another_reward_turns_it_round(tmp_path):
    fresh = filled(tmp_path, [BAKER], [TREE])
    fresh.score_pairs("c1", JUDGED)
    (before,) = fresh.rows("page_pair_evidence")
    fresh.rescore("emotional_support", lambda value: (value - 1) / 8)  # was (5 - value) / 4
    (pair,), (after,) = fresh.rows("page_pairs"), fresh.rows("page_pair_evidence")
    assert (pair["chosen_id"], pair["fate"], after["accepted"]) == (4, "accepted", 1)
    assert after["q_gap_median"] < before["q_gap_median"]
    judged = ("accepted_gap_min", "accepted_p_min")
    assert [after[name] for name in judged] == [before[name] for name in judged]
    assert {row["fate"] for row in fresh.rows("widest_gaps")} == {"accepted"}


def test_a_tree_and_its_scenario(store):
    (row,) = store.rows("page_trees", {"scenarios": ["baker"]})
    assert (row["nodes"], row["simulations"], row["rewards"], row["reward_mean"], row["wall_s"]) == (8, 6, 5, 0.55, 2.5)
    assert len(store.rows("page_trees")) == 2


@pytest.mark.slow
def test_nights_end_with_the_one_asked_for_and_carry_its_gain(tmp_path):
    early, late = hand_tree(BAKER, {"Hm.": [[0.5]]}, "c1"), hand_tree(BAKER, {"Hm.": [[1.0]]}, "c2")
    fresh = filled(tmp_path, [BAKER], [early, late], cycle_ids=("c0", "c1", "c2"))
    # another training before, and a comparison of policies later in the same cycle
    for policy, gain in (("candidate-1", 0.125), ("candidate-2", 0.25), ("dpo_search-2", 0.375)):
        fresh.add_evaluation(
            "c2", "validation", policy, "bare", {"all": {"n": 8, "difference": gain, "low": 0.125, "high": 0.5}}
        )
    rows = fresh.rows("page_nights")
    assert [(row["cycle_id"], row["reward_mean"], row["gain"], row["low"], row["high"], row["scenarios"]) for row in rows] == [
        ("c1", 0.5, None, None, None, None),
        ("c2", 1.0, 0.25, 0.125, 0.5, 8),
    ]  # fmt: skip
    assert [row["cycle_id"] for row in fresh.rows("page_nights", {"cycle": "c1"})] == ["c1"]
