"""Beginning a cycle, or finding the one that is to be continued."""

from typing import Any

from prefect import State, get_run_logger, task
from prefect.client.schemas.objects import FlowRun
from prefect.flows import Flow, FlowStateHook
from pydantic import BaseModel, ConfigDict

from engage.config import CycleConfig, Home, check_cycle_id, load_cycle_scenarios
from engage.engines import engine_identity
from engage.errors import InputError, engage_error
from engage.human import read_human
from engage.models import adapter_fingerprint
from engage.scenario import Scenario
from engage.second_simulator import check_adapters
from engage.seeds import derive_seed
from engage.store import TrajectoryStore
from tasks.tracking import Tracker, flat


class Cycle(BaseModel):
    """What a cycle's stages share: its seed and the champion it began with (None: the base model)."""

    model_config = ConfigDict(frozen=True)

    cycle_id: str
    seed: int
    champion_version: str | None
    champion_adapter: str | None


@task(name="begin-cycle")
def begin_cycle(config: CycleConfig, cycle_id: str, from_champion: bool = True) -> Cycle:
    """Register the cycle and its scenarios in the store and in MLflow, or take it up again under the same configuration.

    An experiment does not start from the champion but from what its configuration names.
    """
    check_cycle_id(cycle_id)
    home = Home.from_env()
    store = TrajectoryStore(home.database)
    tracker = Tracker(home)
    known = store.cycle_config(cycle_id)
    if known is None:
        champion = tracker.champion() if from_champion else None
        version, adapter = (champion.version, str(champion.adapter)) if champion else (None, None)
    else:
        version, adapter = known["champion_version"], known["champion_adapter"]
    seed = config.seed if config.seed is not None else derive_seed("cycle", cycle_id) % 2**32
    cycle = Cycle(cycle_id=cycle_id, seed=seed, champion_version=version, champion_adapter=adapter)
    scenarios = load_cycle_scenarios(config.scenarios, _warn_of_left)
    # what is wrong with an adapter or a corpus shows before the night's work, not after it
    check_adapters(config, adapter)
    if config.human.corpora:
        read_human(config.human)
    store.begin_cycle(cycle_id, _identity(config, cycle, scenarios))
    store.add_scenarios(scenarios)
    tracker.open_cycle(cycle_id, {"cycle_id": cycle_id, **cycle.model_dump(), **flat(config.model_dump(mode="json"))})
    return cycle


def _close(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """The cycle's run in MLflow ends as the flow does; the next stage takes it up again."""
    Tracker(Home.from_env()).close_cycle(flow_run.parameters["cycle_id"], completed=state.is_completed())


CLOSING: dict[str, list[FlowStateHook[..., Any]]] = {
    "on_completion": [_close],
    "on_failure": [_close],
    "on_crashed": [_close],
    "on_cancellation": [_close],
}
"""Hooks of a flow that works on the cycle which its parameter `cycle_id` names."""


def worth_retrying(task: Any, run: Any, state: Any) -> bool:
    """Whether a failed task may fare better a little later: not where the user's input is wrong."""
    return not isinstance(engage_error(state.result(raise_on_failure=False)), InputError)


def _warn_of_left(left: list[str]) -> None:
    """Into the run's log: a scheduled night has no terminal that could show it."""
    get_run_logger().warning("%d scenario lines were left: %s", len(left), "; ".join(left[:20]))


def _identity(config: CycleConfig, cycle: Cycle, scenarios: list[Scenario]) -> dict[str, object]:
    """All that decides what a cycle collects; pairs, training and evaluation may be done again under other settings."""
    from engage.domains import load_domain

    return {
        **config.model_dump(mode="json", include={"scenarios", "dialogue", "search"}),
        "engine": config.engine.kind,  # where servers listen and how large a cache is may change between two runs
        "seed": cycle.seed,
        "models": engine_identity(config.engine),
        "champion_version": cycle.champion_version,
        "champion_adapter": cycle.champion_adapter,
        "champion_weights": adapter_fingerprint(cycle.champion_adapter) if cycle.champion_adapter else None,
        "prompts": {name: load_domain(name).fingerprint() for name in sorted({s.domain for s in scenarios})},
    }
