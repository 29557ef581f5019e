"""Beginning a cycle, or finding the one that is to be continued: its identity decides which."""

from collections.abc import Mapping
from typing import Any

from prefect import State, get_run_logger, task
from prefect.client.schemas.objects import FlowRun
from prefect.flows import Flow, FlowStateHook
from pydantic import BaseModel, ConfigDict

from engage.config import CycleConfig, load_cycle_scenarios
from engage.engines import check_models, engine_identity
from engage.errors import ConfigError, InputError, TooManyFlawed, engage_error
from engage.evaluation import check_adapters
from engage.home import Home, check_cycle_id
from engage.models import adapter_fingerprint
from engage.scenario import Scenario
from engage.search import METHOD_VERSION
from engage.seeds import derive_seed
from engage.store import TrajectoryStore
from engage.training import read_human
from tasks.tracking import Tracker, flat

SETTINGS = {"scenarios", "dialogue", "search"}
"""The parts of the configuration that decide what a cycle collects; its identity holds all of their settings."""
SUPERSEDED: Mapping[str, Any] = {}
"""What a cycle counts as having for a setting that it lacks, by dotted name, where that is not the setting's default of today: a
setting of SETTINGS whose default changed since it was added, or one that was taken away. All others need no entry."""


class Cycle(BaseModel):
    """What a cycle's stages share: its seed, its method, and the champion it began with (None: the base model)."""

    model_config = ConfigDict(frozen=True)

    cycle_id: str
    seed: int
    champion_version: str | None
    champion_adapter: str | None
    method_version: int = METHOD_VERSION

    @property
    def is_older(self) -> bool:
        """Whether it was begun by an older method than today's."""
        return self.method_version < METHOD_VERSION

    def require_own_method(self, reason: str) -> None:
        """ConfigError where what is to be added to the cycle would be of another method; `reason` says what cannot be and what can."""
        if self.is_older:
            raise ConfigError(
                f"cycle {self.cycle_id!r} was begun by an older engage, whose searches and simulated users were others "
                f"(method {self.method_version}, now {METHOD_VERSION}): {reason}"
            )


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
        version, kept = (champion.version, str(champion.adapter)) if champion else (None, None)
    else:
        version, kept = known.get("champion_version"), known.get("champion_adapter")
    adapter = str(home.find(kept)) if kept else None
    seed = config.seed if config.seed is not None else derive_seed("cycle", cycle_id) % 2**32
    method = known.get("method_version", 1) if known else METHOD_VERSION
    if method > METHOD_VERSION:
        raise ConfigError(
            f"cycle {cycle_id!r} was begun by a newer engage (method {method}, this one has {METHOD_VERSION}); use that version "
            "or another --cycle"
        )
    cycle = Cycle(
        cycle_id=cycle_id, seed=seed, champion_version=version, champion_adapter=adapter, method_version=method
    )
    scenarios = load_cycle_scenarios(config.scenarios, _warn_of_left)
    # what is wrong with an adapter, a chat template or a corpus shows before the night's work, not after it
    check_adapters(config.engine, config.evaluation.second_simulator, adapter)
    check_models(config.engine)
    if config.human.corpora:
        read_human(config.human)
    # the home may have been moved since the cycle began: its identity keeps the path of that time
    identity = {**_identity(config, cycle, scenarios), "champion_adapter": kept}
    if known and cycle.is_older:  # its prompts may be others too: that is what an older method means
        identity["prompts"] = known.get("prompts")
    store.begin_cycle(cycle_id, identity, absent())
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
    """Whether a failed task may fare better a little later: not where the user's input is wrong, or the
    model does not speak."""
    return not isinstance(engage_error(state.result(raise_on_failure=False)), InputError | TooManyFlawed)


def _warn_of_left(left: list[str]) -> None:
    """Into the run's log: a scheduled night has no terminal that could show it."""
    get_run_logger().warning("%d scenario lines were left: %s", len(left), "; ".join(left[:20]))


def _identity(config: CycleConfig, cycle: Cycle, scenarios: list[Scenario]) -> dict[str, object]:
    """All that decides what a cycle collects; pairs, training and evaluation may be done again under other settings."""
    from engage.domains import load_domain

    return {
        "method_version": cycle.method_version,
        **config.model_dump(mode="json", include=SETTINGS),
        # which modules may be imported is a permission: what a domain is stands under `prompts`
        "scenarios": config.scenarios.model_dump(mode="json", exclude={"domain_modules"}),
        "engine": config.engine.kind,  # where servers listen and how large a cache is may change between two runs
        "seed": cycle.seed,
        "models": engine_identity(config.engine),
        "champion_version": cycle.champion_version,
        "champion_adapter": cycle.champion_adapter,
        "champion_weights": adapter_fingerprint(cycle.champion_adapter) if cycle.champion_adapter else None,
        "prompts": {name: load_domain(name).fingerprint() for name in sorted({s.domain for s in scenarios})},
    }


def absent() -> dict[str, Any]:
    """What a key of an identity counts as where a cycle of an older engage lacks it, or today's engage does: see SUPERSEDED.

    A setting that was added later counts as its default, so that an older cycle is continued while it stands there.
    """
    found: dict[str, Any] = {"method_version": 1, **CycleConfig().model_dump(mode="json", include=SETTINGS)}
    for name, value in SUPERSEDED.items():
        *parents, leaf = name.split(".")
        table = found
        for parent in parents:
            table = table.setdefault(parent, {})
        table[leaf] = value
    return found
