import math

import pytest

from engage.dialogue import Dialogue, Role, Turn
from engage.domains import Domain, Survey, UserCondition, load_domain
from engage.domains.emotional_support import EMOTIONAL_SUPPORT, SupportCondition
from engage.domains.persuasion import PERSUASION, PersuasionCondition
from engage.errors import ConfigError
from engage.scenario import load_scenarios
from engage.simulation.simulator import survey_messages
from engage.survey import stated_value

SEEKER = SupportCondition(
    person="a baker",
    situation="My dog died.",
    emotion="sadness",
    problem="bereavement",
    initial_intensity=4,
    difficulty="terse",
)


class Quiz(Domain):
    """A third domain, as a user would write it."""

    name = "quiz"
    condition_type = UserCondition
    opens = Role.USER
    user_name, assistant_name = "pupil", "teacher"
    survey = Survey("How sure are you now, 0 or 1?", {"0": 0.0, "1": 1.0}, (r"(?P<value>[01])",), {"": 1.0})
    lexicon = {}  # noqa: RUF012

    def policy_prompt(self):
        return "Ask."

    def simulator_prompt(self, condition):
        return f"You are {condition.person}."

    def reward(self, value):
        return value


QUIZ = Quiz()


@pytest.mark.parametrize(("final", "reward"), [(1.0, 1.0), (3.0, 0.5), (5.0, 0.0)])
def test_support_reward_by_hand(final, reward):
    # (5 - final) / 4
    assert load_domain("emotional_support").reward(final) == reward


def test_support_measures_by_hand():
    # 4 - 2 = 2 points of relief; final <= 2 is released; not worse than before
    domain = load_domain("emotional_support")
    assert domain.measures(SEEKER, 2.0) == {"relief": 2.0, "released": 1.0, "worsened": 0.0}
    assert domain.measures(SEEKER, 4.5) == {"relief": -0.5, "released": 0.0, "worsened": 1.0}


def test_persuasion_reward_and_measures_by_hand():
    # 50 cents of two dollars
    domain = load_domain("persuasion")
    giver = PersuasionCondition(person="a driver", situation="Rent is due.")
    assert (domain.reward(0.5), domain.measures(giver, 0.5)) == (0.25, {"donation_usd": 0.5, "donated": 1.0})
    assert domain.measures(giver, 0.0)["donated"] == 0.0


@pytest.mark.parametrize("name", ["emotional_support", "persuasion"])
def test_every_allowed_answer_is_one_digit_and_earns_a_reward_within_the_unit_interval(name):
    domain = load_domain(name)
    rewards = [domain.reward(value) for value in domain.survey.choices.values()]
    assert all(len(choice) == 1 and choice.isdigit() for choice in domain.survey.choices)
    assert math.isclose(min(rewards), 0.0) and math.isclose(max(rewards), 1.0)


def test_the_assistants_prompt_tells_nothing_of_the_user():
    domain = load_domain("emotional_support")
    assert SEEKER.situation not in domain.policy_prompt() and SEEKER.situation in domain.simulator_prompt(SEEKER)


@pytest.mark.parametrize(
    ("role", "text", "reason"),
    [
        (Role.USER, "ok bye, thanks", "farewell"),
        (Role.USER, "Have a good night!", "farewell"),
        (Role.ASSISTANT, "Goodbye!", None),
        (Role.USER, "I said goodness me.", None),
    ],
)
def test_a_dialogue_ends_when_the_user_says_goodbye(role, text, reason):
    assert load_domain("persuasion").end_reason(Dialogue((Turn(role, text),))) == reason


def test_a_users_own_domain_is_found_by_its_name():
    assert load_domain(f"{__name__}:QUIZ") is QUIZ


@pytest.mark.parametrize(
    "name", ["weather", "no.such.module:X", "engage.domains.persuasion:NOTHING", "engage.seeds:derive_seed"]
)
def test_a_wrong_domain_name_is_a_config_error_that_repeats_it(name):
    with pytest.raises(ConfigError, match=name):
        load_domain(name)


