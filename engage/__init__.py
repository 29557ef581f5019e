"""The method of arXiv 2506.21497 as a library: scenarios, simulated dialogues, i×MCTS, the store, preference pairs, training.

These names are public and stay; each is loaded on first use. Knows nothing of Prefect or MLflow, of `tasks/` or `flows/`.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engage.config import CycleConfig, load_config
    from engage.corpora import HumanDialogue, read_corpus
    from engage.dialogue import Dialogue, Reaction, Role, Trajectory, Turn
    from engage.domains import Domain, Survey, UserCondition, load_domain
    from engage.engines import EngineConfig, close_engines, shared_engine
    from engage.engines.base import Completion, Engine, Message, Prompt, Sampling, Scores, Side
    from engage.engines.scripted import ScriptedEngine
    from engage.errors import EngageError
    from engage.scenario import Scenario, load_scenarios, read_scenarios, sample_scenarios
    from engage.search import Search, SearchConfig, search_scenarios
    from engage.simulation import DialogueConfig
    from engage.store import Outbox, PairConfig, TrajectoryStore
    from engage.training import PreferencePair, read_pairs, train_dpo

_ROOMS = {
    "engage.config": ("CycleConfig", "load_config"),
    "engage.corpora": ("HumanDialogue", "read_corpus"),
    "engage.dialogue": ("Dialogue", "Reaction", "Role", "Trajectory", "Turn"),
    "engage.domains": ("Domain", "Survey", "UserCondition", "load_domain"),
    "engage.engines": ("EngineConfig", "close_engines", "shared_engine"),
    "engage.engines.base": ("Completion", "Engine", "Message", "Prompt", "Sampling", "Scores", "Side"),
    "engage.engines.scripted": ("ScriptedEngine",),
    "engage.errors": ("EngageError",),
    "engage.scenario": ("Scenario", "load_scenarios", "read_scenarios", "sample_scenarios"),
    "engage.search": ("Search", "SearchConfig", "search_scenarios"),
    "engage.simulation": ("DialogueConfig",),
    "engage.store": ("Outbox", "PairConfig", "TrajectoryStore"),
    "engage.training": ("PreferencePair", "read_pairs", "train_dpo"),
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}

__all__ = [
    "Completion",
    "CycleConfig",
    "Dialogue",
    "DialogueConfig",
    "Domain",
    "EngageError",
    "Engine",
    "EngineConfig",
    "HumanDialogue",
    "Message",
    "Outbox",
    "PairConfig",
    "PreferencePair",
    "Prompt",
    "Reaction",
    "Role",
    "Sampling",
    "Scenario",
    "Scores",
    "ScriptedEngine",
    "Search",
    "SearchConfig",
    "Side",
    "Survey",
    "Trajectory",
    "TrajectoryStore",
    "Turn",
    "UserCondition",
    "close_engines",
    "load_config",
    "load_domain",
    "load_scenarios",
    "read_corpus",
    "read_pairs",
    "read_scenarios",
    "sample_scenarios",
    "search_scenarios",
    "shared_engine",
    "train_dpo",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version()
    if name in _ROOM_OF:
        return getattr(import_module(_ROOM_OF[name]), name)
    raise AttributeError(f"module 'engage' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__, "__version__"])


def _version() -> str:
    """The installed version; `0` if engage is not installed."""
    try:
        return version("engage")
    except PackageNotFoundError:
        return "0"
