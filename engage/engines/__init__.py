"""Implementations of the Engine protocol, and the shared engine of a process."""

import threading
from typing import Literal

from pydantic import Field

from engage.engines.base import Engine, Side
from engage.engines.embedded.engine import TransformersConfig
from engage.engines.openai.config import OpenAIConfig, asked_with, served_names
from engage.engines.prices import Prices
from engage.engines.vllm.config import VllmConfig
from engage.models import EMBEDDED, EMBEDDED_HUB_ID, POLICY_MODEL, ModelsConfig


class EngineConfig(ModelsConfig):
    """The models of policy and simulator, and the engine that serves them."""

    kind: Literal["transformers", "vllm", "openai", "scripted"] = Field(
        "transformers",
        description="`transformers` or `vllm`: the model runs on this machine; `openai`: any compatible server; `scripted`: "
        "prepared answers, to try the flows without a model",
    )
    transformers: TransformersConfig = TransformersConfig()
    vllm: VllmConfig = VllmConfig()
    openai: OpenAIConfig = OpenAIConfig()
    prices: Prices = Prices()


def model_names(config: EngineConfig) -> list[str]:
    """Names of the models whose weights the engine loads, each once; empty for the scripted engine and for servers."""
    if config.kind in {"scripted", "openai"}:
        return []
    return sorted({config.policy_model, config.simulator_model})


def model_of(config: EngineConfig, side: Side) -> str:
    """The name of a side's model: its name on the server, or the name of the loaded weights."""
    if config.kind == "openai":
        return served_names(config, config.openai)[side]
    return config.policy_model if side is Side.POLICY else config.simulator_model


def trained_apart(config: EngineConfig) -> str:
    """A sentence if a server's model talks while `policy_model`, which is trained, was left at the embedded one; empty otherwise."""
    served = model_of(config, Side.POLICY)
    own = served == EMBEDDED or EMBEDDED_HUB_ID.partition("/")[2].lower() in served.lower()
    if config.kind != "openai" or config.policy_model != EMBEDDED or own:
        return ""
    return (
        f"The model {served} talks on the server, but training changes engine.policy_model, which is `{EMBEDDED}`: another model. "
        "Set engine.policy_model to the weights that the server has, as a folder or a hub id."
    )


def engine_identity(config: EngineConfig) -> dict[str, str]:
    """Fingerprints of models and adapters by name, without loading anything: part of a cycle's identity.

    A server does not show its weights. Its model names stand for them, together with the request fields that the settings omit
    or add.
    """
    from engage.models import adapter_fingerprint, adapter_folder, resolve_model

    models = {name: resolve_model(name).fingerprint for name in model_names(config)}
    if config.kind == "openai":
        models = {f"served {side}": name for side, name in served_names(config, config.openai).items()}
        models |= {f"asked {side}": digest for side, digest in asked_with(config.openai).items()}
    adapters = {
        name: adapter_fingerprint(folder)
        for name in (config.policy_adapter, config.simulator_adapter, *config.simulators)
        if models and name != POLICY_MODEL and (folder := adapter_folder(name))
    }
    return {**models, **{f"adapter {name}": fingerprint for name, fingerprint in adapters.items()}}


def speakers_identity(config: EngineConfig) -> dict[str, list[str | None]]:
    """Whose weights speak on which side: fingerprints of model and adapter, which `engine_identity` gives without the side; empty for the scripted engine.

    If each tree draws its user, `drawn` has the labels of the simulators that it draws from, for the scripted engine too.
    """
    from engage.models import adapter_label

    known = engine_identity(config)
    adapters = {Side.POLICY: config.policy_adapter, Side.SIMULATOR: config.simulator_adapter}
    found = {
        side.value: [known.get(model_of(config, side)), known.get(f"adapter {adapter}")]
        for side, adapter in adapters.items()
        if known
    }
    return {**found, "drawn": [*sorted(map(adapter_label, config.simulators))]} if config.simulators else found


def check_models(config: EngineConfig) -> None:
    """ModelError if a local model's chat template marks no end of a reply or cannot be learnt from, if the embedded engine cannot serve its
    family, or if a weight file is missing or cut off.

    Downloads nothing and loads no weights. A server uses its own template, so only a local copy of the policy model is checked
    then: it is what the cycle trains.
    """
    from engage.errors import ModelError
    from engage.models import check_weights, find_model, open_template

    for name in model_names(config) or ([config.policy_model] if config.kind == "openai" else []):
        try:
            model = find_model(name)
        except ModelError:  # a name on the server only
            continue
        if model is not None:
            open_template(model)
            if config.kind == "transformers":
                from engage.engines.embedded.attention import check_family

                check_family(model.name, model.path)
            check_weights(model.path)


_open: dict[str, Engine] = {}
_lock = threading.Lock()


def shared_engine(config: EngineConfig) -> Engine:
    """The process's engine for a configuration, shared by all threads; its models are loaded on first use."""
    key = repr(config.model_dump())  # includes secrets, which JSON masks: two passwords mean two engines
    with _lock:
        if key not in _open:
            _close_all()
            _open[key] = _create(config)
        return _open[key]


def close_engines() -> None:
    """Close the process's engine, to free its memory for a training."""
    with _lock:
        _close_all()


def _close_all() -> None:
    while _open:
        _open.popitem()[1].close()


def _create(config: EngineConfig) -> Engine:
    if config.kind == "scripted":
        from engage.engines.scripted import ScriptedEngine

        return ScriptedEngine()
    if config.kind == "openai":
        from engage.engines.openai.engine import OpenAIEngine

        return OpenAIEngine(config, config.openai)
    if config.kind == "vllm":
        from engage.engines.vllm.engine import VllmEngine

        return VllmEngine(config, config.vllm)
    from engage.engines.embedded.engine import TransformersEngine

    return TransformersEngine(config, config.transformers)
