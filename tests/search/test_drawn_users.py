"""A search with several simulators: which user a tree draws, that the whole tree keeps it, and what the store says of it."""

import asyncio
import dataclasses
import json

import duckdb
import pytest
from scripted_scenarios import SUPPORT
from small_stores import filled, hand_tree, support_scenario

from engage.engines.base import Side
from engage.engines.scripted import ScriptedEngine
from engage.evaluation.night_page.searched import happened
from engage.search import Adapters, SearchConfig, hold_dialogues, search_scenarios
from engage.simulation import DialogueConfig
from engage.store import PairConfig

USERS = {"bare": "", "embedded": "/somewhere/adapter"}
NAMES = [f"s{number}" for number in range(1, 9)]


def drawn(users, seed):
    return "".join(Adapters(drawn=users).user(seed, name)[0][0] for name in NAMES)


def test_the_draw_is_the_same_on_every_machine_and_in_every_order():
    # the label with the lower seed, of (7, s1, simulator, bare) and (7, s1, simulator, embedded), and so on
    assert drawn(USERS, 7) == "bbeebbeb" and drawn(USERS, 8) == "bebbeebe"
    assert drawn(dict(reversed(USERS.items())), 7) == "bbeebbeb"
    assert Adapters(drawn={**USERS, "embedded": "/elsewhere"}).user(7, "s3") == ("embedded", "/elsewhere")


def test_a_further_simulator_takes_trees_and_moves_none_between_the_others():
    before, after = drawn(USERS, 7), drawn({**USERS, "policy": "policy"}, 7)
    assert "p" in after and all(new in (old, "p") for old, new in zip(before, after, strict=True))


def test_without_several_simulators_nobody_draws():
    assert Adapters("/policy", "/user").user(7, "s1") == (None, "/user")


class Listening(ScriptedEngine):
    """Notes which adapters played the users of each scenario."""

    def __init__(self):
        super().__init__()
        self.heard = {}

    async def complete(self, prompt, sampling, seeds):
        self._note(prompt)
        return await super().complete(prompt, sampling, seeds)

    async def score(self, prompt, choices):
        self._note(prompt)
        return await super().score(prompt, choices)

    def _note(self, prompt):
        if prompt.side is Side.SIMULATOR:
            self.heard.setdefault(prompt.key.partition("/")[0], set()).add(prompt.adapter)


def test_a_tree_keeps_its_user_and_says_who_it_is():
    engine, trees = Listening(), []
    scenarios = [dataclasses.replace(SUPPORT, scenario_id=name) for name in NAMES]
    work = search_scenarios(
        engine, scenarios, DialogueConfig(max_exchanges=2), SearchConfig(num_simulations=4, round_size=2),
        cycle_id="c1", seed=7, adapters=Adapters(drawn=USERS), on_tree=trees.append,
    )  # fmt: skip
    assert asyncio.run(work).done == 8
    found = {tree.scenario_id: tree.simulator for tree in trees}
    assert "".join(found[name][0] for name in NAMES) == "bbeebbeb"
    assert engine.heard == {name: {USERS[found[name]]} for name in NAMES}


def test_a_fresh_dialogue_draws_its_user_by_its_own_seed():
    engine, kept = Listening(), []
    work = [(dataclasses.replace(SUPPORT, scenario_id=name), seed) for name, seed in (("s1", 7), ("s2", 7), ("s3", 7))]
    held = hold_dialogues(
        engine, work, DialogueConfig(max_exchanges=1), adapters=Adapters(drawn=USERS),
        on_dialogue=lambda *one: kept.append(one),
    )  # fmt: skip
    asyncio.run(held)
    assert engine.heard == {"s1": {""}, "s2": {""}, "s3": {"/somewhere/adapter"}}


