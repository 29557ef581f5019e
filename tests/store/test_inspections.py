"""Every file of sql/: its form; and every inspection on a small cycle whose rows are counted by hand.

The cycle: two training scenarios, each searched (one tree by hand, one by the scripted engine), and the same two scenarios
held in one evaluation dialogue by two policies.
"""

import dataclasses
import json
import re
from importlib import resources

import duckdb
import pytest
from scripted_scenarios import searched
from small_stores import filled, hand_dialogue, hand_judgement, hand_tree, judge, support_scenario

from engage.dialogue import Reaction
from engage.engines.scripted import ScriptedEngine
from engage.search import SearchConfig
from engage.simulation import DialogueConfig, SpeechConfig
from engage.store import QUESTIONS, PairConfig, inspections
from engage.store.queries import parameters_of, statements

FOLDERS = ("schema", "score", "unpack", "pairs", "inspect")
FILES = {
    f"{folder}/{file.name}": file.read_text()
    for folder in FOLDERS
    for file in (resources.files("sql") / folder).iterdir()
    if file.name.endswith(".sql")
}

BAKER = support_scenario("baker", difficulty="guarded", attitude="hopeful")
NURSE = support_scenario("nurse", difficulty="terse", attitude="hopeful", initial_intensity=5)
# Rewards 1, 1, 0.5 (value 1, 1, 3) and 0, 0.25, unreadable (value 5, 4): 6 simulations, 5 of them readable, mean 0.55.
BAKERS_TREE = hand_tree(BAKER, {"Tell me more.": [[1.0], [1.0, 0.5]], "Cheer up.": [[0.0], [0.25], [None]]})


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    search = SearchConfig(num_simulations=10, round_size=5)
    nurses_tree = searched(ScriptedEngine(), search, DialogueConfig(max_exchanges=2), scenario=NURSE)
    held = [
        hand_dialogue(BAKER, 0.75, policy="champion"),
        hand_dialogue(NURSE, None, policy="champion"),
        hand_dialogue(BAKER, 1.0, policy="candidate"),
        hand_dialogue(NURSE, 0.5, policy="candidate"),
    ]
    store = filled(tmp_path_factory.mktemp("cycle"), [BAKER, NURSE], [BAKERS_TREE, nurses_tree], held, ("c0", "c1"))
    store.score_pairs("c1", PairConfig(min_q_gap=0.0, confidence=0.5, max_pairs_per_prefix=10))
    figures = {"all": {"n": 2, "difference": 0.25, "low": 0.1, "high": 0.4}}
    store.add_evaluation("c1", "validation", "candidate", "held_out", figures)
    base, candidate = (f"c1/evaluation/{policy}/held_out/baker/1" for policy in ("champion", "candidate"))
    judge(
        store,
        hand_judgement("left"),
        hand_judgement("right", "bob"),
        hand_judgement("right", left=base, right=candidate),
    )
    return store


def bare(sql):
    """The statement without comments and without what stands in quotes."""
    return re.sub(r"'[^']*'", "''", re.sub(r"--.*", "", sql))


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_one_statement_with_its_grain_on_top(name):
    sql = FILES[name]
    kinds = [parsed.type.name for parsed in duckdb.extract_statements(sql)]
    assert kinds == (["CREATE"] if name.startswith("schema/") else ["SELECT"])
    starts = r"-- (One row|At most one row|P\(|Whether |Now,)"  # of a table or view; of a macro, what it says
    assert re.match(starts, sql)


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_lowercase_and_names_its_columns(name):
    sql = bare(FILES[name])
    assert sql == sql.lower()
    assert not re.search(r"select\s+(distinct\s+)?(\w+\.)?\*", sql)
    assert not re.search(r"(group|order) by\s+(all|\d)", sql)


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("schema/")])
def test_a_schema_file_is_named_after_what_it_makes(name):
    made = re.search(r"(?:table if not exists|replace view|replace macro) (\w+)", FILES[name])[1]
    assert re.fullmatch(rf"schema/\d\d_{made}\.sql", name)


