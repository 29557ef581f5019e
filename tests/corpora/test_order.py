"""The order of messages from what their fields state: what is followed, what is doubted, and what is only remarked on."""

import pytest

from engage.corpora.order import find_order
from engage.dialogue import Role

SIDES = [Role.USER, Role.ASSISTANT] * 3


def ordered(**fields):
    messages = [dict(zip(fields, values, strict=True)) for values in zip(*fields.values(), strict=True)]
    return find_order(messages, SIDES[: len(messages)])


@pytest.mark.parametrize(
    "fields",
    [
        {"turn": [1, 2, 3, 1, 2, 3], "created_at": [1, 2, 3, 4, 5, 6]},  # counts from 1 in each session
        {"index": [0, 1, 0, 1]},  # counts the sides
        {"time": [12.0, 3.0, 14.0, 2.0]},  # how long a reply took
    ],
)
def test_a_field_that_would_join_turns_of_one_side_is_doubted(fields):
    found = ordered(**fields)
    assert list(found.numbers) == list(range(len(next(iter(fields.values())))))
    assert found.doubt.startswith("messages out of order by ") and not found.remark


def test_times_that_tell_nothing_are_remarked_on():
    found = ordered(date=["2026-01-05"] * 4)
    assert (list(found.numbers), found.doubt) == ([0, 1, 2, 3], "")
    assert found.remark == "all messages have one date: in the file's order"


def test_newest_first_is_turned():
    found = ordered(created_at=[4, 3, 2, 1])
    assert (list(found.numbers), found.remark) == (
        [3, 2, 1, 0],
        "messages out of order: put into the order of created_at",
    )
