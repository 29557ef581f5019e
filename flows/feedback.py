"""Compares simulated users with people's own scores of single turns; see `engage.experiments.feedback`."""

from prefect import flow

from engage.config import CycleConfig
from engage.experiments.feedback.plan import FeedbackConfig
from engage.experiments.simulator_card.cards import CardPage
from tasks.experiments.feedback import ask_for_feedback, check_feedback, read_dialogue_states, write_feedback


@flow(name="simulator-feedback")
def simulator_feedback(config: CycleConfig, feedback: FeedbackConfig, out: str) -> CardPage:
    """See `engage.experiments.feedback`."""
    simulators = check_feedback(config, feedback, out)
    states = read_dialogue_states(config, feedback)
    answers = {label: ask_for_feedback(config, feedback, label, adapter) for label, adapter in simulators.items()}
    return write_feedback(config, feedback, states, answers, out)
