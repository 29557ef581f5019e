"""Whether a trained policy still does what its base could, see `engage.experiments.abilities`."""

from prefect import flow

from engage.config import CycleConfig
from tasks.cycle import CLOSING, begin_cycle
from tasks.experiments.abilities import AbilitiesPage, ask_policy, policies_of, write_abilities


@flow(name="abilities", flow_run_name="{cycle_id}", **CLOSING)
def abilities(config: CycleConfig, cycle_id: str, adapter: str | None) -> AbilitiesPage:
    """Ask the base, the cycle's start and the trained policy (`adapter`, None: only the others), and compare; kept replies are reused."""
    cycle = begin_cycle(config, cycle_id)
    policies = policies_of(config, cycle, adapter)
    replies = {name: ask_policy(config, cycle, name, folder) for name, folder in policies.items()}
    return write_abilities(config, cycle, policies, replies)