@pytest.mark.slow
def test_every_statement_is_part_of_the_list(store):
    assert set(inspections()) == {name.split("/")[1].removesuffix(".sql") for name in FILES if "inspect/" in name}
    assert all(one.grain.startswith("One row per ") and "--" not in one.grain for one in inspections().values())


@pytest.mark.parametrize("name", sorted(statements("inspect")))
def test_an_inspection_says_what_it_answers_and_what_it_can_be_given(name):
    found = inspections()[name]
    assert set(found.parameters) == parameters_of(found.sql)
    assert found.question in QUESTIONS or "-- Internal\n" in found.sql


def test_every_question_is_answered():
    assert {one.question for one in inspections().values()} - {None} == set(QUESTIONS)


# The columns that tell a row of each inspection from all others.
GRAIN = {
    "best_and_worst": ("id",),
    "best_and_worst_path": ("path", "turn_index"),
    "changed_since": ("cycle", "what"),
    "credit_pairs": ("tree_id", "chosen_id", "rejected_id"),
    "credit_replies": ("tree_id", "reply_id"),
    "cycle_cost": ("purpose", "side", "kind"),
    "cycle_drift": ("cycle", "domain"),
    "dialogue": ("id",),
    "dialogue_ends": ("purpose", "policy", "simulator", "domain", "end_reason"),
    "dialogue_lines": ("turn_index",),
    "dialogue_survival": ("purpose", "policy", "simulator", "domain", "exchange", "end_reason"),
    "engagement_by_condition": ("purpose", "policy", "simulator", "domain", "condition", "level"),
    "engagement_by_scenario": ("purpose", "policy", "simulator", "domain", "scenario"),
    "evaluation_cost": ("policy", "simulator"),
    "evaluation_dialogues": ("trajectory_id",),
    "evaluation_pace": ("policy", "simulator", "stored_at"),
    "evaluation_replies": ("trajectory_id", "turn_index"),
    "evaluation_rewards": ("policy", "simulator", "domain", "scenario_id", "seed"),
    "evaluation_turns": ("trajectory_id",),
    "exported_pairs": ("tree", "chosen_node", "rejected_node"),
    "first_draws": ("tree_id",),
    "fork_dialogues": ("trajectory_id",),
    "forks": ("dialogue", "turn", "policy", "simulator", "text"),
    "flaw_drift": ("domain", "role", "flaw", "cycle"),
    "flaws": ("role", "flaw"),
    "flaws_by_domain": ("purpose", "policy", "simulator", "domain", "role", "flaw"),
    "judged_dialogues": ("reviewer", "item_id"),
    "judged_pairs": ("reviewer", "item_id"),
    "matching_dialogues": ("id",),
    "no_pair": ("scenario",),
    "pair_cost": ("domain",),
    "policy_gains": ("simulator", "domain", "policy_a", "policy_b"),
    "page_dialogues": ("trajectory_id",),
    "page_figures": ("policy", "simulator", "split", "domain", "metric"),
    "page_nights": ("cycle_id", "simulator"),
    "page_nodes": ("tree_id", "node_id"),
    "page_pair_evidence": ("domain",),
    "page_pairs": ("tree_id", "chosen_id", "rejected_id"),
    "page_simulations": ("trajectory_id",),
    "page_trees": ("tree_id",),
    "pair_conversations": ("pair_id", "side", "trajectory_id"),
    "pair_counts": ("domain", "fate"),
    "pairs": ("scenario", "exchange", "chosen", "rejected"),
    "played_chats": ("id",),
    "reply_openings": ("domain", "opening"),
    "reward_by_domain": ("domain",),
    "reward_by_simulator": ("simulator", "domain"),
    "reward_by_style": ("purpose", "policy", "simulator", "domain", "style", "level"),
    "reward_by_turn": ("domain", "exchange"),
    "review_judgements": ("judgement_id",),
    "review_pairs": ("tree_id", "chosen_id", "rejected_id"),
    "searched_scenarios": ("scenario", "cycle"),
    "sibling_values": ("scenario", "exchange", "reply"),
    "simulator_errors": ("tree_id", "node_id"),
    "side_by_side": None,  # turns in order, two of which may be equal
    "stored_dialogue": ("id",),
    "spine_values": ("domain", "scenario", "exchange"),
    "transcript": None,  # turns in order, two of which may be equal
    "tree_cost": ("scenario",),
    "tree_side_cost": ("tree_id", "side"),
    "tree_nodes": ("node_id",),
    "unmoved_conditions": ("domain", "condition", "level"),
    "unreadable_reactions": ("id",),
    "widest_gaps": ("place", "id"),
}


