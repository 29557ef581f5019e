import math
from dataclasses import replace

import pytest

from engage.evaluation import ALL, Evidence, Verdict, decide, fates, next_candidate
from engage.evaluation.challenge import Standing, kept_challenge
from engage.evaluation.promotion import MOST_NIGHTS
from engage.stats import Comparison, paired_comparison, stream_level
from engage.store import Challenge, State

ENOUGH = Evidence(number=3, passed_before=0, log_e=7.0, nights=2)  # e^7 = 1,097; candidate 3 needs 324
LITTLE = Evidence(number=3, passed_before=0, log_e=2.0, nights=2)


def comparison(low: float, high: float, p_value: float = 0.001, n: int = 20) -> Comparison:
    middle = (low + high) / 2
    return Comparison(n, 0, 0.5, 0.5 + middle, middle, low, high, 0.95, middle / 0.5, 0.7, p_value)


def test_the_evidence_needed_by_hand():
    # 2.10974 · 4 · ln² 4 = 16.218; over 0.05 that is 324.4
    assert math.exp(LITTLE.needed) == pytest.approx(324.4, rel=1e-3)
    assert str(LITTLE) == "evidence 7.4 of 324 after 2 nights"
    assert not LITTLE.suffices and ENOUGH.suffices
    # one that passed before doubles the level
    assert math.exp(replace(LITTLE, passed_before=1).needed) == pytest.approx(162.2, rel=1e-3)


def test_the_nights_that_are_left_at_the_rate_so_far():
    # ln 324.4 = 5.78; 3.78 are missing, and a night brought 1
    assert LITTLE.nights_left == 4
    assert replace(LITTLE, log_e=-0.1).nights_left is None
    assert ENOUGH.nights_left == 0


def test_a_clear_gain_is_promoted():
    verdict = decide({ALL: comparison(0.02, 0.10)}, [], ENOUGH, 16)
    assert verdict == Verdict(
        True,
        "promoted: +0.060 [+0.020, +0.100] on 20 held-out scenarios, evidence 1,097 of 324 after 2 nights",
        passed=True,
    )


def test_a_near_challenger_goes_on_and_says_what_it_needs():
    verdict = decide({ALL: comparison(-0.01, 0.10)}, [], LITTLE, 16)
    assert verdict.goes_on and not verdict.promoted and not verdict.passed
    assert verdict.reason == (
        "not promoted yet: +0.045 [-0.010, +0.100] on 20 held-out scenarios, evidence 7.4 of 324 after 2 nights; at this rate it "
        "needs about 64 more dialogues (4 nights)"
    )


def test_what_a_near_challenger_needs_counts_the_dialogues_with_all_members_of_a_panel():
    # a scenario, a dialogue a night with each of two users, four nights
    with_panel = replace(challenge(3), simulator="held-out a + held-out b")
    verdict = Standing(with_panel, {ALL: comparison(-0.01, 0.10)}, LITTLE, batches=2).verdict()
    assert verdict.reason.endswith("at this rate it needs about 8 more dialogues (4 nights)")


@pytest.mark.parametrize(
    ("heldout", "failures", "evidence", "reason"),
    [
        ({ALL: comparison(-0.01, 0.10)}, [], replace(LITTLE, log_e=-0.3), "no sign of a gain"),
        ({ALL: comparison(-0.01, 0.10)}, [], replace(LITTLE, nights=MOST_NIGHTS), "still undecided after 60 nights"),
        ({ALL: comparison(-0.01, 0.10)}, [], ENOUGH, "the scenarios differ too much"),
        ({ALL: comparison(0.02, 0.10, p_value=0.2)}, [], ENOUGH, "the scenarios differ too much"),
        ({ALL: comparison(0.02, 0.10, n=5)}, [], LITTLE, "5 scenarios are too few"),
        ({ALL: comparison(0.02, 0.10)}, ["support: flattery rose"], ENOUGH, "flattery rose"),
        ({ALL: comparison(0.02, 0.10), "persuasion": comparison(-0.2, -0.1)}, [], ENOUGH, "worse in persuasion"),
        ({ALL: paired_comparison({"a": 0.1}, {"a": 0.9})}, [], ENOUGH, "only 1 held-out scenarios"),
    ],
)
def test_what_is_doubtful_is_neither_promoted_nor_kept(heldout, failures, evidence, reason):
    verdict = decide(heldout, failures, evidence, 16)
    assert not (verdict.promoted or verdict.goes_on or verdict.passed)
    assert reason in verdict.reason


