"""How large a comparison has to be to show a gain: from how the differences of the home's last evaluations vary, and how long they took."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import median
from typing import Any

from engage.engines.prices import Prices
from engage.errors import ConfigError
from engage.evaluation.collected import usd_of
from engage.evaluation.ground import fixed_ground
from engage.evaluation.held_out import HeldOutDialogue, paired
from engage.evaluation.held_out_config import HeldOutConfig
from engage.evaluation.promotion import talks
from engage.evaluation.simulators import deciding, with_panel
from engage.scenario import Scenario
from engage.stats import POWER, Spread, is_finite, least_gain, scenarios_needed, spread
from engage.store import TrajectoryStore

LAST = 7
"""The cycles that are read: the last ones whose candidate talked."""
DIALOGUES = (1, 2, 4, 8)
"""Dialogues a scenario that a plan offers, beside the configured number."""
CANDIDATE = "candidate-"
"""What the labels of candidates begin with (`policy_label`)."""

Comparisons = dict[tuple[str, str], dict[str, list[float]]]
"""By incumbent and candidate: a scenario's differences by its id."""


@dataclass(frozen=True)
class Measured:
    """Differences of candidates to their incumbents with one simulator, or with a panel; `least_gain` is what the present size shows.

    Comparisons count that have differences on two scenarios or more: those that the spread comes from.
    """

    simulator: str
    comparisons: int
    differences: int
    spread: Spread
    least_gain: float | None


@dataclass(frozen=True)
class Size:
    """A comparison that is large enough: scenarios with `dialogues` each; None where no number of scenarios is enough.

    `per_domain` is the setting that gives so many scenarios, None if the sources hold fewer. `talks` counts the dialogues of both sides with
    all simulators of an evaluation; minutes and US dollars are None where the home does not know them.
    """

    dialogues: int
    scenarios: int | None
    per_domain: int | None
    talks: int | None
    minutes: float | None
    usd: float | None


@dataclass(frozen=True)
class Plan:
    """See the module. `sources` counts held-out scenarios by domain; `cycles` were read; `simulators` take part in an evaluation."""

    gain: float
    power: float
    confidence: float
    cycles: int
    simulators: int
    decides: Measured
    measured: tuple[Measured, ...]
    present_scenarios: int
    present_dialogues: int
    sizes: tuple[Size, ...]
    sources: Mapping[str, int]


def plan(
    store: TrajectoryStore,
    scenarios: Sequence[Scenario],
    config: HeldOutConfig,
    prices: Prices,
    gain: float,
) -> Plan:
    """The plan for a gain in (0, 1]; ConfigError if nothing was evaluated yet, or no candidate was compared on two scenarios."""
    evaluated = ((one, store.rows("evaluation_rewards", {"cycle": one})) for one in store.cycle_ids())
    read = dict(islice(((one, rows) for one, rows in evaluated if any(map(_of_candidate, rows))), LAST))
    cycles = list(read)
    if not cycles:
        raise ConfigError(
            "no candidate has been evaluated yet in this home; run `engage nightly` or `engage evaluate` first"
        )
    taking_part = sorted({row["simulator"] for row in read[cycles[0]] if _of_candidate(row)})
    known = {name: _differences([read[one] for one in cycles], name) for name in with_panel(taking_part)}
    here, confidence = fixed_ground(scenarios, "promotion", config.per_domain).scenarios, 1 - config.alpha
    measured = {name: one for name, found in known.items() if (one := _measured(name, found, len(here), config))}
    decides = measured.get(deciding(known) or "")
    if decides is None:
        raise ConfigError(
            "no candidate was compared with its incumbent on two scenarios yet; run `engage evaluate` on a trained cycle first"
        )
    sources = Counter(one.domain for one in fixed_ground(scenarios, "promotion", len(scenarios)).scenarios)
    pace, usd = _pace(store, cycles), _usd(store, cycles, read, prices)
    sizes = []
    for each in sorted({*DIALOGUES, config.dialogues}) if decides.spread.within is not None else [1]:
        wanted = scenarios_needed(gain, decides.spread, each, POWER, confidence)
        count = 2 * talks(wanted, each, len(taking_part)) if wanted else None
        minutes = count * pace / 60 if count and pace is not None else None
        cost = count * usd if count and usd is not None else None
        sizes.append(Size(each, wanted, wanted and _per_domain(wanted, sources), count, minutes, cost))
    return Plan(
        gain=gain,
        power=POWER,
        confidence=confidence,
        cycles=len(cycles),
        simulators=len(taking_part),
        decides=decides,
        measured=tuple(measured.values()),
        present_scenarios=len(here),
        present_dialogues=config.dialogues,
        sizes=tuple(sizes),
        sources=dict(sources),
    )


