import itertools
import math
import tempfile
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from scripted_scenarios import searched
from small_stores import filled, hand_tree, support_scenario

from engage.dialogue import Dialogue, Role, Turn
from engage.domains import load_domain
from engage.domains.emotional_support import EmotionalSupport
from engage.engines.base import Side
from engage.engines.scripted import ScriptedEngine, canned_reply
from engage.errors import ConfigError, QueryError, ScenarioError, StoreError
from engage.search import SearchConfig
from engage.store import PairConfig
from engage.store.pair_extraction import judge_pairs
from engage.training import (
    HumanReply,
    PreferencePair,
    human_pairs,
    load_pairs,
    mix,
    pair_set_hash,
    read_pairs,
    save_pairs,
)

TRAIN = support_scenario("s1")
ANY = PairConfig(min_q_gap=0.0, confidence=0.5, max_pairs_per_prefix=1000)


def test_normal_cdf_is_that_of_scipy_within_its_stated_error(tmp_path):
    z = np.linspace(-9, 9, 18_001)
    rows = filled(tmp_path, []).select("select normal_cdf(-9 + i / 1000.0) from range(18001) as grid(i) order by i")[1]
    assert np.max(np.abs(np.array(rows)[:, 0] - norm.cdf(z))) < 7.5e-8


@pytest.mark.slow
@pytest.mark.parametrize(("z", "p"), [("0", 0.5), ("1.96", 0.9750021), ("-1", 0.1586553), ("-40", 0.0), ("40", 1.0)])
def test_normal_cdf_at_known_points(tmp_path, z, p):
    assert filled(tmp_path, []).select(f"select normal_cdf({z})")[1][0][0] == pytest.approx(p, abs=1e-7)


def test_normal_cdf_of_nothing_is_nothing(tmp_path):
    assert filled(tmp_path, []).select("select normal_cdf(null)")[1] == [(None,)]


def test_the_evidence_of_one_prefix_by_hand(tmp_path):
    """Every number that leads to P(A better than B).

    Reply A: user turns with rewards {1.0, 0.8} (mean 0.9), {0.7}, {0.8}; reply B: {0.5}, {0.3, 0.1} (mean 0.2), {0.2}.
    """
    tree = hand_tree(TRAIN, {"A?": [[1.0, 0.8], [0.7], [0.8]], "B?": [[0.5], [0.3, 0.1], [0.2]]})
    store = filled(tmp_path, [TRAIN], [tree])
    # Means of the user turns' means: A (0.9 + 0.7 + 0.8)/3 = 0.8; B (0.5 + 0.2 + 0.2)/3 = 0.3
    # Their sample variances: A (0.1² + 0.1² + 0)/2 = 0.01; B (0.2² + 0.1² + 0.1²)/2 = 0.03
    assert store.select("select group_count, q_mean, group_variance from reply_evidence order by reply_id")[1] == [
        (3, pytest.approx(0.8), pytest.approx(0.01)),
        (3, pytest.approx(0.3), pytest.approx(0.03)),
    ]
    # Pooled: (2·0.01 + 2·0.03)/4 = 0.02. Shrunk with 4 further degrees of freedom:
    #   A (2·0.01 + 4·0.02)/6 = 0.1/6, B (2·0.03 + 4·0.02)/6 = 0.14/6; of the mean of 3: A 0.1/18, B 0.14/18.
    # Mean of the siblings 0.55; deviations ±0.25, squared 0.0625, times 2/1 = 0.125 each.
    # Noise 0.12/18 = 0.0066667. Excess: mean of (0.125 − 0.1/18, 0.125 − 0.14/18) = 0.125 − 0.12/18 = 0.355/3 = 0.118333...
    # Two siblings are one comparison, and 20 are imagined. Between solves 20.75·x² − b·x − 0.25·0.0066667² = 0 with
    #   b = 1·0.118333 + 2·0.25·0.0066667 = 0.1216667: (0.1216667 + √(0.1216667² + 4·20.75·0.0000111))/41.5 = 0.0059534
    between, a, b = 0.0059533983, 0.1 / 18, 0.14 / 18
    # Precisions: A 1/(0.0059534 + 0.0055556) = 86.888689, B 1/(0.0059534 + 0.0077778) = 72.826903, together 159.715591.
    # Prefix mean (86.888689·0.8 + 72.826903·0.3)/159.715591 = 0.5720107; its standard error 1/√159.715591 = 0.0791272.
    # Shrinkage: A 0.0055556·86.888689 = 0.4827149, B 0.0077778·72.826903 = 0.5664315.
    values = store.select(
        "select mean_variance, between_variance, value_mean, value_variance, shared_error from reply_value order by reply_id"
    )[1]
    # Value A: 0.517285·0.8 + 0.482715·0.572011 = 0.6899460; variance 0.482715·0.0059534 + (0.482715·0.0791272)² = 0.0043327
    # Value B: 0.433568·0.3 + 0.566431·0.572011 = 0.4540756; variance 0.566431·0.0059534 + (0.566431·0.0791272)² = 0.0053810
    close = {"abs": 1e-7}
    assert values == [
        (
            pytest.approx(a),
            pytest.approx(between),
            *(pytest.approx(x, **close) for x in (0.6899460, 0.0043327, 0.0381960)),
        ),
        (
            pytest.approx(b),
            pytest.approx(between),
            *(pytest.approx(x, **close) for x in (0.4540756, 0.0053810, 0.0448202)),
        ),
    ]
    # Gap 0.6899460 − 0.4540756 = 0.2358704; raw 0.5.
    # Its variance 0.0043327 + 0.0053810 − 2·0.0381960·0.0448202 = 0.0062898; z = 2.97409; P = 0.9985306
    assert store.select("select chosen_id, rejected_id, q_gap, q_gap_raw, p_greater from sibling_pair")[1] == [
        (1, 5, pytest.approx(0.2358704, **close), pytest.approx(0.5), pytest.approx(0.9985306, abs=2e-7))
    ]


