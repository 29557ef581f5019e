import pytest

from engage.experiments.simulator_card.style import FEATURES, pair_styles, style_accuracy, style_features
from engage.training import PreferencePair


def pair(chosen, rejected, number, source="human"):
    return PreferencePair(({"role": "user", "content": "x"},), chosen, rejected, "persuasion", f"s{number}", source)


def test_a_reply_is_seen_by_length_and_punctuation_alone():
    told = dict(zip(FEATURES, style_features("I'm Sure! Isn't it? Yes."), strict=True))
    # i'm sure isn't it yes: 3 + 4 + 5 + 2 + 3 letters in five words
    assert told == {
        "words": 5.0,
        "characters": 24.0,
        "question marks": 1.0,
        "exclamation marks": 1.0,
        "contractions": 2.0,
        "capital letters": 4.0,
        "word length": 17 / 5,
    }
    assert style_features("") == [0.0] * 7


def test_longer_chosen_replies_are_told_on_scenarios_not_trained_on():
    pairs = [pair("one two three four five", "one two", number) for number in range(10)]
    assert style_accuracy(pairs).value == 1.0


def test_replies_of_the_same_style_are_a_coin_toss():
    pairs = [pair("give more", "keep some", number) for number in range(10)]
    assert style_accuracy(pairs).value == 0.5


def test_one_scenario_is_too_few():
    assert style_accuracy([pair("a b", "a", 1), pair("a b", "a", 1)]).value is None


def test_each_source_is_told_with_its_lengths():
    pairs = [pair("one two three", "one", n) for n in range(4)] + [pair("a b", "a b", n, "search") for n in range(3)]
    human, search = pair_styles(pairs)
    assert (human.source, human.pairs, human.chosen_words.value, human.rejected_words.value) == ("human", 4, 3.0, 1.0)
    assert (search.source, search.accuracy.value, search.chosen_words.value) == ("search", pytest.approx(0.5), 2.0)
    assert pair_styles([]) == []
