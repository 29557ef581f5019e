"""Hashes of JSON values. They are stored, so the hashed text (separators, order of keys) must never change."""

import hashlib
import json
from collections.abc import Collection, Mapping
from typing import Any

from pydantic import BaseModel, JsonValue


def digest(value: Any) -> str:
    """SHA-256 of a JSON value; the order of its keys does not matter."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def ordered_digest(value: Any) -> str:
    """SHA-256 of a JSON value; the order of its keys matters."""
    return hashlib.sha256(json.dumps(value, ensure_ascii=False).encode()).hexdigest()


LATER: dict[str, JsonValue] = {"later": True}
"""`Field(…, json_schema_extra=LATER)` marks a setting that was added after hashes of its model had been stored."""


SAME_RESULT: dict[str, JsonValue] = {"same_result": True}
"""`Field(…, json_schema_extra=SAME_RESULT)` marks a setting that changes the time or memory that a result takes, never the result."""


def key_settings(settings: BaseModel, *, exclude: Collection[str] = ()) -> dict[str, Any]:
    """Settings as JSON for a hash that names a folder or a run, without those marked SAME_RESULT, and without those marked LATER at their default.

    So a newer engage finds the results of an older one, although settings were added.
    """
    values = settings.model_dump(mode="json", exclude=set(exclude))
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if name in values and isinstance(value, BaseModel):
            values[name] = key_settings(value)
        elif field.json_schema_extra == SAME_RESULT or (field.json_schema_extra == LATER and value == field.default):
            values.pop(name, None)
    return values


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested configuration by dotted names, as MLflow's parameters; lists become JSON."""
    params: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            params |= flat(value, f"{prefix}{name}.")
        else:
            params[f"{prefix}{name}"] = json.dumps(value) if isinstance(value, (list, tuple)) else value
    return params
