"""The page of a night, on three nights by hand: every number equals a named query, every part is there, nothing said is markup."""

import html
import json
import re

import pytest
from small_nights import AFTER, BEFORE, three_nights
from small_stores import filled

from engage.errors import StoreError
from engage.evaluation import Verdict
from engage.evaluation.night_page import keep_verdict, night_page
from engage.evaluation.night_page.checks import Check, checks_of
from engage.evaluation.night_page.gains import _in_words, by_kind_of_user, decision, gains, nights, training_curves
from engage.evaluation.night_page.held_out_dialogues import judged_scenarios, policies_of, shown_dialogues
from engage.evaluation.night_page.page import _evidence_hints
from engage.evaluation.night_page.searched import happened, pair_table, simulator_health, thresholds
from engage.pages.charts import Bounded
from engage.store import Challenges, PairConfig

SAID = "You're amazing. </p><script>alert(1)</script> \x1b[31m"


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    return three_nights(tmp_path_factory.mktemp("home"), SAID)


@pytest.fixture(scope="module")
def store(night):
    return night[0]


@pytest.fixture(scope="module")
def page(night):
    return night_page(night[0], "n3", night[1], night[2])


@pytest.fixture(scope="module")
def policies(store):
    (label,) = {row["policy"] for row in store.rows("page_figures", {"cycle": "n3"})}
    return policies_of(store.rows("page_dialogues", {"cycle": "n3"}), label)


@pytest.mark.slow
def test_the_verdict_comes_first_and_then_the_gains(page):
    first = page.index("Promoted: +0.167 [+0.010, +0.400] on 6 held-out scenarios.")
    assert first < page.index("all domains, held-out bare simulator") < page.index('id="happened-title"')


@pytest.mark.slow
def test_a_gain_is_a_row_of_the_stored_figures(store, policies):
    found = gains(store, "n3", policies.candidate)
    rows = {
        (row["simulator"], row["domain"]): row
        for row in store.rows("page_figures", {"cycle": "n3"})
        if row["metric"] == "difference"
    }
    assert len(found.rows) == len(rows) == 4
    assert found.rows[0] == ("all domains, held-out bare simulator", "0.500", "0.667", "+0.167 [+0.067, +0.367]", 6)
    assert rows["held-out bare", "all"]["value"] == 0.167
    assert found.tones == ("good",) * 4 and found.plot.marks[0].at > 50
    assert gains(store, "n3", None) is None


@pytest.mark.parametrize("judged", [("panel", "bare"), ("bare", "panel")])
def test_the_words_are_of_the_panel_or_of_whom_judged_last(tmp_path, judged):
    store = filled(tmp_path, [])
    panel = {"held-out a": 0.3, "held-out b": -0.1, "search": 0.0, "held-out a + held-out b": 0.1}
    for name in judged:  # as two judgements of one candidate store it
        for simulator, gain in {"bare": {"held-out bare": 0.2, "search": 0.0}, "panel": panel}[name].items():
            figures = {"difference": gain, "low": gain - 0.01, "high": gain + 0.01, "n": 6}
            store.add_evaluation("c1", "validation", "candidate-1", simulator, {"all": figures}, name)
    found = gains(store, "c1", "candidate-1")
    first, words = {
        "panel": ("held-out a + held-out b", "0.090 to 0.110"),
        "bare": ("held-out bare", "0.190 to 0.210"),
    }[judged[-1]]
    assert found.rows[0][0] == f"all domains, {first} simulator" and words in found.words


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.067, 0.367, "did better than the incumbent, by 0.067 to 0.367 on a scale from 0 (the worst end of a"),
        (-0.2, -0.05, "did worse than the incumbent, by 0.050 to 0.200 on a scale"),
        (
            -0.018,
            0.025,
            "cannot be told from the incumbent: it may do up to 0.018 worse or up to 0.025 better, on a scale",
        ),
        (None, None, "was not measured often enough to say whether it does better or worse than the incumbent."),
    ],
)
def test_a_gain_is_said_in_plain_words(low, high, words):
    said = _in_words(Bounded(0.01, low, high), 1)
    assert said.startswith(
        "In plain words: in conversations on 1 scenario that it was not trained on, the candidate " + words
    )