GIVEN = {
    "dialogue": {"id": "c1/baker/2"},
    "dialogue_lines": {"id": "c1/baker/2"},
    "matching_dialogues": {"prefix": "c1/baker/"},
    "searched_scenarios": {"prefix": ""},
    "stored_dialogue": {"id": "c1/baker/2"},
    "tree_nodes": {"tree": "c1/baker"},
}
"""What those are asked that answer for one dialogue, tree or beginning of an id."""
WITHOUT_ROWS = {"no_pair", "played_chats", "forks", "fork_dialogues", "simulator_errors"}
"""Every scenario of this cycle gave a pair, nobody chatted or forked, and no user turn was kept with a flaw."""
ASKED = sorted(set(statements("inspect")) - WITHOUT_ROWS)
OF_ONE_CYCLE = [name for name in ASKED if inspections()[name].parameters.get("cycle", "").endswith("latest by default")]


@pytest.mark.slow
@pytest.mark.parametrize("name", ASKED)
def test_an_inspection_returns_rows_of_its_grain(store, name):
    rows = store.rows(name, GIVEN.get(name, {}))
    assert rows
    if GRAIN[name]:
        keys = [tuple(row[column] for column in GRAIN[name]) for row in rows]
        assert len(set(keys)) == len(keys)


@pytest.mark.slow
@pytest.mark.parametrize("name", OF_ONE_CYCLE)
def test_an_inspection_of_another_cycle_shows_nothing_of_this_one(store, name):
    assert store.rows(name, {**GIVEN.get(name, {}), "cycle": "c0"}) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", OF_ONE_CYCLE)
def test_an_inspection_shows_the_latest_cycle_by_default(store, name):
    assert store.rows(name, GIVEN.get(name)) == store.rows(name, {**GIVEN.get(name, {}), "cycle": "c1"})


def row_of(rows, **wanted):
    (found,) = [row for row in rows if all(row[column] == value for column, value in wanted.items())]
    return found


@pytest.mark.slow
def test_engagement_by_scenario(store):
    rows = store.rows("engagement_by_scenario")
    searched_baker = row_of(rows, purpose="search", scenario="baker")
    assert searched_baker == {
        "purpose": "search",
        "policy": "",
        "simulator": "",
        "domain": "emotional_support",
        "scenario": "baker",
        "dialogues": 6,
        "unreadable": 1,
        "reward": 0.55,  # (1 + 1 + 0.5 + 0 + 0.25)/5
        "reward_lowest": 0.0,
        "reward_highest": 1.0,
        "relief": 1.2,  # initial 4; final 1, 1, 3, 5, 4: (3 + 3 + 1 − 1 + 0)/5
        "released": 0.4,  # two of five
        "donation_usd": None,
        "measures": {"relief": 1.2, "released": 0.4, "worsened": 0.2},  # one of five ended at 5, having begun at 4
        "exchanges": 1.0,
    }
    unreadable = row_of(rows, purpose="evaluation", policy="champion", scenario="nurse")
    assert (unreadable["dialogues"], unreadable["unreadable"], unreadable["reward"]) == (1, 1, None)
    assert len(rows) == 2 + 4  # two trees; two policies with two scenarios each


def test_engagement_by_condition(store):
    rows = store.rows("engagement_by_condition")
    candidate = [row for row in rows if row["policy"] == "candidate"]
    # Both users are hopeful: rewards 1.0 and 0.5; relief (4 − 1) and (5 − 3).
    hopeful = row_of(candidate, condition="attitude", level="hopeful")
    assert (hopeful["dialogues"], hopeful["reward"], hopeful["relief"], hopeful["released"]) == (2, 0.75, 2.5, 0.5)
    terse = row_of(candidate, condition="difficulty", level="terse")
    assert (terse["dialogues"], terse["reward"], terse["relief"]) == (1, 0.5, 2.0)
    assert {row["condition"] for row in rows} == {"attitude", "difficulty", "emotion", "initial_intensity", "problem"}


