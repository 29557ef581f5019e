"""A reviewer's way through a sample: what is drawn, who sees what on which side, what is kept, and what is hidden until when."""

import shutil

import pytest
from small_stores import count, filled, hand_dialogue, hand_judgement, hand_tree, judge, support_scenario

from engage.errors import ConfigError, QueryError, StoreError
from engage.evaluation.review import Review, dialogue_items, draw, earlier_judgements, named, pair_items
from engage.evaluation.review.items import Item, Sample, Side
from engage.store import Outbox, PairConfig, TrajectoryStore
from engage.store.database import writing

NAMES = [f"s{number}" for number in range(8)]
SCENARIOS = [support_scenario(name, opening=f"My dog died ({name}).") for name in NAMES]  # alike would be duplicates
REPLIES = {"Tell me more.": [[1.0], [0.75]], "Cheer up.": [[0.0], [0.25]]}  # nodes 1 and 4


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    found = filled(tmp_path_factory.mktemp("prepared"), SCENARIOS, [hand_tree(one, REPLIES) for one in SCENARIOS])
    found.score_pairs("c1", PairConfig(min_q_gap=0.0, confidence=0.5))
    return found.path


@pytest.fixture
def store(prepared, tmp_path):
    return TrajectoryStore(shutil.copy(prepared, tmp_path))


@pytest.fixture
def outbox(tmp_path):
    return Outbox(tmp_path / "outbox")


@pytest.fixture
def begin(store, outbox):
    """A new session on a sample of this size."""

    def begin_(reviewer="ann", size=8):
        sample = draw(pair_items(store, "c1"), size)
        return Review(sample, reviewer, outbox, earlier_judgements(store, outbox, "c1"))

    return begin_


def go(review, keys):
    for key in keys:
        assert review.judge(review.item.item_id, key)


@pytest.mark.slow
def test_a_sample_is_the_beginning_of_a_larger_one_and_the_same_for_everybody(store):
    items = pair_items(store, "c1")
    small, large = draw(items, 3), draw(list(reversed(items)), 6)
    assert [item.item_id for item in small.items] == [item.item_id for item in large.items[:3]]
    assert (small.population, small.chosen_by, small.seed) == (8, "random", large.seed)
    assert [item.scenario_id for item in draw(items, 8).items] != NAMES  # by chance, and not in the store's order


@pytest.mark.slow
def test_a_sample_holds_what_training_takes_and_what_reviewers_left_out(store):
    judge(store, hand_judgement("harmful", scenario="s0"))
    # the pairs of s1 and s2 are too uncertain now
    store.score_pairs("c1", PairConfig(min_q_gap=0.0, confidence=0.5))
    with writing(store.path, 1.0) as connection:
        connection.execute("update pair set accepted = false, drop_reason = 'gap' where scenario_id in ('s1', 's2')")
    assert {item.scenario_id for item in draw(pair_items(store, "c1"), 99).items} == {"s0", *NAMES[3:]}


def test_a_deeper_pair_of_a_tree_never_comes_before_the_one_above_it(outbox):
    # what is said before the deeper pair shows with which reply of the upper one the search went on
    def item(name: str, tree: str, turns: int) -> Item:
        sides = (Side("1", "chosen", ()), Side("2", "rejected", ()))
        return Item("pair", name, "c1", tree, tree, "", {}, (("user", "Hm."),) * turns, sides, "")

    items = [item("deep", "one", 5), item("other", "two", 1), item("upper", "one", 1), item("middle", "one", 3)]
    review = Review(Sample(tuple(items), "random"), "ann", outbox)
    shown = []
    while review.item:
        shown.append(review.item.item_id)
        go(review, "a")
    assert shown == ["upper", "other", "middle", "deep"]


def test_nothing_to_review_is_one_sentence(tmp_path):
    store = filled(tmp_path / "empty", [], [])
    with pytest.raises(QueryError, match="nothing to review"):
        draw(pair_items(store, "c1"), 5)
    assert dialogue_items(store, "c1", "candidate-1") == dialogue_items(store, "c1", None) == []


@pytest.mark.parametrize("name", ["s3", "s3:1:4", "s3:4:1", "c1/s3:1:4"])
def test_a_pair_can_be_named(store, name):
    sample = named(pair_items(store, "c1", [name]), [name])
    assert [item.scenario_id for item in sample.items] == ["s3"]
    assert (sample.chosen_by, sample.seed, sample.population) == ("list", None, None)


def test_an_unknown_name_is_one_sentence(store):
    with pytest.raises(
        QueryError, match="'s3:1:9' is no pair and no held-out dialogue of this cycle; write a scenario"
    ):
        ids = ["s3", "s3:1:9"]
        named(pair_items(store, "c1", ids), ids)