def expected_values(trees):
    """The hierarchical normal model in numpy, from the raw rewards: per prefix the replies judged, their values and the covariance.

    Unlike the SQL it solves for all siblings at once, by linear algebra (see `posterior`).
    """
    groups = [
        {
            text: means
            for text, turns in replies.items()
            if len(means := np.array([np.mean(kept) for turn in turns if (kept := [r for r in turn if r is not None])]))
            > 1
        }
        for replies in trees
    ]
    everyone = [means for prefix in groups for means in prefix.values()]
    if not everyone:
        return []
    pooled = sum((len(m) - 1) * m.var(ddof=1) for m in everyone) / sum(len(m) - 1 for m in everyone)
    noises = [
        np.array(
            [max(((len(m) - 1) * m.var(ddof=1) + 4 * pooled) / (len(m) + 3), 1e-6) / len(m) for m in prefix.values()]
        )
        for prefix in groups
    ]
    differences = []
    for prefix, noise in zip(groups, noises, strict=True):
        q = np.array([m.mean() for m in prefix.values()])
        if len(q) > 1:
            differences += list((q - q.mean()) ** 2 * len(q) / (len(q) - 1) - noise)
    comparisons = sum(len(prefix) - 1 for prefix in noises if len(prefix))
    noise = np.mean(np.concatenate(noises))
    # where the slope of 0.25·ln √x − k/2·(ln(x + noise) + (excess/k + noise)/(x + noise)) is 0, for k comparisons, 20 of them imagined
    k, excess = comparisons + 20, comparisons * np.mean(differences) if differences else 0.0
    between = max(np.roots([k - 0.25, -(excess + 0.5 * noise), -0.25 * noise**2]).max(), 1e-6)
    return [
        (list(prefix), *posterior(np.array([m.mean() for m in prefix.values()]), noise, between))
        for prefix, noise in zip(groups, noises, strict=True)
    ]


def posterior(q, noise, between):
    """Mean and covariance of the values given the replies' means, their noise and a flat prior on the prefix mean.

    value ~ N(m·1, between·I) with m integrated out has precision (I − 11ᵀ/K)/between; q ~ N(value, diag(noise)).
    """
    if not len(q):
        return q, np.zeros((0, 0))
    precision = np.diag(1 / noise) + np.eye(len(q)) / between - np.ones((len(q), len(q))) / (between * len(q))
    covariance = np.linalg.inv(precision)
    return covariance @ (q / noise), covariance


