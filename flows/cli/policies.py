"""The assistants that a person names on the command line: base, champion, candidate, a cycle's, a version of the registry, a folder."""

from pathlib import Path
from typing import TYPE_CHECKING

from engage.config import CycleConfig
from engage.engines import model_names
from engage.errors import ConfigError
from engage.evaluation import policy_label
from engage.home import Home
from engage.models import AdapterCard, check_adapter, resolve_model
from engage.training import latest_candidate

if TYPE_CHECKING:
    from engage.tracking import Tracker


def named_policy(config: CycleConfig, name: str) -> tuple[str, str | None]:
    """The label of an assistant, as evaluations store it, and its adapter's folder (None: the configured policy, which is `base`).

    ConfigError for an unknown name, ModelError for an adapter that does not fit the configured model.
    """
    if name == "base":
        return name, None
    role, adapter = name, str(_champion() if name == "champion" else named_adapter(_latest(name)))
    if model_names(config.engine):
        check_adapter(adapter, resolve_model(config.engine.policy_model))
    return policy_label(role if role in ("champion", "candidate") else "adapter", adapter), adapter


def named_adapter(name: str) -> Path:
    """The adapter of a cycle's candidate, of a version in the registry, or in a folder; ConfigError if there is none, or none of engage's."""
    home = Home.from_env()
    if Path(name).is_dir() and (Path(name) / "adapter_config.json").is_file():
        AdapterCard.read(name)
        return Path(name).resolve()
    if not home.cycle(name).is_dir() or Path(name).name != name:
        if version := _registered(name):
            return version
        raise ConfigError(
            f"{name!r:.80} is neither a cycle of this home ({home.path}), nor a version in its registry, nor an adapter's folder"
        )
    candidate = latest_candidate(home.cycle(name), home.find)
    if candidate is None:
        raise ConfigError(f"cycle {name!r} has no candidate: nothing was trained; run `engage align --cycle {name}`")
    return Path(candidate.adapter)


def _latest(name: str) -> str:
    """The latest cycle for `candidate`, any other name as it is."""
    if name != "candidate":
        return name
    from engage.store import TrajectoryStore

    cycle = TrajectoryStore(Home.from_env().database).latest_cycle()
    if cycle is None:
        raise ConfigError("no cycle has been run yet, so there is no candidate; run `engage nightly` first")
    return cycle


def _tracker() -> "Tracker | None":
    """MLflow of this home; None before the first cycle: opening it would make a home where ENGAGE_HOME names a wrong folder."""
    from engage.workspace import Workspace
    from flows.cli.running import quieten

    home = Home.from_env()
    if home.own_tracking and not home.mlflow_file.exists():
        return None
    quieten(verbose=False)
    return Workspace(home).tracker


def _champion() -> Path:
    tracker = _tracker()
    champion = tracker.champion() if tracker else None
    if champion is None:
        raise ConfigError("this home has no champion yet; name base, candidate, a version or an adapter's folder")
    return champion.adapter


def _registered(version: str) -> Path | None:
    """The adapter of a version in MLflow's registry; None if there is no such version."""
    tracker = _tracker() if version.isdecimal() else None
    return tracker.adapter_of(version) if tracker else None