@pytest.mark.slow
def test_the_plain_words_are_those_of_the_deciding_simulator(page):
    assert (
        "on 6 scenarios that it was not trained on, the candidate did better than the incumbent, by 0.067 to 0.367"
        in page
    )


@pytest.mark.slow
def test_what_happened_is_counted_from_the_queries(store):
    facts = dict(happened(store, "n3"))
    cost = store.rows("tree_cost", {"cycle": "n3"})
    assert facts["scenarios searched"] == str(len(cost)) == "2"
    assert facts["simulated dialogues"] == "16 (2 without a readable answer)"  # eight a tree, one of them unreadable
    assert (
        facts["tokens of the search"] == "200 read (40% of them from a cache), 60 written"
    )  # two calls of 100, 40, 30
    assert facts["tokens of the evaluation"] == "none"
    accepted = sum(row["pairs"] for row in store.rows("pair_counts", {"cycle": "n3"}) if row["fate"] == "accepted")
    assert (
        facts["cost of an accepted pair"]
        == f"{60 / accepted:.0f} written tokens, {5 / accepted:.0f} s of a tree's time"
    )


def test_pairs_are_counted_by_fate_and_the_search_is_judged(store):
    table = pair_table(store, "n3")
    counts = {row["fate"]: row["pairs"] for row in store.rows("pair_counts", {"cycle": "n3"})}
    assert table.domains == ("emotional support",)
    assert [row[1][0] for row in table.rows] == [counts.pop("accepted"), *sorted(counts.values(), reverse=True)]
    (evidence,) = store.rows("page_pair_evidence", {"cycle": "n3"})
    (told,) = table.sentences
    assert f"of {evidence['candidates']} candidate pairs accepted; the search could tell replies apart" in told
    assert f"median gap {evidence['q_gap_median']:.3f}, standard error {evidence['gap_error_median']:.3f}" in told


def told_thresholds(store, scored, **settings):
    store.score_pairs("c1", scored)
    store.begin_cycle("c1", {"seed": 7}, settings={"pairs": settings})
    return thresholds(store, "c1")


@pytest.mark.slow
def test_what_a_pair_had_to_pass_is_said_where_pairs_are(tmp_path):
    from small_stores import filled, hand_tree, support_scenario

    one = support_scenario("one")
    store = filled(tmp_path, [one], [hand_tree(one, {"Tell me more.": [[1.0], [0.75]], "Cheer up.": [[0.0], [0.25]]})])
    assert thresholds(store, "c1") == "The cycle's settings, and so the thresholds for its pairs, were not kept."
    said = told_thresholds(store, PairConfig(min_q_gap=0.05, confidence=0.7), min_q_gap=0.05, confidence=0.7)
    assert said == (
        "To be accepted, a pair needs a gap of at least 0.05 (in reward, 0 to 1), P of at least 0.7, and 2 sampled user turns with a reward "
        "below each reply; at most 1 pair from one place in a dialogue."
    )
    assert html.unescape(night_page(store, "c1", tmp_path, None)).count(said) == 2  # the table, the pair browser
    # Extracted again with other settings: the pair (gap about 0.7, P about 1) is accepted or dropped against the cycle's.
    other = "These pairs were extracted with thresholds other than the cycle's settings"
    assert told_thresholds(store, PairConfig(min_q_gap=0.05), min_q_gap=0.9).startswith(other)
    assert told_thresholds(store, PairConfig(min_q_gap=0.9), min_q_gap=0.05).startswith(other)
    strict = told_thresholds(store, PairConfig(min_q_gap=0.0, confidence=0.99999), min_q_gap=0.0, confidence=0.5)
    assert strict.startswith(other)


def test_no_pair_is_called_unaccepted_where_people_refused_the_accepted_ones():
    def hints(fate, faulty):
        pair = {"fate": fate, "faulty": faulty, "p": 0.9, "chosen": 1, "rejected": 5}
        return [
            one.text.partition(" (")[0] for one in _evidence_hints([{"pairs": [pair], "widest": None, "scenario": "s"}])
        ]

    assert hints("accepted", False) == ["The surest accepted pair"]
    assert hints("gap", False) == ["The surest pair, although none was accepted"]
    assert hints("accepted", True) == []


