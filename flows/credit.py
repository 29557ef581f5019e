"""How far the values of a collected cycle can be believed."""

from typing import Any

from prefect import flow

from engage.config import CycleConfig
from engage.credit import CreditConfig
from tasks.cycle import begin_cycle


@flow(name="credit")
def credit(config: CycleConfig, cycle_id: str, check: CreditConfig) -> dict[str, Any]:
    """Roll out replies of the cycle afresh and compare; under way: it finds the cycle, no more."""
    begin_cycle(config, cycle_id)
    return {"text": "nothing is re-rolled yet"}
