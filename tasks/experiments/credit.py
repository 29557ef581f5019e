"""Rolling out replies of a collected cycle afresh, and what that says about its values."""

from collections import defaultdict
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import asdict
from statistics import fmean
from typing import Any

from prefect import task

from engage.config import CycleConfig, load_cycle_scenarios
from engage.engines import shared_engine
from engage.errors import ConfigError, NothingSearched
from engage.experiments import (
    CreditConfig,
    CreditFigures,
    KeptRollouts,
    PairCheck,
    Roller,
    SpokenPair,
    SpokenReply,
    Turns,
    by_domain,
    credit_lines,
    credit_page,
    fresh_difference,
    reliability,
    search_shifts,
    spoken_reply,
    stated_against_fresh,
)
from engage.files.digest import digest, key_settings
from engage.home import Home
from engage.scenario import Scenario
from engage.search import Outcome, Sides
from engage.store import Outbox, TrajectoryStore
from tasks import stopping
from tasks.cycle import Cycle, worth_retrying
from tasks.progress import Bar
from tasks.tracking import StageRun, Tracker

Row = dict[str, Any]


@task(name="reroll-pairs", retries=2, retry_delay_seconds=10, retry_condition_fn=worth_retrying)
def reroll_pairs(config: CycleConfig, cycle: Cycle, check: CreditConfig) -> dict[str, str]:
    """Roll out both replies of the sampled pairs; returns scenario id to reason for those that failed for good.

    ConfigError where the cycle has no pair.
    """
    home = Home.from_env()
    store = TrajectoryStore(home.database)
    store.drain(Outbox(home.outbox))
    pairs = [pair for _, pair in _pairs(config, cycle, check)]
    if not pairs:
        raise ConfigError(
            f"cycle {cycle.cycle_id!r} has no two sibling replies with two sampled user turns each: collect it first, or collect "
            "another with more search.num_simulations or search.min_visits"
        )
    return _roll(config, cycle, "pairs re-rolled", len(pairs), lambda r, done: r.pairs(pairs, check, done))


@task(name="roll-out-replies", retries=2, retry_delay_seconds=10, retry_condition_fn=worth_retrying)
def roll_out_replies(config: CycleConfig, cycle: Cycle, check: CreditConfig) -> dict[str, str]:
    """Roll out the replies behind the noise floor; returns scenario id to reason for those that failed for good."""
    replies = [reply for _, reply in _replies(config, cycle, check)]
    return _roll(
        config,
        cycle,
        "replies rolled out for their noise",
        len(replies),
        lambda r, done: r.replies(replies, check, done),
    )


@task(name="judge-credit")
def judge_credit(config: CycleConfig, cycle: Cycle, check: CreditConfig, failed: dict[str, str]) -> dict[str, Any]:
    """Figures, page and plot from the rollouts that are kept; logged as the stage `credit`.

    NothingSearched where they tell nothing.
    """
    home = Home.from_env()
    found = _figures(config, cycle, check)
    if not (found.floors or found.shifts or found.reliability):
        scenario, reason = min(failed.items(), default=("", "too few fresh rollouts have a reward that could be read"))
        raise NothingSearched(
            f"nothing of cycle {cycle.cycle_id!r} could be measured; {scenario}{': ' if scenario else ''}{reason}"
        )
    page, folder = credit_page(cycle.cycle_id, found, check), home.cycle(cycle.cycle_id)
    plot = stated_against_fresh(found.reliability.bins if found.reliability else ())
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "credit.md").write_text(page, encoding="utf-8")
    plot.savefig(folder / "credit.png")
    with Tracker(home).stage(cycle.cycle_id, "credit", digest(key_settings(check))[:12]) as run:
        run.params({f"credit.{name}": value for name, value in check.model_dump().items()})
        _log(run, found)
        run.figure(plot, "credit")
        run.page(page, "credit.md")
    lines = credit_lines(found)
    if failed:
        scenario, reason = min(failed.items())
        lines.append(f"{len(failed)} scenarios failed, {scenario} because: {reason}. The same command tries again.")
    return {"text": "\n".join([*lines, f"The page: {folder / 'credit.md'}"]), "figures": found, "failed": failed}