def _of_candidate(row: Mapping[str, Any]) -> bool:
    """Not of an incumbent, nor of a comparison's other policies, which may share the cycle and its base."""
    return str(row["policy"]).startswith(CANDIDATE)


def _measured(simulator: str, found: Comparisons, scenarios: int, config: HeldOutConfig) -> Measured | None:
    """None if no comparison has two scenarios."""
    read = [one for one in found.values() if sum(map(bool, one.values())) > 1]
    of = spread(read)
    if of is None:
        return None
    differences = sum(len(each) for one in read for each in one.values())
    least = least_gain(of, scenarios, config.dialogues, POWER, 1 - config.alpha)
    return Measured(simulator, len(read), differences, of, least)


def _differences(cycles: Sequence[Sequence[Mapping[str, object]]], simulator: str) -> Comparisons:
    """Candidate minus incumbent with a simulator or panel, over all cycles (each: rows of evaluation_rewards)."""
    found: Comparisons = {}
    for rows in cycles:
        policies: dict[str, dict[str, dict[str, list[HeldOutDialogue]]]] = {}
        for row in rows:
            held = HeldOutDialogue(*(row[name] for name in ("scenario_id", "seed", "exchanges", "value", "reward")))  # type: ignore[arg-type]
            own = policies.setdefault(str(row["policy"]), {}).setdefault(str(row["simulator"]), {})
            own.setdefault(str(row["domain"]), []).append(held)
        incumbent = next((name for name in sorted(policies) if name.startswith("champion-")), "base")
        for name in policies:
            if name.startswith(CANDIDATE) and incumbent in policies:
                before, after = paired([policies[incumbent], policies[name]], simulator)
                for scenario, rewards in before.items():
                    sides = zip(rewards, after[scenario], strict=True)  # type: ignore[arg-type]
                    differences = [two - one for one, two in sides if is_finite(one) and is_finite(two)]
                    found.setdefault((incumbent, name), {}).setdefault(scenario, []).extend(differences)
    return found


def _pace(store: TrajectoryStore, cycles: Sequence[str]) -> float | None:
    """Seconds that an evaluation took for one dialogue, the median over batches; None if there are no two batches."""
    rows = [row for one in cycles for row in store.rows("evaluation_pace", {"cycle": one})]
    return median(each) if (each := [row["seconds"] / row["dialogues"] for row in rows if row["seconds"]]) else None


def _usd(
    store: TrajectoryStore, cycles: Sequence[str], read: Mapping[str, Sequence[object]], prices: Prices
) -> float | None:
    """US dollars of one dialogue, both speakers; None without prices or with unknown tokens."""
    costs = [usd_of(store, one, prices, "evaluation") for one in cycles]
    known = [cost for cost in costs if cost is not None]
    return sum(known) / sum(len(read[one]) for one in cycles) if len(known) == len(costs) else None


def _per_domain(scenarios: int, sources: Mapping[str, int]) -> int | None:
    """The least `evaluation.per_domain` that gives so many scenarios; None if the sources hold fewer."""
    most = max(sources.values(), default=0)
    return next((n for n in range(2, most + 1) if sum(min(n, own) for own in sources.values()) >= scenarios), None)
