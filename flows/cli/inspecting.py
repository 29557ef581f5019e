"""Shows query results and scenario files on the command line."""

import csv
import itertools
import json
import math
import sys
import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from engage.domains import allow_modules, load_domain
from engage.errors import ConfigError, QueryError
from engage.scenario import SHIPPED, SPLITS, UNREAD, Scenario, is_read, load_scenarios, read_scenarios, same_contents
from flows.cli.showing import VisibleOut, print_cells, print_table, visible, visible_json

MAX_CELL, MIN_TEXT = 24, 40
MAX_ROWS = 1_000
"""Rows of a table; a table is laid out only when all of its rows are known."""


def print_rows(console: Console, columns: Sequence[str], rows: Iterable[Sequence[Any]], form: str) -> None:
    """Print rows as `table`, `csv` or `json`. CSV and JSON are written while the rows come; a table shows the first 1,000."""
    if form == "json":
        if twice := [name for name, times in Counter(columns).items() if times > 1]:
            raise QueryError(f"two columns are named {twice[0]!r}: JSON would keep one; rename one with `as`")
        _print_json(columns, rows)
    elif form == "csv":
        writer = csv.writer(VisibleOut(), lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(map(_csv_cell, row) for row in rows)
    else:
        shown = list(itertools.islice(rows, MAX_ROWS + 1))
        more, shown = len(shown) > MAX_ROWS, shown[:MAX_ROWS]
        _print_table(console, columns, shown)
        end = "; there are more, --format csv prints all of them" if more else ""
        console.print(("1 row" if len(shown) == 1 else f"{len(shown)} rows") + end, highlight=False)


def _print_json(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A JSON list of one object a row, as `json.dumps(…, indent=1)` writes it."""
    opened = False
    for row in rows:
        record = dict(zip(columns, map(_finite, row), strict=True))
        text = textwrap.indent(json.dumps(record, default=str, ensure_ascii=False, indent=1), " ")
        sys.stdout.write((",\n" if opened else "[\n") + (visible_json(text) if sys.stdout.isatty() else text))
        opened = True
    sys.stdout.write("\n]\n" if opened else "[]\n")


def _csv_cell(value: Any) -> Any:
    return _nested(value) if isinstance(value, list | tuple | dict) else value


def _nested(value: Any) -> str:
    """A list, struct or map as JSON."""
    return json.dumps(_finite(value), default=str, ensure_ascii=False)


def _print_table(console: Console, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a table if it fits; otherwise one `name: value` line per cell, as psql does."""
    cells = [[_cell(value, name) for name, value in zip(columns, row, strict=True)] for row in rows]
    columns = [visible(name) for name in columns]
    texts = {index for index in range(len(columns)) if any(len(row[index]) > MAX_CELL for row in cells)}
    widths = [max(len(name), *(len(row[index]) for row in cells), 0) for index, name in enumerate(columns)]
    needed = sum(MIN_TEXT if index in texts else width for index, width in enumerate(widths)) + 3 * len(columns) + 1
    if needed > console.width:
        print_cells(console, columns, cells)
        return
    table = Table(show_lines=bool(texts))
    for index, name in enumerate(columns):
        number = all(row[index] is None or isinstance(row[index], int | float) for row in rows)
        table.add_column(Text(name), no_wrap=index not in texts, overflow="fold", justify="right" if number else "left")
    for row in cells:
        table.add_row(*map(Text, row))
    console.print(table)


def _finite(value: Any) -> Any:
    """The value for JSON, at every depth: None instead of NaN and infinity, and text as the keys of a map."""
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _cell(value: Any, column: str) -> str:
    if value is None:
        return "unknown" if column.endswith("_tokens") else ""
    if isinstance(value, list | tuple | dict):
        return visible(_nested(value))
    return f"{value:.3f}" if isinstance(value, float) else visible(str(value))


def show_scenarios(console: Console, sources: Sequence[str], domain_modules: Sequence[str]) -> None:
    """A table of counts by domain, difficulty and split."""
    allow_modules(domain_modules)
    scenarios = load_scenarios(sources or SHIPPED, any_language=True)
    counts = Counter((s.domain, s.user_condition.difficulty or "unstated", s.split) for s in scenarios)
    table = Table("domain", "difficulty")
    for name in (*SPLITS, "all"):
        table.add_column(name, justify="right")
    for domain, difficulty in sorted({(d, k) for d, k, _ in counts}):
        by_split = [counts[domain, difficulty, split] for split in SPLITS]
        table.add_row(domain, difficulty, *map(str, by_split), str(sum(by_split)))
    for domain in sorted({s.domain for s in scenarios}):
        by_split = [sum(s.domain == domain and s.split == split for s in scenarios) for split in SPLITS]
        table.add_row(domain, "all", *map(str, by_split), str(sum(by_split)), style="bold")
    print_table(console, table)


def validate_file(console: Console, path: Path, any_language: bool, domain_modules: Sequence[str]) -> bool:
    """Print every problem of a file; True if there is none."""
    allow_modules(domain_modules)
    loaded = read_scenarios(path, any_language)
    for problem in loaded.problems:
        console.print(problem, markup=False, highlight=False, soft_wrap=True)
    if again := same_contents(loaded.scenarios):
        remark = f"scenarios that are used once only: {len(again)} ({'; '.join(again[:3])})"
        console.print(remark, markup=False, highlight=False, soft_wrap=True)
    tell_unread(console, loaded.scenarios)
    console.print(f"good scenarios: {len(loaded.scenarios)}, problems: {len(loaded.problems)}", highlight=False)
    return not loaded.problems


def tell_unread(console: Console, scenarios: Sequence[Scenario]) -> None:
    """Print one line about accepted scenarios in a language that the rules do not cover; nothing if there are none."""
    unread = sum(not is_read(scenario, load_domain(scenario.domain)) for scenario in scenarios)
    if unread:
        console.print(f"scenarios taken although {UNREAD}: {unread}", highlight=False, soft_wrap=True)


def import_scenarios(
    console: Console, corpus: str, path: Path, out: Path, any_language: bool, donation_unit: str | None
) -> None:
    """Read a corpus, write its scenarios, print the report."""
    from engage.corpora import READERS, CorpusOptions, report, save_scenarios

    if corpus not in READERS:
        raise ConfigError(f"corpus {corpus!r} is not known; use {' or '.join(READERS)}")
    if donation_unit not in {None, "dollars", "cents"}:
        raise ConfigError(f"--donation-unit {donation_unit!r} is not known; use dollars or cents")
    if out.exists() and path.exists():
        beside = path.is_dir() and out.suffix != ".jsonl" and out.resolve().is_relative_to(path.resolve())
        if beside or (out.samefile(path) and not path.is_dir()):
            raise ConfigError(f"--out {out} would overwrite the corpus itself; name another file")
    options = {"any_language": any_language, "donation_unit": donation_unit}
    found = READERS[corpus](path, CorpusOptions.model_validate(options))
    save_scenarios(found, out)
    console.print(report(found), markup=False, highlight=False, soft_wrap=True)
    console.print(f"written to {out}", markup=False, highlight=False, soft_wrap=True)