def _roll(
    config: CycleConfig,
    cycle: Cycle,
    what: str,
    total: int,
    work: Callable[[Roller, Callable[[None], None]], Coroutine[Any, Any, Outcome]],
) -> dict[str, str]:
    """What was rolled out when Ctrl-C came is kept."""
    bar, kept = Bar(what, total), _kept(cycle)
    sides = Sides(policy_adapter=cycle.champion_adapter)
    roller = Roller(shared_engine(config.engine), config.dialogue, sides, cycle.seed, kept)
    try:
        outcome = stopping.run(work(roller, lambda _: bar.advance()))
    finally:
        kept.save()
    bar.finish()
    return outcome.failed


def _kept(cycle: Cycle) -> KeptRollouts:
    """The cycle's file; its name holds what the rollouts depend on, so that a cycle begun anew under the same id has another."""
    home = Home.from_env()
    identity = digest(TrajectoryStore(home.database).cycle_config(cycle.cycle_id))
    return KeptRollouts(home.cycle(cycle.cycle_id) / "credit" / f"rollouts-{identity[:16]}.parquet")


def _pairs(config: CycleConfig, cycle: Cycle, check: CreditConfig) -> list[tuple[Row, SpokenPair]]:
    rows = _rows("credit_pairs", {"cycle": cycle.cycle_id, "pairs": check.pairs})
    known = _scenarios(config)
    return [(row, (spoken_reply(known, row, "chosen"), spoken_reply(known, row, "rejected"))) for row in rows]


def _replies(config: CycleConfig, cycle: Cycle, check: CreditConfig) -> list[tuple[Row, SpokenReply]]:
    rows = _rows("credit_replies", {"cycle": cycle.cycle_id, "prefixes": check.prefixes})
    known = _scenarios(config)
    return [(row, spoken_reply(known, row, "reply")) for row in rows]


def _rows(name: str, params: dict[str, Any]) -> list[Row]:
    return TrajectoryStore(Home.from_env().database).rows(name, params)


def _scenarios(config: CycleConfig) -> dict[str, Scenario]:
    return {scenario.scenario_id: scenario for scenario in load_cycle_scenarios(config.scenarios)}


def _figures(config: CycleConfig, cycle: Cycle, check: CreditConfig) -> CreditFigures:
    kept = _kept(cycle)
    checks, unreadable, missing = [], 0, 0
    for row, pair in _pairs(config, cycle, check):
        sides = [kept.rewards(reply, check.rollouts) for reply in pair]
        if sides[0] is None or sides[1] is None:
            missing += 1
        elif difference := fresh_difference(*([turn[0] for turn in side] for side in sides if side)):
            stated = ("domain", "scenario_id", "p_bin", "stratum_pairs", "p_greater", "q_gap")
            checks.append(PairCheck(**{name: row[name] for name in stated}, difference=difference))
        else:
            unreadable += 1
    rolled = [
        (row, rewards)
        for row, reply in _replies(config, cycle, check)
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
    found: dict[str, dict[tuple[str, int], list[Turns]]] = defaultdict(lambda: defaultdict(list))
    for row, rewards in rolled:
        found[row["domain"]][row["tree_id"], row["decision_id"]].append(rewards)
    return {domain: list(prefixes.values()) for domain, prefixes in found.items()}


def _shifts(rolled: Sequence[tuple[Row, Turns]]) -> list[tuple[str, bool, str, float]]:
    found = []
    for row, rewards in rolled:
        readable = [reward for turn in rewards for reward in turn if reward is not None]
        if readable:
            prefix = f"{row['tree_id']}/{row['decision_id']}"
            found.append((row["domain"], row["on_spine"], prefix, row["q_mean"] - fmean(readable)))
    return found


def _log(run: StageRun, found: CreditFigures) -> None:
    """MLflow takes no infinity: a domain without visible spread has no number of simulations."""
    for floor in found.floors:
        numbers = {name: value for name, value in asdict(floor).items() if isinstance(value, int | float)}
        run.metrics({f"noise/{floor.domain}/{name}": value for name, value in numbers.items() if value != float("inf")})
    for shift in found.shifts:
        run.metrics({f"search_minus_fresh/{shift.domain}/{'on' if shift.on_spine else 'off'}_spine": shift.mean})
    run.metrics({"rollouts": found.rollouts, "pairs_unreadable": found.unreadable_pairs})
    if found.reliability:
        run.metrics({"pairs": found.reliability.pairs, "pairs_precise": found.reliability.precise})
        for name, error in found.reliability.errors.items():
            run.metrics({f"{name}/{key}": value for key, value in asdict(error).items()})
        belief = found.reliability.belief
        for name, estimate in (("gap_ratio", belief.gap_ratio), ("bias", belief.bias), ("spread", belief.spread)):
            run.estimate(f"belief/{name}", estimate)
