"""The simulated users of an evaluation: the search's own, and the held-out one that the search never talked to."""

from collections.abc import Iterable

from engage.engines import EngineConfig, engine_identity, model_names, model_of
from engage.engines.base import Side
from engage.errors import ModelError
from engage.models import adapter_fingerprint, adapter_folder, check_adapter, resolve_model
from engage.simulation import POLICY_MODEL

SEARCH_SIMULATOR, HELD_OUT_SIMULATOR = "search", "held-out"


def simulators(engine: EngineConfig, second: str | None) -> dict[str, str | None]:
    """Simulators used in evaluation: label → adapter (None: the search's simulator).

    The held-out simulator is omitted if it has the same model name and adapter as the search's.
    """
    found: dict[str, str | None] = {SEARCH_SIMULATOR: None}
    if second is None or _weights(engine, second) == _weights(engine, engine.simulator_adapter):
        return found
    return {**found, held_out_label(second): adapter_folder(second)}


def prompted_users(engine: EngineConfig) -> str:
    """A sentence for a night whose users no adapter plays; empty with one, and for the scripted engine."""
    if engine.kind == "scripted" or adapter_folder(engine.simulator_adapter):
        return ""
    return (
        f"The users are played by the model {model_of(engine, Side.SIMULATOR)} without an adapter: they are prompted, unless the model was "
        "trained to play users. A prompted instruct model tends to speak like an assistant. Train a simulator with `engage simulator "
        "train` and set engine.simulator_adapter."
    )


def _weights(engine: EngineConfig, name: str | None) -> tuple[str, str | None]:
    """The model that plays the user, and its adapter's fingerprint if it has one."""
    if name == POLICY_MODEL:
        return model_of(engine, Side.POLICY), None
    folder = adapter_folder(name)
    return model_of(engine, Side.SIMULATOR), adapter_fingerprint(folder) if folder else None


def deciding(simulators: Iterable[str]) -> str | None:
    """The simulator whose comparison is shown first: the held-out one if it took part, else the search's; None without a simulator."""
    names = list(simulators)
    return next((name for name in names if name != SEARCH_SIMULATOR), names[0] if names else None)


def users_identity(engine: EngineConfig, second: str | None) -> dict[str, list[str | None]]:
    """Who the simulated users are, by label: model, its fingerprint (what a server is asked, where it shows no weights), adapter's fingerprint."""
    known, names = engine_identity(engine), {SEARCH_SIMULATOR: engine.simulator_adapter}
    names |= {label: second for label in simulators(engine, second) if label != SEARCH_SIMULATOR}
    found = {label: _weights(engine, name) for label, name in names.items()}
    return {
        label: [model, known.get(model) or known.get("asked simulator"), own] for label, (model, own) in found.items()
    }


def held_out_label(name: str) -> str:
    """The label under which the held-out simulator's dialogues are stored, such as `held-out bare`; a folder appears as its fingerprint."""
    folder = adapter_folder(name)
    shown = adapter_fingerprint(folder)[:8] if folder == name and name != POLICY_MODEL else name
    return f"{HELD_OUT_SIMULATOR} {shown}"


def check_adapters(engine: EngineConfig, second: str | None, champion: str | None) -> None:
    """Raise ModelError if the held-out simulator is missing, or if it or the champion does not fit the models. A server's weights cannot be checked."""
    simulators(engine, second)
    if not model_names(engine):
        return
    if champion is not None:
        try:
            check_adapter(champion, resolve_model(engine.policy_model))
        except ModelError as error:
            raise ModelError(f"the champion of this home: {error}; another model needs another ENGAGE_HOME") from error
    if second != POLICY_MODEL and (folder := adapter_folder(second)):
        check_adapter(folder, resolve_model(engine.simulator_model))
