"""One table of all cycles with three selections: `engage runs` (all), `engage nights` (how far each came), `engage champions` (what was promoted)."""

import csv
import json
import re
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from engage.errors import ConfigError
from engage.evaluation import BASE, mlflow_command
from engage.home import Home
from engage.masking import mask_urls
from engage.pages import bounded, number
from flows.cli.showing import VisibleOut, visible_json

if TYPE_CHECKING:
    from engage.evaluation import Reign
    from engage.keeping.at_work import Work
    from engage.tracking import CycleRun, Tracker
    from engage.workspace import Workspace

Selection = Literal["runs", "nights", "champions"]
Row = dict[str, Any]

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
    "reached",
    "state",
    "continue",
)
OF_A_CHAMPION = (
    "version",
    "since",
    "until",
    "by",
    "why",
    "gain_at_promotion",
    "judged_again",
    "judged_again_at",
    "verdicts",
)
"""Further columns of `engage champions`, before those of the cycle that judged the version."""
SHOWN = {
    "runs": ("cycle", "profile", "gain [low, high]", "verdict", "pairs", "minutes"),
    "nights": ("cycle", "reached", "verdict", "pairs", "M tokens", "minutes"),
    "champions": ("version", "cycle", "since (UTC)", "until", "by", "gain at promotion", "judged again"),
}
STATES = {"RUNNING": "running", "FAILED": "failed", "KILLED": "interrupted"}
"""MLflow's words for a run that is not finished."""

_REPEATED = re.compile(r":? \(?(reward )?[+-]\d+\.\d+ \[.*$")
"""The gain in a verdict, which the table shows beside it."""


def show_runs(console: Console, form: str, selection: Selection = "runs") -> None:
    """Print the selected cycles as a table, CSV or JSON; with CSV and JSON standard output contains nothing else.

    ConfigError if there is none yet.
    """
    if form not in {"table", "csv", "json"}:
        raise ConfigError(f"--format {form!r} is not known; use table, csv or json")
    from flows.cli.running import quieten

    quieten(verbose=False)
    from engage.workspace import Workspace

    workspace = Workspace(Home.from_env())
    rows = selected(workspace, selection)
    columns = (*OF_A_CHAMPION, *COLUMNS) if selection == "champions" else COLUMNS
    if form == "json":
        text = json.dumps(rows, ensure_ascii=False, indent=1)
        print(visible_json(text) if sys.stdout.isatty() else text)
    elif form == "csv":
        writer = csv.DictWriter(VisibleOut(), columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: _csv_cell(value) for name, value in one.items()} for one in rows)
    else:
        _print(console, workspace, rows, selection)


def selected(workspace: "Workspace", selection: Selection) -> list[Row]:
    """The rows of a selection, the newest first."""
    home = workspace.home
    begun = home.mlflow_file.exists() or not home.own_tracking
    if not begun and workspace.store.cycle_ids():
        raise ConfigError(
            f'{home.mlflow_file} is not there, though cycles are stored (`engage sql "from cycle"`); put MLflow\'s database '
            "back, or run `engage nightly`: it makes a new one, which knows no earlier run and no champion"
        )
    rows = all_cycles(workspace, begun)
    if selection == "champions":
        from engage.evaluation import reigns
        from engage.store import Challenges

        of_cycle = {one["cycle"]: one for one in rows}
        found = [_champion(one, of_cycle) for one in reigns(Challenges(workspace.store), home.find)]
        if begun and not found:
            raise ConfigError("nothing has been promoted yet: nights start from the configured policy")
        rows = found
    elif selection == "nights":
        rows = [row for row in rows if not row.pop("experiment")]
    if not rows:
        raise ConfigError("no cycle has been run yet; run `engage nightly` first")
    return [{name: value for name, value in row.items() if name != "experiment"} for row in rows]


