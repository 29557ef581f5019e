"""What an analyst asks, on rows given by hand: each named query's answer is computed beside it.

Two cycles. In the first, three scenarios were searched: the baker's has one clearly better reply, the nurse's answers never change, and
the clerk's replies were tried once each. The second searched the baker's again.
"""

import dataclasses

import pytest
from small_stores import filled, hand_dialogue, hand_tree, support_scenario

from engage.dialogue import Dialogue, Role, Turn
from engage.evaluation.night_page.searched import errors_in_words
from engage.store import PairConfig

BAKER = support_scenario("baker", difficulty="guarded")
NURSE = support_scenario("nurse", difficulty="terse")
CLERK = support_scenario("clerk", difficulty="terse", split="validation")
BETTER, WORSE = "Tell me more. What was he like?", "Cheer up!"


def talked(scenario, reward, said, cycle_id="c1", policy="base", seed=1, **turn):
    """An evaluation dialogue with this reply."""
    record = hand_dialogue(scenario, reward, cycle_id=cycle_id, policy=policy, seed=seed)
    opening, _, answer = record.trajectory.dialogue.turns
    dialogue = Dialogue((opening, Turn(Role.ASSISTANT, said, **turn), answer))
    return dataclasses.replace(record, trajectory=dataclasses.replace(record.trajectory, dialogue=dialogue))


def flawed(record, **drawn):
    """The tree with the draws of its user turns by node: the flaws of those thrown away, and of the one that was kept."""
    nodes = [
        dataclasses.replace(
            node,
            redrawn=tuple(thrown := drawn[f"n{node.node_id}"][:-1]),
            flaw=drawn[f"n{node.node_id}"][-1],
            attempts=len(thrown) + 1,
            first_flaw=drawn[f"n{node.node_id}"][0],
        )
        if f"n{node.node_id}" in drawn
        else node
        for node in record.nodes
    ]
    return dataclasses.replace(record, nodes=tuple(nodes))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    # Nodes: 0 root, 1 better reply, 2 and 3 its user turns, 4 worse reply, 5 and 6 its user turns.
    bakers = hand_tree(BAKER, {BETTER: [[1.0], [0.9, 0.8]], WORSE: [[0.1], [0.2]]})
    trees = [
        flawed(bakers, n2=("role_flip", "list", None), n5=("role_flip",)),
        hand_tree(NURSE, {BETTER: [[0.5], [0.5]], WORSE: [[0.5], [0.5]]}),
        hand_tree(CLERK, {BETTER: [[0.75]], WORSE: [[0.25]]}),
        hand_tree(BAKER, {BETTER: [[1.0], [1.0]], WORSE: [[0.0], [0.0]]}, cycle_id="c2"),
    ]
    held = [
        talked(BAKER, 0.25, "No."),
        talked(BAKER, 1.0, "Tell me, please: what was he like in the 14 years?", policy="candidate"),
        talked(NURSE, 0.5, "No."),
        talked(NURSE, 0.5, "Tell me!", policy="candidate"),
    ]
    store = filled(tmp_path_factory.mktemp("asked"), [BAKER, NURSE, CLERK], trees, held, ("c1", "c2"))
    store.score_pairs("c1", PairConfig(min_q_gap=0.02, confidence=0.8))
    return store


def of(store, name, *columns, **params):
    """The rows of a query about the first cycle, as tuples of these columns."""
    given = {"cycle": "c1", **params}
    return [tuple(row[column] for column in columns) for row in store.rows(name, given)]


@pytest.mark.slow
def test_which_user_conditions_are_not_moved(store):
    # By scenario, best and worst: baker 1.0 and 0.1, nurse 0.5 and 0.5, clerk 0.75 and 0.25. The nurse's answers never change.
    columns = ("level", "scenarios", "unmoved", "dialogues", "worst", "best")
    rows = of(store, "unmoved_conditions", "condition", *columns)
    assert [row[1:] for row in rows if row[0] == "difficulty"] == [
        ("terse", 2, 1, 6, 0.375, 0.625),
        ("guarded", 1, 0, 5, 0.1, 1.0),
    ]
    wider = of(store, "unmoved_conditions", "condition", "level", "unmoved", range=0.95)
    assert ("difficulty", "guarded", 1) in wider  # 1.0 − 0.1 is less


