"""Numbers that are none: NaN, infinity, and what cannot be compared with a number. JSON files may hold them (`NaN`, `1e999`)."""

import math
from collections.abc import Mapping
from numbers import Real
from typing import Any, TypeGuard


def is_finite(value: Any) -> TypeGuard[float]:
    """Whether it is a number that one can reckon with; a truth value is none."""
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
    """Where decoded JSON holds the first number that is not finite, as `field.name[2] is nan`; None where all are."""
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
