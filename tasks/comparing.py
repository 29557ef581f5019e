"""Fresh dialogues on held-out scenarios, and the comparison of policies on them."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from prefect import task

from engage.config import MOST_DIALOGUES, CycleConfig, load_cycle_scenarios
from engage.dialogue import Role, Trajectory, Turn
from engage.engines import shared_engine
from engage.engines.recording import CallRecord
from engage.errors import NothingSearched, TooManyFlawed
from engage.evaluation import ALL, HeldOutDialogue, Replies, Rewards, by_scenario
from engage.home import Home
from engage.models import adapter_fingerprint
from engage.scenario import Scenario, sample_scenarios
from engage.search import METHOD_VERSION, DialogueRecord, Sides, TalkWatch, hold_dialogues
from engage.seeds import derive_seed
from engage.simulation import Dress
from engage.store import Outbox, TrajectoryStore
from tasks import stopping
from tasks.cycle import Cycle, worth_retrying
from tasks.progress import Bar


def policy_label(name: str, adapter: str | None) -> str:
    """Under what name a policy's dialogues are stored: its role and the first digits of its weights' fingerprint."""
    return f"{name}-{adapter_fingerprint(adapter)[:8]}" if adapter else name


@task(name="hold-dialogues", retries=2, retry_delay_seconds=10, retry_condition_fn=worth_retrying)
def hold_held_out_dialogues(
    config: CycleConfig, cycle: Cycle, label: str, sides: Sides, simulator: str
) -> dict[str, str]:
    """One policy's dialogues with one simulator that are not stored yet; all policies get the same scenarios and seeds."""
    return hold_missing(config, cycle, (label, simulator), sides, held_out(config, cycle), config.evaluation.dialogues)


def hold_missing(
    config: CycleConfig,
    cycle: Cycle,
    labels: tuple[str, str],
    sides: Sides,
    scenarios: Sequence[Scenario],
    dialogues: int,
    dress: Dress | None = None,
) -> dict[str, str]:
    """The dialogues of a policy with a simulator (`labels`) that are not stored yet, `dialogues` on each scenario.

    Returns scenario id to reason for those that failed for good.
    """
    home = Home.from_env()
    store, outbox = TrajectoryStore(home.database), Outbox(home.outbox)
    store.drain(outbox)
    missing: list[tuple[Scenario, int]] = []
    for seed in evaluation_seeds(cycle, dialogues):
        done = store.stored_dialogues(cycle.cycle_id, "evaluation", *labels, seed)
        missing += [(scenario, seed) for scenario in scenarios if scenario.scenario_id not in done]
    try:
        failed = _hold(config, missing, labels, sides, cycle, outbox, dress) if missing else {}
    except (
        TooManyFlawed
    ):  # what was held shows why; after an interrupt it waits in the outbox, and the command ends at once
        store.drain(outbox)
        raise
    store.drain(outbox)
    return failed


def evaluation_seeds(cycle: Cycle, dialogues: int) -> list[int]:
    """One for each dialogue on a scenario; a cycle of an older method has others for what is simulated for it today."""
    method = (METHOD_VERSION,) if cycle.is_older else ()
    return [derive_seed(cycle.seed, "evaluation", index, *method) for index in range(dialogues)]


