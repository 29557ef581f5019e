"""Checks the values of a collected cycle: the noise of one rollout, and the stated P(Q⁺ > Q⁻)."""

from prefect import flow

from engage.config import CycleConfig
from engage.experiments import CheckedValues, ValueCheckConfig
from tasks.cycle import CLOSING, begin_cycle
from tasks.experiments.value_check import judge_credit, reroll_pairs, roll_out_replies


@flow(name="credit", flow_run_name="{cycle_id}", **CLOSING)
def credit(config: CycleConfig, cycle_id: str, check: ValueCheckConfig) -> CheckedValues:
    """Make fresh rollouts of the cycle's replies and compare; stored rollouts are reused."""
    cycle = begin_cycle(config, cycle_id)
    cycle.require_own_method("fresh rollouts would not tell of its values; check a cycle of today's (--cycle)")
    failed = roll_out_replies(config, cycle, check) | reroll_pairs(config, cycle, check)
    return judge_credit(config, cycle, check, failed)
