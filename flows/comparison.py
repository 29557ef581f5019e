"""Compares policies on the same held-out scenarios, to measure the gain of searching and of training on its results."""

from prefect import flow

from engage.config import CycleConfig
from engage.evaluation import PolicyName
from engage.experiments import FROM_SEARCH, NO_PAIR, TRAINED, ComparisonPage, TrainedPolicy, wanted
from engage.store import Cycle
from engage.training import HumanPairs
from flows.collect import collect
from tasks.cycle import CLOSING, begin_cycle
from tasks.experiments.comparison import compare_policies, open_test_split
from tasks.experiments.dialogues import hold_adversarial, hold_dialogues_of, measure_divergence
from tasks.experiments.policies import as_many_from_people, pair_sets, train_on_pairs, train_on_replies
from tasks.human import draw_human_pairs
from tasks.training import score_pairs


@flow(name="comparison", flow_run_name="{cycle_id}", **CLOSING)
def comparison(config: CycleConfig, cycle_id: str) -> ComparisonPage:
    """Train the policies, run all dialogues, and compare; finished work is reused."""
    cycle = begin_cycle(config, cycle_id, from_champion=False)
    cycle.require_own_method("its policies' dialogues cannot be compared with new ones; start another (--cycle)")
    names, left = wanted(config.comparison, bool(config.human.corpora))
    trained = train_policies(config, cycle, names)
    left |= {name: NO_PAIR for name in names if name in TRAINED and name not in trained}
    policies = [trained.get(name, TrainedPolicy(name)) for name in names if name not in left]
    open_test_split(config, cycle, policies)
    failed: dict[str, str] = {}
    for simulator in config.simulators():
        for policy in policies:
            failed |= hold_dialogues_of(config, cycle, policy, simulator)
    for policy in policies:
        failed |= hold_adversarial(config, cycle, policy)
    first = next(iter(config.simulators()))
    divergences = {p.name: measure_divergence(config, cycle, p, first) for p in policies if p.name in TRAINED}
    return compare_policies(config, cycle, policies, divergences, left, failed)


def train_policies(config: CycleConfig, cycle: Cycle, names: list[PolicyName]) -> dict[PolicyName, TrainedPolicy]:
    """The policies among these names that are trained, without those that have no training data."""
    trained: dict[PolicyName, TrainedPolicy] = {}
    if any(name in FROM_SEARCH for name in names):
        collect(config, cycle.cycle_id, from_champion=False)
        trained = train_from_search(config, cycle, names)
        if "iterated" in names:
            trained |= search_again(config, cycle, trained)
    if "sft" in names and (tuned := train_on_replies(config, cycle)):
        trained["sft"] = tuned
    return trained


def train_from_search(config: CycleConfig, cycle: Cycle, names: list[PolicyName]) -> dict[PolicyName, TrainedPolicy]:
    """DPO on each requested pair set that is not empty."""
    scored = score_pairs(config, cycle)
    human: HumanPairs = draw_human_pairs(as_many_from_people(config), cycle, scored["accepted"])
    sets = {name: pairs for name, pairs in pair_sets(config, cycle, human).items() if name in names and pairs}
    return {name: train_on_pairs(config, cycle, name, pairs, human) for name, pairs in sets.items()}


def search_again(
    config: CycleConfig, cycle: Cycle, trained: dict[PolicyName, TrainedPolicy]
) -> dict[PolicyName, TrainedPolicy]:
    """A second cycle with the first one's policy, trained on both kinds of pairs if it was; nothing if no policy was trained."""
    start = trained.get("dpo_mixed") or trained.get("dpo_search")
    start = start or train_from_search(config, cycle, ["dpo_search"]).get("dpo_search")
    if start is None:
        return {}
    engine = config.engine.model_copy(update={"policy_adapter": start.adapter})
    again = config.model_copy(update={"engine": engine, "seed": cycle.seed + 1})
    found = second_cycle(again, f"{cycle.cycle_id}-second", start.name)
    return {"iterated": TrainedPolicy("iterated", found.adapter)} if found else {}


@flow(name="second-cycle", flow_run_name="{cycle_id}", **CLOSING)
def second_cycle(config: CycleConfig, cycle_id: str, name: PolicyName) -> TrainedPolicy | None:
    """Search with the configured policy and train the named policy on the result; None without a pair."""
    collect(config, cycle_id, from_champion=False)
    cycle = begin_cycle(config, cycle_id, from_champion=False)
    return train_from_search(config, cycle, [name]).get(name)