def _today(cycle: Cycle, rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Rows of evaluation dialogues, without those of an older method: they and today's are not compared with each other."""
    if not cycle.is_older:
        return list(rows)
    seeds = set(evaluation_seeds(cycle, MOST_DIALOGUES))
    return [row for row in rows if row["seed"] in seeds]


def _hold(
    config: CycleConfig,
    work: Sequence[tuple[Scenario, int]],
    labels: tuple[str, str],
    sides: Sides,
    cycle: Cycle,
    outbox: Outbox,
    dress: Dress | None,
) -> dict[str, str]:
    """Every dialogue goes to the outbox as it ends, so that an interrupted evaluation goes on where it stopped.

    `labels` of policy and simulator; returns scenario id to reason for those that failed for good.
    """
    bar = Bar(f"{labels[0]} talks, {labels[1]} simulator", len(work))

    def keep(seed: int, trajectory: Trajectory, calls: tuple[CallRecord, ...]) -> None:
        outbox.put_dialogues([DialogueRecord(cycle.cycle_id, "evaluation", *labels, seed, trajectory, calls)])
        bar.advance()

    engine = shared_engine(config.engine)
    watch = TalkWatch(config.collect.max_flawed_share)
    held = hold_dialogues(engine, work, config.dialogue, sides=sides, on_dialogue=keep, dress=dress, watch=watch)
    failed = stopping.run(held).failed
    bar.finish()
    return failed


def held_out(config: CycleConfig, cycle: Cycle) -> list[Scenario]:
    """The cycle's held-out scenarios, drawn anew each cycle."""
    scenarios = load_cycle_scenarios(config.scenarios)
    return sample_scenarios(scenarios, config.evaluation.split, config.evaluation.per_domain, cycle.seed)


ByDomain = dict[str, list[HeldOutDialogue]]


def dialogues_held(cycle: Cycle, scenarios: Sequence[str], label: str) -> dict[str, ByDomain]:
    """One policy's dialogues on these scenarios, by simulator and domain."""
    store = TrajectoryStore(Home.from_env().database)
    given = {"cycle": cycle.cycle_id, "policy": label, "scenarios": scenarios}
    found: dict[str, ByDomain] = {}
    for row in _today(cycle, store.rows("evaluation_rewards", given)):
        held = HeldOutDialogue(row["scenario_id"], row["seed"], row["exchanges"], row["value"], row["reward"])
        found.setdefault(row["simulator"], {}).setdefault(row["domain"], []).append(held)
    return found


def require_dialogues(config: CycleConfig, cycle: Cycle, labels: Sequence[str], failed: Mapping[str, str]) -> None:
    """NothingSearched where a policy's dialogues with one of the simulators all failed, or none of the first has a reward."""
    scenarios = [scenario.scenario_id for scenario in held_out(config, cycle)]
    for label in labels:
        held = dialogues_held(cycle, scenarios, label)
        for simulator in config.simulators():
            if failed and not held.get(simulator):
                raise NothingSearched(
                    f"no dialogue of {label} with the {simulator} simulator could be held; {min(failed)}: {failed[min(failed)]}"
                )
        if label == labels[0]:
            require_reward(label, held)


def require_reward(label: str, held: Mapping[str, ByDomain]) -> None:
    """NothingSearched where no dialogue of a policy has a reward: there is nothing to compare others with."""
    if not any(one.reward is not None for domains in held.values() for part in domains.values() for one in part):
        raise NothingSearched(
            f"no dialogue of {label} has a reward: no answer to the exit survey could be read (`engage sql --name unreadable_reactions`)"
        )


def paired(sides: Sequence[Mapping[str, ByDomain]], simulator: str, domain: str = ALL) -> list[Rewards]:
    """Rewards of several policies, of the dialogues (scenario and seed) that all of them have: one that looks ahead holds fewer."""
    held = [
        [one for name, part in side.get(simulator, {}).items() if domain in (ALL, name) for one in part]
        for side in sides
    ]
    shared = set.intersection(*({(one.scenario_id, one.seed) for one in part} for part in held))
    return [by_scenario([one for one in part if (one.scenario_id, one.seed) in shared]) for part in held]


def assistant_replies(
    store: TrajectoryStore,
    cycle: Cycle,
    scenarios: Sequence[str],
    label: str,
    simulators: Collection[str] | None = None,
) -> Mapping[str, Replies]:
    """One policy's replies after the opening on these scenarios, to these simulators or to all: domain to dialogue to turns.

    A dialogue is named by simulator, scenario and seed, so that two policies' can be told to be the same.
    """
    found: dict[str, dict[str, list[Turn]]] = {}
    given = {"cycle": cycle.cycle_id, "policy": label, "scenarios": scenarios}
    for row in _today(cycle, store.rows("evaluation_replies", given)):
        if simulators is not None and row["simulator"] not in simulators:
            continue
        turn = Turn(Role.ASSISTANT, row["text"], flaw=row["flaw"])
        dialogue = f"{row['simulator']}/{row['scenario_id']}/{row['seed']}"
        found.setdefault(row["domain"], {}).setdefault(dialogue, []).append(turn)
    return found
