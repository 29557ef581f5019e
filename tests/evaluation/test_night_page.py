"""The data of the pages: every number is that of a named query; the marks of a tree; how a page is kept small."""

import json
import re

import pytest
from small_stores import filled, hand_tree, support_scenario

from engage.errors import QueryError
from engage.evaluation.night_page import scenario_page
from engage.evaluation.night_page.sampling import sample_trees, worth_reading
from engage.evaluation.night_page.speakers import FATES
from engage.evaluation.night_page.trees import higher_values, read_trees, spine, visited_path, widest_disagreement
from engage.store import PairConfig

BAKER = support_scenario("baker")
TREE = hand_tree(BAKER, {"Tell me more.": [[1.0], [1.0, 0.5]], "Cheer up.": [[0.0], [0.25], [None]]})


@pytest.fixture
def store(tmp_path):
    found = filled(tmp_path, [BAKER], [TREE])
    found.score_pairs("c1", PairConfig(min_q_gap=0.0, confidence=0.5))
    return found


def data_of(page):
    """What the page's script reads."""
    return json.loads(re.search(r'id="evidence-data">(.*?)</script>', page, re.DOTALL)[1])


@pytest.mark.slow
def test_every_number_of_a_tree_equals_a_named_query(store):
    (tree,) = data_of(scenario_page(store, "c1", "baker"))["trees"]
    columns = {
        "visits": "visits",
        "q": "q_value",
        "low": "q_low",
        "high": "q_high",
        "groups": "groups",
        "prior": "prior",
        "value": "value",
    }
    columns |= {
        "error": "standard_error",
        "draws": "draws",
        "flawed": "flawed_draws",
        "parent": "parent_id",
        "text": "text",
    }
    queried = store.rows("page_nodes")
    for shown, column in columns.items():
        assert tree["nodes"][shown] == [rounded(row[column]) for row in queried], column
    ends = [(row["simulation"], row["leaf_id"], row["value"], row["reward"]) for row in store.rows("page_simulations")]
    assert [(one["number"], one["leaf"], one["value"], one["reward"]) for one in tree["simulations"]] == ends
    (pair,), (row,) = tree["pairs"], store.rows("page_pairs")
    assert (pair["gap"], pair["p"], pair["fate"]) == (rounded(row["q_gap"]), rounded(row["p_greater"]), row["fate"])


def rounded(value):
    return round(value, 6) if isinstance(value, float) else value


def test_a_scenario_without_a_tree_is_one_sentence(store):
    with pytest.raises(QueryError, match=r"scenario 'nobody' has no tree in cycle 'c1'; .*tree_cost"):
        scenario_page(store, "c1", "nobody")


def row(node_id, parent_id, kind, visits=1, q_value=0.5, value=None, spine_index=None):
    return {
        "node_id": node_id, "parent_id": parent_id, "kind": kind, "visits": visits, "q_value": q_value, "value": value, "spine_index": spine_index,
    }  # fmt: skip


NODES = [
    row(0, None, "decision", spine_index=0),
    row(1, 0, "chance", visits=9, q_value=0.9),  # the highest Q, from too few user turns for a value
    row(2, 0, "chance", visits=5, q_value=0.7, value=0.6),
    row(3, 0, "chance", visits=2, q_value=0.4, value=0.5),
    row(4, 2, "decision", visits=2),
    row(5, 2, "decision", visits=3, q_value=None, spine_index=1),
    row(6, 5, "chance", value=0.9),
    row(7, 5, "chance", value=0.1),
    row(8, 5, "chance", visits=0, q_value=None),
]


def test_the_most_visited_path_passes_a_higher_q_that_rests_on_fewer_visits():
    nodes = [
        row(0, None, "decision"),
        row(1, 0, "chance", visits=9, q_value=0.6),
        row(2, 0, "chance", visits=2, q_value=0.8),
    ]
    nodes += [
        row(3, 1, "decision", visits=3, q_value=None),
        row(4, 1, "decision", visits=2),
        row(5, 3, "chance", visits=0),
    ]
    assert visited_path(nodes) == [0, 1, 3]
    assert higher_values(nodes, [0, 1, 3]) == [2]
    assert higher_values(nodes, [0, 2]) == []  # the path takes it itself
    assert visited_path(nodes[:1]) == [0] and higher_values(nodes[:1], [0]) == [] == visited_path([])


def test_of_equally_visited_replies_the_path_takes_the_higher_q_and_then_the_first():
    nodes = [
        row(0, None, "decision"),
        row(1, 0, "chance", q_value=0.4),
        row(2, 0, "chance", q_value=0.6),
        row(3, 0, "chance", q_value=0.6),
    ]
    assert visited_path(nodes) == [0, 2] and higher_values(nodes, [0, 2]) == []
    assert visited_path([*nodes[:1], row(1, 0, "chance", q_value=None), row(2, 0, "chance", q_value=0.0)]) == [0, 2]


def test_the_search_path_holds_the_replies_between_the_search_roots():
    assert spine(NODES) == [0, 2, 5]


def test_replies_differ_most_where_their_values_lie_furthest_apart():
    assert widest_disagreement(NODES) == 5  # 0.8 there, 0.1 at the root
    assert widest_disagreement(NODES[:3]) is None


def test_a_page_shows_as_many_whole_trees_as_fit_and_says_so():
    trees = [{"scenario": f"s{number}", "text": "x" * 1000} for number in range(20)]
    sample = sample_trees(trees, 30, limit=5_500)
    assert len(sample.trees) == 5  # about 1030 characters each
    assert "5 of 30 trees, chosen at random" in sample.note
    names = [tree["scenario"] for tree in sample.trees]
    assert names == sorted(names, key=lambda name: int(name[1:]))
    assert sample_trees(reversed(trees), 30, limit=5_500).trees == sample.trees[::-1]  # the same, whatever the order
    assert sample_trees(trees, 20).note == ""
    assert len(sample_trees(trees, 20, limit=10).trees) == 1


def test_only_trees_that_could_fit_are_read():
    sizes = {f"s{number}": 50 for number in range(20)}  # at least 5,000 characters each
    read = worth_reading(sizes, limit=14_000)
    assert len(read) == 3 and read == worth_reading(dict(reversed(sizes.items())), limit=14_000)
    assert sorted(worth_reading(sizes)) == sorted(sizes)


def test_every_reason_against_a_pair_is_in_words():
    from importlib import resources

    files = ["pairs/candidate_pair", "pairs/pair", "schema/32_faulty_pair"]
    sql = "".join((resources.files("sql") / f"{name}.sql").read_text() for name in files)
    reasons = set(re.findall(r"(?:then|else) '(\w+)'", sql))
    assert len(reasons) == 15 and reasons | {"accepted"} == set(FATES)


@pytest.mark.slow
def test_trees_come_in_the_order_of_their_query(store):
    assert [tree["scenario"] for tree in read_trees(store, "c1", ["baker"])] == [
        one["scenario_id"] for one in store.rows("page_trees")
    ]
