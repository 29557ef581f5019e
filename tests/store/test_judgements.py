"""Judgements of people: through the outbox into the store, the one that counts, and what becomes of the pairs they are about."""

import dataclasses

import pytest
from small_stores import filled, hand_dialogue, hand_judgement, hand_tree, judge, support_scenario

from engage.store import Outbox, PairConfig

BAKER = support_scenario("baker")
# Nodes: 1 "Tell me more." (user turns 2, 3), 4 "Cheer up." (user turns 5, 6).
TREE = hand_tree(BAKER, {"Tell me more.": [[1.0], [1.0]], "Cheer up.": [[0.0], [0.0]]})
ALL = PairConfig(min_q_gap=0.0, confidence=0.5)


@pytest.fixture
def store(tmp_path):
    found = filled(tmp_path, [BAKER], [TREE])
    found.score_pairs("c1", ALL)
    return found


@pytest.mark.slow
def test_a_judgement_is_stored_as_it_was_put_and_once(store):
    record = hand_judgement("left")
    judge(store, record)
    judge(store, record)
    columns, rows = store.select("from judgement")
    (row,) = [dict(zip(columns, row, strict=True)) for row in rows]
    assert row.pop("stored_at") is not None and row.pop("judgement_id") == record.judgement_id
    assert row == dataclasses.asdict(record)


def test_judgements_wait_in_the_outbox_and_can_be_read_there(tmp_path):
    outbox = Outbox(tmp_path)
    outbox.put_judgement(hand_judgement("equal"))
    outbox.put_dialogues([hand_dialogue(BAKER, 0.5)])
    outbox.put_judgement(hand_judgement("harmful", "bob"))
    (outbox.folder / "broken.judgement.parquet").write_bytes(b"no Parquet")
    assert sorted(row["verdict"] for row in outbox.judgements()) == ["equal", "harmful"]


def test_a_damaged_judgement_is_set_aside_and_the_others_are_stored(store):
    outbox = Outbox(store.path.parent / "outbox")
    outbox.put_judgement(hand_judgement("left"))
    (outbox.folder / "broken.judgement.parquet").write_bytes(b"no Parquet")
    store.drain(outbox)
    assert [path.name for path in outbox.folder.iterdir()] == ["broken.judgement.parquet.damaged"]
    assert store.select("select verdict from judgement")[1] == [("left",)]


def test_the_last_judgement_of_a_reviewer_counts_and_what_was_taken_back_does_not(store):
    judge(store, hand_judgement("left"), hand_judgement("right", minute=2), hand_judgement("withdrawn", minute=1))
    judge(store, hand_judgement("left", "bob", minute=3), hand_judgement("withdrawn", "bob", minute=4))
    said = "select reviewer, verdict, preferred_id from latest_judgement"
    assert store.select(said)[1] == [("ann", "right", "4")]
    assert store.select("select count(*) from judgement")[1] == [(5,)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("verdict", "left", "right", "said"),
    [
        ("left", "1", "4", "chosen"),
        ("right", "1", "4", "rejected"),
        ("left", "4", "1", "rejected"),
        ("right", "4", "1", "chosen"),
        ("equal", "4", "1", "equal"),
        ("harmful", "1", "4", "harmful"),
    ],
)
def test_a_verdict_is_about_the_reply_whichever_side_it_was_on(store, verdict, left, right, said):
    judge(store, hand_judgement(verdict, left=left, right=right))
    (row,) = store.rows("judged_pairs")
    assert (row["verdict"], row["chosen_id"], row["rejected_id"]) == (said, 1, 4)
    assert row["p_greater"] == round(store.rows("review_pairs")[0]["p_greater"], 4)


def test_a_verdict_on_dialogues_names_the_side_of_the_policy(tmp_path):
    held = [hand_dialogue(BAKER, 0.5, policy=policy) for policy in ("base", "candidate-1")]
    store = filled(tmp_path, [BAKER], [], held)
    base, candidate = (f"c1/evaluation/{policy}/held_out/baker/1" for policy in ("base", "candidate-1"))
    judge(
        store,
        hand_judgement("right", "ann", left=base, right=candidate),
        hand_judgement("right", "bob", left=candidate, right=base),
        hand_judgement("nonsense", "eve", left=candidate, right=base),
    )
    rows = {row["reviewer"]: (row["verdict"], row["preferred_policy"]) for row in store.rows("judged_dialogues")}
    assert rows == {"ann": ("candidate", "candidate-1"), "bob": ("incumbent", "base"), "eve": ("nonsense", None)}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("verdicts", "fate"),
    [
        ([], "accepted"),
        (["nonsense"], "nonsense"),
        (["harmful"], "harmful"),
        (["right"], "accepted"),
        (["nonsense", "left"], "accepted"),  # one of two is no majority
        (["nonsense", "harmful", "left"], "harmful"),  # two of three, the worse reason
        (["nonsense", "nonsense", "harmful"], "nonsense"),
        (["nonsense", "equal", "left"], "accepted"),
    ],
)
def test_a_pair_is_left_out_if_most_of_its_reviewers_call_it_nonsense_or_harmful(store, verdicts, fate):
    judge(store, *(hand_judgement(verdict, f"reviewer {place}") for place, verdict in enumerate(verdicts)))
    store.score_pairs("c1", ALL)
    assert [row["fate"] for row in store.rows("pair_counts")] == [fate]
    without = [(row["reason"], f"called it {fate}" in row["why"]) for row in store.rows("no_pair")]
    assert without == ([] if fate == "accepted" else [(fate, True)])
    assert store.select("select count(*) from pair where accepted")[1] == [(int(fate == "accepted"),)]


def test_judgements_are_among_what_changed(store):
    judge(store, hand_judgement("left"), hand_judgement("equal", "bob"))
    rows = {row["what"]: row["rows"] for row in store.rows("changed_since")}
    assert rows["judgement of a person stored"] == 2


def test_another_reason_against_a_pair_comes_first(store):
    judge(store, hand_judgement("harmful"))
    store.score_pairs("c1", PairConfig(min_groups=3))
    assert [row["fate"] for row in store.rows("pair_counts")] == ["min_groups"]
