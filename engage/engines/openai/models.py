"""Reads a server's list of models in any layout: whether it has a name, and which program the server is."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_VLLM = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}
NEUTRAL: Mapping[str, Mapping[str, Any]] = {
    "vllm": _VLLM,
    "sglang": _VLLM,
    "llamacpp": {"top_k": 0, "min_p": 0.0, "repeat_penalty": 1.0},
}
"""By the owner that a program states of its models: what switches off its own sampling (vLLM and SGLang take it from the model's
`generation_config.json`), which the embedded engine and vLLM in process do not know."""


@dataclass(frozen=True)
class Served:
    """Whether a server has a model: `problem` says that it does not; `notice` says that it lists it under another name."""

    problem: str = ""
    notice: str = ""


def listed_models(text: str) -> list[str] | None:
    """The names in a server's list of models; None if it is not JSON, empty if the list cannot be read."""
    items = _items(text)
    if items is None:
        return None
    if any(isinstance(item, dict) and "lifecycle_status" in item for item in items):
        return []  # Azure's list of models that can be deployed, not of the deployments that requests name
    keys = ("id", "model", "name")
    names = [next((v for key in keys if (v := i.get(key))), "") if isinstance(i, dict) else i for i in items]
    return [name for name in names if name and isinstance(name, str)]


def neutral_sampling(text: str) -> Mapping[str, Any]:
    """The parameters with which the program that sent this list samples as asked; empty for an unknown one."""
    owners = {str(item.get("owned_by")) for item in _items(text) or () if isinstance(item, dict)}
    return NEUTRAL.get(owners.pop(), {}) if len(owners) == 1 else {}


def _items(text: str) -> list[Any] | None:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if isinstance(content, dict):
        content = next((content[name] for name in ("data", "models") if isinstance(content.get(name), list)), [])
    return content if isinstance(content, list) else []


def look_up(url: str, model: str, served: Sequence[str]) -> Served:
    """Look for `model` in a server's list; servers also resolve routing suffixes (`name:nitro`), missing tags (`:latest`), prefixes."""
    if not served or model in served:
        return Served()
    near = [name for name in served if name.startswith(f"{model}:") or name.endswith(f"/{model}")]
    near += [name for name in served if name == model.partition(":")[0] or name.lower() == model.lower()]
    if near:
        return Served(notice=f"{url} lists {near[0]!r}, not {model!r}; requests use {model!r}")
    names = ", ".join(served[:5])
    return Served(problem=f"{url} does not serve {model!r} but {names}: correct the model's name")