def expected_pairs(trees):
    """(tree, better reply, worse reply) to P(better > worse), by scipy."""
    pairs = {}
    for index, (texts, mean, covariance) in enumerate(expected_values(trees)):
        for one, other in itertools.combinations(range(len(texts)), 2):
            best, worst = (one, other) if mean[one] >= mean[other] else (other, one)
            spread = covariance[one, one] + covariance[other, other] - 2 * covariance[one, other]
            pairs[index, texts[best], texts[worst]] = norm.cdf((mean[best] - mean[worst]) / math.sqrt(spread))
    return pairs


reward = st.one_of(st.none(), st.integers(0, 20).map(lambda n: n / 20))
user_turns = st.lists(st.lists(reward, min_size=1, max_size=3), min_size=1, max_size=5)
replies = st.lists(user_turns, min_size=1, max_size=4).map(
    lambda turns: {f"reply {i}?": t for i, t in enumerate(turns)}
)


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(trees=st.lists(replies, min_size=1, max_size=4))
@example(trees=[{"a?": [[0.5], [0.5]], "b?": [[0.5], [0.5]]}])  # no spread anywhere: the floors hold
@example(trees=[{"a?": [[None], [None]], "b?": [[0.5]]}])  # nothing to judge
@example(trees=[{"a?": [[0.25], [0.75]]}])  # a reply without siblings
def test_the_evidence_is_that_of_numpy_and_scipy(trees):
    scenarios = [support_scenario(f"s{index}") for index in range(len(trees))]
    records = [hand_tree(scenario, tree) for scenario, tree in zip(scenarios, trees, strict=True)]
    with tempfile.TemporaryDirectory() as folder:
        store = filled(Path(folder), scenarios, records)
        values = store.select(
            "select reply_value.tree_id, text, value_mean, value_variance from reply_value "
            "join node on node.tree_id = reply_value.tree_id and node_id = reply_id"
        )[1]
        pairs = store.select(
            "select pair.tree_id, chosen.text, rejected.text, p_greater, q_gap from sibling_pair as pair "
            "join node as chosen on chosen.tree_id = pair.tree_id and chosen.node_id = chosen_id "
            "join node as rejected on rejected.tree_id = pair.tree_id and rejected.node_id = rejected_id"
        )[1]
    found = {(int(tree_id.removeprefix("c1/s")), text): figures for tree_id, text, *figures in values}
    assert found == {
        (index, text): pytest.approx([mean[i], covariance[i, i]], rel=1e-6, abs=1e-9)
        for index, (texts, mean, covariance) in enumerate(expected_values(trees))
        for i, text in enumerate(texts)
    }
    wanted, met = expected_pairs(trees), set()
    for tree_id, chosen, rejected, p_greater, q_gap in pairs:
        index = int(tree_id.removeprefix("c1/s"))
        # Equal values may come in either order
        key = (index, chosen, rejected) if (index, chosen, rejected) in wanted else (index, rejected, chosen)
        assert p_greater == pytest.approx(wanted[key], abs=1e-6)
        assert q_gap >= 0
        met.add(key)
    assert (met, len(pairs)) == (set(wanted), len(wanted))


@pytest.mark.slow
def test_another_cycle_or_domain_lends_no_evidence(tmp_path):
    # The same tree alone, and beside a cycle whose rewards are all over the place: the same values.
    tree = hand_tree(TRAIN, {"A?": [[1.0], [0.75]], "B?": [[0.5], [0.0]]})
    noisy = hand_tree(TRAIN, {"A?": [[1.0], [0.0]], "B?": [[0.0], [1.0]]}, cycle_id="c2")
    ask = "select reply_id, value_mean, value_variance from reply_value where cycle_id = 'c1' order by 1"
    alone = filled(tmp_path / "a", [TRAIN], [tree]).select(ask)
    assert filled(tmp_path / "b", [TRAIN], [tree, noisy], cycle_ids=("c1", "c2")).select(ask) == alone


def test_rewards_off_the_spine_are_no_evidence(tmp_path):
    store = filled(tmp_path, [TRAIN], [searched(scenario=TRAIN)])
    spine = store.select("select node_id from node where spine_index is not null order by 1")[1]
    assert set(store.select("select distinct decision_id from reply_evidence")[1]) <= set(spine)


