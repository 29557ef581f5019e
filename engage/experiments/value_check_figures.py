"""Chooses the replies and pairs of a cycle to roll out again, and computes the figures from the rollouts; reads the store."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from statistics import fmean
from typing import Any

from engage.errors import ConfigError
from engage.experiments.calibration import PairCheck, reliability
from engage.experiments.rerolls import KeptRollouts, SpokenPair, SpokenReply, spoken_reply
from engage.experiments.value_check import Turns, ValueCheckConfig, by_domain, fresh_difference, search_shifts
from engage.experiments.value_check_page import CreditFigures
from engage.scenario import Scenario
from engage.store import TrajectoryStore

Row = Mapping[str, Any]
STATED = ("domain", "scenario_id", "p_bin", "stratum_pairs", "p_greater", "q_gap")


@dataclass(frozen=True)
class Sampled:
    """The sample of a cycle for a check: `pairs` for the stated P, `replies` for the noise floor, each with its stored row."""

    store: TrajectoryStore
    cycle_id: str
    scenarios: Mapping[str, Scenario]
    check: ValueCheckConfig

    @cached_property
    def pairs(self) -> list[tuple[Row, SpokenPair]]:
        """Pairs of sibling replies, spread evenly over the stated P."""
        rows = self.store.rows("credit_pairs", {"cycle": self.cycle_id, "pairs": self.check.pairs})
        return [(row, (self._reply(row, "chosen"), self._reply(row, "rejected"))) for row in rows]

    @cached_property
    def replies(self) -> list[tuple[Row, SpokenReply]]:
        """All siblings at the sampled prefixes."""
        rows = self.store.rows("credit_replies", {"cycle": self.cycle_id, "prefixes": self.check.prefixes})
        return [(row, self._reply(row, "reply")) for row in rows]

    def required_pairs(self) -> list[SpokenPair]:
        """The pairs; ConfigError if the cycle has none."""
        if not self.pairs:
            raise ConfigError(
                f"cycle {self.cycle_id!r} has no two sibling replies with two sampled user turns each: collect it first, or collect "
                "another with more search.num_simulations or search.min_visits"
            )
        return [pair for _, pair in self.pairs]

    def _reply(self, row: Row, column: str) -> SpokenReply:
        return spoken_reply(self.scenarios, row, column)


def credit_figures(sampled: Sampled, kept: KeptRollouts) -> CreditFigures:
    """All figures of the check, from the stored rollouts."""
    check = sampled.check
    checks, unreadable, missing = [], 0, 0
    for row, pair in sampled.pairs:
        chosen, rejected = (kept.rewards(reply, check.rollouts) for reply in pair)
        if chosen is None or rejected is None:
            missing += 1
        elif difference := fresh_difference([turn[0] for turn in chosen], [turn[0] for turn in rejected]):
            checks.append(PairCheck(**{name: row[name] for name in STATED}, difference=difference))
        else:
            unreadable += 1
    rolled = [
        (row, rewards)
        for row, reply in sampled.replies
        if (rewards := kept.rewards(reply, check.turns, check.below)) is not None
    ]
    spent: dict[str, list[int]] = defaultdict(list)
    for row, _ in rolled:
        spent[row["domain"]].append(row["group_count"])
    return CreditFigures(
        floors=by_domain(_by_prefix(rolled)),
        shifts=search_shifts(_shifts(rolled)),
        spent={domain: fmean(counts) for domain, counts in spent.items()},
        reliability=reliability(checks),
        rollouts=len(kept),
        unreadable_pairs=unreadable,
        failed_pairs=missing,
    )


def _by_prefix(rolled: Sequence[tuple[Row, Turns]]) -> dict[str, list[list[Turns]]]:
    replies: dict[str, dict[tuple[str, int], list[Turns]]] = defaultdict(lambda: defaultdict(list))
    for row, rewards in rolled:
        replies[row["domain"]][row["tree_id"], row["decision_id"]].append(rewards)
    return {domain: list(prefixes.values()) for domain, prefixes in replies.items()}


def _shifts(rolled: Sequence[tuple[Row, Turns]]) -> list[tuple[str, bool, str, float]]:
    shifts = []
    for row, rewards in rolled:
        readable = [reward for turn in rewards for reward in turn if reward is not None]
        if readable:
            prefix = f"{row['tree_id']}/{row['decision_id']}"
            shifts.append((row["domain"], row["on_spine"], prefix, row["q_mean"] - fmean(readable)))
    return shifts


def credit_metrics(figures: CreditFigures) -> dict[str, float | None]:
    """The figures by MLflow metric name. MLflow accepts no infinity, so a domain without visible spread has no number of simulations."""
    metrics: dict[str, float | None] = {"rollouts": figures.rollouts, "pairs_unreadable": figures.unreadable_pairs}
    for floor in figures.floors:
        numbers = {name: value for name, value in asdict(floor).items() if isinstance(value, int | float)}
        metrics |= {f"noise/{floor.domain}/{name}": v for name, v in numbers.items() if v != float("inf")}
    for shift in figures.shifts:
        metrics[f"search_minus_fresh/{shift.domain}/{'on' if shift.on_spine else 'off'}_spine"] = shift.mean
    if figures.reliability:
        metrics |= {"pairs": figures.reliability.pairs, "pairs_precise": figures.reliability.precise}
        for name, error in figures.reliability.errors.items():
            metrics |= {f"{name}/{key}": value for key, value in asdict(error).items()}
        belief = figures.reliability.belief
        for name, one in (("gap_ratio", belief.gap_ratio), ("bias", belief.bias), ("spread", belief.spread)):
            ends = {"": one.value, "_low": one.low, "_high": one.high}
            metrics |= {f"belief/{name}{end}": value for end, value in ends.items()}
    return metrics
