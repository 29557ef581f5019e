"""Simulated dialogues: the two speakers, the flaws of their turns, and dialogues played to the exit survey."""

from engage.models import POLICY_MODEL
from engage.simulation.flaws import find_flaw
from engage.simulation.leaks import leaks_role
from engage.simulation.reaction import without_value
from engage.simulation.replay import Recorded, play_from, replay
from engage.simulation.rollout import (
    DialogueConfig,
    Episode,
    Recast,
    begin_episode,
    conclude,
    exchanges_held,
    hold_dialogue,
    play_on,
    play_out,
)
from engage.simulation.simulator import (
    Policy,
    SampledTurn,
    SpeechConfig,
    UserSimulator,
    policy_messages,
    question_messages,
    read_answer,
    simulator_messages,
    survey_messages,
)

__all__ = [
    "POLICY_MODEL",
    "DialogueConfig",
    "Episode",
    "Policy",
    "Recast",
    "Recorded",
    "SampledTurn",
    "SpeechConfig",
    "UserSimulator",
    "begin_episode",
    "conclude",
    "exchanges_held",
    "find_flaw",
    "hold_dialogue",
    "leaks_role",
    "play_from",
    "play_on",
    "play_out",
    "policy_messages",
    "question_messages",
    "read_answer",
    "replay",
    "simulator_messages",
    "survey_messages",
    "without_value",
]