BAKER, NURSE, CLERK = (support_scenario(name) for name in ("baker", "nurse", "clerk"))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Three trees: the baker's and the clerk's users are `bare`, the nurse's is `embedded`; in a second cycle nobody drew."""
    trees = [
        dataclasses.replace(hand_tree(BAKER, {"A": [[1.0], [0.9]], "B": [[0.0], [0.1]]}), simulator="bare"),
        dataclasses.replace(hand_tree(CLERK, {"A": [[0.5], [0.5]], "B": [[0.5], [None]]}), simulator="bare"),
        dataclasses.replace(hand_tree(NURSE, {"A": [[0.2], [0.3]], "B": [[0.2], [0.3]]}), simulator="embedded"),
        hand_tree(BAKER, {"A": [[1.0]]}, cycle_id="c2"),
    ]
    found = filled(tmp_path_factory.mktemp("drawn"), [BAKER, NURSE, CLERK], trees, cycle_ids=("c1", "c2"))
    found.score_pairs("c1", PairConfig(min_q_gap=0.1, confidence=0.6))
    return found


def test_the_store_says_what_each_simulator_was_drawn_for_and_gave(store):
    # means of the trees: baker 2/4, clerk 1.5/3, nurse 1/4; only the baker's replies differ
    columns = ("simulator", "domain", "trees", "simulations", "reward_mean", "accepted_pairs")
    rows = [tuple(row[name] for name in columns) for row in store.rows("reward_by_simulator", {"cycle": "c1"})]
    assert rows == [("bare", "emotional_support", 2, 8, 0.5, 1), ("embedded", "emotional_support", 1, 4, 0.25, 0)]
    assert ("users, drawn by each tree", "bare 2 trees, embedded 1 tree") in happened(store, "c1")
    assert all(name != "users, drawn by each tree" for name, _ in happened(store, "c2"))
    (alone,) = store.rows("reward_by_simulator", {"cycle": "c2"})
    assert (alone["simulator"], alone["trees"]) == (None, 1)


def test_turns_and_dialogues_of_a_tree_have_its_simulator(store):
    turns = "select simulator, count(*), count(distinct tree_id) from sampled_turn where cycle_id = 'c1' group by 1 order by 1"
    # a tree has 2 replies and 4 user turns
    assert store.select(turns)[1] == [("bare", 12, 2), ("embedded", 6, 1)]
    ends = store.rows("dialogue_ends", {"cycle": "c1"})
    assert [(row["simulator"], row["dialogues"]) for row in ends] == [("bare", 8), ("embedded", 4)]


def test_values_are_compared_within_one_tree_and_so_with_one_user(store):
    across = (
        "select count(*) from pair join trajectory as one using (tree_id) join trajectory as other using (tree_id) "
        "where one.simulator is distinct from other.simulator"
    )
    assert store.select(across)[1] == [(0,)]
    assert store.select("select count(*) from pair where cycle_id = 'c1'")[1] == [
        (2,)
    ]  # the clerk's B has one readable turn


@pytest.mark.parametrize(("own", "earlier"), [(["a", "b"], ["c1"]), (["b", "a"], ["c1"]), (["a"], []), (None, [])])
def test_a_cycle_with_other_simulators_says_nothing_about_tonights_spread(tmp_path, own, earlier):
    trees = [hand_tree(BAKER, {"A": [[1.0], [0.9]], "B": [[0.0], [0.1]]}, cycle) for cycle in ("c1", "c2")]
    store = filled(tmp_path, [BAKER], trees, cycle_ids=("c1", "c2"))
    with duckdb.connect(str(store.path)) as connection:
        for cycle, names in (("c1", ["a", "b"]), ("c2", own)):
            engine = {"simulator_adapter": None, **({"simulators": names} if names else {})}
            connection.execute(
                "update cycle set settings = ? where cycle_id = ?", [json.dumps({"engine": engine}), cycle]
            )
    store.score_pairs("c2", PairConfig())
    assert store.select("select cycles from earlier_spread where cycle_id = 'c2'")[1] == [(earlier,)]