def said(*texts: str) -> Dialogue:
    return Dialogue(tuple(Turn(Role.USER, text) for text in texts))


@pytest.mark.parametrize(
    ("texts", "dollars"),
    [
        (("I'd give 50 cents.", "Bye!"), 0.5),
        (("Maybe $1", "no, make it a quarter"), 0.25),
        (("half a dollar then",), 0.5),
        (("my rent is $900", "sorry"), None),
        (("I like children.",), None),
        (("I'm going to keep the $2.",), None),
        (("I earned my $2 honestly. You can have a quarter of it, $0.50.",), 0.5),
        (("I'd give $1.", "I won't give $2."), 1.0),
        (("I don't want to give any of the $2.",), None),
        (("I need my $2 for food.",), None),
        (("No. I worked hard for that $2.",), None),
        (("I am not going to give my $2.00 away.",), None),
        (("I'd like to hold on to my $2.",), None),
        (("Then I'll give 20% of the $2.00.",), None),
        (("I could give one quarter of my $2.00.",), 0.25),
        (("I only have $2, maybe 50 cents.",), 0.5),
        (("Two of my eight quarters.",), 0.5),
        (("Half of my $2.",), 1.0),
        (("I don't mind giving $1.",), 1.0),
        (("I've worked out that I can give $1.10.",), 1.1),
        (("You can have the $2.",), 2.0),
        (("All of my $2.",), 2.0),
        (("I can't wait to give my $2.",), 2.0),
        (("I've got $2 for them.",), 2.0),
        (("I can't give $2, but I can give $1.",), 1.0),
        (("I'm not rich but I can give you 4 quarters.",), 1.0),
        (("I'm not sure how much to give, maybe $1.",), 1.0),
        (("I don't usually donate, but 2 quarters.",), 0.5),
        (("Sure, 50 cents; I keep the rest.",), 0.5),
        (("I heard half of the money goes to overhead.",), None),
        (("Half of that goes to salaries anyway.",), None),
        (("I don't have $2 to give.",), None),
        (("I'd need $2 for the bus.",), None),
        (("I'd rather spend my $2 on coffee.",), None),
        (("No way I'd give you $2!",), None),
        (("I refuse to give $1.",), None),
        (("I'm not going to be able to give you even $1.",), None),
    ],
)
def test_the_sum_that_the_user_named_last_is_read(texts, dollars):
    assert PERSUASION.stated_donation(said(*texts)) == dollars


def test_the_exit_survey_reminds_the_user_of_what_they_said():
    assert PERSUASION.exit_question(said("I'd give 50 cents.")).endswith(
        "In the chat you last spoke of 2 quarters ($0.50)."
    )
    assert PERSUASION.exit_question(said("No.")).endswith("In the chat you named no sum.")
    assert EMOTIONAL_SUPPORT.exit_question(said("Hm.", "It helps a bit.")).endswith('You last said: "It helps a bit."')


@pytest.mark.parametrize("text", ["I don't want to give any of the $2.", "I don’t want to give any of the $2."])
def test_a_refusal_counts_with_a_printed_apostrophe(text):
    assert stated_value(PERSUASION.survey, text, PERSUASION.survey.patterns) == 0.0
    user = load_scenarios(["persuasion"])[0].user_condition
    asked = survey_messages(PERSUASION, user, said(text.replace("any of the ", "")))[-1].content
    assert asked.endswith("In the chat you named no sum.")


def test_what_the_assistant_says_is_no_sum_of_the_users():
    assert PERSUASION.stated_donation(Dialogue((Turn(Role.ASSISTANT, "Would you give $1?"),))) is None


@pytest.mark.parametrize(
    ("name", "fingerprint"),
    [
        ("emotional_support", "ceff2aa353c65f2f237d4ff5c77d6bf0f89d92ff4d7150975e07cdfa5c3941d8"),
        ("persuasion", "c8bd2c57214e99b4b79a881715d4ab2838f8442f933a3eccf3b7eb1c0b2a2613"),
    ],
)
def test_a_change_of_a_shipped_domain_is_noticed(name, fingerprint):
    assert load_domain(name).fingerprint() == fingerprint