def all_cycles(workspace: "Workspace", begun: bool) -> list[Row]:
    """Every cycle in MLflow, which is not opened before it has begun, and those that did not come that far."""
    from engage.keeping import at_work

    nights = [at_work.foremost(one) for one in at_work.all_work(workspace.home)]
    work = {one.cycle_id: (one, at_work.state(workspace.home, one)) for one in nights}
    runs = workspace.tracker.cycles() if begun else []
    known = {run.cycle_id for run in runs}
    early = [one.cycle_id for one, state in work.values() if one.cycle_id not in known and state != "completed"]
    rows = [row(run, *work.get(run.cycle_id, (None, ""))) for run in runs]
    return [*(_early(cycle_id, *work[cycle_id]) for cycle_id in early), *rows]


def row(run: "CycleRun", work: "Work | None" = None, state: str = "") -> Row:
    """A cycle's figures; None for what is unknown. Runs of an older version named some of them otherwise."""
    from engage.tracking.removal import PRUNED_TAG

    tags, metrics = run.tags, {name: value for name, value in run.metrics.items() if value == value}
    held_out = sorted(name for name in metrics if name.startswith("reward_difference/") and name.endswith("/all"))
    older = {"gain": metrics.get(held_out[0]) if held_out else None, "pairs": metrics.get("pairs_accepted")}
    found = {name: metrics.get(name, older.get(name)) for name in COLUMNS}
    state = "pruned" if PRUNED_TAG in tags else state or STATES.get(run.status, "completed")
    words = {name: tags.get(name, "") for name in ("profile", "engine", "verdict", "promoted")}
    own = work if work and not work.command.startswith("compare") else None  # a comparison is no stage of a night
    stage = own.stage if own else "evaluate" if words["verdict"] else "align" if found["pairs"] else "collect"
    reached = "report" if own and (own.command, state) == ("nightly", "completed") else stage
    return {
        **found,
        **words,
        "cycle": run.cycle_id,
        "ground": tags.get("engage.ground", ""),
        "reached": reached,
        "state": state,
        "continue": work.again if work and state in ("interrupted", "failed") else "",
        "experiment": any(name.startswith("comparison.") for name in run.params),
    }


def _early(cycle_id: str, work: "Work", state: str) -> Row:
    again = work.again if state in ("interrupted", "failed") else ""
    blank = dict.fromkeys(("profile", "engine", "verdict", "promoted", "ground"), "")
    known = {"cycle": cycle_id, "reached": work.stage, "state": state, "continue": again, "experiment": False}
    return {**dict.fromkeys(COLUMNS), **blank, **known}


def _champion(one: "Reign", cycles: Mapping[str, Row]) -> Row:
    """A promotion, with the figures of the cycle that judged the version."""
    from engage.evaluation.champions import shown

    made, again = one.promotion, one.judged_again
    of_cycle = cycles.get(made.cycle_id or "") or dict.fromkeys(COLUMNS)
    return {
        "version": made.version,
        "since": f"{made.promoted_at:%Y-%m-%d %H:%M}",
        "until": f"{one.until:%Y-%m-%d %H:%M}" if one.until else "",
        "by": made.promoted_by,
        "why": made.why,
        "gain_at_promotion": one.gain,
        "judged_again": shown(again) if again else "",
        "judged_again_at": f"{again.stored_at:%Y-%m-%d %H:%M}" if again and again.stored_at else "",
        "verdicts": list(one.verdicts),
        **of_cycle,
        "cycle": made.cycle_id or "",
    }


def _print(console: Console, workspace: "Workspace", rows: list[Row], selection: Selection) -> None:
    if selection == "champions":
        return _print_champions(console, rows)
    grounds = ["ground"] if selection == "runs" and len(_grounds(rows)) > 1 else []
    alike = {"profile"} if len({one["profile"] for one in rows}) < 2 else set()
    columns = [name for name in (*SHOWN[selection], *grounds) if name not in alike]
    _table(console, columns, [_cells(one, selection) for one in rows])
    if selection == "nights":
        for one in rows:
            if one["continue"]:
                told = f"{one['cycle']}: {one['state']}: continue with {one['continue']}"
                console.print(told, markup=False, highlight=False, soft_wrap=True)
        return None
    for remark in (grounds_remark(rows), _comparing(workspace.home, rows)):
        if remark:
            console.print(remark, markup=False, highlight=False, soft_wrap=True)
    return _where(console, workspace.home, workspace.tracker)


