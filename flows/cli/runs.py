"""Prints the cycles as MLflow's list of runs shows them, newest first, and where to open that list."""

import csv
import json
import re
import sys
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from engage.errors import ConfigError
from engage.evaluation import mlflow_command
from engage.home import Home
from engage.masking import mask_urls
from engage.pages import bounded, number
from flows.cli.showing import VisibleOut, visible_json

if TYPE_CHECKING:
    from engage.tracking import CycleRun

SERVER = "http://127.0.0.1:5000"
COLUMNS = (
    "cycle",
    "profile",
    "engine",
    "gain",
    "gain_low",
    "gain_high",
    "verdict",
    "promoted",
    "pairs",
    "tokens_m",
    "minutes",
    "ground",
)

_REPEATED = re.compile(r":? \(?(reward )?[+-]\d+\.\d+ \[.*$")
"""The gain in a verdict, which the table shows beside it."""


def show_runs(console: Console, form: str) -> None:
    """Print all cycles as a table, CSV or JSON; with CSV and JSON standard output contains nothing else.

    ConfigError if there is no cycle yet.
    """
    if form not in {"table", "csv", "json"}:
        raise ConfigError(f"--format {form!r} is not known; use table, csv or json")
    home = Home.from_env()
    if home.own_tracking and not home.mlflow_file.exists():
        raise ConfigError("no cycle has been run yet; run `engage nightly` first")
    from engage.workspace import Workspace

    tracker = Workspace(home).tracker
    rows = [row(run) for run in tracker.cycles()]
    if not rows:
        raise ConfigError("no cycle has been run yet; run `engage nightly` first")
    if form == "json":
        text = json.dumps(rows, ensure_ascii=False, indent=1)
        print(visible_json(text) if sys.stdout.isatty() else text)
    elif form == "csv":
        writer = csv.DictWriter(VisibleOut(), COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    else:
        _table(console, rows)
        if remark := grounds_remark(rows):
            console.print(remark, soft_wrap=True)
        _where(console, home, tracker.address)


def row(run: "CycleRun") -> dict[str, Any]:
    """A cycle's figures; None for what is unknown. Runs of an older version named some of them otherwise."""
    tags, metrics = run.tags, {name: value for name, value in run.metrics.items() if value == value}
    held_out = sorted(name for name in metrics if name.startswith("reward_difference/") and name.endswith("/all"))
    older = {"gain": metrics.get(held_out[0]) if held_out else None, "pairs": metrics.get("pairs_accepted")}
    found = {name: metrics.get(name, older.get(name)) for name in COLUMNS}
    status = {"RUNNING": "(running)", "FAILED": "(failed)"}.get(run.status, "")
    words = {name: tags.get(name, "") for name in ("profile", "engine", "verdict", "promoted")}
    verdict = " ".join(part for part in (status, words["verdict"]) if part)
    return {**found, **words, "cycle": run.cycle_id, "verdict": verdict, "ground": tags.get("engage.ground", "")}


def _table(console: Console, rows: list[dict[str, Any]]) -> None:
    table = Table()
    grounds = [name for name in ("ground",) if len(_grounds(rows)) > 1]
    for name in ("cycle", "profile", "gain [low, high]", "verdict", "pairs", "minutes", *grounds):
        numbers = name in {"pairs", "minutes"}
        table.add_column(name, justify="right" if numbers else "left", no_wrap=name != "verdict")
    for one in rows:
        gain = bounded(one["gain"], one["gain_low"], one["gain_high"], "{:+.3f}")
        cost = number(one["pairs"], "{:.0f}"), number(one["minutes"], "{:.1f}")
        ground = [one[name] for name in grounds]
        table.add_row(one["cycle"], one["profile"], gain, _REPEATED.sub("", one["verdict"]), *cost, *ground)
    console.print(table)


def grounds_remark(rows: list[dict[str, Any]]) -> str:
    """A warning if the gains were measured on different grounds; empty if they can be compared."""
    if len(grounds := _grounds(rows)) < 2:
        return ""
    return (
        f"These gains come from {len(grounds)} different grounds (held-out scenarios, simulated users or dialogue settings): compare gains of "
        "one ground only, or let the candidates talk on the same one: `engage compare CYCLE_A CYCLE_B`."
    )


def _grounds(rows: list[dict[str, Any]]) -> set[str]:
    """The grounds of the rows with a gain; that of a cycle of an older version is unknown, and another one."""
    return {one["ground"] for one in rows if one["gain"] is not None}


def _where(console: Console, home: Home, address: Any) -> None:
    uri = home.tracking_uri
    if uri.startswith("http"):
        console.print(f"in MLflow: {mask_urls(address(uri))}", soft_wrap=True)
        return
    console.print("To see them in MLflow, start its server and open the address:", soft_wrap=True)
    console.print(f"    {mlflow_command(uri)}", soft_wrap=True)
    console.print(f"    {address(SERVER)}", soft_wrap=True)