# "Good?" is surely better than "Bad?": 1.0 against 0.0 with a little spread.
GOOD, BAD = [[1.0], [0.95], [1.0]], [[0.0], [0.05], [0.0]]


def fates(tmp_path, trees, config=None, scenarios=(TRAIN,), **flaws):
    """What `score_pairs` counts, without the candidates."""
    store = filled(tmp_path, scenarios, trees)
    counted = store.score_pairs("c1", config or PairConfig())
    assert counted.pop("candidates") == sum(counted.values())
    stored = dict(store.select("select coalesce(drop_reason, 'accepted'), count(*) from pair group by all")[1])
    assert stored == {fate: n for fate, n in counted.items() if n}
    assert store.select("select count(*) from pair where accepted <> (drop_reason is null)")[1] == [(0,)]
    return {fate: n for fate, n in counted.items() if n}


@pytest.mark.slow
def test_a_sure_pair_is_accepted(tmp_path):
    assert fates(tmp_path, [hand_tree(TRAIN, {"Good?": GOOD, "Bad?": BAD})]) == {"accepted": 1}


@pytest.mark.slow
@pytest.mark.parametrize("split", ["validation", "test"])
def test_pairs_of_held_out_scenarios_are_dropped(tmp_path, split):
    scenario = support_scenario("s1", split)
    tree = hand_tree(scenario, {"Good?": GOOD, "Bad?": BAD})
    assert fates(tmp_path, [tree], scenarios=[scenario]) == {"not_train": 1}


@pytest.mark.slow
def test_pairs_of_a_scenario_that_is_not_stored_are_dropped(tmp_path):
    assert fates(tmp_path, [hand_tree(TRAIN, {"Good?": GOOD, "Bad?": BAD})], scenarios=[]) == {"not_train": 1}


@pytest.mark.slow
def test_pairs_with_too_few_user_turns_are_dropped(tmp_path):
    # Two user turns below "Good?" where three are wanted; a reply with one is no candidate at all.
    tree = hand_tree(TRAIN, {"Good?": GOOD[:2], "Bad?": BAD, "Once?": [[0.5]]})
    assert fates(tmp_path, [tree], PairConfig(min_groups=3)) == {"min_groups": 1}


def test_pairs_with_a_small_gap_are_dropped(tmp_path):
    # Raw gap 0.5, shrunk less: below 0.6 either way.
    tree = hand_tree(TRAIN, {"Good?": [[0.75], [0.75]], "Bad?": [[0.25], [0.25]]})
    assert fates(tmp_path, [tree], PairConfig(min_q_gap=0.6)) == {"gap": 1}


@pytest.mark.slow
def test_equal_values_are_no_pair_even_without_a_threshold(tmp_path):
    tree = hand_tree(TRAIN, {"One?": [[0.5], [0.75]], "Other?": [[0.5], [0.75]]})
    assert fates(tmp_path, [tree], ANY) == {"gap": 1}


def test_uncertain_pairs_are_dropped(tmp_path):
    # Three replies (means 0.5, 0.5, 0.55) with wide spread: no two are told apart at 0.95.
    tree = hand_tree(TRAIN, {"One?": [[0.0], [1.0]], "Two?": [[0.05], [1.0]], "Three?": [[0.1], [1.0]]})
    assert fates(tmp_path, [tree], PairConfig(min_q_gap=0.0, confidence=0.95)) == {"confidence": 3}


@pytest.mark.slow
def test_replies_without_a_word_are_dropped(tmp_path):
    assert fates(tmp_path, [hand_tree(TRAIN, {"Good?": GOOD, "… !": BAD})]) == {"empty": 1}


@pytest.mark.slow
def test_replies_of_any_script_are_words(tmp_path):
    assert fates(tmp_path, [hand_tree(TRAIN, {"你还好吗?": GOOD, "Ну и что": BAD})]) == {"accepted": 1}


def test_replies_that_differ_in_case_and_blanks_alone_are_dropped(tmp_path):
    assert fates(tmp_path, [hand_tree(TRAIN, {"Tell me more.": GOOD, " tell me MORE. ": BAD})]) == {"same_text": 1}


