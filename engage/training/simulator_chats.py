"""Makes training chats of human dialogues: the user's turns and the survey for a simulator, the assistant's replies for a policy."""

from collections.abc import Sequence
from random import Random
from typing import Literal

from engage.corpora import HumanDialogue
from engage.domains import Survey, load_domain
from engage.engines.base import Message
from engage.seeds import derive_seed
from engage.simulation import SpeechConfig, policy_messages, simulator_messages, survey_messages
from engage.training.human_pairs import drop_reason, reply_places, went_well
from engage.training.sft import ChatExample

OWN = "engage"
Role = Literal["simulator", "policy"]
MAX_POLICY_REPLIES = 5
"""Number of replies per dialogue that a policy learns: the maximum of searched dialogues; later replies are the most expensive."""


def simulator_chat(human: HumanDialogue) -> ChatExample:
    """The chat as the simulator sees it. All user turns are trained on, and the survey's answer if there is one.

    The answer is the allowed choice nearest to the real outcome: 30 cents are one quarter, 10 cents none.
    """
    domain = load_domain(human.domain)
    answer = None
    if human.outcome is None:
        messages = simulator_messages(domain, human.user_condition, human.dialogue)
    else:
        asked = survey_messages(domain, human.user_condition, human.dialogue)
        answer = len(asked)
        messages = (*asked, Message("assistant", nearest_choice(domain.survey, human.outcome)))
    trained = tuple(place for place, message in enumerate(messages) if message.role == "assistant")
    return ChatExample(messages, trained, human.scenario.source, answer)


def policy_chat(human: HumanDialogue, speech: SpeechConfig, max_length: int) -> ChatExample:
    """The chat as the policy sees it, up to the last trained reply. The first few replies without flaws and deception are trained on."""
    places = [place for place in reply_places([human]) if drop_reason(place, speech, max_length) is None]
    trained = tuple(place.index + 1 for place in places[:MAX_POLICY_REPLIES])  # the system text comes first
    messages = policy_messages(load_domain(human.domain), human.dialogue)
    return ChatExample(messages[: max(trained, default=0) + 1], trained, human.scenario.source)


def policy_replies(human: HumanDialogue) -> ChatExample:
    """The whole chat as the policy sees it, with every reply after the opening selected, to measure a policy on."""
    messages = policy_messages(load_domain(human.domain), human.dialogue)
    return ChatExample(messages, tuple(place.index + 1 for place in reply_places([human])), human.scenario.source)


def training_chats(
    dialogues: Sequence[HumanDialogue],
    roles: Sequence[Role],
    speech: SpeechConfig,
    max_length: int,
    max_dialogues: int | None,
    seed: int,
    min_reward: float,
    skip_dialogues: int = 0,
) -> list[ChatExample]:
    """Chats of every role, without empty ones and without dialogues whose user speaks of self-harm.

    Human dialogues come from the train split, at most `max_dialogues` of them, sampled with the seed. `skip_dialogues=N` leaves out
    the N dialogues that `max_dialogues=N` selects. Dialogues of our own writing are all used, because nothing is ever measured on
    them. A policy learns from successful dialogues (reward of at least `min_reward`). A simulator learns from all outcomes, so that it
    also learns users who are not persuaded.
    """
    calm = [human for human in dialogues if not human.crisis]
    own = [human for human in calm if human.scenario.source == OWN]
    people = [human for human in calm if human.scenario.source != OWN and human.split == "train"]
    usable = sorted(people, key=lambda human: human.scenario_id)
    drawn = Random(derive_seed(seed, "sft")).sample(usable, len(usable))
    skipped = {human.scenario_id for human in drawn[:skip_dialogues]}
    if max_dialogues is not None and len(usable) > max_dialogues:
        usable = drawn[skip_dialogues:][:max_dialogues]
    usable = [human for human in usable if human.scenario_id not in skipped]
    usable += sorted(own, key=lambda human: human.scenario_id)
    chats = [simulator_chat(human) for human in usable] if "simulator" in roles else []
    if "policy" in roles:
        good = [human for human in usable if went_well(human, min_reward)]
        chats += [policy_chat(human, speech, max_length) for human in good]
    return [chat for chat in chats if chat.trained]


def nearest_choice(survey: Survey, value: float) -> str:
    """The allowed answer with the nearest value; the earlier one if two are equally near."""
    return min(survey.choices, key=lambda choice: abs(survey.choices[choice] - value))
