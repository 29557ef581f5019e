"""Settings as JSON values, and hashes of those as they are stored: what is hashed is the text, so neither separators nor the order of keys may change."""

import hashlib
import json
from collections.abc import Collection, Mapping
from typing import Any

from pydantic import BaseModel, JsonValue


def digest(value: Any) -> str:
    """SHA-256 of a JSON value, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def ordered_digest(value: Any) -> str:
    """SHA-256 of a JSON value with its keys in the order given."""
    return hashlib.sha256(json.dumps(value, ensure_ascii=False).encode()).hexdigest()


LATER: dict[str, JsonValue] = {"later": True}
"""`Field(…, json_schema_extra=LATER)` marks a setting that was added to settings whose hash is a key already."""


def key_settings(settings: BaseModel, *, exclude: Collection[str] = ()) -> dict[str, Any]:
    """Settings as JSON for a hash that names a folder or a run: without those marked LATER while they stand at their default.

    So what an older engage trained, judged or measured is found again after a setting was added.
    """
    found = settings.model_dump(mode="json", exclude=set(exclude))
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if name in found and isinstance(value, BaseModel):
            found[name] = key_settings(value)
        elif field.json_schema_extra == LATER and value == field.default:
            found.pop(name, None)
    return found


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested configuration by dotted name, as MLflow's parameters are; lists as JSON."""
    params: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            params |= flat(value, f"{prefix}{name}.")
        else:
            params[f"{prefix}{name}"] = json.dumps(value) if isinstance(value, (list, tuple)) else value
    return params
