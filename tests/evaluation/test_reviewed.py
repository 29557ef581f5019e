"""What people said of pairs, in figures computed by hand: the share, what the search stated, agreement, and the sentences."""

from dataclasses import replace

import pytest
from small_stores import filled, hand_dialogue, hand_judgement, hand_tree, judge, support_scenario

from engage.evaluation import Judgement, Verdict
from engage.evaluation.judgement import Incumbent
from engage.evaluation.night_page import night_page
from engage.evaluation.reviewed import reviewed
from engage.stats import Estimate
from engage.store import Cycle, PairConfig

NAMES = ("baker", "nurse", "clerk")
SCENARIOS = [support_scenario(name) for name in NAMES]
# Nodes 1 "Tell me more." and 4 "Cheer up." in each tree.
TREES = [hand_tree(one, {"Tell me more.": [[1.0], [0.75]], "Cheer up.": [[0.0], [0.25]]}) for one in SCENARIOS]


@pytest.fixture
def store(tmp_path):
    found = filled(tmp_path, SCENARIOS, TREES)
    found.score_pairs("c1", PairConfig(min_q_gap=0.0, confidence=0.5))
    return found


@pytest.mark.slow
def test_without_a_judgement_nothing_is_said(store):
    assert reviewed(store, "c1", None) == []


@pytest.mark.slow
def test_the_share_of_decided_pairs_against_what_the_search_stated(store):
    judge(
        store,
        hand_judgement("left", "ann", "baker"),  # the chosen reply
        hand_judgement("left", "bob", "baker", left="4", right="1"),  # the rejected one: half of the baker's reviewers
        hand_judgement("right", "ann", "nurse", left="4", right="1"),  # the chosen one
        hand_judgement("equal", "bob", "nurse"),
        hand_judgement("nonsense", "ann", "clerk"),
        hand_judgement("left", "bob", "clerk", sample="list", sample_size=1, sample_seed=None, population=None),
    )
    (found,) = reviewed(store, "c1", None)
    assert (found.items, found.decided, found.scenarios, found.listed) == (3, 2, 2, 1)
    assert found.share.value == pytest.approx((0.5 + 1) / 2)
    p = store.rows("pairs")[0]["p_greater"]  # the trees are alike
    assert found.stated == pytest.approx(p, abs=1e-4) and found.excess.value == pytest.approx(0.75 - p, abs=1e-4)
    assert found.verdicts == {"chosen": 2, "rejected": 1, "equal": 1, "nonsense": 1}
    # α over baker (1, 0), nurse (1, equal) and clerk (nonsense, 1): nobody agrees; 6 values, of which 1 occurs 3 times: (0 − 6)/(30 − 6)
    assert found.agreement.value == pytest.approx(-6 / 24) and found.agreement.n == 3
    assert [(one.name, one.judgements, one.seconds) for one in found.reviewers] == [("ann", 3, 9.5), ("bob", 3, 9.5)]
    said = found.sentences()
    assert said[0].startswith(
        "People judged 3 pairs of a random sample of 30 from 40, with 5 judgements: 2 chosen, 1 rejected, 1 equal, 1 nonsense."
    )
    assert (
        said[1].startswith("They preferred the chosen side in 75% [")
        and "of 2 decided pairs from 2 scenarios" in said[1]
    )
    assert f"the search stated P = {p:.2f} on average: the difference of {0.75 - p:+.2f} [" in said[1]
    assert said[1].endswith("may be chance.")  # the two scenarios differ by as much
    assert said[2] == (
        "A decided pair is one with a side that somebody preferred; it counts once, however many people judged it."
    )
    assert said[3].startswith("Agreement of the reviewers: Krippendorff’s α -0.25")
    assert said[4] == "1 further judgement from chosen lists does not count in the share."


@pytest.mark.slow
@pytest.mark.parametrize(
    ("excess", "words"),
    [
        (Estimate(-0.2, -0.4, -0.1), "on average, which is too high: the difference is -0.20 [-0.40, -0.10]."),
        (Estimate(0.1, 0.02, 0.3), "on average, which is too low: the difference is +0.10 [+0.02, +0.30]."),
        (Estimate(0.1, -0.1, 0.3), "on average: the difference of +0.10 [-0.10, +0.30] may be chance."),
        (Estimate(0.1), "on average: the difference of +0.10 may be chance."),
    ],
)
def test_a_difference_is_called_one_if_its_interval_says_so(store, excess, words):
    judge(store, hand_judgement("left"))
    (found,) = reviewed(store, "c1", None)
    assert replace(found, excess=excess).sentences()[1].endswith(words)


@pytest.mark.slow
def test_scenarios_and_not_pairs_are_the_unit_of_the_interval(tmp_path):
    # Two scenarios: in one people prefer the chosen side of all three pairs, in the other of none. The interval reaches from 0 to 1.
    replies = {"Tell me more.": [[1.0], [0.9]], "Go on.": [[0.6], [0.5]], "Cheer up.": [[0.1], [0.0]]}  # nodes 1, 4, 7
    store = filled(tmp_path, SCENARIOS[:2], [hand_tree(one, replies) for one in SCENARIOS[:2]])
    store.score_pairs("c1", PairConfig(min_q_gap=0.0, confidence=0.5, max_pairs_per_prefix=10))
    for verdict, name in (("left", "baker"), ("right", "nurse")):
        judge(store, *(hand_judgement(verdict, "ann", name, *sides) for sides in (("1", "4"), ("1", "7"), ("4", "7"))))
    (found,) = reviewed(store, "c1", None)
    assert (found.decided, found.share.value, found.share.low, found.share.high) == (6, 0.5, 0.0, 1.0)
    assert "There is one reviewer" in found.sentences()[-1] and found.reviewers[0].accuracy is None


@pytest.mark.slow
def test_dialogues_tell_whether_people_prefer_the_candidate(tmp_path):
    held = [hand_dialogue(one, 0.5, policy=policy) for one in SCENARIOS for policy in ("base", "candidate-1")]
    store = filled(tmp_path, SCENARIOS, [], held)
    for name, verdict in zip(NAMES, ("left", "left", "right"), strict=True):
        base, candidate = (f"c1/evaluation/{policy}/held_out/{name}/1" for policy in ("base", "candidate-1"))
        judge(store, hand_judgement(verdict, "ann", name, left=candidate, right=base))
    (found,) = reviewed(store, "c1", None)
    assert found.share.value == pytest.approx(2 / 3) and found.stated is None
    assert found.sentences()[1].startswith("They preferred the candidate side in 67% [0%, 100%] of 3 decided dialogues")
    assert reviewed(store, "c1", "candidate-1") == [found]
    assert reviewed(store, "c1", "candidate-2") == []  # the cycle was trained again since


@pytest.mark.slow
def test_the_night_and_its_report_say_what_people_said(store, tmp_path):
    assert "What people say" not in night_page(store, "c1", tmp_path, None)
    judge(store, hand_judgement("left", "<b>ann", "baker"), hand_judgement("left", "bob", "baker"))
    sentence = "They preferred the chosen side in 100% [3%, 100%] of 1 decided pair from 1 scenario"
    page = night_page(store, "c1", tmp_path, None)
    assert sentence in page and "&lt;b&gt;ann" in page and "<b>ann" not in page
    cycle = Cycle(cycle_id="c1", seed=7, champion_version=None, champion_adapter=None)
    text = Judgement(Incumbent("base", "base"), None, Verdict(False, "none")).page(store, cycle)
    assert "## What people say" in text and sentence in text
