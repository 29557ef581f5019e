import asyncio

import pytest
from card_dialogues import persuadee

from engage.engines.scripted import ScriptedEngine
from engage.errors import EngineError
from engage.experiments.simulator_card.asking import Asked, ask_simulator, drawn_places, request_count
from engage.experiments.simulator_card.card import Measured, simulator_figures
from engage.simulation import SpeechConfig

SPEECH = SpeechConfig(max_attempts=3)
HUMANS = [persuadee(0, 0.0), persuadee(1, 0.5)]


def ask(reply, humans=HUMANS, choose=lambda prompt, choices: [1.0] + [0.0] * 7 + [1.0], **settings):
    asked = Asked(ScriptedEngine(reply, choose), SPEECH, "", **{"places": 2, "answers": 3, "seed": 7, **settings})
    return asyncio.run(ask_simulator(asked, humans))


def test_the_survey_is_read_both_ways_after_the_whole_dialogue():
    found = ask(lambda prompt, seed: "3 quarters" if "eight quarters" in prompt.messages[-1].content else "Maybe.")
    for human in HUMANS:
        # half of the weight on nothing, half on eight quarters
        assert found.expected[human.scenario_id].value == pytest.approx(1.0)
        assert [reaction.value for reaction in found.pattern[human.scenario_id]] == [0.75] * 3


def test_next_turns_stand_beside_what_the_person_said_there():
    human = HUMANS[0]
    (first, second) = ask(lambda prompt, seed: "Maybe so.").turns[human.scenario_id]
    assert (first.human, second.human) == ("What do they do with it?", "I could give 50 cents.")
    assert {first.simulated, second.simulated} == {"Maybe so."}
    assert first.before == "Would you give something, Wha?"


def test_a_flawed_first_draw_is_kept():
    found = ask(lambda prompt, seed: "Would you like to donate to the children?", places=1)
    assert [place.simulated_flaw for places in found.turns.values() for place in places] == ["role_flip"] * 2


def test_places_come_after_the_opening_and_are_drawn_by_the_seed():
    human = persuadee(0, 0.0, ("I never heard of them, sorry.", *(f"Answer {n}." for n in range(8))))
    places = drawn_places(human, 2, seed=1)
    # the opening ends with turn 1; user turns are the odd ones
    assert len(places) == 2 and all(place > 1 and place % 2 == 1 for place in places)
    assert places == drawn_places(human, 2, seed=1)
    assert len({tuple(drawn_places(human, 2, seed)) for seed in range(20)}) > 3


def test_what_asking_cost_is_told_by_reader():
    found = ask(lambda prompt, seed: "two words")
    assert (found.expected_cost.calls, found.pattern_cost.calls) == (2, 2)
    # two dialogues, three answers of two words
    assert (found.expected_cost.completion_tokens, found.pattern_cost.completion_tokens) == (0, 12)


def test_the_survey_is_asked_early_of_the_dialogues_that_go_on():
    long = persuadee(2, 0.5, ("I never heard of them, sorry.", *(f"Answer {n}." for n in range(4))))
    asked = []

    def choose(prompt, choices):
        asked.append(" ".join(message.content for message in prompt.messages))
        return [1.0] * 9

    found = ask(lambda prompt, seed: "Maybe.", [*HUMANS, long], choose)
    # HUMANS have two exchanges after the opening, so only the long one goes on after two; it has four, so none goes on after four
    assert {exchanges: set(read) for exchanges, read in found.early.items()} == {
        2: {long.scenario_id},
        4: set(),
        6: set(),
        8: set(),
    }
    # three whole dialogues, and one until the user's second turn after the opening
    assert len(asked) == 4 and "Answer 1." in asked[-1] and "Answer 2." not in asked[-1]
    assert request_count([*HUMANS, long]) == 3 * 3 + 1


def test_a_dialogue_whose_requests_fail_is_missing_and_counted():
    def reply(prompt, seed):
        if "person 0" in prompt.messages[0].content:
            raise EngineError("too long", prompt.key)
        return "Maybe."

    found = ask(reply)
    # its answers and its turns; the likelihoods were told
    assert found.failed == 2
    assert set(found.turns) == set(found.pattern) == {HUMANS[1].scenario_id} and len(found.expected) == 2


def test_where_everything_fails_the_first_reason_is_raised():
    def reply(prompt, seed):
        raise EngineError("no server", prompt.key)

    with pytest.raises(EngineError, match="no server"):
        ask(reply)


def test_an_early_survey_is_compared_with_the_amount_stated_until_then():
    said = ("I never heard of them, sorry.", "What for?", "I see.", "I could give 50 cents.")
    humans = [persuadee(number, 0.5, said) for number in range(2)]
    answers = ask(lambda prompt, seed: "Maybe.", humans)
    figures = simulator_figures("bare", humans, Measured(answers), {}).figures
    assert (figures["survey_stated"].value, figures["early_2_stated"].value) == (1.0, 0.0)
