"""The list of models that a server gives, however it is laid out, and whether a name is on it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Served:
    """Whether a model is there: `problem` is a sentence where it is not, `notice` one where the list has it under another name."""

    problem: str = ""
    notice: str = ""


def listed_models(text: str) -> list[str] | None:
    """Names of a list of models as the server sends it; None for what is no JSON. A list that cannot be read is empty."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if isinstance(content, dict):
        content = next((content[name] for name in ("data", "models") if isinstance(content.get(name), list)), [])
    items = content if isinstance(content, list) else []
    if any(isinstance(item, dict) and "lifecycle_status" in item for item in items):
        return []  # Azure's list of models that can be deployed, not of the deployments that requests name
    names = [item if isinstance(item, str) else _name(item) for item in items]
    return [name for name in names if name]


def _name(item: object) -> str:
    found = next((item[key] for key in ("id", "model", "name") if item.get(key)), "") if isinstance(item, dict) else ""
    return found if isinstance(found, str) else ""


def look_up(url: str, model: str, served: Sequence[str]) -> Served:
    """Servers resolve more names than they list: routing suffixes (`name:nitro`), left-out tags (`name` for `name:latest`), prefixes."""
    if not served or model in served:
        return Served()
    near = [name for name in served if name.startswith(f"{model}:") or name.endswith(f"/{model}")]
    near += [name for name in served if name == model.partition(":")[0] or name.lower() == model.lower()]
    if near:
        return Served(notice=f"{url} lists {near[0]!r}, not {model!r}: it is asked for under the second name")
    names = ", ".join(served[:5])
    return Served(problem=f"{url} does not serve {model!r} but {names}: correct the model's name")
