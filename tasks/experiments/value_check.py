"""Makes fresh rollouts of a collected cycle's replies, and compares them with its values."""

from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from prefect import task

from engage import stopping
from engage.config import CycleConfig, load_cycle_scenarios
from engage.engines import shared_engine
from engage.engines.metered import MeteredEngine
from engage.errors import NothingSearched
from engage.experiments import (
    CheckedValues,
    KeptRollouts,
    Roller,
    Sampled,
    ValueCheckConfig,
    credit_figures,
    credit_metrics,
    credit_page,
    stated_against_fresh,
)
from engage.files.digest import digest, key_settings
from engage.progress import Bar
from engage.search import BatchResult
from engage.store import Cycle
from engage.workspace import Workspace
from tasks.cycle import worth_retrying


@task(name="reroll-pairs", retries=2, retry_delay_seconds=10, retry_condition_fn=worth_retrying)
def reroll_pairs(config: CycleConfig, cycle: Cycle, check: ValueCheckConfig) -> dict[str, str]:
    """Roll out both replies of the sampled pairs; returns failed scenarios by id, with the reason.

    ConfigError if the cycle has no pair.
    """
    workspace = Workspace.from_env()
    workspace.drain()
    pairs = _sampled(workspace, config, cycle, check).required_pairs()
    bar = Bar("pairs re-rolled", len(pairs))
    return _roll(workspace, config, cycle, bar, lambda roller, done: roller.pairs(pairs, check, done))


@task(name="roll-out-replies", retries=2, retry_delay_seconds=10, retry_condition_fn=worth_retrying)
def roll_out_replies(config: CycleConfig, cycle: Cycle, check: ValueCheckConfig) -> dict[str, str]:
    """Roll out the replies for the noise floor; returns failed scenarios by id, with the reason."""
    workspace = Workspace.from_env()
    replies = [reply for _, reply in _sampled(workspace, config, cycle, check).replies]
    bar = Bar("replies rolled out for their noise", len(replies))
    return _roll(workspace, config, cycle, bar, lambda roller, done: roller.replies(replies, check, done))


@task(name="judge-credit", retries=3, retry_delay_seconds=20, retry_condition_fn=worth_retrying)
def judge_credit(
    config: CycleConfig, cycle: Cycle, check: ValueCheckConfig, failed: Mapping[str, str]
) -> CheckedValues:
    """Figures, page and plot from the stored rollouts; logged as the stage `credit`.

    NothingSearched if they allow no figure.
    """
    workspace = Workspace.from_env()
    found = credit_figures(_sampled(workspace, config, cycle, check), KeptRollouts.of(workspace, cycle.cycle_id))
    if not (found.floors or found.shifts or found.reliability):
        scenario, reason = min(failed.items(), default=("", "too few fresh rollouts have a reward that could be read"))
        raise NothingSearched(
            f"nothing of cycle {cycle.cycle_id!r} could be measured; {scenario}{': ' if scenario else ''}{reason}"
        )
    page = credit_page(cycle.cycle_id, found, check)
    plot = stated_against_fresh(found.reliability.bins if found.reliability else ())
    path = workspace.write(cycle.cycle_id, "credit.md", page)
    plot.savefig(path.with_suffix(".png"))
    with workspace.tracker.stage(cycle.cycle_id, "credit", digest(key_settings(check))[:12]) as run:
        run.params({f"credit.{name}": value for name, value in check.model_dump().items()})
        run.metrics(credit_metrics(found))
        run.figure(plot, "credit")
        run.page(page, "credit.md")
    return CheckedValues.of(found, failed, path)


def _roll(
    workspace: Workspace,
    config: CycleConfig,
    cycle: Cycle,
    bar: Bar,
    work: Callable[[Roller, Callable[[None], None]], Coroutine[Any, Any, BatchResult]],
) -> dict[str, str]:
    """Rollouts that were finished when Ctrl-C came are kept. Many run at once and none may end for minutes, so an answer shows progress too."""
    engine = MeteredEngine(shared_engine(config.engine))
    engine.on_answer = bar.tell_if_due
    kept, adapters = KeptRollouts.of(workspace, cycle.cycle_id), config.adapters(cycle.champion_adapter)
    roller = Roller(engine, config.dialogue, adapters, cycle.seed, kept)
    try:
        result = stopping.run(work(roller, lambda _: bar.advance()))
    finally:
        kept.save()
    bar.finish()
    return result.failed


def _sampled(workspace: Workspace, config: CycleConfig, cycle: Cycle, check: ValueCheckConfig) -> Sampled:
    scenarios = {scenario.scenario_id: scenario for scenario in load_cycle_scenarios(config.scenarios)}
    return Sampled(workspace.store, cycle.cycle_id, scenarios, check)
