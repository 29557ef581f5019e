"""Policies side by side on the same held-out scenarios: what searching, and training on it, is worth."""

from typing import Any

from prefect import flow

from engage.comparison import FROM_SEARCH, TRAINED, PolicyName, wanted
from engage.config import CycleConfig
from engage.human import HumanPairs
from flows.collect import collect
from tasks.arms import Arm, as_many_from_people, pair_sets, train_on_pairs, train_on_replies
from tasks.comparing import simulators
from tasks.comparison import compare_policies
from tasks.cycle import Cycle, begin_cycle
from tasks.experiment import hold_adversarial, hold_dialogues_of, measure_divergence
from tasks.human import draw_human_pairs
from tasks.training import score_pairs


@flow(name="comparison")
def comparison(config: CycleConfig, cycle_id: str) -> dict[str, Any]:
    """Train what has to be trained, hold all dialogues, and compare; whatever was done before is kept."""
    cycle = begin_cycle(config, cycle_id, from_champion=False)
    names, left = wanted(config.comparison, bool(config.human.corpora))
    arms = train_policies(config, cycle, names)
    failed: dict[str, str] = {}
    for simulator in simulators(config):
        for arm in arms:
            failed |= hold_dialogues_of(config, cycle, arm, simulator)
    for arm in arms:
        failed |= hold_adversarial(config, cycle, arm)
    first = next(iter(simulators(config)))
    divergences = {arm.name: measure_divergence(config, cycle, arm, first) for arm in arms if arm.name in TRAINED}
    return compare_policies(config, cycle, arms, divergences, left, failed)


def train_policies(config: CycleConfig, cycle: Cycle, names: list[PolicyName]) -> list[Arm]:
    """All policies of these names, in their order."""
    trained: dict[PolicyName, Arm] = {}
    if any(name in FROM_SEARCH for name in names):
        collect(config, cycle.cycle_id, from_champion=False)
        trained = train_from_search(config, cycle, [name for name in names if name != "iterated"])
        if "iterated" in names:
            trained["iterated"] = second_cycle(config, cycle, trained)
    if "sft" in names:
        trained["sft"] = train_on_replies(config, cycle)
    return [trained.get(name, Arm(name=name)) for name in names]


def train_from_search(config: CycleConfig, cycle: Cycle, names: list[PolicyName]) -> dict[PolicyName, Arm]:
    """DPO on each pair set that is asked for."""
    scored = score_pairs(config, cycle)
    human: HumanPairs = draw_human_pairs(as_many_from_people(config), cycle, scored["accepted"])
    sets = pair_sets(config, cycle, human)
    return {name: train_on_pairs(config, cycle, name, pairs, human) for name, pairs in sets.items() if name in names}


def second_cycle(config: CycleConfig, cycle: Cycle, trained: dict[PolicyName, Arm]) -> Arm:
    """Search again with the first cycle's policy (trained on both kinds of pairs where it was) and train on what that finds."""
    start = (
        trained.get("dpo_mixed")
        or trained.get("dpo_search")
        or train_from_search(config, cycle, ["dpo_search"])["dpo_search"]
    )
    engine = config.engine.model_copy(update={"policy_adapter": start.adapter})
    again = config.model_copy(update={"engine": engine, "seed": cycle.seed + 1})
    cycle_id = f"{cycle.cycle_id}-second"
    collect(again, cycle_id, from_champion=False)
    name: PolicyName = "dpo_mixed" if start.name == "dpo_mixed" else "dpo_search"
    second = begin_cycle(again, cycle_id, from_champion=False)
    return Arm(name="iterated", adapter=train_from_search(again, second, [name])[name].adapter)
