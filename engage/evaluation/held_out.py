"""Held-out dialogues and their policies, read from the store in the form that the statistics need."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from engage.dialogue import Role, Turn
from engage.errors import NothingSearched
from engage.evaluation.hacking import Replies
from engage.evaluation.held_out_config import MOST_DIALOGUES
from engage.evaluation.promotion import ALL
from engage.evaluation.simulators import members
from engage.models import adapter_fingerprint
from engage.scenario import Scenario
from engage.search import METHOD_VERSION
from engage.seeds import derive_seed
from engage.stats import Rewards
from engage.store import Cycle, TrajectoryStore


@dataclass(frozen=True)
class HeldOutDialogue:
    """One evaluation dialogue for the statistics: `value` on the survey's scale, None if it could not be read."""

    scenario_id: str
    seed: int
    exchanges: int
    value: float | None
    reward: float | None


ByDomain = Mapping[str, Sequence[HeldOutDialogue]]
BySimulator = Mapping[str, ByDomain]


def by_scenario(dialogues: Sequence[HeldOutDialogue]) -> Rewards:
    """Rewards for `paired_comparison`: scenario to its dialogues' rewards in seed order."""
    found: dict[str, list[float | None]] = {}
    for held in sorted(dialogues, key=lambda one: (one.scenario_id, one.seed)):
        found.setdefault(held.scenario_id, []).append(held.reward)
    return found


def paired(policies: Sequence[BySimulator], simulator: str, domain: str = ALL) -> list[Rewards]:
    """Rewards of several policies on the dialogues (scenario and seed) that all of them have; look-ahead policies have fewer."""
    held = [
        [one for name, part in dialogues_with(policy, simulator).items() if domain in (ALL, name) for one in part]
        for policy in policies
    ]
    shared = set.intersection(*({(one.scenario_id, one.seed) for one in part} for part in held))
    return [by_scenario([one for one in part if (one.scenario_id, one.seed) in shared]) for part in held]


def dialogues_with(policy: BySimulator, simulator: str) -> ByDomain:
    """A policy's dialogues with a simulator. With a panel: for each scenario and seed that all members have, the mean over them.

    The mean is None where one member's answer could not be read.
    """
    names = members(simulator)
    if len(names) == 1:
        return policy.get(simulator, {})
    found: dict[str, list[HeldOutDialogue]] = {}
    for domain in policy.get(names[0], {}):
        parts = [{(one.scenario_id, one.seed): one for one in policy.get(name, {}).get(domain, ())} for name in names]
        for key in sorted(set.intersection(*map(set, parts))):
            same = [part[key] for part in parts]
            value, reward = mean_or_none([one.value for one in same]), mean_or_none([one.reward for one in same])
            found.setdefault(domain, []).append(
                HeldOutDialogue(*key, max(one.exchanges for one in same), value, reward)
            )
    return found


def mean_or_none(values: Sequence[float | None]) -> float | None:
    """The mean; None if one of them is, or if there is none."""
    known = [value for value in values if value is not None]
    return fmean(known) if known and len(known) == len(values) else None


def policy_label(name: str, adapter: str | None) -> str:
    """The label under which a policy's dialogues are stored: its role and the first digits of its weights' fingerprint."""
    return f"{name}-{adapter_fingerprint(adapter)[:8]}" if adapter else name


def evaluation_seeds(cycle: Cycle, dialogues: int) -> list[int]:
    """One for each dialogue on a scenario; a cycle of an older method has others for what is simulated for it today."""
    method = (METHOD_VERSION,) if cycle.is_older else ()
    return [derive_seed(cycle.seed, "evaluation", index, *method) for index in range(dialogues)]


@dataclass(frozen=True)
class HeldOutStore:
    """The stored dialogues of a cycle's policies on these scenarios (by id).

    Dialogues of an older method version are left out, because they are not comparable with new ones.
    """

    store: TrajectoryStore
    cycle: Cycle
    scenarios: Mapping[str, Scenario]

    @property
    def domains(self) -> dict[str, str]:
        """Scenario id to its domain."""
        return {name: scenario.domain for name, scenario in self.scenarios.items()}

    def dialogues(self, label: str) -> dict[str, dict[str, list[HeldOutDialogue]]]:
        """One policy's dialogues, by simulator and domain."""
        found: dict[str, dict[str, list[HeldOutDialogue]]] = {}
        for row in self._rows("evaluation_rewards", label):
            held = HeldOutDialogue(row["scenario_id"], row["seed"], row["exchanges"], row["value"], row["reward"])
            found.setdefault(row["simulator"], {}).setdefault(row["domain"], []).append(held)
        return found

    def replies(self, label: str, simulators: Collection[str] | None = None) -> Mapping[str, Replies]:
        """One policy's replies after the opening, to these simulators or to all: domain to dialogue to turns.

        A dialogue is named by simulator, scenario and seed, so that the dialogues of two policies can be matched.
        """
        found: dict[str, dict[str, list[Turn]]] = {}
        for row in self._rows("evaluation_replies", label):
            if simulators is None or row["simulator"] in simulators:
                turn = Turn(Role.ASSISTANT, row["text"], flaw=row["flaw"])
                dialogue = f"{row['simulator']}/{row['scenario_id']}/{row['seed']}"
                found.setdefault(row["domain"], {}).setdefault(dialogue, []).append(turn)
        return found

    def require(self, labels: Iterable[str], simulators: Iterable[str], failed: Mapping[str, str]) -> None:
        """Raise NothingSearched if all of a policy's dialogues with one simulator `failed`, or none with the first has a reward."""
        asked, known = list(labels), list(simulators)
        for number, label in enumerate(asked if failed else asked[:1]):
            held = self.dialogues(label)
            for simulator in known:
                if failed and not held.get(simulator):
                    raise NothingSearched(
                        f"no dialogue of {label} with the {simulator} simulator could be held; {min(failed)}: {failed[min(failed)]}"
                    )
            if number == 0:
                require_reward(label, held)

    def _rows(self, query: str, label: str) -> list[Mapping[str, Any]]:
        given = {"cycle": self.cycle.cycle_id, "policy": label, "scenarios": list(self.scenarios)}
        return self.of_method([*self.store.rows(query, given)])

    def of_method(self, rows: list[Any]) -> list[Any]:
        """The rows, which have a `seed`, without those of an older method version."""
        if not self.cycle.is_older:
            return rows
        seeds = set(evaluation_seeds(self.cycle, MOST_DIALOGUES))
        return [row for row in rows if row["seed"] in seeds]


def require_reward(label: str, held: BySimulator) -> None:
    """Raise NothingSearched if no dialogue of a policy has a reward, because there is nothing to compare with."""
    if not any(one.reward is not None for domains in held.values() for part in domains.values() for one in part):
        raise NothingSearched(
            f"no dialogue of {label} has a reward: no answer to the exit survey could be read (`engage sql --name unreadable_reactions`)"
        )
