"""Lists the settings of any pydantic configuration by dotted name: type, default, range, description."""

import difflib
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo

_TYPES = {int: "integer", float: "number", str: "string", bool: "boolean"}


@dataclass(frozen=True)
class Setting:
    """One setting. `default` is a JSON value (None: not set); `range` is '' if all values of the type are allowed."""

    name: str
    type: str
    default: Any
    range: str
    description: str


def setting_names(model: type[BaseModel]) -> list[str]:
    """All settings of a configuration by dotted name."""
    return [name for name, _ in _fields(model)]


def describe(model: type[BaseModel]) -> list[Setting]:
    """All settings of a configuration; each must have a default."""
    defaults = model().model_dump(mode="json")
    return [
        Setting(name, type_name(field.annotation), value_of(defaults, name), allowed(field), field.description or "")
        for name, field in _fields(model)
    ]


def value_of(values: Any, name: str) -> Any:
    """The value in nested tables under a dotted name."""
    for part in name.split("."):
        values = values[part]
    return values


def closest(name: str, known: Sequence[str]) -> str | None:
    """The setting that a wrong name probably means: a similar name in the same table, or the same last part in another table."""
    parent, _, leaf = name.rpartition(".")
    above = f"{parent}." if parent else ""
    siblings = {n.removeprefix(above).split(".")[0] for n in known if n.startswith(above)}
    close = difflib.get_close_matches(leaf, sorted(siblings), n=1, cutoff=0.6)
    if close:
        return above + close[0]
    return next((n for n in known if n.rpartition(".")[2] == leaf), None)


def type_name(annotation: Any) -> str:
    """A type in the words of TOML, such as `integer` or `list of string`; a setting that may be left unset is `… or unset`."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return type_name(arguments[0])
    if origin in (Union, types.UnionType):
        kinds = dict.fromkeys(type_name(kind) for kind in arguments if kind is not type(None))
        return " or ".join([*kinds, *(["unset"] if type(None) in arguments else [])])
    if origin is tuple:
        return f"list of {type_name(arguments[0])}"
    if origin is Literal:
        return type_name(type(arguments[0]))
    return _TYPES.get(annotation, "table")


def allowed(field: FieldInfo) -> str:
    """The values that a field accepts, such as `1 to 100`, `above 0 up to 1`, `validation | test`."""
    choices = [str(value) for value in _choices(field.annotation)]
    low = high = length = ""
    for bound in field.metadata:
        if isinstance(bound, annotated_types.Ge):
            low = _number(bound.ge)
        elif isinstance(bound, annotated_types.Gt):
            low = f"above {_number(bound.gt)}"
        elif isinstance(bound, annotated_types.Le):
            high = f"up to {_number(bound.le)}" if low.startswith("above") else f"to {_number(bound.le)}"
        elif isinstance(bound, annotated_types.Lt):
            high = f"to below {_number(bound.lt)}"
        elif isinstance(bound, annotated_types.MinLen):
            length = "not empty"
    return ", ".join(part for part in (" | ".join(choices), f"{low} {high}".strip(), length) if part)


def _number(value: Any) -> str:
    return "2⁶³ − 1" if value == 2**63 - 1 else "2³²" if value == 2**32 else f"{value:.10g}"


def _choices(annotation: Any) -> Iterator[Any]:
    """The values of all Literals in a type."""
    for argument in get_args(annotation):
        if get_origin(annotation) is Literal:
            yield argument
        else:
            yield from _choices(argument)


def _fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _fields(field.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field
