"""Implementations of the Engine protocol, and the shared engine of a process."""

import threading
from typing import Literal

from pydantic import Field

from engage.engines.base import Engine, Side
from engage.engines.embedded.engine import TransformersConfig
from engage.engines.openai.config import OpenAIConfig, asked_with, served_names
from engage.engines.vllm.config import VllmConfig
from engage.models import ModelsConfig


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


def model_names(config: EngineConfig) -> list[str]:
    """Names of the models whose weights an engine loads, each once; none for the scripted one and for servers."""
    if config.kind in {"scripted", "openai"}:
        return []
    return sorted({config.policy_model, config.simulator_model})


def model_of(config: EngineConfig, side: Side) -> str:
    """The name of a side's model: its name on the server, or the name of the loaded weights."""
    if config.kind == "openai":
        return served_names(config, config.openai)[side]
    return config.policy_model if side is Side.POLICY else config.simulator_model


def engine_identity(config: EngineConfig) -> dict[str, str]:
    """Fingerprints of models and adapters by name, without loading anything: part of a cycle's identity.

    A server does not show its weights: the name of what it serves stands for them, with what the settings
    leave out of its requests or add to them.
    """
    from engage.models import adapter_fingerprint, adapter_folder, resolve_model

    models = {name: resolve_model(name).fingerprint for name in model_names(config)}
    if config.kind == "openai":
        models = {f"served {side}": name for side, name in served_names(config, config.openai).items()}
        models |= {f"asked {side}": digest for side, digest in asked_with(config.openai).items()}
    adapters = {
        name: adapter_fingerprint(folder)
        for name in (config.policy_adapter, config.simulator_adapter)
        if models and (folder := adapter_folder(name))
    }
    return {**models, **{f"adapter {name}": fingerprint for name, fingerprint in adapters.items()}}


def check_models(config: EngineConfig) -> None:
    """ModelError where a reply of a model that is here could not end or be learnt, or the embedded engine cannot serve its family.

    Downloads nothing and loads no weights. A server uses its own template; what is trained after the night is the policy's model here, where it is here.
    """
    from engage.engines.model_sides import template_of
    from engage.errors import ModelError
    from engage.models import find_model

    for name in model_names(config) or ([config.policy_model] if config.kind == "openai" else []):
        try:
            found = find_model(name)
        except ModelError:  # a served name
            continue
        if found is not None:
            template_of(found)
            if config.kind == "transformers":
                from engage.engines.embedded.attention import check_family

                check_family(found.name, found.path)


_open: dict[str, Engine] = {}
_lock = threading.Lock()


def shared_engine(config: EngineConfig) -> Engine:
    """The engine of this process for a configuration, shared by tasks in all threads. Loads its models on first use."""
    key = repr(config.model_dump())  # with what JSON leaves out: two passwords are two engines
    with _lock:
        if key not in _open:
            _close_all()
            _open[key] = _create(config)
        return _open[key]


def close_engines() -> None:
    """Close the process's engine and free its memory, which a training needs."""
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