def test_sibling_values_show_the_evidence(store):
    rows = [row for row in store.rows("sibling_values") if row["scenario"] == "baker"]
    assert [(row["reply"], row["visits"], row["groups"], row["q_mean"]) for row in rows] == [
        ("Tell me more.", 3, 2, 0.875),  # (1.0 + (1.0 + 0.5)/2)/2
        ("Cheer up.", 3, 2, 0.125),  # (0 + 0.25)/2; the third could not be read
    ]
    best, worst = rows
    assert best["p_below_best"] is None and 0.9 < worst["p_below_best"] <= 1
    pair = row_of(store.rows("pairs"), scenario="baker")
    assert worst["p_below_best"] == pytest.approx(pair["p_greater"], abs=1e-3)


def test_replies_without_evidence_are_shown_without_figures(store):
    for row in store.rows("sibling_values"):
        assert (row["value"] is None) == (row["groups"] < 2)
        assert row["groups"] <= row["visits"]


def test_best_and_worst_trajectories(store):
    rows = [row for row in store.rows("best_and_worst") if row["purpose"] == "evaluation"]
    # Three readable dialogues: 1.0, 0.75, 0.5; the middle one is as near to the best as to the worst.
    assert [(row["end_of_list"], row["reward"], row["survey_value"], row["last_user_turn"]) for row in rows] == [
        ("best", 1.0, 1.0, "He was old."),
        ("best", 0.75, 2.0, "He was old."),
        ("worst", 0.5, 3.0, "He was old."),
    ]


def test_at_most_five_are_shown_of_either_end(store):
    rows = [row for row in store.rows("best_and_worst") if row["purpose"] == "search"]
    # 5 readable of the baker's and 20 of the nurse's (two search roots of 10 simulations)
    assert [row["end_of_list"] for row in rows] == ["best"] * 5 + ["worst"] * 5
    rewards = [row["reward"] for row in rows]
    assert rewards == sorted(rewards, reverse=True)


def test_a_trajectorys_text(store):
    rows = store.rows("transcript", {"id": "c1/baker/2"})
    assert [(row["speaker"], row["text"]) for row in rows] == [
        ("user", "My dog died."),
        ("assistant", "Tell me more."),
        ("user", "I miss him (3)."),
        ("survey (pattern)", "a number"),
    ]
    assert [(row["survey_value"], row["reward"]) for row in rows] == [(None, None)] * 3 + [(3.0, 0.5)]


def test_pairs_show_both_replies(store):
    pair = row_of(store.rows("pairs"), scenario="baker")
    assert (pair["chosen"], pair["rejected"], pair["fate"], pair["exchange"]) == (
        "Tell me more.", "Cheer up.", "accepted", 0,
    )  # fmt: skip
    assert (pair["q_gap_raw"], pair["chosen_groups"], pair["rejected_groups"]) == (0.75, 2, 2)  # 0.875 − 0.125
    counted = store.rows("pair_counts")
    assert sum(row["pairs"] for row in counted) == len(store.rows("pairs"))


def test_reward_by_turn(store):
    rows = store.rows("reward_by_turn")
    first, second = rows
    # Both trees have a root at the opening, the nurse's has one more. Visits there: 6 and 20, the nurse's second root fewer.
    assert (first["exchange"], first["prefixes"], first["visits_mean"]) == (0, 2, 13.0)
    assert (second["exchange"], second["prefixes"]) == (1, 1)
    assert first["q_lowest"] <= first["q_mean"] <= first["q_highest"]


def test_spine_values_are_those_of_the_search_roots(store):
    baker = row_of(store.rows("spine_values"), scenario="baker")
    assert (baker["exchange"], baker["visits"], baker["q_value"]) == (0, 6, pytest.approx(0.55))


def test_reward_by_domain(store):
    (row,) = store.rows("reward_by_domain")
    assert (row["domain"], row["trees"], row["simulations"], row["unreadable"]) == ("emotional_support", 2, 26, 1)


