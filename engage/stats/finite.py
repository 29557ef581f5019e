"""Checks for finite numbers. JSON files may contain NaN, infinity (`NaN`, `1e999`), and values that are no numbers."""

import math
from collections.abc import Mapping
from numbers import Real
from typing import Any, TypeGuard


def is_finite(value: Any) -> TypeGuard[float]:
    """Whether the value is a finite number; a boolean does not count."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def shown(value: Any) -> str:
    """For a message: a number in short, anything else as it is written."""
    return f"{value:g}" if is_finite(value) else f"{value!r:.40}"


def odd_number(value: Any) -> str | None:
    """The place of the first non-finite number in decoded JSON, as `field.name[2] is nan`; None if all are finite."""
    waiting = [("", value)]
    while waiting:
        place, one = waiting.pop()
        if isinstance(one, float) and not math.isfinite(one):
            return f"{place.lstrip('.') or 'the value'} is {one}"
        if isinstance(one, Mapping):
            waiting += reversed([(f"{place}.{key}", inner) for key, inner in one.items()])
        elif isinstance(one, list):
            waiting += reversed([(f"{place}[{index}]", inner) for index, inner in enumerate(one)])
    return None