def test_a_named_pair_may_be_one_that_training_does_not_take(store):
    store.score_pairs("c1", PairConfig(min_groups=3))
    assert pair_items(store, "c1") == [] and len(pair_items(store, "c1", ["s3", "s4"])) == 2


def test_sides_are_shuffled_by_reviewer_and_pair_and_stay_as_they_are(begin):
    ann, again, bob = begin("ann"), begin("ann"), begin("bob")
    items = ann.sample.items
    of = {who: [review.sides(item)[0].name for item in items] for who, review in (("ann", ann), ("bob", bob))}
    assert {"chosen", "rejected"} == set(of["ann"]) == set(of["bob"]) and of["ann"] != of["bob"]
    assert of["ann"] == [again.sides(item)[0].name for item in items]


def test_a_judgement_is_kept_before_the_next_item_is_shown_and_says_who_what_and_how(begin, store, outbox):
    review = begin(size=3)
    item = review.item
    left, right = review.sides(item)
    go(review, "a")
    (row,) = outbox.judgements()
    assert (row["left_id"], row["right_id"], row["verdict"]) == (left.side_id, right.side_id, "left")
    assert (row["reviewer"], row["item_id"], row["sample"], row["sample_size"], row["population"]) == (
        "ann", item.item_id, "random", 3, 8,
    )  # fmt: skip
    store.drain(outbox)
    (found,) = store.rows("judged_pairs")
    assert found["verdict"] == left.name
    assert review.item is not item and (review.done, review.total) == (1, 3)


def test_an_open_review_keeps_nobody_from_the_store(begin, store):
    review = begin()
    with writing(store.path, 0.0):
        go(review, "ab")
    assert review.done == 2


def test_what_is_not_the_present_item_or_no_judgement_keeps_nothing(begin, outbox):
    review = begin()
    first = review.item.item_id
    go(review, "a")
    assert not review.judge(first, "b")  # a second press of the key, or another window
    with pytest.raises(ConfigError, match="'x' is no judgement; use one of a, b, e, n, h"):
        review.judge(review.item.item_id, "x")
    assert len(outbox.judgements()) == 1 == review.done


def test_a_judgement_that_cannot_be_written_is_asked_again(begin, outbox):
    review = begin()
    outbox.folder.write_text("in the way")
    item = review.item
    with pytest.raises(StoreError):
        review.judge(item.item_id, "a")
    assert review.item is item and not review.can_undo
    outbox.folder.unlink()
    go(review, "a")
    assert len(outbox.judgements()) == 1


def test_the_last_judgement_can_be_taken_back_and_given_again(begin, store, outbox):
    review = begin()
    item = review.item
    go(review, "a")
    taken = review.undo()
    assert taken == f"Taken back: “A is better” for the pair of scenario {item.scenario_id}, which is asked again."
    assert review.item is item and review.done == 0 and review.undo() is None
    go(review, "h")
    store.drain(outbox)
    assert [row["verdict"] for row in store.rows("judged_pairs")] == ["harmful"]
    assert count(store, "judgement") == 3


def test_values_are_told_when_asked_for_and_what_they_tell_of_cannot_be_taken_back(begin):
    review = begin()
    assert review.values() == []
    item = review.item
    left = review.sides(item)[0]
    go(review, "a")
    (row,) = review.values()
    letter = "A" if left.name == "chosen" else "B"
    assert (row["scenario"], row["said"]) == (item.scenario_id, "A is better")
    assert row["facts"].startswith(f"the search prefers {letter}: P 1.00, gap 0.6")
    assert not review.undo()
    go(review, "e")
    assert review.undo() and not review.undo()


def test_after_the_end_there_is_no_item_and_a_summary(begin):
    review = begin(size=2)
    go(review, ["a" if review.sides(review.item)[0].name == "chosen" else "b", "e"])
    assert review.item is None
    assert review.summary() == (
        "2 judged in this session, 2 of 2 of the sample; you preferred the chosen side in 1 of 1 decided"
    )


@pytest.mark.slow
def test_a_later_session_goes_on_whether_or_not_the_store_was_filled_meanwhile(begin, store, outbox):
    order = [item.item_id for item in begin().sample.items]
    go(begin(), "ab")
    store.drain(outbox)
    second = begin()
    assert (second.item.item_id, second.done) == (order[2], 2)
    go(second, "n")
    assert begin().item.item_id == order[3]  # from the outbox


def listed(store, outbox, reviewer, ids, keys):
    """A session on a chosen list."""
    review = Review(named(pair_items(store, "c1", ids), ids), reviewer, outbox, earlier_judgements(store, outbox, "c1"))
    go(review, keys)
    return review