def test_unreadable_reactions_show_the_answer_and_the_words_before_it(store):
    rows = store.rows("unreadable_reactions")
    assert [(row["purpose"], row["answer"], row["last_user_turn"]) for row in rows] == [
        ("evaluation", "no idea", "He was old."),
        ("search", "no idea", "I miss him (7)."),
    ]
    assert rows[1]["id"] == "c1/baker/5"


def test_unreadable_free_answers_of_a_search_are_found(tmp_path):
    # The scripted engine never answers with a number: with the pattern reader no reaction can be read.
    dialogue = DialogueConfig(max_exchanges=1, speech=SpeechConfig(reader="pattern"))
    record = searched(search=SearchConfig(num_simulations=4), dialogue=dialogue, scenario=BAKER)
    rows = filled(tmp_path, [BAKER], [record]).rows("unreadable_reactions")
    assert [row["answer"] for row in rows] == [s.trajectory.reaction.text for s in record.simulations]


def test_a_survey_that_was_not_asked_does_not_count_as_unreadable(tmp_path):
    tree = hand_tree(BAKER, {"Tell me more.": [[1.0], [None], [None]]})
    read, unread, crisis = tree.simulations
    ended = dataclasses.replace(crisis.trajectory, reaction=Reaction("unasked", "", None), end_reason="crisis")
    simulations = (read, unread, dataclasses.replace(crisis, trajectory=ended))
    store = filled(tmp_path, [BAKER], [dataclasses.replace(tree, simulations=simulations)])
    for name in ("reward_by_domain", "cycle_drift", "engagement_by_scenario", "engagement_by_condition"):
        assert {row["unreadable"] for row in store.rows(name)} == {1}, name
    assert len(store.rows("unreadable_reactions")) == 1


def test_the_cost_of_a_cycle_in_calls_tokens_and_seconds(store):
    # Four evaluation dialogues, one call each: 60 prompt tokens (50 cached), none decoded, 0.25 s.
    held = row_of(store.rows("cycle_cost"), purpose="evaluation")
    assert held == {
        "purpose": "evaluation",
        "side": "simulator",
        "kind": "score",
        "calls": 4,
        "samples": 20,
        "prompt_tokens": 240,
        "cached_tokens": 200,
        "cached_share": 0.833,
        "completion_tokens": 0,
        "latency_s_sum": 1.0,
        "latency_s_mean": 0.25,
    }
    assert (
        sum(row["calls"] for row in store.rows("cycle_cost"))
        == store.select("select count(*) from engine_call")[1][0][0]
    )


def test_the_cost_of_each_tree(store):
    rows = store.rows("tree_cost")
    assert rows[0] == {
        "domain": "emotional_support",
        "scenario": "baker",
        "simulations": 6,
        "withdrawn": 0,
        "calls": 1,
        "prompt_tokens": 100,
        "cached_tokens": 40,
        "completion_tokens": 30,
        "wall_s": 2.5,
        "wall_s_sum": 2.5,  # the nurse's tree was stored with 0 s
    }
    assert [(row["scenario"], row["simulations"], row["wall_s"]) for row in rows[1:]] == [("nurse", 20, 0.0)]


def test_flaws_count_every_turn_once(store):
    # Hand tree: replies 2, user turns 5, and no rollout below; each evaluation dialogue: one of each, 4 together.
    # Of the nurse's tree: its nodes, and the turns that its rollouts added below them.
    nodes = dict(store.select("select role, count(*) from node where role is not null group by all")[1])
    rollouts = dict(
        store.select(
            "select role, count(*) from turn join trajectory using (trajectory_id) "
            "join (select tree_id, simulation, max(depth) as depth from visit group by all) using (tree_id, simulation) "
            "where turn_index > depth group by all"  # one turn of opening
        )[1]
    )
    counted = {}
    for row in store.rows("flaws"):
        counted[row["role"]] = counted.get(row["role"], 0) + row["turns"]
    assert counted == {role: nodes[role] + rollouts.get(role, 0) + 4 for role in ("assistant", "user")}


