"""Compares policies among users of one kind (`Domain.strata`), such as doubtful ones, to see where a gain comes from."""

from collections.abc import Mapping
from dataclasses import dataclass

from engage.domains import load_domain
from engage.scenario import Scenario
from engage.stats import Comparison, Rewards, paired_comparison

MIN_STRATUM = 10
"""Minimum number of scenarios for a stratum to be reported; a bootstrap of fewer is too narrow."""


@dataclass(frozen=True)
class StratumRow:
    """One policy against the base, with one simulator, among the users whose `condition` has this `level`."""

    policy: str
    simulator: str
    domain: str
    condition: str
    level: str
    comparison: Comparison


def compare_strata(
    policy: str, simulator: str, scenarios: Mapping[str, Scenario], base: Rewards, own: Rewards
) -> list[StratumRow]:
    """One row for every level with at least MIN_STRATUM scenarios that are readable for both policies; by domain, condition, level."""
    members: dict[tuple[str, str, str], list[str]] = {}
    for name, scenario in scenarios.items():
        for condition, level in load_domain(scenario.domain).strata(scenario.user_condition).items():
            members.setdefault((scenario.domain, condition, level), []).append(name)
    rows = []
    for place, names in sorted(members.items()):
        left, right = ({name: side[name] for name in names if name in side} for side in (base, own))
        found = paired_comparison(left, right)
        if found.n >= MIN_STRATUM:
            rows.append(StratumRow(policy, simulator, *place, found))
    return rows
