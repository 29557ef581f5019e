"""Computes a comparison's figures from stored dialogues: one row per policy, the checks, the recovered headroom, and their MLflow names."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean
from typing import Any

from engage.domains import load_domain
from engage.errors import NothingSearched
from engage.evaluation import (
    ALL,
    BySimulator,
    HeldOutStore,
    PolicyName,
    StratumRow,
    compare_domains,
    compare_strata,
    distinct_2,
    hacking_failures,
    hacking_rates,
    paired,
    require_reward,
)
from engage.experiments.comparison import (
    BASE,
    TRAINED,
    ComparisonResult,
    PolicyChecks,
    PolicyRow,
    Recovery,
    check_policy,
    mean_measures,
    mean_reward,
    recovered,
)
from engage.experiments.inference import adversary_label
from engage.stats import Comparison, Estimate, Rewards

Labels = Mapping[PolicyName, str]
"""Policies, each with the label under which its dialogues are stored."""
Divergences = Mapping[PolicyName, Mapping[str, float | None]]
"""By policy, then by domain, in nats per reply."""
SILENT = "none of its dialogues could be held"


@dataclass(frozen=True)
class Compared:
    """The policies that have dialogues with every simulator, with those dialogues."""

    held: HeldOutStore
    simulators: tuple[str, ...]
    labels: Labels
    dialogues: Mapping[PolicyName, BySimulator]

    def rewards(self, policies: Sequence[PolicyName], simulator: str, domain: str = ALL) -> list[Rewards]:
        """Each policy's rewards, in the dialogues that all of them have."""
        return paired([self.dialogues[policy] for policy in policies], simulator, domain)


def compare_policies(
    held: HeldOutStore,
    labels: Labels,
    simulators: Iterable[str],
    divergences: Divergences,
    left: Mapping[str, str],
    failed: Mapping[str, str],
    split: str,
) -> ComparisonResult:
    """All figures; a policy without dialogues goes into `left`. The caller counts openings of the test split.

    NothingSearched if the base has no dialogues, or none with a reward.
    """
    known = tuple(simulators)
    dialogues = {name: held.dialogues(label) for name, label in labels.items()}
    silent = [name for name, by_simulator in dialogues.items() if not all(by_simulator.get(user) for user in known)]
    if BASE in silent:
        raise NothingSearched(
            f"no dialogue of the base could be held: {min(failed.values(), default='none was asked for')}"
        )
    require_reward(BASE, dialogues[BASE])
    speaking = {name: label for name, label in labels.items() if name not in silent}
    compared = Compared(held, known, speaking, {name: dialogues[name] for name in speaking})
    return ComparisonResult(
        cycle_id=held.cycle.cycle_id,
        split=split,
        openings=0,
        rows=[row for simulator in known for row in _rows(compared, simulator)],
        checks=_checks(compared, divergences),
        by_stratum=[row for simulator in known for row in _strata(compared, simulator)],
        recovery=_recoveries(compared),
        left={**left, **dict.fromkeys(silent, SILENT)},
        failed=failed,
    )


def _rows(compared: Compared, simulator: str) -> Iterator[PolicyRow]:
    held = compared.held
    given = {"cycle": held.cycle.cycle_id, "scenarios": list(held.scenarios)}
    spent = held.store.rows("evaluation_cost", given)
    variety = _variety(compared, simulator)
    for policy, label in compared.labels.items():
        by_domain = compared.dialogues[policy].get(simulator, {})
        costs = [row for row in spent if (row["policy"], row["simulator"]) == (label, simulator)]
        comparisons: Mapping[str, Comparison] = {}
        if policy != BASE:
            base, own = compared.rewards((BASE, policy), simulator)
            comparisons = compare_domains(base, own, held.domains)
        for domain in [*sorted(by_domain), ALL]:
            counted = by_domain[domain] if domain != ALL else [one for part in by_domain.values() for one in part]
            cost = [row for row in costs if domain in (ALL, row["domain"])]
            yield PolicyRow(
                policy=policy,
                simulator=simulator,
                domain=domain,
                dialogues=len(counted),
                unreadable=sum(one.reward is None for one in counted),
                reward=mean_reward(counted),
                measures=mean_measures(load_domain(domain), held.scenarios, counted) if domain != ALL else {},
                distinct_2=variety.get((policy, domain)),
                exchanges=fmean(one.exchanges for one in counted),
                calls=_per_dialogue(cost, "calls"),
                tokens=_per_dialogue(cost, "completion_tokens"),
                comparison=comparisons.get(domain),
            )


def _per_dialogue(cost: Sequence[Mapping[str, Any]], what: str) -> float | None:
    """Mean cost over the dialogues of several domains, from the domains' values of `evaluation_cost`; None if unknown."""
    if any(row[what] is None for row in cost):
        return None
    return fmean([row[what] for row in cost], weights=[row["dialogues"] for row in cost])