def test_evaluation_dialogues_of_one_policy(store):
    rewards = store.rows("evaluation_rewards", {"policy": "candidate"})
    assert [(row["scenario_id"], row["value"], row["reward"]) for row in rewards] == [
        ("baker", 1.0, 1.0),
        ("nurse", 3.0, 0.5),
    ]
    replies = store.rows("evaluation_replies", {"policy": "candidate"})
    assert [(row["turn_index"], row["text"]) for row in replies] == [(1, "Tell me."), (1, "Tell me.")]
    assert len(store.rows("evaluation_rewards")) == 4


def test_a_dialogue_of_the_evaluation_is_whole(store):
    baker, nurse = store.rows("evaluation_dialogues", {"policy": "champion"})
    assert [turn["text"] for turn in baker["turns"]] == ["My dog died.", "Tell me.", "He was old."]
    assert (baker["opening_turns"], baker["value"], baker["reward"]) == (1, 2.0, 0.75)
    assert json.loads(baker["user_condition"])["difficulty"] == "guarded"
    assert (nurse["value"], nurse["reward"], nurse["reaction_text"]) == (None, None, "no idea")


@pytest.mark.parametrize(
    "name", ["evaluation_rewards", "evaluation_replies", "evaluation_turns", "evaluation_dialogues"]
)
def test_evaluation_dialogues_of_some_scenarios(store, name):
    of_baker = {row["trajectory_id"] for row in store.rows("evaluation_turns") if row["scenario_id"] == "baker"}
    every, some = store.rows(name), store.rows(name, {"scenarios": ["baker"]})
    assert len(some) == len(every) / 2 == 2
    assert all(row.get("scenario_id", "baker") == "baker" for row in some)
    assert all(row.get("trajectory_id") in {None, *of_baker} for row in some)
    assert store.rows(name, {"scenarios": []}) == []


def test_the_cost_of_dialogues_on_some_scenarios(store):
    assert {row["dialogues"] for row in store.rows("evaluation_cost")} == {2}
    assert {row["dialogues"] for row in store.rows("evaluation_cost", {"scenarios": ["nurse"]})} == {1}


@pytest.mark.slow
def test_pairs_of_the_credit_check_come_from_all_bins_in_turn_and_more_of_them_begin_with_the_same(tmp_path):
    # Three replies with the means 0.9, 0.5 and 0.1 make three pairs; which of them share a bin decides their stratum's size.
    replies = {"Tell me more.": [[1.0], [0.8]], "Hm.": [[0.6], [0.4]], "Cheer up.": [[0.2], [0.0]]}
    store = filled(tmp_path, [BAKER, NURSE], [hand_tree(BAKER, replies), hand_tree(NURSE, replies)])
    rows = store.rows("credit_pairs")
    assert len(rows) == 6
    bins = [row["p_bin"] for row in rows]
    assert all(row["p_bin"] == min(9, int((row["p_greater"] - 0.5) * 20)) for row in rows)
    assert [row["stratum_pairs"] for row in rows] == [bins.count(here) for here in bins]
    assert bins[: len(set(bins))] == sorted(set(bins))
    assert store.rows("credit_pairs", {"pairs": 2}) == rows[:2]
    assert {(row["chosen"], row["rejected"]) for row in rows} == {
        ("Tell me more.", "Hm."),
        ("Tell me more.", "Cheer up."),
        ("Hm.", "Cheer up."),
    }


def test_replies_of_the_credit_check_are_all_siblings_of_a_few_prefixes(store):
    rows = store.rows("credit_replies", {"prefixes": 1})
    assert len({(row["tree_id"], row["decision_id"]) for row in rows}) == 1
    assert len(rows) >= 2
    everything = store.rows("credit_replies")
    assert {row["on_spine"] for row in everything if row["tree_id"] == "c1/baker"} == {False}  # it has one search root
    assert sum(row["on_spine"] for row in everything if row["tree_id"] == "c1/nurse") <= 1
    baker = [row for row in everything if row["tree_id"] == "c1/baker"]
    assert {row["reply"]: (row["group_count"], row["q_mean"]) for row in baker} == {
        "Tell me more.": (2, 0.875),
        "Cheer up.": (2, 0.125),
    }
