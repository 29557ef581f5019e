"""Human dialogues as chats to train the user simulator on: what the user said, and what they answered in the exit survey."""

from engage.corpora import HumanDialogue
from engage.domains import Survey, load_domain
from engage.engine import Message
from engage.sft import ChatExample
from engage.simulator import simulator_messages, survey_messages


def simulator_chat(human: HumanDialogue) -> ChatExample:
    """The chat as the simulator sees it; all of the user's turns are trained, and the survey's answer where there is one.

    The answer is the allowed choice nearest to the real outcome: 30 cents are one quarter, 10 cents none.
    """
    domain = load_domain(human.domain)
    if human.outcome is None:
        messages = simulator_messages(domain, human.user_condition, human.dialogue)
    else:
        asked = survey_messages(domain, human.user_condition, human.dialogue)
        messages = (*asked, Message("assistant", nearest_choice(domain.survey, human.outcome)))
    trained = tuple(place for place, message in enumerate(messages) if message.role == "assistant")
    return ChatExample(messages, trained, human.scenario.source)


def nearest_choice(survey: Survey, value: float) -> str:
    """The allowed answer whose value is nearest; the earlier one where two are as near."""
    return min(survey.choices, key=lambda choice: abs(survey.choices[choice] - value))
