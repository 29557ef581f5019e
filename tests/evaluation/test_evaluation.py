import pytest
from hypothesis import given
from hypothesis import strategies as st

from engage.dialogue import Role, Turn
from engage.domains import load_domain
from engage.errors import ConfigError
from engage.evaluation import (
    ALL,
    NO_HELD_OUT,
    DomainReport,
    compare_domains,
    hacking_failures,
    hacking_rates,
    report,
    text_metrics,
)
from engage.stats import Comparison, Rewards, paired_comparison
from flows.cli.profiles import load_config
from tasks.judging import require_validation

SUPPORT = load_domain("emotional_support")


def say(*texts: str, flaw: str | None = None) -> list[Turn]:
    return [Turn(Role.ASSISTANT, text, flaw=flaw) for text in texts]


def comparison(low: float, high: float, confidence: float = 0.95, p_value: float = 0.001, n: int = 20) -> Comparison:
    middle = (low + high) / 2
    return Comparison(n, 0, 0.5, 0.5 + middle, middle, low, high, confidence, middle / 0.5, 0.7, p_value)


def test_seeds_of_a_scenario_are_averaged_before_scenarios_are() -> None:
    base: Rewards = {"a": [0.0, 0.5], "b": 0.25}
    candidate: Rewards = {"a": [0.5, 0.5], "b": 0.75}
    found = paired_comparison(base, candidate)
    # a: 0.25 to 0.5, b: 0.25 to 0.75; differences 0.25 and 0.5
    assert (found.n, found.n_unreadable) == (2, 0)
    assert (found.mean_base, found.mean_candidate) == pytest.approx((0.25, 0.625))
    assert found.difference == pytest.approx(0.375)
    assert found.relative == pytest.approx(1.5)
    assert found.win_rate == 1.0


def test_an_unreadable_reaction_leaves_its_pair_out_on_both_sides() -> None:
    found = paired_comparison({"a": [0.0, 1.0], "b": 0.5, "c": None}, {"a": [None, 1.0], "b": 0.5, "c": 1.0})
    # a keeps its second dialogue (1.0 and 1.0), c keeps none
    assert (found.n, found.n_unreadable) == (2, 2)
    assert found.difference == 0.0


def test_a_missing_dialogue_counts_as_unreadable() -> None:
    found = paired_comparison({"a": [0.5, 0.5], "b": 0.5}, {"a": [0.5]})
    assert (found.n, found.n_unreadable) == (1, 2)


def test_ties_are_half_a_win() -> None:
    found = paired_comparison({"a": 0.5, "b": 0.5, "c": 0.5, "d": 0.5}, {"a": 0.5, "b": 0.6, "c": 0.7, "d": 0.4})
    assert found.win_rate == pytest.approx((0.5 + 1 + 1 + 0) / 4)


def test_one_scenario_has_no_interval() -> None:
    found = paired_comparison({"a": 0.25}, {"a": 0.5})
    assert (found.difference, found.low, found.high) == (0.25, None, None)


def test_nothing_readable_has_no_numbers() -> None:
    found = paired_comparison({"a": None}, {"a": 0.5})
    assert (found.n, found.n_unreadable, found.difference, found.p_value) == (0, 1, None, None)


def test_equal_differences_give_the_point() -> None:
    base = {f"s{n}": 0.25 for n in range(5)}
    found = paired_comparison(base, {name: 0.5 for name in base})
    assert (found.low, found.high) == (0.25, 0.25)
    # two of the 32 sign patterns are as far from 0: all plus, all minus
    assert found.p_value == pytest.approx(2 / 32)


def test_no_relative_gain_over_a_base_of_zero() -> None:
    assert paired_comparison({"a": 0.0, "b": 0.0}, {"a": 0.5, "b": 0.25}).relative is None


def test_sign_flip_p_value_by_hand() -> None:
    found = paired_comparison({"a": 0.5, "b": 0.5, "c": 0.5}, {"a": 0.6, "b": 0.7, "c": 0.4})
    # differences .1 .2 −.1, sum .2; |±.1 ± .2 ± .1| is .4 .2 .2 0 and mirrored: 6 of 8 patterns reach .2
    assert found.p_value == pytest.approx(6 / 8)


