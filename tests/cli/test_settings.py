"""`engage settings`: the list of settings for users, and its parts in the library."""

import io
import json
import sys
from typing import Annotated, Literal

import pytest
from annotated_types import Len
from pydantic import BaseModel, Field

from engage.config import CycleConfig, setting_names
from engage.errors import ConfigError
from engage.settings import Setting, describe
from flows.cli.profiles import load_config
from flows.cli.settings import show_settings
from flows.cli.showing import Terminal


class Inner(BaseModel):
    share: float = Field(0.5, gt=0.0, le=1.0, description="a share")
    free: dict[str, int] = Field({}, description="a table")


class Outer(BaseModel):
    inner: Inner = Inner(share=0.25)
    count: Annotated[int, Len(1)] | None = Field(None, ge=1, lt=2**32, description="a count")
    names: tuple[Literal["a", "b"], ...] = Field(("a",), min_length=1, description="names")
    switch: bool = Field(False, description="a switch")


def test_a_setting_is_described_by_name_type_default_range_and_description():
    assert describe(Outer) == [
        Setting("inner.share", "number", 0.25, "above 0 up to 1", "a share"),
        Setting("inner.free", "table", {}, "", "a table"),
        Setting("count", "integer or unset", None, "1 to below 2³²", "a count"),
        Setting("names", "list of string", ["a"], "a | b, not empty", "names"),
        Setting("switch", "boolean", False, "", "a switch"),
    ]


@pytest.fixture
def show(capsys):
    def shown(section=None, profile=None, as_json=False, width=120) -> str:
        show_settings(Terminal(width=width), section, profile, as_json)
        return capsys.readouterr().out

    return shown


def rows(text: str) -> list[dict[str, str]]:
    head, *lines = [line.split("\t") for line in text.splitlines()]
    return [dict(zip(head, line, strict=True)) for line in lines]


def test_all_settings_are_listed_one_a_line_where_no_terminal_reads(show):
    listed = rows(show())
    assert [row["name"] for row in listed] == setting_names()
    assert listed[0]["default"] == "unset"
    assert next(row for row in listed if row["name"] == "evaluation.split") == {
        "name": "evaluation.split",
        "type": "string",
        "default": '"validation"',
        "range": "validation | test",
        "description": "split of the held-out scenarios; nightly cycles use validation",
    }


@pytest.mark.parametrize(
    ("section", "first", "count"),
    [("collect.budget", "collect.budget.max_calls", 4), ("pairs", "pairs.min_q_gap", 7), ("seed", "seed", 1)],
)
def test_a_section_lists_what_is_in_it(section, first, count, show):
    names = [row["name"] for row in rows(show(section))]
    assert (names[0], len(names)) == (first, count)


def test_every_default_is_one_that_may_be_set(show):
    listed = json.loads(show(as_json=True))
    values = {row["name"]: row["default"] for row in listed if row["default"] is not None}
    given = [f"{name}={json.dumps(value) if value != {} else '{}'}" for name, value in values.items()]
    assert load_config("laptop", [*given, *(f"{n}=" for n in setting_names() if n not in values)]) == CycleConfig()


def test_a_profile_shows_what_it_changes_and_which_file_says_so(show):
    changed = {row["name"]: (row["default"], row["value"], row["from"]) for row in rows(show("search", "cluster"))}
    assert changed == {
        "search.num_simulations": ("16", "32", "gpu.toml"),
        "search.round_size": ("8", "16", "gpu.toml"),
        "search.reply_factor": ("3.0", "4.0", "gpu.toml"),
        "search.min_visits": ("2", "4", "gpu.toml"),
        "search.stop_confidence": ("unset", "0.98", "cluster.toml"),
    }
    assert show("human", "cluster") == "cluster changes nothing in human.\n"
    assert json.loads(show("human", "cluster", as_json=True)) == []


def test_a_terminal_gets_a_table(show, monkeypatch):
    class Screen(io.StringIO):
        def isatty(self):
            return True

    screen = Screen()
    monkeypatch.setattr(sys, "stdout", screen)
    show_settings(Terminal(file=screen, width=110), "collect.budget", None, False)
    assert "│ collect.budget.max_calls" in screen.getvalue() and "\t" not in screen.getvalue()


@pytest.mark.parametrize("width", [10, 30])
def test_a_narrow_terminal_loses_nothing(width, monkeypatch):
    class Screen(io.StringIO):
        def isatty(self):
            return True

    screen = Screen()
    monkeypatch.setattr(sys, "stdout", screen)
    show_settings(Terminal(file=screen, width=width), "engine.transformers.max_batch", None, False)
    shown = screen.getvalue()
    assert "engine.transformers.max_batch" in shown
    (record,) = [setting for setting in describe(CycleConfig) if setting.name == "engine.transformers.max_batch"]
    whole = " ".join(shown.replace("│", " ").split())
    assert all(part in whole for part in (record.type, record.range)) and record.description in whole


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("serach", "'serach'; did you mean search?"),
        ("align.dop", "'align.dop'; did you mean align.dpo?"),
        ("num_simulations", "'num_simulations'; did you mean search.num_simulations?"),
        ("sear", "'sear'; did you mean search?"),
        (
            "xyzzy",
            "'xyzzy'; use alerts, align, collect, comparison, dialogue, engine, evaluation, human, nightly, pairs, scenarios, search, seed, tracking",
        ),
    ],
)
def test_a_wrong_section_is_one_sentence(section, said, show):
    with pytest.raises(ConfigError) as refused:
        show(section)
    assert str(refused.value) == f"there is no section or setting {said}"
    assert refused.value.exit_code == 2


def test_human_corpora_without_a_ratio_are_said_to_be_unused():
    corpora = "human.corpora=['esconv:somewhere']"
    (said,) = load_config("laptop", [corpora]).unused()
    assert said == "human.corpora is set, but pairs.human_ratio is 0: no pair will be made from them"
    assert load_config("laptop", [corpora, "pairs.human_ratio=0.5"]).unused() == []
    assert load_config("laptop").unused() == []
