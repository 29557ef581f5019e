"""Base, champion and candidate on the same held-out scenarios, and the verdict on promotion."""

from typing import Any

from prefect import flow

from engage.config import CycleConfig
from engage.search import Sides
from tasks.collecting import check_talk
from tasks.comparing import hold_held_out_dialogues, policy_label, require_dialogues
from tasks.cycle import CLOSING, begin_cycle
from tasks.judging import judge, require_validation
from tasks.training import latest_candidate


@flow(name="evaluation", **CLOSING)
def evaluation(config: CycleConfig, cycle_id: str) -> dict[str, Any]:
    """Hold fresh dialogues with every policy and compare them; the same seeds for all."""
    require_validation(config)
    cycle = begin_cycle(config, cycle_id)
    candidate = latest_candidate(cycle)
    policies = {
        policy_label("base", None): None,
        policy_label("champion", cycle.champion_adapter): cycle.champion_adapter,
        policy_label("candidate", candidate): candidate,
    }
    failed: dict[str, str] = {}
    for simulator, user in config.simulators().items():
        for label, adapter in policies.items():
            if adapter is not None or label == "base":
                failed |= hold_held_out_dialogues(config, cycle, label, Sides(adapter, user), simulator)
    require_dialogues(
        config, cycle, [label for label, adapter in policies.items() if adapter or label == "base"], failed
    )
    check_talk(config, cycle, "evaluation")
    return judge(config, cycle, candidate, failed)
