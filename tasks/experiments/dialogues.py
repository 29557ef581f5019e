"""Runs the dialogues of a comparison of policies, and estimates how far the trained policies have moved from the base."""

from prefect import task

from engage import stopping
from engage.config import CycleConfig
from engage.domains import load_domain
from engage.engines import shared_engine
from engage.evaluation import divergence_by_domain
from engage.experiments import TrainedPolicy, adversary, adversary_label, dialogues_of, thinking_of
from engage.store import Cycle
from engage.workspace import Workspace
from tasks.cycle import worth_retrying
from tasks.dialogues import held_out, hold_missing


@task(name="hold-policy-dialogues", retries=2, retry_delay_seconds=10, retry_condition_fn=worth_retrying)
def hold_dialogues_of(config: CycleConfig, cycle: Cycle, policy: TrainedPolicy, simulator: str) -> dict[str, str]:
    """Run one policy's dialogues with one simulator on all held-out scenarios; stored ones are reused."""
    thinks = thinking_of(policy.name, config.comparison).recast(config.search)
    adapters, labels = config.adapters(policy.adapter, simulator), (policy.label(config.comparison), simulator)
    dialogues = dialogues_of(policy.name, config.comparison, config.evaluation.dialogues)
    return hold_missing(config, cycle, labels, adapters, held_out(config, cycle), dialogues, thinks)


@task(name="hold-adversarial-dialogues", retries=2, retry_delay_seconds=10, retry_condition_fn=worth_retrying)
def hold_adversarial(config: CycleConfig, cycle: Cycle, policy: TrainedPolicy) -> dict[str, str]:
    """Run one policy's dialogues with every adversarial user of the scenarios' domains."""
    failed: dict[str, str] = {}
    thinks = thinking_of(policy.name, config.comparison).recast(config.search)
    scenarios, adapters = held_out(config, cycle), config.adapters(policy.adapter)
    for domain in dict.fromkeys(scenario.domain for scenario in scenarios):
        few = [scenario for scenario in scenarios if scenario.domain == domain][: config.comparison.adversarial]
        for name in load_domain(domain).adversaries:
            labels = (policy.label(config.comparison), adversary_label(name))
            failed |= hold_missing(config, cycle, labels, adapters, few, 1, adversary(name, thinks))
    return failed


@task(name="measure-divergence", retries=1, retry_delay_seconds=10, retry_condition_fn=worth_retrying)
def measure_divergence(
    config: CycleConfig, cycle: Cycle, policy: TrainedPolicy, simulator: str
) -> dict[str, float | None]:
    """A trained policy's divergence from the base in its own dialogues, by domain, in nats per reply; None if unknown."""
    given = {
        "cycle": cycle.cycle_id,
        "policy": policy.label(config.comparison),
        "simulator": simulator,
        "scenarios": [scenario.scenario_id for scenario in held_out(config, cycle)],
    }
    return stopping.run(
        divergence_by_domain(
            shared_engine(config.engine),
            Workspace.from_env().store.rows("evaluation_turns", given),
            adapter=policy.adapter,
            replies=config.comparison.divergence_replies,
            max_tokens=config.dialogue.speech.policy.max_tokens,
            seed=cycle.seed,
        )
    )
