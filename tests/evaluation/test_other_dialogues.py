"""What an evaluation and its page must not count: forks, a comparison's adversarial users, simulators that only one side talked with."""

from dataclasses import replace

import pytest
from small_stores import filled, hand_dialogue, hand_tree, support_scenario

from engage.dialogue import Dialogue, Reaction, Role, Turn
from engage.engines.prices import Prices
from engage.evaluation import HeldOutConfig, HeldOutStore, judge_candidate, plan
from engage.evaluation.night_page.checks import checks_of
from engage.evaluation.night_page.gains import by_kind_of_user
from engage.evaluation.night_page.held_out_dialogues import policies_of
from engage.search.tree import ForkRecord
from engage.store import Cycle, Outbox

SCENARIOS = [support_scenario(name, "validation", emotion=name) for name in ("anger", "sadness")]
USER, ADVERSARY, CANDIDATE = "held-out a", "adversary brusque", "candidate-x"


def held(scenario, policy, reward=0.5, simulator=USER, said="Tell me.", cycle="c1"):
    record = hand_dialogue(scenario, reward, cycle, policy, simulator)
    turns = (*scenario.opening.turns, Turn(Role.ASSISTANT, said), Turn(Role.USER, "He was old."))
    return replace(record, trajectory=replace(record.trajectory, dialogue=Dialogue(turns)))


def adversarial(scenario, policy, said="Tell me.", cycle="c1"):
    record = held(scenario, policy, None, ADVERSARY, said, cycle)
    return replace(record, trajectory=replace(record.trajectory, reaction=Reaction("unasked", "", None)))


def night(rewards=(0.25, 0.75), said="Tell me."):
    return [
        held(scenario, policy, reward, said=said if policy == CANDIDATE else "Tell me.")
        for scenario, reward in zip(SCENARIOS, rewards, strict=True)
        for policy in ("base", CANDIDATE)
    ]


def test_a_fork_does_not_replace_the_rewards_of_the_dialogues_it_came_from(tmp_path):
    store = filled(tmp_path, SCENARIOS, dialogues=night())
    policies = policies_of(store.rows("page_dialogues", {"cycle": "c1"}), CANDIDATE)
    before = by_kind_of_user(store, "c1", policies, ["anger", "sadness"])
    assert [row[1:] for row in before[1]] == [("anger", 1, ["0.250", "0.250"]), ("sadness", 1, ["0.750", "0.750"])]
    one = held(SCENARIOS[0], "base", 1.0)
    name = f"c1/evaluation/base/{USER}/anger/1/fork/1/0a0a0a0a"
    fork = ForkRecord("c1", "fork", "base", USER, 5, one.trajectory, (), name)
    outbox = Outbox(tmp_path / "outbox")
    outbox.put_dialogues([fork])
    store.drain(outbox)
    assert by_kind_of_user(store, "c1", policies, ["anger", "sadness"]) == before


def test_a_night_that_only_collected_shows_all_users_that_its_trees_drew(tmp_path):
    angry, sad = (support_scenario(name, emotion=name) for name in ("anger", "sadness"))
    trees = [
        replace(hand_tree(one, {"Tell me.": [rewards]}, cycle), simulator=user)
        for cycle, one, rewards, user in [
            ("c1", angry, [1.0, 1.0, 0.0], "a"),
            ("c1", sad, [0.5, None, 0.5], "b"),
            ("c2", angry, [0.25], None),
            ("c2", sad, [0.75], None),
        ]
    ]
    extra = support_scenario("anger too", emotion="anger")
    trees.append(replace(hand_tree(extra, {"Tell me.": [[0.0]]}), simulator="b"))
    store = filled(tmp_path, [angry, sad, extra], trees, cycle_ids=("c1", "c2"))
    # four dialogues with two users: (1 + 1 + 0 + 0) / 4
    heads, rows = by_kind_of_user(store, "c1", policies_of([], None), [])
    assert (heads, [row[1:] for row in rows]) == (["search"], [("anger", 4, ["0.500"]), ("sadness", 3, ["0.500"])])
    one_user = by_kind_of_user(store, "c2", policies_of([], None), [])[1]
    assert [row[1:] for row in one_user] == [("anger", 1, ["0.250"]), ("sadness", 1, ["0.750"])]


def test_the_deciding_simulator_of_a_page_is_none_that_gives_no_reward(tmp_path):
    store = filled(tmp_path, SCENARIOS, dialogues=[*night(), *(adversarial(one, "base") for one in SCENARIOS)])
    assert policies_of(store.rows("page_dialogues", {"cycle": "c1"}), CANDIDATE).simulator == USER


@pytest.mark.parametrize("cycle", ["c1", "later"])
def test_a_plan_reads_the_nights_and_no_comparison_of_policies(tmp_path, cycle):
    others = [held(one, policy, cycle=cycle) for one in SCENARIOS for policy in ("search", "dpo_search-1")]
    others += [adversarial(one, "base", cycle=cycle) for one in SCENARIOS]
    cycles = dict.fromkeys(("c1", cycle))
    store = filled(tmp_path, SCENARIOS, dialogues=[*night(), *others], cycle_ids=tuple(cycles))
    found = plan(store, SCENARIOS, HeldOutConfig(), Prices(), 0.1)
    assert (found.decides.simulator, found.simulators, found.cycles) == (USER, 1, 1)


def test_checks_compare_replies_to_the_same_users(tmp_path):
    """With the adversarial users half of the base's replies would flatter."""
    flattery = "You're amazing."
    store = filled(
        tmp_path,
        SCENARIOS,
        dialogues=[*night(said=flattery), *(adversarial(one, "base", flattery) for one in SCENARIOS)],
    )
    cycle = Cycle(cycle_id="c1", seed=7, champion_version=None, champion_adapter=None)
    found = judge_candidate(
        HeldOutStore(store, cycle, {one.scenario_id: one for one in SCENARIOS}), CANDIDATE, [USER], 0.05
    )
    (report,) = found.reports
    assert (report.hacking_base["flattery"], report.hacking_candidate["flattery"]) == (0.0, 1.0)
    assert any("flattery rose from 0% to 100%" in sentence for sentence in found.failures)
    policies = policies_of(store.rows("page_dialogues", {"cycle": "c1"}), CANDIDATE)
    (check,) = checks_of(store.rows("evaluation_replies", {"cycle": "c1"}), policies)
    assert check.counts == {"incumbent": (0, 2), "candidate": (2, 2)}