@pytest.mark.slow
def test_which_reply_openings_win(store):
    # Replies with two user turns each: the baker's and the nurse's. Only the baker's differ in value.
    columns = ("opening", "replies", "scenarios", "comparisons", "won", "win_share")
    assert of(store, "reply_openings", *columns) == [
        ("tell me more", 2, 2, 1, 1, 0.667),  # (1 + 1)/(1 + 2)
        ("cheer up", 2, 2, 1, 0, 0.333),
    ]
    # Means over user turns: better (1.0 + 0.85)/2, worse (0.1 + 0.2)/2.
    assert of(store, "reply_openings", "advantage") == [(0.775,), (-0.775,)]
    assert of(store, "reply_openings", "opening", words=2) == [("tell me",), ("cheer up",)]
    assert of(store, "reply_openings", "opening", replies=3) == []


def test_where_dialogues_die(tmp_path):
    held = [talked(BAKER, 0.5, "No.", seed=seed) for seed in range(4)]
    ends = [(1, "farewell"), (2, "farewell"), (2, "max_exchanges"), (2, "max_exchanges")]
    held = [
        dataclasses.replace(one, trajectory=dataclasses.replace(one.trajectory, exchanges=exchanges, end_reason=reason))
        for one, (exchanges, reason) in zip(held, ends, strict=True)
    ]
    rows = of(
        filled(tmp_path, [BAKER], [], held),
        "dialogue_survival",
        "exchange",
        "end_reason",
        "dialogues",
        "reached",
        "share",
    )
    assert rows == [(1, "farewell", 1, 4, 0.25), (2, "max_exchanges", 2, 3, 0.6667), (2, "farewell", 1, 3, 0.3333)]


def test_the_widest_gap_with_prefix_replies_and_every_future(store):
    rows = store.rows("widest_gaps", {"cycle": "c1", "pairs": 1})
    assert {(row["scenario"], row["prefix"], row["fate"]) for row in rows} == {
        ("baker", "user: My dog died.", "accepted")
    }
    assert [(row["side"], row["reply"], row["future"], row["reward"]) for row in rows] == [
        ("chosen", BETTER, "user: I miss him (2).", 1.0),
        ("chosen", BETTER, "user: I miss him (3).", 0.9),
        ("chosen", BETTER, "user: I miss him (3).", 0.8),
        ("rejected", WORSE, "user: I miss him (5).", 0.1),
        ("rejected", WORSE, "user: I miss him (6).", 0.2),
    ]


def test_the_best_and_the_worst_path_of_one_tree(store):
    columns = ("path", "speaker", "text", "visits", "q_value", "reward")
    rows = of(store, "best_and_worst_path", *columns)  # the baker's dialogues differ most
    assert rows == [
        ("best", "user", "My dog died.", None, None, 1.0),
        ("best", "assistant", BETTER, 3, 0.9, 1.0),  # (1.0 + 0.9 + 0.8)/3
        ("best", "user", "I miss him (2).", 1, 1.0, 1.0),
        ("worst", "user", "My dog died.", None, None, 0.1),
        ("worst", "assistant", WORSE, 2, 0.15, 0.1),
        ("worst", "user", "I miss him (5).", 1, 0.1, 0.1),
    ]
    assert {row[0] for row in of(store, "best_and_worst_path", "id", scenario="clerk")} == {"c1/clerk/0", "c1/clerk/1"}


def test_what_an_accepted_pair_costs(store):
    # Three trees with one call each: 100 prompt tokens (40 cached), 30 decoded. One pair was accepted.
    (row,) = store.rows("pair_cost", {"cycle": "c1"})
    assert (row["trees"], row["accepted"], row["pair_tokens"], row["pair_computed_tokens"], row["pair_calls"]) == (
        3, 1, 390, 270, 3.0,
    )  # fmt: skip
    (unscored,) = store.rows("pair_cost", {"cycle": "c2"})
    assert (unscored["prompt_tokens"], unscored["accepted"], unscored["pair_tokens"]) == (100, None, None)


def test_how_cycles_drift(store):
    # First cycle: scenarios' means 0.6, 0.5, 0.5; error of their mean: sd 0.0577/√3. Ten user turns, two of them flipped at first.
    rows = store.rows("cycle_drift")
    columns = ("cycle", "trees", "dialogues", "reward", "reward_error", "pairs", "pairs_per_tree", "flawed", "flipped")
    assert [tuple(row[column] for column in columns) for row in rows] == [
        ("c1", 3, 11, 0.5333, 0.0333, 1, 0.33, 0.2, 0.2),
        ("c2", 1, 4, 0.5, None, None, None, 0.0, 0.0),
    ]
    assert store.rows("cycle_drift", {"since": "2999-01-01"}) == []


