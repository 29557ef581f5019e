"""Whether a night's pairs hold for held-out simulators, see `engage.experiments.pair_transfer`."""

from prefect import flow

from engage.config import CycleConfig
from tasks.cycle import CLOSING, begin_cycle
from tasks.experiments.transfer import TransferPage, ask_user, held_out_users, read_conversations, write_transfer


@flow(name="transfer", flow_run_name="{cycle_id}", **CLOSING)
def transfer(config: CycleConfig, cycle_id: str) -> TransferPage:
    """Ask each held-out simulator the survey after the conversations of the cycle's pairs, and compare; kept answers are reused."""
    cycle, users = begin_cycle(config, cycle_id), held_out_users(config)
    conversations = read_conversations(cycle)
    files = {label: ask_user(config, cycle, label, adapter, conversations) for label, adapter in users.items()}
    return write_transfer(cycle, conversations, files)
