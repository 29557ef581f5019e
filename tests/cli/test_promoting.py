"""What `engage doctor` says about challengers, and how `engage promote` is refused."""

import dataclasses

import pytest
from scripted_scenarios import SUPPORT
from small_stores import filled, hand_dialogue

from engage.store import Challenges, State
from flows.cli import doctor

SCRIPTED = ("--set", "engine.kind=scripted")


@pytest.fixture
def challenged(tmp_path, monkeypatch):
    """A home whose store has one near challenger on six scenarios, and one that was dropped."""
    monkeypatch.setattr(doctor, "_free_memory_gb", lambda: 64.0)
    monkeypatch.setattr(doctor, "DISK_GB", 0.0)
    scenarios = [
        dataclasses.replace(SUPPORT, scenario_id=f"s{n}", opening=SUPPORT.opening.add(SUPPORT.opening.turns[0]))
        for n in range(6)
    ]
    talks = [
        hand_dialogue(scenario, reward, policy=policy, simulator="held-out bare")
        for scenario in scenarios
        for policy, reward in (("base", 0.25), ("candidate-a", 0.75))
    ]
    challenges = Challenges(filled(tmp_path / "home", scenarios, dialogues=talks))
    names = [scenario.scenario_id for scenario in scenarios]
    near = challenges.begin("c1", "candidate-a", "/a", "base", "held-out bare", "g1", names)
    challenges.add_batches(near.number, "c1", [1])
    poor = challenges.begin("c1", "candidate-b", "/b", "base", "held-out bare", "g1", names)
    challenges.settle(poor.number, State.DROPPED, "no sign of a gain")
    return challenges


@pytest.mark.slow
def test_the_doctor_says_what_the_near_challenger_and_the_next_candidate_need(engage, challenged):
    _, out, _ = engage("doctor", *SCRIPTED)
    # six differences of 0.5: (1.15⁶ + 1.475⁶) / 2 = (2.31 + 10.30) / 2 = 6.3, where number 1 needs 40.5: 1.84 of 3.70 in logarithms
    assert (
        "ok candidate 1 (cycle c1) against base: not promoted yet: +0.500 [+0.500, +0.500] on 6 held-out scenarios, evidence 6.3 of 41 "
        "after 1 night; at this rate it needs about 12 more dialogues (2 nights)"
    ) in out
    assert "candidate 2" not in out
    assert "ok promotion is auto; the next candidate is number 3, 0 passed before it: " in out


def test_the_doctor_names_a_candidate_that_waits_for_a_person(engage, challenged):
    challenged.settle(
        1, State.PASSED, "meets the rule: +0.500; it waits for `engage promote c1 --why TEXT`", passed=True
    )
    _, out, _ = engage("doctor", *SCRIPTED, "--set", "evaluation.promotion=manual")
    assert "ok candidate 1 (cycle c1) against base: meets the rule: +0.500; it waits for `engage promote c1" in out
    assert "ok promotion is manual; the next candidate is number 3, 1 passed before it: " in out


def test_a_promotion_of_nothing_is_one_sentence(engage, challenged):
    code, _, said = engage("promote", "nowhere", "--why", "x")
    assert (code, said.strip()) == (2, "'nowhere' is neither a cycle of this home nor a version in its registry")
    code, _, said = engage("promote", "c1", "--why", "x")
    assert code == 2
    assert said.strip() == "cycle 'c1' has no candidate: nothing was trained in it; run `engage align --cycle c1`"
    assert engage("promote", "c1")[0] == 2  # a reason is required