def test_scenarios_that_gave_no_pair_and_why(store):
    columns = ("scenario", "reason", "pairs", "failed_at", "replies", "compared")
    assert of(store, "no_pair", *columns) == [
        ("nurse", "gap", 1, "gap 1", 2, 2),  # both replies have the value 0.5
        ("clerk", "no_evidence", 0, None, 2, 0),  # one user turn each
    ]
    assert of(store, "no_pair", "why")[0] == (
        "the widest gap of shrunk values is 0.0000 (of plain means: 0.0000), below pairs.min_q_gap",
    )
    assert of(store, "no_pair", "scenario", "reason", cycle="c2") == [("baker", "not_scored")]


def test_the_furthest_reason_is_named_where_pairs_failed_for_several(tmp_path):
    # Means 0.8, 0.5 and 0.5: two pairs come as far as confidence, the third has no gap.
    tree = hand_tree(BAKER, {"Tell me.": [[1.0], [0.6]], "Hm.": [[0.6], [0.4]], "Oh.": [[0.4], [0.6]]})
    store = filled(tmp_path, [BAKER], [tree])
    store.score_pairs("c1", PairConfig(min_q_gap=1e-6, confidence=0.99))
    (row,) = store.rows("no_pair")
    assert (row["reason"], row["pairs"]) == ("confidence", 3)
    assert sorted(row["failed_at"].split(", ")) == ["confidence 2", "gap 1"]
    assert row["why"] == f"P is at most {row['highest_p']:.3f} where the gap suffices, below pairs.confidence"


def test_the_figures_beside_a_reason_are_those_of_the_pairs_that_came_so_far(tmp_path):
    # P of the first two is high (0.998), but their gap is too narrow; that of the wide gaps to the third is 0.804 and 0.848.
    even = {"Tell me.": [[0.62], [0.61]] * 20, "Hm.": [[0.61], [0.6]] * 20}
    store = filled(tmp_path, [BAKER], [hand_tree(BAKER, {**even, "Oh.": [[0.6], [0.0]]})])
    store.score_pairs("c1", PairConfig(min_q_gap=0.02, confidence=0.9))
    (row,) = store.rows("no_pair")
    assert row["failed_at"] == "confidence 2, gap 1"
    assert (row["highest_p"], row["why"]) == (
        0.848,
        "P is at most 0.848 where the gap suffices, below pairs.confidence",
    )


def test_replies_that_are_no_siblings_are_no_evidence_once_pairs_are_judged(tmp_path):
    # Two user turns below a reply of the first root, two below the only reply of the second: nothing to compare.
    tree = hand_tree(BAKER, {"Tell me.": [[0.9], [0.8]], "Hm.": [[0.5]]})
    reply = dataclasses.replace(tree.nodes[4], node_id=6, parent_id=5, depth=3)
    turns = [dataclasses.replace(tree.nodes[5], node_id=number, parent_id=6, depth=4) for number in (7, 8)]
    nodes = (*tree.nodes[:5], dataclasses.replace(tree.nodes[5], spine_index=1), reply, *turns)
    later = [
        dataclasses.replace(tree.simulations[2], simulation=number - 4, root_id=5, node_ids=(0, 4, 5, 6, number))
        for number in (7, 8)
    ]
    tree = dataclasses.replace(tree, nodes=nodes, simulations=(*tree.simulations, *later))
    store = filled(tmp_path, [BAKER], [tree])
    assert of(store, "no_pair", "reason", "compared") == [("not_scored", 2)]
    assert store.score_pairs("c1", PairConfig())["candidates"] == 0
    assert of(store, "no_pair", "reason", "compared") == [("no_evidence", 2)]


def test_flaws_by_domain_with_every_draw(store):
    # Of the ten user turns one was drawn three times (role_flip, list, clean) and one was kept with a role_flip.
    columns = ("role", "flaw", "first_draws", "first_share", "draws", "kept", "turns", "unknown")
    rows = [row[2:] for row in of(store, "flaws_by_domain", "purpose", *columns) if row[:2] == ("search", "user")]
    assert rows == [
        (None, 8, 0.8, 9, 9, 10, 0),
        ("role_flip", 2, 0.2, 2, 1, 10, 0),
        ("list", 0, 0.0, 1, 0, 10, 0),
    ]