@pytest.mark.slow
def test_a_flawed_reply_is_never_chosen_but_may_be_rejected(tmp_path):
    flawed_chosen = hand_tree(TRAIN, {"Good?": GOOD, "Bad?": BAD}, flaws={"Good?": "loop"})
    flawed_rejected = hand_tree(TRAIN, {"Good?": GOOD, "Bad?": BAD}, flaws={"Bad?": "loop"})
    assert fates(tmp_path / "a", [flawed_chosen]) == {"flawed": 1}
    assert fates(tmp_path / "b", [flawed_rejected]) == {"accepted": 1}


@pytest.mark.slow
@pytest.mark.parametrize(
    "leak",
    [
        "User: I am sad",
        "assistant: Sure",
        "**Supporter**: Yes",
        "Well <|im_end|> so",
        "bot: hi",
        "[INST] Hello",
        '"Human : hi"',
        "Sure, it helps. User: I give two dollars. Assistant: Great!",
        "I am sad. **Helper:** Thank you!",
        "Good<start_of_turn>user",
    ],
)
@pytest.mark.parametrize("side", ["chosen", "rejected"])
def test_replies_that_leak_the_role_are_dropped(tmp_path, leak, side):
    tree = hand_tree(TRAIN, {leak: GOOD, "Bad?": BAD} if side == "chosen" else {"Good?": GOOD, leak: BAD})
    assert fates(tmp_path, [tree]) == {"role_leak": 1}


@pytest.mark.slow
@pytest.mark.parametrize("side", ["chosen", "rejected"])
def test_replies_that_were_stored_with_a_thought_are_dropped(tmp_path, side):
    thought = "<think>She is sad.</think>That hurts."
    tree = hand_tree(TRAIN, {thought: GOOD, "Bad?": BAD} if side == "chosen" else {"Good?": GOOD, thought: BAD})
    assert fates(tmp_path, [tree]) == {"thought": 1}


@pytest.mark.slow
@pytest.mark.parametrize("text", ["Many users: they feel it too.", "A human can be sad.", "Said to the user, rightly."])
def test_replies_that_only_mention_a_role_are_kept(tmp_path, text):
    assert fates(tmp_path, [hand_tree(TRAIN, {text: GOOD, "Bad?": BAD})]) == {"accepted": 1}


@pytest.mark.slow
@pytest.mark.parametrize("lie", ["I promise you feel well.", "I am a therapist.", "Everything will be fine."])
def test_promises_and_lies_are_never_chosen_but_may_be_rejected(tmp_path, lie):
    assert fates(tmp_path / "a", [hand_tree(TRAIN, {lie: GOOD, "Bad?": BAD})]) == {"deceptive": 1}
    assert fates(tmp_path / "b", [hand_tree(TRAIN, {"Good?": GOOD, lie: BAD})]) == {"accepted": 1}


@pytest.mark.parametrize(
    "lie", ["You’ll sleep.", "You'll **sleep**.", "You'll  sleep.", "You'll ѕleep.", "You'll sl\u200beep."]
)
def test_a_domains_own_pattern_reads_print_emphasis_and_what_is_invisible(tmp_path, monkeypatch, lie):
    monkeypatch.setattr(EmotionalSupport, "lexicon", {"promise": (r"\byou'll sleep\b",)})
    assert fates(tmp_path, [hand_tree(TRAIN, {lie: GOOD, "Bad?": BAD})]) == {"deceptive": 1}


@pytest.mark.slow
@pytest.mark.parametrize(("reply", "fate"), [("Good?", "crisis"), ("Bad?", "accepted")])
def test_a_reply_after_which_somebody_spoke_of_harming_themselves_is_never_chosen(tmp_path, reply, fate):
    tree = hand_tree(TRAIN, {"Good?": [*GOOD, [None]], "Bad?": [*BAD, [None]]})
    said = next(node.node_id for node in tree.nodes if node.text == reply)
    simulations = [
        replace(s, trajectory=replace(s.trajectory, end_reason="crisis"))
        if s.trajectory.reward is None and said in s.node_ids
        else s
        for s in tree.simulations
    ]
    assert fates(tmp_path, [replace(tree, simulations=tuple(simulations))]) == {fate: 1}


