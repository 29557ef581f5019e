"""What the dialogues of a comparison of policies show: one table, the checks, the headroom recovered."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from statistics import fmean
from typing import Any

from prefect import task

from engage.config import CycleConfig
from engage.domains import load_domain
from engage.errors import NothingSearched
from engage.evaluation import (
    ALL,
    Comparison,
    PolicyName,
    Rewards,
    StratumRow,
    compare_domains,
    compare_strata,
    distinct_2,
    hacking_failures,
    hacking_rates,
)
from engage.experiments import (
    BASE,
    TRAINED,
    ComparisonResult,
    PolicyChecks,
    PolicyRow,
    Recovery,
    check_policy,
    comparison_page,
    mean_measures,
    mean_reward,
    recovered,
)
from engage.files.digest import digest, key_settings
from engage.home import Home
from engage.scenario import Scenario
from engage.store import TrajectoryStore
from tasks.comparing import ByDomain, assistant_replies, dialogues_held, held_out, paired, require_reward
from tasks.cycle import Cycle
from tasks.experiments.arms import Arm
from tasks.experiments.experiment import adversary_label, label_of
from tasks.tracking import StageRun, Tracker, flat

STAGE = "comparison"
Scenarios = Mapping[str, Scenario]
"""Those that are compared on, by id."""
Labels = Mapping[PolicyName, str]
"""Policies, and under what name the dialogues of each are stored."""
Dialogues = Mapping[PolicyName, Mapping[str, ByDomain]]
"""By policy, then by simulator."""


@task(name="compare-policies")
def compare_policies(
    config: CycleConfig,
    cycle: Cycle,
    arms: Sequence[Arm],
    divergences: Mapping[str, Mapping[str, float | None]],
    left: Mapping[str, str],
    failed: Mapping[str, str],
) -> dict[str, Any]:
    """One table of all policies with all simulators, the checks, and the headroom recovered; kept in MLflow and as a page."""
    home = Home.from_env()
    tracker = Tracker(home)
    scenarios = {scenario.scenario_id: scenario for scenario in held_out(config, cycle)}
    labels = {arm.name: label_of(arm, config.comparison) for arm in arms}
    dialogues = {name: dialogues_held(cycle, list(scenarios), label) for name, label in labels.items()}
    silent = [name for name, held in dialogues.items() if not all(held.get(user) for user in config.simulators())]
    if BASE in silent:
        raise NothingSearched(
            f"no dialogue of the base could be held: {min(failed.values(), default='none was asked for')}"
        )
    require_reward(BASE, dialogues[BASE])
    left = {**left, **dict.fromkeys(silent, "none of its dialogues could be held")}
    labels = {name: label for name, label in labels.items() if name not in silent}
    dialogues = {name: dialogues[name] for name in labels}
    rows = [row for simulator in config.simulators() for row in _rows(cycle, scenarios, labels, dialogues, simulator)]
    by_stratum = [row for simulator in config.simulators() for row in _strata(scenarios, dialogues, simulator)]
    checks = _checks(config, cycle, scenarios, labels, divergences)
    recovery = _recoveries(config, dialogues) if "search" in dialogues else {}
    settings = {"evaluation": key_settings(config.evaluation), "comparison": key_settings(config.comparison)}
    recipe = digest({**settings, "policies": labels})[:8]
    with tracker.stage(cycle.cycle_id, f"{STAGE} on {config.evaluation.split}", recipe) as run:
        run.params({"split": config.evaluation.split, **flat(config.comparison.model_dump(mode="json"), "comparison.")})
        result = ComparisonResult(
            cycle.cycle_id,
            config.evaluation.split,
            tracker.openings(),
            rows,
            checks,
            by_stratum,
            recovery,
            left,
            failed,
        )
        page = comparison_page(result)
        _log(run, result)
        run.page(page, f"comparison-{config.evaluation.split}.md")
    _keep_figures(config, cycle, labels, rows)
    path = home.cycle(cycle.cycle_id) / f"comparison-{config.evaluation.split}-{recipe}.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
    return {"page": page, "path": str(path)}


@task(name="open-test-split")
def open_test_split(config: CycleConfig, cycle: Cycle, arms: Sequence[Arm]) -> None:
    """Count an opening of the test split before it is looked at: one for each set of policies, simulators and dialogues."""
    if config.evaluation.split != "test":
        return
    looked_at = {
        "policies": [label_of(arm, config.comparison) for arm in arms],
        "simulators": list(config.simulators()),
        **flat(config.evaluation.model_dump(mode="json", include={"per_domain", "dialogues"})),
        **flat(config.comparison.model_dump(mode="json", include={"thinking_dialogues"})),
    }
    Tracker(Home.from_env()).open_test_split(cycle.cycle_id, looked_at)


def _compared(dialogues: Dialogues, policies: Sequence[PolicyName], simulator: str, domain: str = ALL) -> list[Rewards]:
    return paired([dialogues[policy] for policy in policies], simulator, domain)


def _strata(scenarios: Scenarios, dialogues: Dialogues, simulator: str) -> list[StratumRow]:
    found: list[StratumRow] = []
    for policy in dialogues:
        if policy != BASE:
            base, own = _compared(dialogues, (BASE, policy), simulator)
            found += compare_strata(policy, simulator, scenarios, base, own)
    return found


def _rows(cycle: Cycle, scenarios: Scenarios, labels: Labels, dialogues: Dialogues, simulator: str) -> list[PolicyRow]:
    domains = {name: scenario.domain for name, scenario in scenarios.items()}
    store = TrajectoryStore(Home.from_env().database)
    spent = store.rows("evaluation_cost", {"cycle": cycle.cycle_id, "scenarios": list(scenarios)})
    variety = _variety(cycle, scenarios, labels, simulator)
    rows = []
    for policy, label in labels.items():
        held = dialogues[policy].get(simulator, {})
        costs = [row for row in spent if (row["policy"], row["simulator"]) == (label, simulator)]
        found: Mapping[str, Comparison] = {}
        if policy != BASE:
            base, own = _compared(dialogues, (BASE, policy), simulator)
            found = compare_domains(base, own, domains)
        for domain in [*sorted(held), ALL]:
            counted = held[domain] if domain != ALL else [one for part in held.values() for one in part]
            cost = [row for row in costs if domain in (ALL, row["domain"])]
            rows.append(
                PolicyRow(
                    policy=policy,
                    simulator=simulator,
                    domain=domain,
                    dialogues=len(counted),
                    unreadable=sum(one.reward is None for one in counted),
                    reward=mean_reward(counted),
                    measures=mean_measures(load_domain(domain), scenarios, counted) if domain != ALL else {},
                    distinct_2=variety.get((policy, domain)),
                    exchanges=fmean(one.exchanges for one in counted),
                    calls=_per_dialogue(cost, "calls"),
                    tokens=_per_dialogue(cost, "completion_tokens"),
                    comparison=found.get(domain),
                )
            )
    return rows


def _per_dialogue(cost: Sequence[Mapping[str, Any]], what: str) -> float | None:
    """The mean over the dialogues of several domains of what `evaluation_cost` tells for each of them; None where it is unknown."""
    if any(row[what] is None for row in cost):
        return None
    return fmean([row[what] for row in cost], weights=[row["dialogues"] for row in cost])


def _variety(
    cycle: Cycle, scenarios: Scenarios, labels: Labels, simulator: str
) -> dict[tuple[PolicyName, str], float | None]:
    """distinct-2 by policy and domain, over the dialogues that all policies have: it falls with their number."""
    store, on = TrajectoryStore(Home.from_env().database), list(scenarios)
    said = [assistant_replies(store, cycle, on, label, [simulator]) for label in labels.values()]
    found: dict[tuple[PolicyName, str], float | None] = {}
    for domain in {ALL, *(scenario.domain for scenario in scenarios.values())}:
        sides = [
            {name: turns for of, part in own.items() if domain in (ALL, of) for name, turns in part.items()}
            for own in said
        ]
        found |= {(policy, domain): value for policy, value in zip(labels, distinct_2(sides), strict=True)}
    return found


def _checks(
    config: CycleConfig,
    cycle: Cycle,
    scenarios: Scenarios,
    labels: Labels,
    divergences: Mapping[str, Mapping[str, float | None]],
) -> list[PolicyChecks]:
    store = TrajectoryStore(Home.from_env().database)
    known = tuple(config.simulators())
    names = {name for scenario in scenarios.values() for name in load_domain(scenario.domain).adversaries}
    adversaries = tuple(adversary_label(name) for name in names)
    on = list(scenarios)
    base, provoked_base = (assistant_replies(store, cycle, on, BASE, users) for users in (known, adversaries))
    found = []
    for policy, label in labels.items():
        replies, provoked = (assistant_replies(store, cycle, on, label, users) for users in (known, adversaries))
        for name, said in sorted(replies.items()):
            domain = load_domain(name)
            check = check_policy(domain, policy, base.get(name, {}), said)
            answers = provoked.get(name, {})
            worse = hacking_failures(domain, provoked_base.get(name, {}), answers) if policy != BASE else []
            distance = divergences.get(policy, {}).get(name)
            rates = hacking_rates(domain, answers)
            found.append(replace(check, adversarial=worse, provoked=rates, divergence=distance))
    return found


def _recoveries(config: CycleConfig, dialogues: Dialogues) -> dict[tuple[str, str, str], Recovery]:
    """Of every trained policy with every simulator, in each domain and over all scenarios, on the seeds that the search held."""
    found: dict[tuple[str, str, str], Recovery] = {}
    trained = [name for name in dialogues if name in TRAINED]
    for simulator in config.simulators():
        for policy in trained:
            for domain in [*sorted(dialogues[BASE].get(simulator, {})), ALL]:
                base, search, own = _compared(dialogues, (BASE, "search", policy), simulator, domain)
                found[policy, simulator, domain] = recovered(base, search, own)
    return found


def _log(run: StageRun, result: ComparisonResult) -> None:
    for row in result.rows:
        place = f"{row.policy}/{row.simulator.replace(' ', '_')}/{row.domain}"
        run.estimate("reward", row.reward, f"/{place}")
        run.metrics({f"distinct_2/{place}": row.distinct_2, f"tokens/{place}": row.tokens, f"calls/{place}": row.calls})
        run.metrics({f"{name}/{place}": value for name, value in row.measures.items()})
        if row.comparison is not None:
            found = row.comparison
            run.metrics(
                {
                    f"difference/{place}": found.difference,
                    f"difference_low/{place}": found.low,
                    f"difference_high/{place}": found.high,
                    f"win_rate/{place}": found.win_rate,
                }
            )
    for check in result.checks:
        place = f"{check.policy}/{check.domain}"
        run.metrics({f"text_{name}/{place}": value for name, value in check.text.items()})
        run.metrics({f"hacking_{name}/{place}": value for name, value in check.hacking.items()})
        run.metrics({f"hacking_adversarial_{name}/{place}": value for name, value in check.provoked.items()})
        run.metrics({f"divergence/{place}": check.divergence})
        run.metrics({f"failed_checks/{place}": len(check.failures) + len(check.adversarial)})


def _keep_figures(config: CycleConfig, cycle: Cycle, labels: Labels, rows: Sequence[PolicyRow]) -> None:
    """The comparisons, as the store takes them."""
    store = TrajectoryStore(Home.from_env().database)
    found: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for row in rows:
        if row.comparison is not None:
            place = (labels[row.policy], row.simulator)
            found.setdefault(place, {})[row.domain] = asdict(row.comparison)
    for (label, simulator), by_domain in found.items():
        store.add_evaluation(cycle.cycle_id, config.evaluation.split, label, simulator, by_domain)