def _variety(compared: Compared, simulator: str) -> dict[tuple[PolicyName, str], float | None]:
    """distinct-2 by policy and domain, over the dialogues that all policies have, because it falls with the number of dialogues."""
    said = [compared.held.replies(label, [simulator]) for label in compared.labels.values()]
    by_policy: dict[tuple[PolicyName, str], float | None] = {}
    for domain in {ALL, *compared.held.domains.values()}:
        policies = [
            {name: turns for of, part in own.items() if domain in (ALL, of) for name, turns in part.items()}
            for own in said
        ]
        by_policy |= {
            (policy, domain): value for policy, value in zip(compared.labels, distinct_2(policies), strict=True)
        }
    return by_policy


def _strata(compared: Compared, simulator: str) -> Iterator[StratumRow]:
    for policy in compared.dialogues:
        if policy != BASE:
            base, own = compared.rewards((BASE, policy), simulator)
            yield from compare_strata(policy, simulator, compared.held.scenarios, base, own)


def _checks(compared: Compared, divergences: Divergences) -> list[PolicyChecks]:
    held, known = compared.held, compared.simulators
    names = {name for domain in set(held.domains.values()) for name in load_domain(domain).adversaries}
    adversaries = tuple(adversary_label(name) for name in names)
    base, provoked_base = (held.replies(BASE, users) for users in (known, adversaries))
    checks = []
    for policy, label in compared.labels.items():
        replies, provoked = (held.replies(label, users) for users in (known, adversaries))
        for name, said in sorted(replies.items()):
            domain = load_domain(name)
            check = check_policy(domain, policy, base.get(name, {}), said)
            answers = provoked.get(name, {})
            worse = hacking_failures(domain, provoked_base.get(name, {}), answers) if policy != BASE else []
            distance = divergences.get(policy, {}).get(name)
            rates = hacking_rates(domain, answers)
            checks.append(replace(check, adversarial=worse, provoked=rates, divergence=distance))
    return checks


def _recoveries(compared: Compared) -> dict[tuple[str, str, str], Recovery]:
    """Recovery of every trained policy with every simulator, per domain and over all scenarios, on the seeds that the search has too."""
    if "search" not in compared.dialogues:
        return {}
    recoveries = {}
    for simulator in compared.simulators:
        for policy in (name for name in compared.dialogues if name in TRAINED):
            for domain in [*sorted(compared.dialogues[BASE].get(simulator, {})), ALL]:
                base, search, own = compared.rewards((BASE, "search", policy), simulator, domain)
                recoveries[str(policy), simulator, domain] = recovered(base, search, own)
    return recoveries


def comparison_metrics(result: ComparisonResult) -> dict[str, float | None]:
    """The figures by MLflow metric name."""
    metrics: dict[str, float | None] = {}
    for row in result.rows:
        place = f"{row.policy}/{row.simulator.replace(' ', '_')}/{row.domain}"
        metrics |= _bounds("reward", place, row.reward)
        metrics |= {f"distinct_2/{place}": row.distinct_2, f"tokens/{place}": row.tokens, f"calls/{place}": row.calls}
        metrics |= {f"{name}/{place}": value for name, value in row.measures.items()}
        if one := row.comparison:
            metrics |= _bounds("difference", place, Estimate(one.difference, one.low, one.high))
            metrics[f"win_rate/{place}"] = one.win_rate
    for check in result.checks:
        place = f"{check.policy}/{check.domain}"
        metrics |= {f"text_{name}/{place}": value for name, value in check.text.items()}
        metrics |= {f"hacking_{name}/{place}": value for name, value in check.hacking.items()}
        metrics |= {f"hacking_adversarial_{name}/{place}": value for name, value in check.provoked.items()}
        metrics[f"divergence/{place}"] = check.divergence
        metrics[f"failed_checks/{place}"] = len(check.failures) + len(check.adversarial)
    return metrics


def _bounds(name: str, place: str, one: Estimate) -> dict[str, float | None]:
    return {f"{name}/{place}": one.value, f"{name}_low/{place}": one.low, f"{name}_high/{place}": one.high}


def stored_figures(result: ComparisonResult) -> Iterator[tuple[PolicyName, str, dict[str, dict[str, Any]]]]:
    """Policy, simulator and the comparisons with the base by domain, as the store takes them."""
    figures: dict[tuple[PolicyName, str], dict[str, dict[str, Any]]] = {}
    for row in result.rows:
        if row.comparison is not None:
            figures.setdefault((row.policy, row.simulator), {})[row.domain] = asdict(row.comparison)
    for (policy, simulator), by_domain in figures.items():
        yield policy, simulator, by_domain
