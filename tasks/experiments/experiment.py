"""The dialogues of a comparison of policies, and how far the trained ones have moved."""

from collections.abc import Sequence

from prefect import task

from engage.config import CycleConfig
from engage.domains import load_domain
from engage.engines import shared_engine
from engage.evaluation import ComparisonConfig, mean_divergence
from engage.experiments import adversary, dialogues_of, thinking_of
from engage.home import Home
from engage.scenario import Scenario
from engage.search import Sides
from engage.simulation import Dress, Stage
from engage.store import TrajectoryStore
from tasks import stopping
from tasks.comparing import held_out, hold_missing, policy_label
from tasks.cycle import Cycle, worth_retrying
from tasks.experiments.arms import Arm

ADVERSARY = "adversary"


def label_of(arm: Arm, config: ComparisonConfig) -> str:
    """Under what name its dialogues are stored: another one where another number of rollouts rates its replies."""
    thinking = thinking_of(arm.name, config)
    return policy_label(f"{arm.name} x{thinking.rollouts}" if thinking.kind == "best_of" else arm.name, arm.adapter)


@task(name="hold-policy-dialogues", retries=2, retry_delay_seconds=10, retry_condition_fn=worth_retrying)
def hold_dialogues_of(config: CycleConfig, cycle: Cycle, arm: Arm, simulator: str) -> dict[str, str]:
    """One policy's dialogues with one simulator on all held-out scenarios; those stored already are kept."""
    dress = thinking_of(arm.name, config.comparison).dress(config.search)
    sides = Sides(arm.adapter, config.simulators()[simulator])
    scenarios = held_out(config, cycle)
    dialogues = dialogues_of(arm.name, config.comparison, config.evaluation.dialogues)
    return hold_missing(
        config, cycle, (label_of(arm, config.comparison), simulator), sides, scenarios, dialogues, dress
    )


@task(name="hold-adversarial-dialogues", retries=2, retry_delay_seconds=10, retry_condition_fn=worth_retrying)
def hold_adversarial(config: CycleConfig, cycle: Cycle, arm: Arm) -> dict[str, str]:
    """One policy's dialogues with every adversarial user of the scenarios' domains."""
    failed: dict[str, str] = {}
    thinks = thinking_of(arm.name, config.comparison).dress(config.search)
    for domain, scenarios in _by_domain(held_out(config, cycle)).items():
        for name in load_domain(domain).adversaries:
            labels = (label_of(arm, config.comparison), adversary_label(name))
            few = scenarios[: config.comparison.adversarial]
            failed |= hold_missing(config, cycle, labels, Sides(arm.adapter), few, 1, _both(thinks, adversary(name)))
    return failed


def adversary_label(name: str) -> str:
    """Under what name a talk with an adversarial user is stored."""
    return f"{ADVERSARY} {name}"


def _both(first: Dress | None, second: Dress) -> Dress:
    """The policy thinks with the user it knows, and then talks to another."""

    def dressed(stage: Stage) -> Stage:
        return second(first(stage) if first else stage)

    return dressed


def _by_domain(scenarios: Sequence[Scenario]) -> dict[str, list[Scenario]]:
    found: dict[str, list[Scenario]] = {}
    for scenario in scenarios:
        found.setdefault(scenario.domain, []).append(scenario)
    return found


@task(name="measure-divergence", retries=1, retry_delay_seconds=10, retry_condition_fn=worth_retrying)
def measure_divergence(config: CycleConfig, cycle: Cycle, arm: Arm, simulator: str) -> dict[str, float | None]:
    """How far a trained policy has moved from the base in its own dialogues, by domain, in nats a reply; None where it cannot be told."""
    store = TrajectoryStore(Home.from_env().database)
    given = {
        "cycle": cycle.cycle_id,
        "policy": label_of(arm, config.comparison),
        "simulator": simulator,
        "scenarios": [scenario.scenario_id for scenario in held_out(config, cycle)],
    }
    rows = store.rows("evaluation_turns", given)
    found: dict[str, float | None] = {}
    for domain in sorted({row["domain"] for row in rows}):
        dialogues = [(row["turns"], row["opening_turns"]) for row in rows if row["domain"] == domain]
        found[domain] = stopping.run(
            mean_divergence(
                shared_engine(config.engine),
                load_domain(domain),
                dialogues,
                adapter=arm.adapter,
                replies=config.comparison.divergence_replies,
                max_tokens=config.dialogue.speech.policy.max_tokens,
                seed=cycle.seed,
            )
        )
    return found
