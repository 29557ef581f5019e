"""Human dialogues to an adapter that plays the user, or the assistant, or both."""

from collections.abc import Sequence
from typing import Any

from prefect import flow

from engage.config import CycleConfig
from engage.simulator_chats import Role
from tasks.simulator import train_on_dialogues


@flow(name="train-simulator")
def train_simulator(
    config: CycleConfig, corpora: Sequence[str], roles: Sequence[Role], max_dialogues: int | None, out: str
) -> dict[str, Any]:
    """Returns the adapter's folder and the last step's metrics; see `engage.sft`."""
    return train_on_dialogues(config, corpora, roles, max_dialogues, out)