def test_a_failed_check_leads_to_its_examples():
    promise = Check("emotional support", "promise", {}, ())
    assert promise.is_of("emotional_support: promise rose from 1% to 5% of the replies")
    assert not promise.is_of("emotional_support: flattery rose from 1% to 5% of the replies")
    assert not promise.is_of("persuasion: promise rose from 1% to 5% of the replies")


@pytest.mark.slow
def test_a_domain_whose_replies_are_alike_is_told_so(tmp_path):
    from small_stores import filled, hand_tree, support_scenario

    alike = support_scenario("alike")
    tree = hand_tree(alike, {"Tell me more.": [[1.0], [0.0]], "I hear you.": [[0.0], [1.0]]})
    (told,) = pair_table(filled(tmp_path, [alike], [tree]), "c1").sentences
    assert told.startswith(
        "emotional support: 1 candidate pair; the search could not tell replies apart (median gap below 0.001, "
    )


def test_dialogues_are_the_best_the_worst_and_the_most_changed(store, policies):
    shown = shown_dialogues(store, "n3", store.rows("page_dialogues", {"cycle": "n3"}), policies)
    kinds = {one.scenario: one.kinds for one in shown}
    # candidate's rewards 1, 1, 0.75, 0.5, 0.5, 0.25 (h6 has no reward for the base); changes 0.75, 0.25, 0.25, 0.25, 0, 0
    assert kinds == {
        "h0": ("best", "most changed"), "h5": ("best",), "h2": ("best", "most changed"),
        "h4": ("worst",), "h3": ("worst", "most changed"), "h1": ("worst",),
    }  # fmt: skip
    (first,) = [one for one in shown if one.scenario == "h0"]
    assert [(side.name, side.reward) for side in first.sides] == [
        ("incumbent", BEFORE["h0"]),
        ("candidate", AFTER["h0"]),
    ]
    assert first.sides[1].turns == (("assistant", SAID), ("user", "He was old."))
    assert first.sides[1].answer == "Answer “a number”: 1.00 (final intensity, 1 to 5)."


def test_without_a_candidate_the_incumbents_dialogues_are_shown(store):
    rows = store.rows("page_dialogues", {"cycle": "n3"})
    alone = policies_of(rows, None)
    shown = shown_dialogues(store, "n3", rows, alone)
    assert alone.candidate is None and [len(one.sides) for one in shown] == [1] * len(shown)
    assert {kind for one in shown for kind in one.kinds} == {"best", "worst"}


def test_the_trend_has_a_place_for_each_night_up_to_this_one(store):
    found = nights(store, "n3")
    assert [line.name for line in found.gain.lines] == ["held-out bare simulator", "search simulator"]
    assert [point.label.rpartition(": ")[2] for point in found.gain.lines[0].points] == ["-0.050", "0.020", "0.167"]
    assert len(nights(store, "n2").gain.lines[0].points) == 2
    assert nights(store, "n1").gain is None  # one night is no trend


def test_rewards_by_kind_of_user_are_those_of_the_query(store, policies):
    heads, rows = by_kind_of_user(store, "n3", policies, list(BEFORE))
    queried = {
        row["policy"]: row["reward"]
        for row in store.rows("engagement_by_condition", {"cycle": "n3"})
        if (row["condition"], row["simulator"]) == ("initial_intensity", "held-out bare")
    }
    assert heads == ["incumbent", "candidate"] and rows == []  # each condition has one level only
    assert queried == {"base": 0.5, policies.candidate: 0.643}  # 3/6; (1 + .5 + .75 + .5 + .25 + 1 + .5)/7


@pytest.mark.slow
def test_a_page_compares_only_where_both_talked_and_never_with_dialogues_of_a_comparison(tmp_path):
    """`engage compare` holds dialogues of the same cycle on the other half of the validation split."""
    night = three_nights(tmp_path / "home", SAID)
    store, dialogues = night[0], night[0].rows("page_dialogues", {"cycle": "n3"})
    (candidate,) = {row["policy"] for row in store.rows("page_figures", {"cycle": "n3"})}
    both = policies_of(dialogues, candidate)
    assert judged_scenarios(store, dialogues, both) == list(BEFORE)
    of_candidate = [row for row in dialogues if row["policy"] == candidate]
    elsewhere = {**of_candidate[0], "scenario_id": "other half"}
    assert judged_scenarios(store, [*dialogues, elsewhere], both) == list(BEFORE)
    assert judged_scenarios(store, [*dialogues, elsewhere], policies_of(of_candidate, candidate)) == [
        *BEFORE,
        "other half",
    ]
    challenges = Challenges(store)
    challenges.begin("n3", candidate, "a", "base", "held-out bare", "g", ["h0", "h1", "h2", "unheard"])
    assert judged_scenarios(store, dialogues, both) == ["h0", "h1", "h2"]
    html_of_it = night_page(store, "n3", night[1], night[2])
    assert "candidate 6 of 6 replies (100.0%)" in html_of_it  # three scenarios with two simulators