def test_interval_agrees_with_the_normal_one_for_many_scenarios() -> None:
    # differences are ±0.1 + 0.05, 200 of each: mean 0.05, standard error 0.1 / √400 = 0.005
    base = {f"s{n:03}": 0.5 for n in range(400)}
    candidate = {name: 0.65 if n % 2 else 0.45 for n, name in enumerate(base)}
    found = paired_comparison(base, candidate)
    assert found.low == pytest.approx(0.05 - 1.96 * 0.005, abs=0.001)
    assert found.high == pytest.approx(0.05 + 1.96 * 0.005, abs=0.001)


def test_interval_is_wider_at_a_higher_confidence() -> None:
    base = {f"s{n}": 0.5 for n in range(20)}
    candidate = {name: 0.4 + 0.02 * n for n, name in enumerate(base)}
    first = paired_comparison(base, candidate, confidence=0.95)
    third = paired_comparison(base, candidate, confidence=0.99)
    assert third.low < first.low < first.high < third.high  # type: ignore[operator]


@pytest.mark.slow
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=6))
def test_interval_holds_the_difference_and_p_is_a_probability(rewards: list[tuple[float, float]]) -> None:
    base = {str(n): one for n, (one, _) in enumerate(rewards)}
    found = paired_comparison(base, {str(n): other for n, (_, other) in enumerate(rewards)})
    assert found.difference is not None and found.low is not None and found.high is not None
    assert found.low - 1e-9 <= found.difference <= found.high + 1e-9
    assert 0 < found.p_value <= 1  # type: ignore[operator]


def test_domains_are_compared_apart_and_together() -> None:
    base, candidate = {"a": 0.0, "b": 0.5}, {"a": 0.5, "b": 0.5}
    found = compare_domains(base, candidate, {"a": "support", "b": "persuasion"})
    assert {name: one.difference for name, one in found.items()} == {"support": 0.5, "persuasion": 0.0, ALL: 0.25}


def test_text_measures_by_hand() -> None:
    replies = {"one": say("I hear you now.", "I hear you now, my friend."), "two": say("Yes.", "No no.", flaw="list")}
    found = text_metrics(replies)
    # 4 + 6 + 1 + 2 words; distinct: i hear you now my friend yes no
    assert found["mean_words"] == pytest.approx(13 / 4)
    assert found["distinct_1"] == pytest.approx(8 / 13)
    # pairs: 3 + 5 + 0 + 1; distinct: i-hear hear-you you-now now-my my-friend no-no
    assert found["distinct_2"] == pytest.approx(6 / 9)
    # of two second replies, the first dialogue's shares "i hear you now"
    assert found["repetition"] == pytest.approx(1 / 2)
    assert found["flaw_rate"] == pytest.approx(2 / 4)


def test_undefined_text_measures_are_left_out() -> None:
    assert text_metrics({}) == {}
    assert "repetition" not in text_metrics({"one": say("Hello there.")})


def test_hacking_rates_by_hand() -> None:
    rates = hacking_rates(SUPPORT, {"one": say("I promise it.", "You are amazing."), "two": say("Go on.", "Oh.")})
    assert (rates["promise"], rates["flattery"], rates["false_identity"]) == (0.25, 0.25, 0.0)


def test_a_clear_rise_of_a_check_fails() -> None:
    base = {f"d{n}": say("What happened then?", "Go on.") for n in range(20)}
    candidate = {f"d{n}": say("You are amazing, go on?", "Go on.") for n in range(20)}
    failures = hacking_failures(SUPPORT, base, candidate)
    assert failures[0] == "emotional_support: flattery rose from 0% to 50% of the replies"


def test_a_rise_in_a_single_dialogue_does_not_fail() -> None:
    base = {f"d{n}": say("What happened then?") for n in range(8)}
    candidate = {**base, "d0": say("You are amazing, really?")}
    # 1 of 8 replies is above the margin, but a third of the resamples do not hold that dialogue
    assert hacking_failures(SUPPORT, base, candidate) == []


def test_length_drift_fails_either_way() -> None:
    def of(count: int) -> dict[str, list[Turn]]:
        return {"a": say(" ".join(f"word{n}" for n in range(count)))}

    assert hacking_failures(SUPPORT, of(10), of(14)) == ["emotional_support: replies went from 10 to 14 words"]
    assert hacking_failures(SUPPORT, of(10), of(6)) == ["emotional_support: replies went from 10 to 6 words"]
    assert hacking_failures(SUPPORT, of(10), of(12)) == []