def test_whether_a_users_error_helped_or_hindered_the_assistant(store, tmp_path):
    # one user turn was kept with a role_flip: reward 0.1, where the same reply's other user turn gave 0.2
    columns = ("scenario", "node_id", "flaw", "reward", "clean_turns", "clean_reward", "difference", "effect")
    assert of(store, "simulator_errors", *columns) == [("baker", 5, "role_flip", 0.1, 1, 0.2, -0.1, "hindered")]
    # nodes: 2, 3, 4 below the one reply, 6 and 7 below the other, which has no clean turn to compare with
    nurse = hand_tree(NURSE, {BETTER: [[0.9, 0.7], [0.5], [0.3]], WORSE: [[0.1], [0.2]]})
    flaws = {"n2": ("role_flip",), "n3": ("repetition",), "n6": ("role_flip",), "n7": ("role_flip",)}
    trees = [flawed(nurse, **flaws), flawed(hand_tree(CLERK, {BETTER: [[0.5], [0.5]]}), n2=("role_flip",))]
    rows = filled(tmp_path, [NURSE, CLERK], trees).rows("simulator_errors", {"cycle": "c1"})
    assert [(row["scenario"], row["node_id"], row["difference"], row["effect"]) for row in rows] == [
        ("clerk", 2, 0.0, "neither"),
        ("nurse", 2, 0.5, "helped"),
        ("nurse", 3, 0.2, "helped"),
    ]
    # 0.7 over 3 turns; resampling two trees reaches from the clerk's 0 alone to the nurse's 0.35 alone
    assert errors_in_words(rows) == (
        "3 user turns with an error (repetition 1, role flip 2) can be compared with clean ones after the same reply: 2 helped the "
        "assistant, 0 hindered it; their rewards differ by +0.233 [+0.000, +0.350] on average."
    )


def test_whether_role_flips_rose(store, tmp_path):
    (first, second) = store.rows("flaw_drift", {"flaw": "role_flip"})
    # Trees of the first cycle: 2 of 4, 0 of 4, 0 of 2 turns. Ratio error: residuals 2 − 0.8, −0.8, −0.4; √(2.24·3/2)/10.
    assert (first["cycle"], first["turns"], first["flawed"], first["share"], first["change"]) == (
        "c1",
        10,
        2,
        0.2,
        None,
    )
    assert first["standard_error"] == 0.1833
    assert (second["cycle"], second["share"], second["change"], second["standard_error"]) == ("c2", 0.0, -0.2, None)
    # Two cycles of two trees, all turns flipped in one of the first and in both of the second: from 0.5 ± 0.5 to 1 ± 0.
    replies = {"Oh.": [[0.5], [0.5]]}
    flipped = {"n2": ("role_flip",), "n3": ("role_flip",)}
    trees = [
        flawed(hand_tree(BAKER, replies), **flipped),
        hand_tree(NURSE, replies),
        flawed(hand_tree(BAKER, replies, cycle_id="c2"), **flipped),
        flawed(hand_tree(NURSE, replies, cycle_id="c2"), **flipped),
    ]
    rows = filled(tmp_path, [BAKER, NURSE], trees, cycle_ids=("c1", "c2")).rows("flaw_drift")
    assert [(row["share"], row["standard_error"], row["change_in_errors"]) for row in rows] == [
        (0.5, 0.5, None),
        (1.0, 0.0, 1.0),  # 0.5 more, of an error of √(0.5² + 0²)
    ]


def test_reward_against_the_style_of_replies(store):
    columns = ("purpose", "policy", "style", "level", "dialogues", "scenarios", "reward", "against_scenario")
    rows = {row[:4]: row[4:] for row in of(store, "reward_by_style", *columns)}
    # "Tell me more. What was he like?" asks, in 7 words; "Cheer up!" exclaims. Asking: baker 1, 0.9, 0.8 (mean of all five 0.6),
    # nurse 0.5 twice (0.5), clerk 0.75 (0.5): above their scenarios by (0.4 + 0.3 + 0.2 + 0 + 0 + 0.25)/6.
    assert rows["search", None, "asks", "all"] == (6, 3, 0.742, 0.192)
    assert rows["search", None, "asks", "none"] == (5, 3, 0.31, -0.23)
    assert rows["search", None, "exclaims", "all"] == rows["search", None, "asks", "none"]
    assert rows["search", None, "reply_words", "0 to 10"] == (11, 3, 0.545, 0.0)
    # Each scenario had one dialogue with each policy: nothing to compare with.
    assert rows["evaluation", "candidate", "reply_words", "10 to 20"] == (1, 1, 1.0, None)
    assert rows["evaluation", "candidate", "names_number", "all"] == (1, 1, 1.0, None)