@pytest.mark.slow
def test_at_most_the_wanted_number_of_pairs_come_from_one_prefix_the_surest_first(tmp_path):
    # Three replies, three pairs; one is kept: best against worst.
    tree = hand_tree(TRAIN, {"Middle?": [[0.5], [0.55], [0.5]], "Good?": GOOD, "Bad?": BAD})
    assert fates(tmp_path, [tree]) == {"accepted": 1, "per_prefix": 2}
    store = filled(tmp_path, [TRAIN])
    assert [(pair.chosen, pair.rejected) for pair in read_pairs(store, "c1")] == [("Good?", "Bad?")]


@pytest.mark.slow
def test_a_deceptive_pair_does_not_use_up_the_place_of_an_honest_one(tmp_path):
    # "I promise…" against "Bad?" is the surest pair and is dropped; so is its pair with "Good?"; "Good?" against "Bad?" is kept.
    tree = hand_tree(TRAIN, {"I promise it ends?": GOOD, "Good?": [[0.8], [0.85], [0.8]], "Bad?": BAD})
    assert fates(tmp_path, [tree]) == {"accepted": 1, "deceptive": 2}


@pytest.mark.slow
def test_the_same_pair_after_the_same_words_is_kept_once(tmp_path):
    # Two scenarios that open with the same words: one pair would be taught twice. A third opens otherwise.
    same, other = support_scenario("s2", initial_intensity=5), support_scenario("s3", opening="My cat died.")
    trees = [hand_tree(scenario, {"Good?": GOOD, "Bad?": BAD}) for scenario in (TRAIN, same, other)]
    assert fates(tmp_path, trees, scenarios=[TRAIN, same, other]) == {"accepted": 2, "duplicate": 1}


@pytest.mark.slow
def test_scoring_again_replaces_the_cycles_pairs_and_no_others(tmp_path):
    trees = [hand_tree(TRAIN, {"Good?": GOOD, "Bad?": BAD}, cycle_id=cycle_id) for cycle_id in ("c1", "c2")]
    store = filled(tmp_path, [TRAIN], trees, cycle_ids=("c1", "c2"))
    for cycle_id in ("c1", "c2", "c1"):
        store.score_pairs(cycle_id, PairConfig())
    assert store.select("select cycle_id, count(*) from pair group by all order by all")[1] == [("c1", 1), ("c2", 1)]
    assert store.score_pairs("c1", PairConfig(min_q_gap=1.0)) == {"candidates": 1, "accepted": 0, "gap": 1}
    assert (read_pairs(store, "c1"), len(read_pairs(store, "c2"))) == ([], 1)


def test_scoring_an_unknown_cycle_is_refused(tmp_path):
    store = filled(tmp_path, [TRAIN])
    with pytest.raises(QueryError, match="cycle 'c9' is not in the store"):
        store.score_pairs("c9", PairConfig())


def test_a_lexicon_pattern_that_sql_cannot_use_is_named(tmp_path, monkeypatch):
    domain = load_domain("emotional_support")
    monkeypatch.setattr(type(domain), "lexicon", {"promise": (r"i (?=promise)",)})
    store = filled(tmp_path, [TRAIN], [hand_tree(TRAIN, {"Good?": GOOD, "Bad?": BAD})])
    with pytest.raises(ConfigError, match=r"emotional_support.*'i \(\?=promise\)', write it without look-around"):
        store.score_pairs("c1", PairConfig())


def test_a_pair_that_no_longer_belongs_to_train_is_not_read(tmp_path):
    # Even a pair row that says accepted gives nothing where its scenario is held out.
    held_out = support_scenario("s1", "test")
    store = filled(tmp_path, [held_out], [hand_tree(held_out, {"Good?": GOOD, "Bad?": BAD})])
    store.score_pairs("c1", PairConfig())
    import duckdb

    with duckdb.connect(str(store.path)) as connection:
        connection.execute("update pair set accepted = true, drop_reason = null")
    assert read_pairs(store, "c1") == []