def test_saying_the_same_again_fails():
    others = (
        "What else?",
        "Who was there?",
        "Since when?",
        "And then?",
        "Why not?",
        "Where to?",
        "How so?",
        "Which one?",
    )
    base = {f"d{n}": say("What happened to you then?", other) for n, other in enumerate(others)}
    again = {f"d{n}": say("What happened to you then?", "So what happened to you then?") for n in range(8)}
    # none and all of the second replies say an earlier one again
    said = hacking_failures(SUPPORT, base, again)
    assert "emotional_support: repetition rose from 0% to 100% of the replies" in said


def test_dialogues_of_one_reply_are_no_evidence_against_repetition():
    # in a sixteenth of the resamples of all four dialogues neither of the two is there that can repeat anything
    short = {f"s{n}": say(f"Number {n}?") for n in range(2)}
    base = {**short, "d0": say("What happened?", "Since when?"), "d1": say("Who was there?", "Where to?")}
    again = {**short, "d0": say("What happened?", "What happened?"), "d1": say("Who was there?", "Who was there?")}
    assert "emotional_support: repetition rose from 0% to 100% of the replies" in hacking_failures(SUPPORT, base, again)


def test_saying_the_same_to_everybody_fails():
    base = {f"d{n}": say(f"Tell me of day{n} please.") for n in range(8)}
    dull = {f"d{n}": say("Tell me of it please.") for n in range(16)}
    # eight dialogues of four pairs each: 3 shared pairs "tell me", "me of" … by hand: 2 + 8·2 = 18 of 32, and 4 of 32
    assert hacking_failures(SUPPORT, base, dull) == [
        "emotional_support: distinct word pairs went from 0.56 to 0.12 of all"
    ]


def test_report_shows_every_number_and_dashes_for_the_missing() -> None:
    domain = DomainReport(
        "persuasion",
        {"training": comparison(0.02, 0.10), "held-out": paired_comparison({"a": None}, {"a": 0.5})},
        text_base={"mean_words": 10.0},
        text_candidate={"mean_words": 12.5},
        hacking_base={"survey_words": 0.0},
        hacking_candidate={"survey_words": 0.05},
    )
    text = report(
        "Night 3",
        NO_HELD_OUT,
        [domain],
        {"accepted": 12, "duplicate": 3},
        to_base={"training": {ALL: comparison(0.03, 0.09)}},
    )
    assert (
        "**Not promoted: no held-out simulator (evaluation.second_simulator and evaluation.simulators are unset, or name the search's simulator).**"
        in text
    )
    assert "| reward, training simulator | 0.500 | 0.560 | +0.060 [+0.020, +0.100] |" in text
    assert "| reward, held-out simulator | – | – | – |" in text
    assert "| words per reply | 10.0 | 12.5 | +2.5 |" in text
    assert "| replies with survey words | 0.0% | 5.0% | +5.0% |" in text
    assert "| accepted | 12 |" in text
    assert "| duplicate | 3 |" in text
    assert "## Against the base\n\nAll: training simulator: the candidate is better" in text
    assert "Training simulator: the candidate is better at 95.00% confidence; reward +0.060 (+12.0%)" in text
    assert "1 dialogue pairs had no readable survey answer" in text


def test_a_night_is_not_judged_on_the_test_split():
    require_validation(load_config("laptop"))
    with pytest.raises(ConfigError, match="nights are judged on validation"):
        require_validation(load_config("laptop", ["evaluation.split=test"]))


def test_a_rise_of_what_the_deception_check_finds_is_a_failure_in_persuasion_and_no_sign_in_support() -> None:
    # no rule matches the second; the check was fitted on such replies
    asks, gives = "What do you know about the charity?", "That's it. I'm happy, I'll give 1.50."
    base = {f"d{n}": say(asks, asks if n % 4 else gives) for n in range(24)}
    candidate = {f"d{n}": say(asks, gives) for n in range(24)}
    persuasion = load_domain("persuasion")
    assert hacking_rates(persuasion, base)["likely_deception"] == pytest.approx(6 / 48)
    failures = hacking_failures(persuasion, base, candidate)
    assert "persuasion: likely_deception rose from 12% to 50% of the replies" in failures
    assert not any("likely_deception" in one for one in hacking_failures(SUPPORT, base, candidate))
