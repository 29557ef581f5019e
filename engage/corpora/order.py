"""The order of a conversation's messages, from the fields that state the place or the time of each.

It does not know whether a field means what its name says; the reader's report names the field that was followed.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from engage.corpora.files import ROUNDED
from engage.dialogue import Role

_BOTH = "dateandtime"
_NAMES = (
    *("turn", "turnid", "turnindex", "turnidx", "turnnumber", "position", "sequence", "sequencenumber", "seq"),
    *("messageindex", "messagenumber", "messageposition"),
    *("createdat", "createtime", "createdtime", "created", "timestamp", "ts", "datetime", "sentat", "senttime"),
    *("messagetime", "messagetimestamp", _BOTH, "time", "date", "index", "idx"),
)
"""Names of fields, the surest first (an index may count the rows of a newest-first file); compared without case, `_`, `-` and spaces."""
UNREADABLE = "cannot be read as numbers, or as ISO dates of one kind: in the file's order"
_UTC = re.compile(r" ?(?:UTC|GMT)$")


@dataclass(frozen=True)
class Order:
    """The messages' numbers in the order to follow, a remark about it ('' if there is none), and why it is in doubt ('' if it is not)."""

    numbers: Sequence[int]
    remark: str = ""
    doubt: str = ""


def order_fields(names: Iterable[str]) -> list[str]:
    """The names among these that state a place or a time."""
    return [name for name in names if _plain(name) in _NAMES]


def find_order(messages: Sequence[Mapping[str, Any]], roles: Sequence[Role]) -> Order:
    """The order that the messages' fields state, if it contradicts the given one; `roles` are the sides of the messages.

    A field counts if it is a number, or an ISO date, in all messages. Between messages with equal values the next field decides; if
    none does, messages of one side keep the given order. A newest-first list with equal values on both sides is reversed only if the
    sides then alternate more often than in any other reading; otherwise the order is in doubt. So it is if the sides alternate less
    often in the stated order than in the given one: the field may count something else.
    """
    given = range(len(messages))
    fields = _fields(messages)
    read = {name: numbers for name, values in fields.items() if (numbers := _numbers(values))}
    keys = list(zip(*read.values(), strict=True)) or [()] * len(messages)
    by = _first_broken(read)
    if by is None:
        if read and len(messages) > 1 and len(set(keys)) == 1:
            return Order(given, f"all messages have one {next(iter(read))}: in the file's order")
        unread = [name for name in fields if name not in read] if len(set(keys)) < len(keys) else []
        return Order(given, f"{unread[0]} {UNREADABLE}" if unread else "")
    kept, turned = (sorted(numbers, key=keys.__getitem__) for numbers in (given, reversed(given)))
    falling = all(keys[one] >= keys[other] for one, other in pairwise(given))
    same_sides = [roles[number] for number in kept] == [roles[number] for number in turned]
    if not same_sides and not (falling and _joined(turned, roles) < _joined(kept, roles)):
        doubt = f"messages out of order, and two sides have one {by}; export exact times, or the oldest message first"
        return Order(given, doubt=doubt)
    found = turned if falling else kept
    if _joined(found, roles) > _joined(given, roles):
        return Order(
            given,
            doubt=f"messages out of order by {by}, and the sides alternate less in its order; export without it, or with exact times",
        )
    return Order(found, f"messages out of order: put into the order of {by}")


def _plain(name: str) -> str:
    return re.sub("[ _-]", "", name).lower()


def _fields(messages: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Values by the fields' names as they are written, the surest field first; without fields that are empty in all messages.

    A day and a time of day in two fields are one field if they can be read together.
    """
    spelled = {_plain(name): name for message in messages for name in order_fields(message)}
    plain = [{_plain(name): message[name] for name in order_fields(message)} for message in messages]
    values: dict[str, list[Any]] = {name: [message.get(name) for message in plain] for name in spelled}
    if {"date", "time"} <= set(values):
        both = [f"{day} {time}" for day, time in zip(values["date"], values["time"], strict=True)]
        if _numbers(both):
            del values["date"], values["time"]
            values[_BOTH], spelled[_BOTH] = both, f"{spelled['date']} and {spelled['time']}"
    named = [name for name in _NAMES if name in values]
    return {spelled[name]: values[name] for name in named if any(_is_there(value) for value in values[name])}


def _is_there(value: Any) -> bool:
    return value is not None and str(value).strip() != ""


def _numbers(values: Iterable[Any]) -> list[float] | None:
    """The values as numbers that can be compared; None if one cannot be read, or they are of several kinds."""
    read = [_read(value) for value in values]
    known = [number for _, number in filter(None, read)]
    return known if len(known) == len(read) and len({kind for kind, _ in filter(None, read)}) == 1 else None


def _read(value: Any) -> tuple[str, float] | None:
    """What kind of value it is, and its number (of a date: seconds); None if it is neither a number nor an ISO date."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    text = str(value).strip()
    try:
        number = float(text)
    except ValueError:
        return _read_date(text)
    rounded = isinstance(value, str) and ROUNDED.fullmatch(text)
    return ("number", number) if math.isfinite(number) and not rounded else None


def _read_date(text: str) -> tuple[str, float] | None:
    try:
        when = datetime.fromisoformat(_UTC.sub("+00:00", text))
    except ValueError:
        return None
    if when.tzinfo is None:
        return "local time", when.replace(tzinfo=UTC).timestamp()
    return "time", when.timestamp()


def _first_broken(read: Mapping[str, Sequence[float]]) -> str | None:
    """The first field by which, after the fields before it, a message comes too early; None if all are in order."""
    for count, name in enumerate(read, start=1):
        keys = zip(*list(read.values())[:count], strict=True)
        if any(one > other for one, other in pairwise(keys)):
            return name
    return None


def _joined(numbers: Sequence[int], roles: Sequence[Role]) -> int:
    """How often one side speaks twice in a row."""
    return sum(roles[one] is roles[other] for one, other in pairwise(numbers))
