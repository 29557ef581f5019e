"""Simulated dialogues: the two speakers, the flaws of their turns, a dialogue played to its exit survey."""

from engage.simulation.flaws import find_flaw
from engage.simulation.leaks import leaks_role
from engage.simulation.rollout import DialogueConfig, Dress, Stage, hold_dialogue, play_on, play_out, set_stage
from engage.simulation.simulator import (
    POLICY_MODEL,
    Drawn,
    Policy,
    SpeechConfig,
    UserSimulator,
    policy_messages,
    read_answer,
    simulator_messages,
    survey_messages,
)

__all__ = [
    "POLICY_MODEL",
    "DialogueConfig",
    "Drawn",
    "Dress",
    "Policy",
    "SpeechConfig",
    "Stage",
    "UserSimulator",
    "find_flaw",
    "hold_dialogue",
    "leaks_role",
    "play_on",
    "play_out",
    "policy_messages",
    "read_answer",
    "set_stage",
    "simulator_messages",
    "survey_messages",
]