def test_checks_show_the_replies_behind_a_rate(store, policies):
    (check,) = checks_of(store.rows("evaluation_replies", {"cycle": "n3"}), policies)
    assert (check.domain, check.name) == ("emotional support", "flattery")
    assert check.counts == {"incumbent": (0, 14), "candidate": (14, 14)}
    assert check.count("candidate") == "14 of 14 replies (100.0%)" and check.share("incumbent") == 0.0
    assert [(one.who, one.text) for one in check.examples] == [("candidate", SAID)] * 3


def test_the_simulators_health_counts_what_could_not_be_read(store):
    health = simulator_health(store, "n3")
    # one in each tree, and the base's dialogue on h6 with both simulators
    assert health.sentences[0].startswith("The exit survey could not be read after 4 of 44 dialogues (9.1%)")
    assert health.flaws == ()


def test_training_curves_are_read_from_the_adapters_folder(night, tmp_path):
    curves = dict(training_curves(night[2]))
    assert [point.label for point in curves["loss"].lines[0].points] == ["1: 0.650", "2: 0.600", "3: 0.550", "4: 0.500"]
    assert len(curves) == 3 and training_curves(tmp_path) == training_curves(None) == []


def test_what_was_said_is_text_on_the_page(page):
    assert "<script>alert" not in page and "\x1b" not in page
    assert r"You&#39;re amazing. &lt;/p&gt;&lt;script&gt;alert(1)&lt;/script&gt; \x1b[31m" in page


def test_every_link_on_the_page_has_a_place(page):
    data = json.loads(re.search(r'id="evidence-data">(.*?)</script>', page, re.DOTALL)[1])
    places = set(re.findall(r' id="([^"]+)"', page))
    pairs = {
        (tree["scenario"], str(one["chosen"]), str(one["rejected"])) for tree in data["trees"] for one in tree["pairs"]
    }
    links = re.findall(r'href="#([^"]+)"', page)
    for link in links:
        fields = dict(part.split("=") for part in link.replace("&amp;", "&").split("&") if "=" in part)
        if "chosen" in fields:
            assert (fields["scenario"], fields["chosen"], fields["rejected"]) in pairs
        elif not fields:
            assert link in places
    assert len(links) > 10 and any("chosen" in link for link in links)


def test_the_verdict_is_kept_with_the_cycle_and_counts_for_its_candidate_alone(tmp_path):
    assert decision(tmp_path, None).text == "No candidate has been judged in this cycle."
    assert (
        decision(tmp_path, "candidate-1").text == "This candidate has not been judged yet: `engage evaluate` does it."
    )
    keep_verdict(tmp_path, "candidate-1", Verdict(False, "not promoted: x"), ["words rose"])
    kept = decision(tmp_path, "candidate-1")
    assert (kept.text, kept.promoted, kept.failures) == ("Not promoted: x.", False, ("words rose",))
    assert decision(tmp_path, "candidate-2").promoted is None  # trained since
    keep_verdict(tmp_path, None, Verdict(False, "not promoted: no candidate was trained"), [])
    assert decision(tmp_path, None).text == "Not promoted: no candidate was trained."


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"candidate": null, "reason": 3, "promoted": true, "failures": []}'])
def test_a_damaged_verdict_is_one_sentence(tmp_path, text):
    (tmp_path / "verdict.json").write_text(text, encoding="utf-8")
    with pytest.raises(StoreError, match=r"verdict\.json: damaged; delete it"):
        decision(tmp_path, None)


@pytest.mark.slow
def test_a_night_without_a_candidate_and_without_pairs_has_a_page(night, tmp_path):
    page = night_page(night[0], "n1", tmp_path, None)
    assert "No candidate has been judged in this cycle." in page and "No held-out dialogue" in page
    assert len(page) < 3_000_000