def test_a_pair_judged_in_a_list_counts_for_a_random_sample_when_its_turn_comes(begin, store, outbox):
    order = [item.scenario_id for item in begin(size=3).sample.items]
    listed(store, outbox, "ann", [order[1]], "h")
    random = begin(size=3)
    assert (random.item.scenario_id, random.done, random.carried) == (order[0], 0, 0)  # not counted out of its turn
    go(random, "a")
    assert (random.item.scenario_id, random.done, random.carried) == (order[2], 2, 1)  # and not asked again
    go(random, "b")
    assert random.item is None and "3 of 3 of the sample (1 of them counted from what you judged in a chosen list)" in (
        random.summary()
    )
    store.drain(outbox)
    rows = {row["scenario_id"]: row for row in store.rows("judged_pairs")}
    assert {(name, row["sample"], row["population"]) for name, row in rows.items()} == {
        (name, "random", 8) for name in order
    }
    assert rows[order[1]]["verdict"] == "harmful"
    assert begin(size=3).item is None


def test_a_list_of_another_reviewer_counts_for_nobody_else_and_does_not_put_a_pair_last(begin, store, outbox):
    order = [item.scenario_id for item in begin(size=3).sample.items]
    listed(store, outbox, "bob", [order[0]], "a")
    assert begin("ann", size=3).item.scenario_id == order[0]


def test_a_pair_of_the_sample_is_not_asked_again_in_a_list(begin, store, outbox):
    first = begin().item.scenario_id
    go(begin(), "a")
    assert listed(store, outbox, "ann", [first], "").item is None
    store.drain(outbox)
    assert [row["sample"] for row in store.rows("judged_pairs")] == ["random"]


def item_of(before, **condition):
    sides = (Side("1", "chosen", ()), Side("2", "rejected", ()))
    return Item("pair", "one", "c1", "s1", "t1", "", condition, before, sides, "")


def test_an_item_shows_who_the_user_is_in_a_line_and_their_last_turn():
    user, reply = ("user", "Hm."), ("assistant", "Go on.")
    words = " ".join(str(number) for number in range(20))
    item = item_of((user, reply, user), situation="My dog died. It was old.", person="a baker")
    assert (item.earlier, item.latest, item.gist) == ((user, reply), (user,), "My dog died.")
    assert item_of((user, reply, user), person=words).gist == f"{' '.join(words.split()[:15])}…"
    assert item_of((user, reply, user)).gist == ""
    begins = item_of((user,), situation="My dog died.")
    assert (begins.earlier, begins.latest, begins.gist) == ((), (user,), "")  # how the user begins says it
    assert (item_of((reply, reply)).latest, item_of(()).latest) == ((reply,), ())


@pytest.mark.slow
def test_a_second_reviewer_continues_where_the_first_stopped_and_then_repeats(begin):
    order = [item.item_id for item in begin().sample.items]
    go(begin("ann"), "abe")
    bob = begin("bob")
    seen = []
    while bob.item is not None:
        seen.append(bob.item.item_id)
        bob.judge(bob.item.item_id, "a")
    assert seen == order[3:] + order[:3]
    assert begin("ann").done == 3 and begin("bob").done == 8


def test_what_was_taken_back_is_asked_again(begin):
    review = begin()
    first = review.item.item_id
    go(review, "a")
    review.undo()
    assert begin("bob").item.item_id == begin("ann").item.item_id == first


@pytest.mark.slow
def test_dialogues_of_incumbent_and_candidate_are_compared(tmp_path):
    held = [
        hand_dialogue(one, reward, policy=policy, simulator="held-out bare")
        for one in SCENARIOS[:2]
        for policy, reward in (("base", 0.25), ("candidate-1", 0.75))
    ]
    store = filled(tmp_path, SCENARIOS, [], held)
    items = dialogue_items(store, "c1", "candidate-1")
    assert [item.scenario_id for item in items] == NAMES[:2]
    one = items[0]
    assert one.before == (("user", "My dog died (s0)."),)
    assert one.sides[0].turns == (("assistant", "Tell me."), ("user", "He was old."))
    assert [side.name for side in one.sides] == ["incumbent", "candidate"]
    assert one.fact.format("A", "B") == "B is the candidate (reward 0.75), A the incumbent (0.25)"
    assert one.condition["emotion"] == "sadness"
    assert named(items, [one.sides[1].side_id]).items == (one,)
    review = Review(draw(items, 5), "ann", Outbox(tmp_path / "outbox"))
    go(review, "ab")
    store.drain(review.outbox)
    assert {row["verdict"] for row in store.rows("judged_dialogues")} <= {"incumbent", "candidate"}
    assert count(store, "latest_judgement") == 2