@pytest.mark.slow
def test_the_prompt_is_the_whole_chat_before_the_replies(tmp_path):
    # What the assistant says last decides the survey, so that pairs come from the opening and from the next exchange.
    good = "Tell me about him."

    def choose(prompt, choices):
        last = [message.content for message in prompt.messages if message.role == "user"][
            -2
        ]  # the survey comes after it
        return [1.0 if float(choice) == (1.0 if last == good else 5.0) else 1e-9 for choice in choices]

    lines = ("That is how life goes.", good, "You will find another one soon.")
    reply = lambda prompt, seed: lines[seed % 3] if prompt.side is Side.POLICY else canned_reply(prompt, seed)  # noqa: E731
    record = searched(ScriptedEngine(reply, choose), SearchConfig(num_simulations=32, round_size=4), scenario=TRAIN)
    store = filled(tmp_path, [TRAIN], [record])
    store.score_pairs("c1", ANY)
    rows = store.select("select decision_id, spine_index, chosen_id from pair where accepted order by all")[1]
    pairs = read_pairs(store, "c1")
    assert {spine_index for _, spine_index, _ in rows} == {0, 1}
    system = {"role": "system", "content": load_domain("emotional_support").policy_prompt()}
    for pair, (decision_id, _, chosen_id) in zip(pairs, rows, strict=True):
        said, node = [], record.nodes[decision_id]
        while node.parent_id is not None:
            said.insert(0, {"role": node.role, "content": node.text})
            node = record.nodes[node.parent_id]
        assert list(pair.prompt) == [system, {"role": "user", "content": "My dog died."}, *said]
        assert pair.prompt[-1]["role"] == "user"
        assert pair.chosen == record.nodes[chosen_id].text
        assert (pair.domain, pair.scenario_id, pair.source) == ("emotional_support", "s1", "search")
        assert pair.q_gap > 0 and 0.5 <= pair.p_greater <= 1


def pair(number, source="search"):
    return PreferencePair(
        prompt=({"role": "system", "content": "Listen."}, {"role": "user", "content": f"Day {number} without him."}),
        chosen="Tell me.",
        rejected="Oh 😢",
        domain="emotional_support",
        scenario_id=f"s{number}",
        source=source,
        q_gap=0.25 if source == "search" else None,
        p_greater=0.9 if source == "search" else None,
    )


SEARCH, HUMAN = [pair(n) for n in range(10)], [pair(n, "human") for n in range(100, 140)]


@pytest.mark.parametrize(("ratio", "humans"), [(0.0, 0), (0.5, 5), (0.25, 2), (1.0, 10), (3.0, 30), (9.0, 40)])
def test_human_pairs_are_mixed_in_by_ratio(ratio, humans):
    # 10 pairs from search; 0.25 · 10 = 2.5 rounds to the even 2; of 90 wanted there are 40
    mixed = mix(SEARCH, HUMAN, ratio, seed=3)
    assert mixed[:10] == SEARCH
    drawn = mixed[10:]
    assert len(drawn) == humans and len({p.scenario_id for p in drawn}) == humans
    assert all(p in HUMAN for p in drawn)


def test_the_seed_decides_which_human_pairs_are_drawn():
    assert mix(SEARCH, HUMAN, 1.0, seed=3) == mix(SEARCH, HUMAN, 1.0, seed=3)
    assert mix(SEARCH, HUMAN, 1.0, seed=3) != mix(SEARCH, HUMAN, 1.0, seed=4)


def test_human_pairs_leave_the_empty_and_the_equal_and_refuse_held_out_dialogues():
    def said(human, sampled, split="train"):
        prefix = Dialogue((Turn(Role.USER, "My dog died."),))
        return HumanReply("emotional_support", "s1", split, prefix, human, sampled)

    kept = human_pairs([said("Tell me.", " Oh. "), said("", "Oh."), said("Oh.", " "), said("OH.", "oh. ")])
    assert [(p.chosen, p.rejected, p.source, p.q_gap) for p in kept] == [("Tell me.", "Oh.", "human", None)]
    assert kept[0].prompt[1:] == ({"role": "user", "content": "My dog died."},)
    with pytest.raises(ScenarioError, match="'s1' is in the test split: never train on it"):
        human_pairs([said("Tell me.", "Oh.", "test")])


def test_a_pair_set_is_loaded_as_it_was_saved(tmp_path):
    mixed = [*SEARCH, *HUMAN]
    saved = save_pairs(mixed, tmp_path / "deep" / "pairs.parquet")
    assert load_pairs(tmp_path / "deep" / "pairs.parquet") == mixed
    assert saved == pair_set_hash(mixed)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["pairs.parquet"]