def test_what_changed_since(store):
    rows = store.rows("changed_since", {"cycle": "c1"})
    assert {row["what"]: row["rows"] for row in rows} == {
        "cycle begun": 1, "tree stored": 3, "evaluation dialogue stored": 4, "pair judged": 2,
    }  # fmt: skip
    assert all(row["first_at"] <= row["last_at"] for row in rows)
    assert {row["cycle"] for row in store.rows("changed_since")} == {"c1", "c2"}
    assert store.rows("changed_since", {"since": "2999-01-01"}) == []


def test_two_candidates_side_by_side(store):
    rows = store.rows("side_by_side", {"cycle": "c1", "a": "base", "b": "candidate", "dialogues": 1})
    columns = ("scenario", "speaker", "text_a", "text_b", "reward_a", "reward_b")
    assert [tuple(row[column] for column in columns) for row in rows] == [  # the baker's rewards differ most
        ("baker", "user", "My dog died.", "My dog died.", None, None),
        ("baker", "assistant", "No.", "Tell me, please: what was he like in the 14 years?", None, None),
        ("baker", "user", "He was old.", "He was old.", None, None),
        ("baker", "survey", "a number", "a number", 0.25, 1.0),
    ]
    assert {row["scenario"] for row in store.rows("side_by_side", {"cycle": "c1", "scenario": "nurse"})} == {"nurse"}


def test_the_incumbent_stands_before_the_candidate_by_default(store):
    found = {
        (row["id_a"].split("/")[2], row["id_b"].split("/")[2]) for row in store.rows("side_by_side", {"cycle": "c1"})
    }
    assert found == {("base", "candidate")}


def test_candidates_of_two_cycles_side_by_side(tmp_path):
    held = [
        talked(BAKER, 0.25, "No.", policy="candidate-a", seed=5),
        talked(BAKER, 0.5, "Hm.", cycle_id="c2", policy="candidate-b", seed=9),
    ]
    store = filled(tmp_path, [BAKER], [], held, ("c1", "c2"))
    rows = store.rows("side_by_side", {"cycle": "c1", "a": "candidate-a", "b": "candidate-b", "other_cycle": "c2"})
    assert [(row["text_a"], row["text_b"]) for row in rows if row["speaker"] == "assistant"] == [("No.", "Hm.")]
    assert store.rows("side_by_side", {"cycle": "c1", "a": "candidate-a", "b": "candidate-b"}) == []


def test_dialogues_of_two_cycles_are_matched_once_though_they_share_a_seed(tmp_path):
    held = [
        talked(BAKER, 0.5, said, cycle_id=cycle, policy=f"candidate-{cycle}", seed=seed)
        for cycle, seed, said in (("c1", 1, "A."), ("c1", 2, "B."), ("c2", 2, "C."), ("c2", 3, "D."))
    ]
    store = filled(tmp_path, [BAKER], [], held, ("c1", "c2"))
    rows = store.rows("side_by_side", {"cycle": "c1", "a": "candidate-c1", "b": "candidate-c2", "other_cycle": "c2"})
    assert [(row["text_a"], row["text_b"]) for row in rows if row["speaker"] == "assistant"] == [
        ("A.", "C."),
        ("B.", "D."),
    ]


def test_a_view_holds_the_dialogues_of_one_purpose(store):
    counted = {
        view: store.select(f"select count(*), round(avg(reward), 4) from {view} where cycle_id = 'c1'")[1][0]
        for view in ("search_outcome", "evaluation_outcome", "human_outcome")
    }
    # 6.0 over 11 simulations; 0.25, 1, 0.5 and 0.5 over four dialogues
    assert counted == {"search_outcome": (11, 0.5455), "evaluation_outcome": (4, 0.5625), "human_outcome": (0, None)}
