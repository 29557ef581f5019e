import dataclasses

import pytest
from small_stores import count, filled, hand_dialogue, hand_judgement, hand_tree, judge, support_scenario

from engage.search import ForkRecord, TreeRecord
from engage.store import Outbox, PairConfig, TrajectoryStore, writing

BAKER = support_scenario("baker")
TREE = hand_tree(BAKER, {"Tell me.": [[0.25], [0.5]], "Yes.": [[0.75]]})
NODES, RUNS = TREE.nodes, TREE.simulations


def changed(record, number, **fields):
    return tuple(dataclasses.replace(one, **fields) if at == number else one for at, one in enumerate(record))


def drained(tmp_path, tree, cycle_ids=("c1",)):
    store, outbox = TrajectoryStore(tmp_path / "engage.duckdb", wait_s=10.0), Outbox(tmp_path / "outbox")
    for cycle_id in cycle_ids:
        store.begin_cycle(cycle_id, {"seed": 7})
    store.add_scenarios([BAKER])
    outbox.put_tree(tree)
    store.drain(outbox)
    return store, [path.name.rpartition(".")[2] for path in outbox.folder.iterdir()]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"simulations": changed(RUNS, 1, simulation=0)}, "two simulations have number 0"),
        ({"simulations": changed(RUNS, 1, node_ids=(0, 1, 99))}, "the nodes of simulation 1 are no path from the root"),
        ({"simulations": changed(RUNS, 1, node_ids=())}, "the nodes of simulation 1 are no path from the root"),
        ({"simulations": changed(RUNS, 1, root_id=4)}, "simulation 1 does not pass node 4, where it began"),
        (
            {"simulations": changed(RUNS, 1, trajectory=dataclasses.replace(RUNS[1].trajectory, scenario_id="clerk"))},
            "simulation 1 is of scenario 'clerk'",
        ),
        ({"nodes": changed(NODES, 3, node_id=2)}, "two nodes have number 2"),
        ({"nodes": changed(NODES, 3, parent_id=77)}, "node 3 follows node 77, which is not before it"),
        ({"nodes": changed(NODES, 3, parent_id=None)}, "not one root"),
        ({"nodes": ()}, "not one root"),
    ],
)
def test_a_tree_that_contradicts_itself_is_set_aside_with_the_reason(tmp_path, caplog, fields, reason):
    store, left = drained(tmp_path, dataclasses.replace(TREE, **fields))
    assert left == ["damaged"] and count(store, "tree") == count(store, "reaction") == 0
    assert reason in caplog.text


def test_a_tree_under_the_id_of_another_scenario_is_set_aside(tmp_path, caplog):
    class Renamed(TreeRecord):
        tree_id = "c1/clerk"

    fields = {field.name: getattr(TREE, field.name) for field in dataclasses.fields(TREE)}
    store, left = drained(tmp_path, Renamed(**fields))
    assert left == ["damaged"] and count(store, "tree") == 0
    assert "its id 'c1/clerk' is not c1/baker" in caplog.text


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"left_id": "x"}, "the left_id 'x' of a pair is not the number of a node"),
        ({"right_id": "99999999999"}, "the right_id '99999999999' of a pair is not the number of a node"),
        ({"verdict": "best"}, "there is no verdict 'best'"),
    ],
)
def test_an_odd_judgement_is_set_aside_and_pairs_are_judged_as_before(tmp_path, caplog, fields, reason):
    store = filled(tmp_path, [BAKER], [TREE])
    judge(store, dataclasses.replace(hand_judgement("left"), **fields))
    assert reason in caplog.text and count(store, "judgement") == 0
    assert store.score_pairs("c1", PairConfig())["candidates"] == 0


def test_an_odd_judgement_that_an_earlier_version_stored_fails_no_query(tmp_path):
    store = filled(tmp_path, [BAKER], [TREE])
    store.score_pairs("c1", PairConfig())
    judge(store, hand_judgement("harmful"))
    with writing(store.path, 10.0) as connection:
        connection.execute("update judgement set left_id = 'x'")
    store.score_pairs("c1", PairConfig())
    assert store.rows("judged_pairs", {"cycle": "c1"}) == []


@pytest.mark.parametrize("forked", ["c1/evaluation", "c1/evaluation/fork/99999999999/0123abcd"])
def test_a_dialogue_that_is_called_a_fork_without_a_forks_id_fails_no_query(tmp_path, forked):
    fork = ForkRecord(**{**vars(hand_dialogue(BAKER, 0.5)), "purpose": "fork"}, forked=forked)
    store = filled(tmp_path, [BAKER], [], [fork])
    assert count(store, "trajectory") == 1 and count(store, "fork_outcome") == 0


def test_a_sound_tree_is_stored_without_a_word(tmp_path, caplog):
    store, left = drained(tmp_path, TREE)
    assert left == [] and count(store, "reaction") == 3 and caplog.text == ""


def test_a_tree_of_another_home_is_stored_with_one_line(tmp_path, caplog):
    store, left = drained(tmp_path, dataclasses.replace(TREE, cycle_id="c9"))
    assert left == [] and count(store, "tree") == 1
    assert "1 tree(s) stored of a cycle or scenario that this home lacks, such as c9/baker" in caplog.text