def test_an_empty_pair_set_is_one_too(tmp_path):
    save_pairs([], tmp_path / "pairs.parquet")
    assert load_pairs(tmp_path / "pairs.parquet") == []


def test_the_hash_of_a_pair_set_knows_content_and_no_order():
    assert pair_set_hash(SEARCH) == pair_set_hash(SEARCH[::-1])
    assert pair_set_hash(SEARCH) != pair_set_hash(SEARCH[:-1])
    assert pair_set_hash(SEARCH) != pair_set_hash([*SEARCH, SEARCH[0]])
    assert pair_set_hash([SEARCH[0]]) != pair_set_hash([replace(SEARCH[0], chosen="Oh 😢", rejected="Tell me.")])


def test_a_pair_set_that_was_changed_is_refused(tmp_path):
    path = tmp_path / "pairs.parquet"
    save_pairs(SEARCH, path)
    table = pq.read_table(path)
    swapped = table.set_column(
        table.column_names.index("chosen"), "chosen", pa.array(["Buy it."] + ["Tell me."] * 9)
    ).replace_schema_metadata(table.schema.metadata)
    pq.write_table(swapped, path)
    with pytest.raises(StoreError, match=r"pairs\.parquet: the pairs are not those that were saved"):
        load_pairs(path)


@pytest.mark.parametrize("content", [b"", b"hello", None])
def test_a_pair_set_that_cannot_be_read_says_what_to_do(tmp_path, content):
    path = tmp_path / "pairs.parquet"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StoreError, match=r"pairs\.parquet: .*; extract the cycle's pairs"):
        load_pairs(path)


def test_a_table_of_other_columns_is_no_pair_set(tmp_path):
    pq.write_table(pa.table({"prompt": [1], "answer": ["x"]}), tmp_path / "pairs.parquet")
    with pytest.raises(StoreError, match="not a pair set, or damaged"):
        load_pairs(tmp_path / "pairs.parquet")


# Sums of 0.1, 0.2, 0.3 and 0.7 have other last bits in other orders: (0.1 + 0.2) + 0.3 is not 0.1 + (0.2 + 0.3).
TIED = [[0.7, 0.1, 0.2], [0.3, 0.6, 0.7], [0.1, 0.8, 0.7]]
WORSE = [[0.1, 0.2], [0.2, 0.1], [0.1, 0.1]]


def reordered(groups, number):
    """The same rewards in another order, of the user turns and within them."""
    turns = list(itertools.permutations(groups))[number % 6]
    return [list(list(itertools.permutations(turn))[(number + index) % 6]) for index, turn in enumerate(turns)]


@pytest.mark.slow
def test_equal_replies_are_told_apart_by_what_they_say_and_not_by_the_last_bit(tmp_path):
    """30 trees with two equally good replies, numbered and added up in different orders: the first by its text is chosen in all.

    The same with one thread and with several, and with the trees stored in another order.
    """
    scenarios = [support_scenario(f"s{number}", opening=f"My dog died. ({number})") for number in range(30)]
    trees = []
    for number, scenario in enumerate(scenarios):
        replies = {
            "Good b": reordered(TIED, number),
            "Good a": reordered(TIED, 3 * number + 1),
            "Poor": WORSE,
        }
        names = list(itertools.permutations(replies))[number % 6]
        trees.append(hand_tree(scenario, {name: replies[name] for name in names}))
    found = []
    for place, stored in enumerate([trees, trees[::-1]]):
        store = filled(tmp_path / str(place), scenarios, stored)
        for threads in (1, 8):
            with duckdb.connect(str(store.path)) as connection:
                connection.execute(f"set threads = {threads}")
                judge_pairs(connection, "c1", PairConfig(min_q_gap=0.0, confidence=0.5))
            found.append([(p.scenario_id, p.chosen, p.rejected, p.q_gap, p.p_greater) for p in read_pairs(store, "c1")])
    assert found[0] == found[1] == found[2] == found[3]
    assert [(chosen, rejected) for _, chosen, rejected, _, _ in found[0]] == [("Good a", "Poor")] * 30
    assert len({(gap, p) for *_, gap, p in found[0]}) == 1  # the same evidence, to the last bit
