"""Placeholders for people's names, addresses and numbers: examples, what stays, numbers of names, and the measured recall."""

import re

import planted_names
import pytest

from engage.corpora.placeholders import replace_personal


def said(*texts):
    return replace_personal(texts)[0]


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("From 2001:db8:85a3::8a2e:370:7334 at 12:30:45.", "From [number] at 12:30:45."),
        ("I am johnny.b.99 there, or anna_22.", "I am [name 1] there, or [name 2]."),
        ("skype live:john.smith_22, bye", "skype live:[name 1], bye"),
        ("Thanks John.Then we went.", "Thanks [name 1].Then we went."),
        ("I'm Maria Lopez.", "I'm [name 1]."),
        ("im jessica and i cant sleep", "im [name 1] and i cant sleep"),
        ("I told Will that you will call.", "I told [name 1] that you will call."),
        ("Maria's boss, Mr. Okafor, and José", "[name 1]'s boss, Mr. [name 2], and [name 3]"),
        ("MARIA HATES ME AND I AM SO TIRED", "[name 1] HATES ME AND I AM SO TIRED"),
        ("mail m.lopez@x.co.uk or m at x dot com", "mail [email] or [email]"),
        ("+49 (0)30 1234567, (212) 555-0147", "[phone], [phone]"),
        ("see https://x.com/maria?id=1. Or foo.org, bit.ly/3xY", "see [url]. Or [url], [url]"),
        ("at 12 Oak Street, Springfield, IL 62704. ok", "at [address]. ok"),
        ("Lindenstraße 12, 10969 Berlin", "[address]"),
        ("card 4111 1111 1111 1111, DE89 3704 0044 0532 0130 00", "card [number], [number]"),
        ("order A1234567 from 10.0.0.1, @maria_88", "order [number] from [number], [name]"),
    ],
)
def test_what_is_personal_becomes_a_placeholder(text, stored):
    assert said(text) == [stored]


@pytest.mark.parametrize(
    "text",
    [
        "It may rain. I will mark the date in May, on a Sunday in 2019 at 10:30.",
        "I paid $1,200 for 3 nights, 15% more; she is 34 and has 2 kids.",
        "What a joy! Hope helps. ok, rose early, bill unpaid, art class at 5",
        "I am from London, so I'm British. Thanks, I'm fine.",
        "😀 -- ... ??? don't, can't, o'clock 5-6",
    ],
)
def test_what_is_not_personal_stays(text):
    assert said(text) == [text]


def test_a_name_has_one_number_in_a_conversation_and_is_found_again_in_lower_case():
    assert said("Hi, I'm Tavleen Gill.", "Hello Tavleen, who is Bo?", "bo is my dog. tavleen again") == [
        "Hi, I'm [name 1].",
        "Hello [name 1], who is [name 2]?",
        "[name 2] is my dog. [name 1] again",
    ]
    assert said("Bo barks.") == ["Bo barks."]  # another conversation knows nothing of it


def test_replacements_are_counted_by_kind():
    assert replace_personal(["Ann and Bob: a@b.com", "Ann!"])[1] == {"name": 3, "email": 1}


def test_replaced_turns_are_not_changed_again():
    turns = said("I'm Maria Lopez, 12 Oak Street, +1 415 555 2671", "maria@x.com", "Kevin said so")
    assert said(*turns) == turns


@pytest.mark.slow
def test_the_stated_recall_is_the_measured_one(capsys):
    planted_names.main()
    measured = capsys.readouterr().out
    assert measured in (planted_names.FOLDER / "README.md").read_text(encoding="utf-8")
    found, there = planted_names.names_of(planted_names.recall("held_out.txt"))
    assert (found, there) == (55, 63)
    assert re.search(r"they found (\d+) %", _sentence())[1] == f"{100 * found / there:.0f}"


def _sentence():
    from flows.cli.chats import _replacements

    return _replacements({})
