"""Fresh dialogues on held-out scenarios, and the comparison of policies on them."""

from collections.abc import Mapping, Sequence

from prefect import task

from engage.collect import Sides, hold_dialogues
from engage.config import CycleConfig, Home, load_cycle_scenarios
from engage.dialogue import Role, Trajectory, Turn
from engage.engines import shared_engine
from engage.evaluation import Replies
from engage.models import adapter_fingerprint
from engage.outbox import Outbox
from engage.scenario import Scenario, sample_scenarios
from engage.seeds import derive_seed
from engage.store import TrajectoryStore
from engage.tree import CallRecord, DialogueRecord
from tasks import stopping
from tasks.cycle import Cycle, worth_retrying
from tasks.progress import Bar

SEARCH_SIMULATOR = "search"


def policy_label(name: str, adapter: str | None) -> str:
    """Under what name a policy's dialogues are stored: its role and the first digits of its weights' fingerprint."""
    return f"{name}-{adapter_fingerprint(adapter)[:8]}" if adapter else name


@task(name="hold-dialogues", retries=2, retry_delay_seconds=10, retry_condition_fn=worth_retrying)
def hold_held_out_dialogues(config: CycleConfig, cycle: Cycle, label: str, adapter: str | None) -> dict[str, str]:
    """One policy's dialogues that are not stored yet; all policies get the same scenarios and seeds."""
    home = Home.from_env()
    store, outbox = TrajectoryStore(home.database), Outbox(home.outbox)
    store.drain(outbox)
    failed: dict[str, str] = {}
    for index in range(config.evaluation.dialogues):
        seed = derive_seed(cycle.seed, "evaluation", index)
        done = store.stored_dialogues(cycle.cycle_id, "evaluation", label, SEARCH_SIMULATOR, seed)
        scenarios = [s for s in held_out(config, cycle) if s.scenario_id not in done]
        _hold(config, scenarios, label, adapter, seed, cycle, failed, outbox)
    store.drain(outbox)
    return failed


def _hold(
    config: CycleConfig,
    scenarios: Sequence[Scenario],
    label: str,
    adapter: str | None,
    seed: int,
    cycle: Cycle,
    failed: dict[str, str],
    outbox: Outbox,
) -> None:
    """Every dialogue goes to the outbox as it ends, so that an interrupted evaluation goes on where it stopped."""
    bar = Bar(f"talking as {label}", len(scenarios))

    def keep(_: Scenario, trajectory: Trajectory, calls: tuple[CallRecord, ...]) -> None:
        record = DialogueRecord(cycle.cycle_id, "evaluation", label, SEARCH_SIMULATOR, seed, trajectory, calls)
        outbox.put_dialogues([record])
        bar.advance()

    if scenarios:
        engine = shared_engine(config.engine)
        outcome = stopping.run(
            hold_dialogues(
                engine, scenarios, config.dialogue, seed=seed, sides=Sides(policy_adapter=adapter), on_dialogue=keep
            )
        )
        failed |= outcome.failed


def held_out(config: CycleConfig, cycle: Cycle) -> list[Scenario]:
    """The cycle's held-out scenarios, drawn anew each cycle."""
    scenarios = load_cycle_scenarios(config.scenarios)
    return sample_scenarios(scenarios, config.evaluation.split, config.evaluation.per_domain, cycle.seed)


def outcomes(store: TrajectoryStore, cycle: Cycle, label: str) -> dict[str, list[float | None]]:
    """Rewards of one policy's evaluation dialogues: scenario to one value per dialogue, in seed order."""
    found: dict[str, list[float | None]] = {}
    for row in store.rows("evaluation_rewards", {"cycle": cycle.cycle_id, "policy": label}):
        found.setdefault(row["scenario_id"], []).append(row["reward"])
    return found


def assistant_replies(store: TrajectoryStore, cycle: Cycle, label: str) -> Mapping[str, Replies]:
    """One policy's replies after the opening: domain to dialogue id to turns."""
    found: dict[str, dict[str, list[Turn]]] = {}
    for row in store.rows("evaluation_replies", {"cycle": cycle.cycle_id, "policy": label}):
        turn = Turn(Role.ASSISTANT, row["text"], flaw=row["flaw"])
        found.setdefault(row["domain"], {}).setdefault(row["trajectory_id"], []).append(turn)
    return found
