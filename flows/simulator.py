"""Trains an adapter on human dialogues to play the user, the assistant, or both; and makes simulator cards, which measure simulators."""

from collections.abc import Sequence

from prefect import flow

from engage.config import CycleConfig
from engage.experiments.simulator_card.cards import CardPage
from engage.experiments.simulator_card.plan import CardConfig
from engage.training import Role, TrainResult
from tasks.experiments.simulator_card import ask_in_their_place, check_card, measure_likelihoods, write_card
from tasks.simulator import train_on_dialogues


@flow(name="train-simulator")
def train_simulator(
    config: CycleConfig,
    corpora: Sequence[str],
    roles: Sequence[Role],
    max_dialogues: int | None,
    out: str,
    start: str | None = None,
    skip_dialogues: int = 0,
) -> TrainResult:
    """See `engage.training.sft`."""
    return train_on_dialogues(config, corpora, roles, max_dialogues, out, start, skip_dialogues)


@flow(name="simulator-card")
def simulator_card(config: CycleConfig, card: CardConfig, out: str) -> CardPage:
    """See `engage.experiments.simulator_card`."""
    simulators = check_card(config, card, out)
    likelihoods = {label: measure_likelihoods(config, card, label, adapter) for label, adapter in simulators.items()}
    answers = {label: ask_in_their_place(config, card, label, adapter) for label, adapter in simulators.items()}
    return write_card(config, card, likelihoods, answers, out)