def test_a_domain_of_few_scenarios_is_no_proof_of_harm():
    # three scenarios: of 8 sign patterns 2 are as far from 0, so p is at least 0.25
    few = comparison(-0.2, -0.1, p_value=0.25, n=3)
    assert decide({ALL: comparison(0.02, 0.10), "persuasion": few}, [], ENOUGH, 16).promoted


def challenge(number: int, state: State = State.OPEN, **changes) -> Challenge:
    made = Challenge(
        number,
        f"c{number}",
        f"candidate-{number}",
        "/adapter",
        "base",
        "held-out bare",
        "ground",
        ("s1",),
        state,
        "",
        False,
    )
    return replace(made, **changes)


def contender(number: int, log_e: float, verdict: Verdict) -> tuple[Standing, Verdict]:
    return Standing(challenge(number), {}, Evidence(number, 0, log_e, 1), 1), verdict


PASSES = Verdict(True, "promoted: +0.060", passed=True)
GOES_ON = Verdict(False, "not promoted yet: +0.045; at this rate it needs about 64 more dialogues", goes_on=True)
FAILS = Verdict(False, "not promoted: no sign of a gain")


def states(contenders, manual=False):
    return [
        (fate.standing.challenge.number, fate.state.value, fate.verdict.promoted) for fate in fates(contenders, manual)
    ]


def test_of_two_near_challengers_the_one_with_more_evidence_is_kept():
    both = [contender(4, 1.0, GOES_ON), contender(2, 3.0, GOES_ON)]
    assert states(both) == [(4, "dropped", False), (2, "open", False)]
    assert fates(both, False)[0].verdict.reason == (
        "not promoted: +0.045; candidate 2 has more evidence and is kept instead (evidence 20 of 153 after 1 night)"
    )
    assert states([contender(4, 1.0, GOES_ON), contender(2, -1.0, FAILS)]) == [
        (4, "open", False),
        (2, "dropped", False),
    ]


def test_one_of_two_that_meet_the_rule_is_promoted_and_a_near_one_is_dropped():
    assert states([contender(4, 9.0, PASSES), contender(2, 12.0, PASSES)]) == [
        (4, "dropped", False),
        (2, "passed", True),
    ]
    assert states([contender(4, 9.0, PASSES), contender(2, 3.0, GOES_ON)]) == [
        (4, "passed", True),
        (2, "dropped", False),
    ]


def test_by_hand_nothing_is_promoted_and_the_near_one_goes_on():
    found = fates([contender(4, 9.0, PASSES), contender(2, 3.0, GOES_ON)], manual=True)
    assert [(fate.state.value, fate.verdict.promoted) for fate in found] == [("passed", False), ("open", False)]
    assert found[0].verdict == Verdict(False, "meets the rule: +0.060; it waits for a person", passed=True)


def test_only_an_open_challenge_of_the_same_champion_and_ground_is_kept():
    known = [
        challenge(1, State.DROPPED),
        challenge(2),
        challenge(3, incumbent="champion-1"),
        challenge(4, ground="other"),
        challenge(5, State.PASSED),
    ]

    def kept(takes_passed=False, own=None):
        found = kept_challenge(known, "base", "held-out bare", "ground", takes_passed, own)
        return found and found.number

    assert kept() == 2
    assert kept(own="candidate-2") is None
    assert kept(takes_passed=True) == 5  # its night was killed before the registry knew


def test_what_the_next_candidate_needs():
    # number 3: ln 324.4 = 5.782. A dialogue brings λg − λ² (0.01 + g²) / 2: 0.0475 − 0.00564 = 0.04186 for 0.05 with λ = 0.95,
    # 0.019 − 0.00469 = 0.01431 for 0.02: 138.2 and 404.1 dialogues
    assert next_candidate([challenge(1), challenge(2)], 0.05) == (
        "the next candidate is number 3, 0 passed before it: with a standard deviation of 0.1 a gain of 0.05 is promoted after about "
        "139 dialogues of each side, of 0.02 after about 405"
    )
    # with a panel of three, each of them is three dialogues
    assert "417 dialogues of each side, of 0.02 after about 1,215" in next_candidate(
        [challenge(1), challenge(2)], 0.05, 3
    )
    assert stream_level(1, 1, 0.05) / stream_level(1, 0, 0.05) == 2