def _cells(one: Row, selection: Selection) -> Row:
    """A cycle as the tables show it: `engage runs` says beside the verdict that it is not completed, `engage nights` beside its stage."""
    state = f"({one['state']})" if one["state"] != "completed" else ""
    beside = "verdict" if selection == "runs" else "reached"
    words = {name: one[name] for name in ("reached", "verdict")} | {"verdict": _REPEATED.sub("", one["verdict"])}
    words[beside] = f"{state} {words[beside]}".strip() if selection == "runs" else f"{words[beside]} {state}".strip()
    return {
        **one,
        **words,
        "gain [low, high]": bounded(one["gain"], one["gain_low"], one["gain_high"], "{:+.3f}"),
        "M tokens": number(one["tokens_m"], "{:.2f}"),
        "pairs": number(one["pairs"], "{:.0f}"),
        "minutes": number(one["minutes"], "{:.1f}"),
    }


def _print_champions(console: Console, rows: list[Row]) -> None:
    """The table, then the verdicts of each version, once."""
    lines = [
        {
            **one,
            "since (UTC)": one["since"],
            "until": one["until"] or "now",
            "gain at promotion": one["gain_at_promotion"],
        }
        | {"judged again": " ".join(filter(None, (one["judged_again"], one["judged_again_at"])))}
        for one in rows
    ]
    _table(console, SHOWN["champions"], lines)
    for version, one in {one["version"]: one for one in rows if one["version"] != BASE}.items():
        told = [*one["verdicts"]] or ["no challenge judged it"]
        console.print(f"version {version}: {'; then '.join(told)}", markup=False, highlight=False, soft_wrap=True)


def _table(console: Console, columns: Sequence[str], rows: Sequence[Row]) -> None:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        numbers = name in {"pairs", "minutes", "M tokens"}
        folded = name in {"verdict", "reached", "gain at promotion", "judged again"}
        table.add_column(name, justify="right" if numbers else "left", no_wrap=not folded)
    for one in rows:
        table.add_row(*(str(one[name] or "") for name in columns))
    console.print(table)


def _csv_cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list) else value


def grounds_remark(rows: list[Row]) -> str:
    """A warning if the gains were measured on different grounds; empty if they can be compared."""
    if len(grounds := _grounds(rows)) < 2:
        return ""
    return (
        f"These gains come from {len(grounds)} different grounds (held-out scenarios, simulated users or dialogue settings): compare gains of "
        "one ground only, or let the candidates talk on the same one: `engage compare CYCLE_A CYCLE_B`."
    )


def _comparing(home: Home, rows: list[Row]) -> str:
    """How two candidates are compared, and where earlier comparisons lie; empty with fewer than two gains."""
    if sum(one["gain"] is not None for one in rows) < 2:
        return ""
    from engage.evaluation.selection import PAGE

    pages = [home.cycle(one["cycle"]) / PAGE for one in rows]
    found = "".join(f"\n    compared before: {page}" for page in pages if page.is_file())
    told = "Each gain is over that night's own incumbent. To compare two candidates: `engage compare CYCLE_A CYCLE_B`."
    return told + found


def _grounds(rows: list[Row]) -> set[str]:
    """The grounds of the rows with a gain; that of a cycle of an older version is unknown, and another one."""
    return {one["ground"] for one in rows if one["gain"] is not None}


def _where(console: Console, home: Home, tracker: "Tracker") -> None:
    uri = home.tracking_uri
    if uri.startswith("http"):
        console.print(f"in MLflow: {mask_urls(tracker.address(uri))}", soft_wrap=True)
        return
    console.print(
        "To see them in MLflow, start its server and open an address (cycles; conversations):", soft_wrap=True
    )
    console.print(f"    {mlflow_command(uri)}", soft_wrap=True)
    console.print(f"    {tracker.address(SERVER)}", soft_wrap=True)
    if conversations := tracker.conversations_address(SERVER):
        console.print(f"    {conversations}", soft_wrap=True)
