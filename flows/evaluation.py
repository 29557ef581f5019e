"""Compares base, champion and candidate on the same held-out scenarios, and decides on promotion."""

from prefect import flow

from engage.config import CycleConfig
from engage.evaluation import Judged, members, policy_label
from tasks.collecting import check_talk
from tasks.cycle import CLOSING, begin_cycle
from tasks.dialogues import hold_held_out_dialogues, require_dialogues
from tasks.judging import judge, keep_challenger, require_validation
from tasks.reporting import report_evaluation
from tasks.run_log import finished
from tasks.training import chosen_candidate


@flow(name="evaluation", flow_run_name="{cycle_id}", **CLOSING)
def evaluation(config: CycleConfig, cycle_id: str, alone: bool = True) -> Judged:
    """Run fresh dialogues with every policy, with the same seeds, and compare them.

    If the stage runs `alone`, and not as part of a night, it writes its own report.
    """
    require_validation(config)
    cycle = begin_cycle(config, cycle_id)
    candidate = chosen_candidate(cycle)
    weights = {"champion": cycle.champion_adapter, "candidate": candidate and candidate.adapter}
    trained = {policy_label(name, adapter): adapter for name, adapter in weights.items() if adapter}
    policies = {"base": None, **trained}
    failed: dict[str, str] = {}
    for simulator in config.simulators():
        for label, adapter in policies.items():
            adapters = config.adapters(adapter, simulator)
            failed |= hold_held_out_dialogues(config, cycle, label, adapters, simulator)
    require_dialogues(config, cycle, policies, failed)
    kept = keep_challenger(config, cycle, candidate)
    if kept:
        for simulator in members(kept.simulator):
            adapters = config.adapters(kept.adapter, simulator)
            failed |= hold_held_out_dialogues(config, cycle, kept.policy, adapters, simulator)
    check_talk(config, cycle, "evaluation")
    judged = judge(config, cycle, candidate, failed, kept)
    if alone:
        report_evaluation(config, cycle_id, judged, candidate)
    return finished(cycle_id, judged)
