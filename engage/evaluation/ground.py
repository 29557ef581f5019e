"""The ground on which policies are compared: a fixed half of the validation scenarios, and the users who are talked with.

A validation scenario belongs to one of two halves. Runs and candidates are chosen on the *selection* half; promotion is decided on the
*promotion* half, so that a choice among many candidates cannot favour the scenarios that decide.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from engage.evaluation.held_out import BySimulator, paired
from engage.evaluation.promotion import ALL
from engage.files.digest import digest
from engage.scenario import Scenario, distinct
from engage.stats import CONFIDENCE, LEAST_SCENARIOS, Simultaneous, simultaneous_comparison

Half = Literal["selection", "promotion"]
HALVES: tuple[Half, ...] = get_args(Half)
HALVED_FROM = 2 * LEAST_SCENARIOS
"""A domain with fewer validation scenarios is not halved: no half could show a gain."""


def validation_half(scenario: Scenario) -> Half:
    """The half of a validation scenario, from its content alone: it never moves. The split is decided by other digits of the same hash."""
    return HALVES[int(scenario.content_hash[8], 16) % 2]


@dataclass(frozen=True)
class Ground:
    """The scenarios of a comparison; `remarks` has a sentence for each domain with fewer than were asked for."""

    scenarios: tuple[Scenario, ...]
    remarks: tuple[str, ...] = ()


def fixed_ground(scenarios: Sequence[Scenario], half: Half, per_domain: int) -> Ground:
    """At most `per_domain` validation scenarios of the half from each domain: the same in every cycle, in the order of a hash.

    The order prefers no kind of user, and a larger sample contains the smaller one. A domain with fewer than HALVED_FROM validation
    scenarios gives all of them to both halves. Domains alternate.
    """
    taken, remarks = [], []
    for domain, known in distinct(scenarios, "validation").items():
        whole = len(known) < HALVED_FROM
        own = [scenario for scenario in known if whole or validation_half(scenario) == half]
        there = sorted(own, key=lambda one: one.content_hash[9:])[:per_domain]
        taken.append(there)
        if whole:
            remarks.append(
                f"{domain}: {len(known)} of its scenarios are in the validation split, too few to keep a half for promotion alone; "
                "runs are chosen and promoted on the same ones"
            )
        elif len(there) < per_domain:
            remarks.append(
                f"{domain}: {len(there)} of its scenarios are in the {half} half of the validation split, fewer than "
                f"evaluation.per_domain = {per_domain}; all are used"
            )
    longest = max(map(len, taken), default=0)
    return Ground(tuple(group[i] for i in range(longest) for group in taken if i < len(group)), tuple(remarks))


def ground_digest(scenarios: Sequence[Scenario], simulators: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """What makes results comparable, as twelve hexadecimal digits: scenarios by content, the simulated users, and `settings` (JSON)."""
    return digest([sorted(one.content_hash for one in scenarios), dict(simulators), dict(settings)])[:12]


def compare_candidates(
    policies: Mapping[str, BySimulator],
    simulator: str,
    against: str,
    domain: str = ALL,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> dict[str, Simultaneous]:
    """Compare two or more policies with one of them, `against`, on the dialogues (scenario and seed) that all of them have.

    Each policy's dialogues are as `HeldOutStore.dialogues` returns them. Per policy: its paired comparison, and bounds that hold for all
    together (`simultaneous_comparison`).
    """
    names = list(policies)
    shared = paired([policies[name] for name in names], simulator, domain)
    return simultaneous_comparison(dict(zip(names, shared, strict=True)), against, confidence, seed)
