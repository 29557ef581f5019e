"""`engage settings`: every setting with its type, default, range and description, and what a profile changes."""

import difflib
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from engage.config import CycleConfig
from engage.errors import ConfigError
from engage.profiles import read_profile
from engage.settings import Setting, closest, describe, value_of
from flows.cli.profiles import PROFILES, load_config
from flows.cli.showing import print_table, visible, visible_json


def show_settings(console: Console, section: str | None, profile: str | None, as_json: bool) -> None:
    """Print the settings of a section, or of all: a table on a terminal, tab-separated lines in a file or pipe, or JSON.

    With a profile, only the settings that it changes. ConfigError for an unknown section.
    """
    known = _within(section, describe(CycleConfig))
    records = [asdict(setting) for setting in known] if profile is None else _changes(known, profile)
    if as_json:
        text = json.dumps(records, ensure_ascii=False, indent=1)
        print(visible_json(text) if sys.stdout.isatty() else text)
    elif not records:
        console.print(f"{profile} changes nothing in {section or 'the defaults'}.", soft_wrap=True)
    elif sys.stdout.isatty():
        print_table(console, _table(records))
    else:
        _print_lines(records)


def _within(section: str | None, settings: Sequence[Setting]) -> list[Setting]:
    """The settings whose dotted name equals the section or begins with it."""
    if section is None:
        return list(settings)
    inside = [s for s in settings if f"{s.name}.".startswith(f"{section}.")]
    if not inside:
        names = [setting.name for setting in settings]
        sections = {
            ".".join(parts[:depth]) for parts in (n.split(".") for n in names) for depth in range(1, len(parts))
        }
        close = next(
            iter(difflib.get_close_matches(section, sorted({*sections, *names}), n=1)), closest(section, names)
        )
        hint = f"did you mean {close}?" if close else f"use {', '.join(sorted({n.split('.')[0] for n in names}))}"
        raise ConfigError(f"there is no section or setting {section!r:.80}; {hint}")
    return inside


def _changes(settings: Sequence[Setting], profile: str) -> list[dict[str, Any]]:
    """The settings to which a profile, or one that it extends, gives a value other than the default; `from` names the file."""
    values = load_config(profile).model_dump(mode="json")
    files = read_profile(profile, PROFILES)
    return [
        {**asdict(setting), "value": value, "from": files.source(setting.name).name}
        for setting in settings
        if (value := value_of(values, setting.name)) != setting.default
    ]


def _table(records: Sequence[dict[str, Any]]) -> Table:
    changed = "value" in records[0]
    columns = ("name", "default", "value", "from") if changed else ("name", "type", "default", "range")
    table = Table(show_lines=False)
    for column in ("setting", *columns[1:], "description"):
        table.add_column(column, overflow="fold", no_wrap=column == "setting")
    for record in records:
        table.add_row(*(_text(record, column) for column in (*columns, "description")))
    return table


def _print_lines(records: Sequence[dict[str, Any]]) -> None:
    """Print one line per setting, columns separated by tabs; the first line has the column names."""
    print("\t".join(records[0]))
    for record in records:
        print("\t".join(visible(_text(record, column)).replace("\n", " ") for column in record))


def _text(record: dict[str, Any], column: str) -> str:
    value = record[column]
    if column not in ("default", "value"):
        return str(value)
    return "unset" if value is None else json.dumps(value, ensure_ascii=False)
