"""The simulated users of a search and of an evaluation: the search's own, and the held-out ones that the search never talked to.

A search has one simulator, or several (`engine.simulators`), of which each tree draws one. Their dialogues in an evaluation have one label,
`search`; each of them draws its user too.

A held-out simulator plays on the simulator's model, or, if its adapter belongs to another, on that.

Several held-out ones are a *panel*: its label joins theirs, and a dialogue's reward with the panel is the mean over its members.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from engage.engines import EngineConfig, engine_identity, model_names, model_of
from engage.engines.base import Side
from engage.errors import ConfigError, ModelError
from engage.evaluation.held_out_config import HeldOutConfig
from engage.models import (
    ADAPTER_WEIGHTS,
    BARE,
    EMBEDDED,
    POLICY_MODEL,
    adapter_fingerprint,
    adapter_folder,
    adapter_label,
    check_adapter,
    find_model,
    model_of_adapter,
    resolve_model,
)

SEARCH_SIMULATOR, HELD_OUT_SIMULATOR = "search", "held-out"
_JOINS = " + "


def simulators(engine: EngineConfig, held_out: Sequence[str]) -> dict[str, str | None]:
    """Simulators used in evaluation: label → adapter (None: the search's simulator, or the one that a dialogue draws of several).

    A single held-out simulator is omitted if its weights, model's and adapter's, are those of one of the search's; in a panel that is a ConfigError.
    Where a model's weights are not here, its name counts.
    """
    players = {
        f"{SEARCH_SIMULATOR}'s {label}": _weights_known(engine, name) for label, name in drawn_users(engine).items()
    }
    players = players or {SEARCH_SIMULATOR: _weights_known(engine, engine.simulator_adapter)}
    found: dict[str, str | None] = {SEARCH_SIMULATOR: None}
    for name in held_out:
        weights = _weights_known(engine_for_adapter(engine, name), name)
        twin = next((label for label, known in players.items() if known == weights), None)
        if twin is None:
            label = held_out_label(name)
            players[label], found[label] = weights, adapter_folder(name)
        elif len(held_out) > 1:
            raise ConfigError(f"evaluation.simulators: {name} has the weights of the {twin} simulator; name each once")
    return found


def drawn_users(engine: EngineConfig) -> dict[str, str]:
    """Simulators of which each tree of a search draws one: label → adapter as a prompt names it; empty if all have the same one.

    ConfigError if two have the same weights.
    """
    found: dict[str, str] = {}
    known: dict[tuple[str, str | None], str] = {}
    for name in engine.simulators:
        weights = _weights_known(engine, name)
        if weights in known:
            raise ConfigError(
                f"engine.simulators: {name} has the weights of the {known[weights]} simulator; name each once"
            )
        known[weights] = adapter_label(name)
        found[known[weights]] = adapter_folder(name) or ""
    return found


def nobody_held_out(engine: EngineConfig, held_out: Sequence[str]) -> str:
    """A sentence for a night whose only held-out simulator is one that the search draws its users from; empty otherwise."""
    if not engine.simulators or not held_out or len(simulators(engine, held_out)) > 1:
        return ""
    return (
        f"The held-out simulator {held_out[0]} is one of those that the search draws its users from "
        "(engine.simulators): nobody is held out, and nothing is promoted. Name another one."
    )


def with_panel(labels: Iterable[str]) -> list[str]:
    """The labels, and that of the panel if there are several held-out simulators: the same one in whichever order they are named."""
    known = list(labels)
    held_out = sorted(label for label in known if label != SEARCH_SIMULATOR)
    return [*known, _JOINS.join(held_out)] if len(held_out) > 1 else known


def without_panels(labels: Iterable[str]) -> set[str]:
    """The single simulators that take part: these labels, panels taken apart."""
    return {member for label in labels for member in members(label)}


def members(label: str) -> list[str]:
    """The simulators that a label stands for: those of a panel, or itself."""
    return label.split(_JOINS)


def prompted_users(engine: EngineConfig) -> str:
    """A sentence for a night whose users no adapter plays; empty with one, and for the scripted engine."""
    names = engine.simulators or (engine.simulator_adapter,)
    prompted = [name or BARE for name in names if name == POLICY_MODEL or not adapter_folder(name)]
    if engine.kind == "scripted" or not prompted:
        return ""
    models = " and ".join(dict.fromkeys(_weights(engine, name)[0] for name in prompted))
    who = "The users" if len(prompted) == len(names) else f"The users of the trees that draw {' or '.join(prompted)}"
    return (
        f"{who} are played by the model {models} without an adapter: they are prompted, unless the model was "
        "trained to play users. A prompted instruct model tends to speak like an assistant. Train a simulator with `engage simulator "
        f"train` and set {'engine.simulators' if engine.simulators else 'engine.simulator_adapter'}."
    )


def engine_for_label(engine: EngineConfig, held_out: Sequence[str], label: str) -> EngineConfig:
    """The engine for dialogues with the simulator of this label: see `engine_for_adapter`; as it is for all that are not held out."""
    return next((engine_for_adapter(engine, name) for name in held_out if held_out_label(name) == label), engine)


def engine_for_adapter(engine: EngineConfig, name: str) -> EngineConfig:
    """The engine with which a held-out simulator plays: an adapter that belongs to another model plays on that.

    A server's models are not known, so that engine stays as it is.
    """
    folder = adapter_folder(name)
    if not folder or name == POLICY_MODEL or not model_names(engine):
        return engine
    adapter_fingerprint(folder)  # says what is missing: the weights rather than the card
    model = model_of_adapter(folder, engine.simulator_model, engine.policy_model)
    if model == engine.simulator_model:
        return engine
    return engine.model_copy(update={"simulator_model": model, "simulator_adapter": name, "simulators": ()})


def other_model_notices(engine: EngineConfig, held_out: Sequence[str]) -> list[str]:
    """A sentence for each held-out simulator that does not play on the simulator's model."""
    models = {name: engine_for_adapter(engine, name).simulator_model for name in held_out}
    return [
        f"The held-out simulator {name} plays on the model {model}, which its adapter was trained for."
        for name, model in models.items()
        if model != engine.simulator_model
    ]


def _weights(engine: EngineConfig, name: str | None) -> tuple[str, str | None]:
    """The model that plays the user, and its adapter's fingerprint if it has one."""
    if name == POLICY_MODEL:
        return model_of(engine, Side.POLICY), None
    folder = adapter_folder(name)
    return model_of(engine, Side.SIMULATOR), adapter_fingerprint(folder) if folder else None


def _weights_known(engine: EngineConfig, name: str | None) -> tuple[str, str | None]:
    """As `_weights`, but equal for equal weights wherever they lie: the model's fingerprint, or its name if its weights are not here."""
    model, own = _weights(engine, name)
    with suppress(ModelError):  # what cannot be a model is said when it is opened
        if model_names(engine) and (found := find_model(model)):
            return found.fingerprint, own
    return model, own


def in_metrics(label: str) -> str:
    """The simulator in the name of an MLflow metric, which takes few characters."""
    return "panel" if len(members(label)) > 1 else label.replace(" ", "_")


def deciding(simulators: Iterable[str]) -> str | None:
    """The simulator whose comparison is shown first: the panel, the held-out one, or the search's, whichever took part; None without one."""
    names = list(simulators)
    held_out = [name for name in names if name != SEARCH_SIMULATOR]
    return max(held_out, key=lambda name: len(members(name)), default=names[0] if names else None)


def users_identity(engine: EngineConfig, held_out: Sequence[str]) -> dict[str, list[Any]]:
    """Who the simulated users are, by label: model, its fingerprint (what a server is asked, where it shows no weights), adapter's fingerprint.

    Of several simulators of the search each is such a list.
    """
    names = {SEARCH_SIMULATOR: engine.simulator_adapter} | {held_out_label(name): name for name in held_out}
    found: dict[str, list[Any]] = {
        label: _user(engine_for_label(engine, held_out, label), names[label]) for label in simulators(engine, held_out)
    }
    if engine.simulators:
        found[SEARCH_SIMULATOR] = [_user(engine, name) for name in sorted(engine.simulators, key=adapter_label)]
    return found


def _user(engine: EngineConfig, name: str | None) -> list[str | None]:
    """The user's model, the model's fingerprint, the adapter's."""
    known, (model, own) = engine_identity(engine), _weights(engine, name)
    return [model, known.get(model) or known.get("asked simulator"), own]


def held_out_label(name: str) -> str:
    """The label under which a held-out simulator's dialogues are stored, such as `held-out bare`; a folder appears as its fingerprint."""
    return f"{HELD_OUT_SIMULATOR} {_shown(name)}"


def player(engine: Mapping[str, Any]) -> str:
    """Who plays the users in a search with these settings of `engine`, as in `held_out_label`; the folder's name if it is gone.

    Several are joined like the members of a panel.
    """
    names = engine.get("simulators") or [engine.get("simulator_adapter") or BARE]
    return _JOINS.join(sorted(map(_shown_or_gone, names)))


def _shown_or_gone(name: str) -> str:
    try:
        return _shown(name)
    except ModelError:
        return Path(name).name


def _shown(name: str) -> str:
    folder = adapter_folder(name)
    return adapter_fingerprint(folder)[:8] if folder and name not in (EMBEDDED, POLICY_MODEL) else name


def check_adapter_names(engine: EngineConfig, held_out: HeldOutConfig) -> None:
    """ConfigError, with the setting's name, if a setting names an adapter that is not there. Only looks for the files."""
    of_evaluation = "simulators" if held_out.simulators else "second_simulator"
    named = {
        "engine.policy_adapter": [engine.policy_adapter],
        "engine.simulator_adapter": [engine.simulator_adapter],
        "engine.simulators": engine.simulators,
        f"evaluation.{of_evaluation}": held_out.held_out_simulators,
    }
    for setting, names in named.items():
        for name in names:
            folder = adapter_folder(name)
            if folder and name != POLICY_MODEL and not (Path(folder) / ADAPTER_WEIGHTS).is_file():
                raise ConfigError(
                    f"{setting}: {name}: no adapter is there ({Path(folder) / ADAPTER_WEIGHTS} is not a file); name an adapter's "
                    f"folder, `{EMBEDDED}` or `{BARE}`"
                )


def check_adapters(engine: EngineConfig, held_out: Sequence[str], champion: str | None) -> None:
    """Raise ModelError if a simulator of the search's several or a held-out one is missing, or if one or the champion does not fit the models. A server's weights cannot be checked."""
    simulators(engine, held_out)
    if not model_names(engine):
        return
    if champion is not None:
        try:
            check_adapter(champion, resolve_model(engine.policy_model))
        except ModelError as error:
            raise ModelError(f"the champion of this home: {error}; another model needs another ENGAGE_HOME") from error
    asked = [
        *((name, engine) for name in engine.simulators),
        *((name, engine_for_adapter(engine, name)) for name in held_out),
    ]
    for name, its_engine in asked:
        if name != POLICY_MODEL and (folder := adapter_folder(name)):
            check_adapter(folder, resolve_model(its_engine.simulator_model))
