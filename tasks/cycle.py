"""Begins a cycle, or resumes an existing one if its identity is the same."""

import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from prefect import State, runtime, task
from prefect.client.schemas.objects import FlowRun
from prefect.flows import Flow, FlowStateHook

from engage.config import CycleConfig, load_cycle_scenarios
from engage.engines import check_models, model_of, trained_apart
from engage.engines.base import Side
from engage.errors import InputError, StoreLocked, TooManyFlawed, engage_error
from engage.evaluation import (
    check_adapter_names,
    check_adapters,
    engine_for_adapter,
    nobody_held_out,
    other_model_notices,
    prompted_users,
    reigns,
    start_line,
)
from engage.home import check_cycle_id
from engage.keeping import at_work
from engage.keeping.pruning import check_not_pruned
from engage.progress import tell
from engage.scenario import same_contents
from engage.seeds import derive_seed
from engage.store import SETTINGS, Challenges, Cycle, absent, identity
from engage.training import check_training, read_human
from engage.workspace import Workspace
from tasks.run_log import log


def worth_retrying(task: Any, run: Any, state: Any) -> bool:
    """Whether a retry of a failed task may succeed; not if the user's input is wrong, too many dialogues went wrong, or the store was waited for."""
    hopeless = InputError | TooManyFlawed | StoreLocked
    return not isinstance(engage_error(state.result(raise_on_failure=False)), hopeless)


@task(name="begin-cycle", retries=3, retry_delay_seconds=20, retry_condition_fn=worth_retrying)
def begin_cycle(config: CycleConfig, cycle_id: str, from_champion: bool = True, keep: bool = False) -> Cycle:
    """Register the cycle and its scenarios in the store and in MLflow, or resume it under the same configuration.

    An experiment starts from the models of its configuration, not from the champion. The store keeps all settings of a new cycle, and
    with `keep` those of a resumed one: they are what later stages of the cycle use unless told otherwise.
    """
    check_cycle_id(cycle_id)
    workspace = Workspace.from_env()
    check_not_pruned(workspace, cycle_id)
    known = workspace.store.cycle_config(cycle_id)
    seed = config.seed if config.seed is not None else derive_seed("cycle", cycle_id) % 2**32
    if known is None:
        champion = workspace.tracker.champion() if from_champion else None
        version, adapter = (champion.version, str(champion.adapter)) if champion else (None, None)
        cycle = Cycle(cycle_id=cycle_id, seed=seed, champion_version=version, champion_adapter=adapter)
    else:
        cycle = Cycle.stored(cycle_id, seed, known, workspace.home.find)
    scenarios = load_cycle_scenarios(config.scenarios, _warn_of_left)
    if again := same_contents(scenarios):
        log(f"{len(again)} scenarios are used once only: {'; '.join(again[:3])}", logging.WARNING)
    _check(workspace, config, cycle)
    domains = {scenario.domain for scenario in scenarios}
    workspace.store.begin_cycle(
        cycle_id,
        identity(cycle, _settings(config), config.engine, domains, known),
        absent(_settings(CycleConfig())),
        config.model_dump(mode="json") if keep or known is None else None,
    )
    workspace.store.add_scenarios(scenarios)
    if flow_run := runtime.flow_run.id:
        at_work.begin(workspace, cycle_id, str(runtime.flow_run.flow_name), str(flow_run))
    if keep:
        found = reigns(Challenges(workspace.store), workspace.home.find)
        model, adapter = model_of(config.engine, Side.POLICY), config.engine.policy_adapter
        tell(f"cycle {cycle_id} starts from {start_line(found, cycle.champion_version, model, adapter)}")
        for remark in (
            trained_apart(config.engine),
            prompted_users(config.engine),
            nobody_held_out(config.engine, config.evaluation.held_out_simulators),
            *other_model_notices(config.engine, config.evaluation.held_out_simulators),
        ):
            if remark:
                tell(remark)
    params = {**cycle.model_dump(), **config.recorded(experiment=not from_champion)}
    workspace.tracker.open_cycle(cycle_id, params, {"engine": config.engine.kind, "profile": config.tracking.profile})
    return cycle


def stored_cycle(workspace: Workspace, cycle_id: str) -> Cycle:
    """A cycle that is in the store."""
    known = workspace.store.cycle_config(cycle_id) or {}
    return Cycle.stored(cycle_id, known["seed"], known, workspace.home.find)


def _check(workspace: Workspace, config: CycleConfig, cycle: Cycle) -> None:
    """Check adapters, chat templates, corpora and what training needs before the night's work begins."""
    check_adapter_names(config.engine, config.evaluation)
    check_adapters(config.engine, config.evaluation.held_out_simulators, cycle.champion_adapter)
    others = [engine_for_adapter(config.engine, name) for name in config.evaluation.held_out_simulators]
    for engine in {one.simulator_model: one for one in (*others, config.engine)}.values():
        check_models(engine)
    check_training(config.align, "dpo")
    if config.human.corpora:
        read_human(config.human, workspace.store)


def _settings(config: CycleConfig) -> Mapping[str, Any]:
    return config.model_dump(mode="json", include=SETTINGS)


_open_runs: dict[str, list[str]] = {}
"""Cycle to its flow runs of this process that work within one another, the outermost first."""


def _note_open(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Note that the flow run works on its cycle; one that runs again, after a pause or a retry, is noted once."""
    known = _open_runs.setdefault(flow_run.parameters["cycle_id"], [])
    if str(flow_run.id) not in known:
        known.append(str(flow_run.id))


def _close(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Close the cycle's MLflow run with the flow's final state and the minutes it took; the next stage reopens it.

    The minutes of a flow within another one of the cycle are among those of the other.
    """
    workspace, cycle_id = Workspace.from_env(), flow_run.parameters["cycle_id"]
    ends = at_work.COMPLETED if state.is_completed() else at_work.FAILED if state.is_failed() else at_work.INTERRUPTED
    with suppress(OSError):  # a full disk: without a record of its end, the work counts as interrupted
        at_work.end(workspace, cycle_id, str(flow_run.id), ends)
    began = flow_run.start_time or flow_run.expected_start_time
    within = str(flow_run.id) in _open_runs.get(cycle_id, [])[1:]
    minutes = (state.timestamp - began).total_seconds() / 60 if began and not within else 0.0
    if not within:
        _open_runs.pop(cycle_id, None)
    last = at_work.read(workspace.home, cycle_id)
    night = at_work.of_night(last) if last and flow.name not in at_work.OF_A_NIGHT else None
    completed = night.ended in ("", at_work.COMPLETED) if night else state.is_completed()  # an experiment ends no night
    workspace.tracker.close_cycle(cycle_id, completed, max(0.0, minutes))
    if state.is_completed() and flow_run.parent_task_run_id is None:  # a stage alone; a night copies at its own end
        workspace.snapshot()


CLOSING: dict[str, list[FlowStateHook[..., Any]]] = {
    "on_running": [_note_open],
    "on_completion": [_close],
    "on_failure": [_close],
    "on_crashed": [_close],
    "on_cancellation": [_close],
}
"""Hooks of a flow that works on the cycle named by its parameter `cycle_id`."""


def _warn_of_left(left: list[str]) -> None:
    """Write to the run's log, because a scheduled night has no terminal."""
    log(f"{len(left)} scenario lines were left: {'; '.join(left[:20])}", logging.WARNING)
