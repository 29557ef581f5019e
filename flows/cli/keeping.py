"""The commands that keep a home small and safe: `engage prune`, `backup`, `restore`, `export`, `forget`. Their bodies are imported when needed."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engage.errors import ConfigError
from engage.files.sizes import disk_bytes, shown_size
from engage.home import Home
from flows.cli.options import console

if TYPE_CHECKING:
    from engage.keeping.forgetting import Forgetting
    from engage.keeping.pruning import Pruning
    from engage.workspace import Workspace

DryRun = Annotated[bool, typer.Option("--dry-run", help="say what would be deleted, and delete nothing")]


def prune(
    keep: Annotated[int, typer.Option("--keep", min=1, help="how many of the latest cycles stay")],
    dry_run: DryRun = False,
) -> None:
    """Delete whole old cycles: trees, pairs, adapters, reports. What the champion, a challenger or a kept cycle needs stays."""
    with _alone() as workspace:
        from engage.keeping.pruning import plan_pruning
        from engage.keeping.pruning import prune as carry_out

        workspace.drain()
        plan = plan_pruning(workspace, keep)
        _say(*_lines(plan, "would go" if dry_run else "goes"))
        if not dry_run:
            freed = carry_out(workspace, plan, _say)
            _say(f"{shown_size(freed)} are free; the home has {shown_size(disk_bytes([workspace.home.path]))}.")


def backup(
    file: Annotated[Path, typer.Argument(help="tar file to write; a name that ends in .gz compresses it")],
) -> None:
    """Write the home into one file: database, MLflow's database and files, adapters, what waits in the outbox. A night may run meanwhile."""
    with _workspace() as workspace:
        from engage.keeping.backup import back_up

        _say(
            f"written to {file} ({shown_size(back_up(workspace, file))}); it holds every conversation: keep it as safe as the home"
        )


def restore(file: Annotated[Path, typer.Argument(help="a file that `engage backup` wrote")]) -> None:
    """Unpack a backup into the home that ENGAGE_HOME names, which must be empty or missing."""
    from engage.keeping.backup import restore as unpack

    home = Home.from_env()
    found = unpack(home, file)
    _say(
        f"restored into {home.path}: the backup of {found.get('made_at', '')[:16]} (UTC) by engage {found.get('engage')}",
        "Schedules are Prefect's and are not in it: schedule nights again with `engage schedule`.",
    )


def export(
    cycle: Annotated[str, typer.Option("--cycle", help="id of the cycle")],
    out: Annotated[Path, typer.Option("--out", help="folder to write; earlier files of these names are replaced")],
) -> None:
    """Write a cycle's rows as Parquet files, one per table, with the scenarios that it used."""
    from flows.cli.running import find_cycle_id

    with _workspace() as workspace:
        from engage.keeping.exports import export_to

        rows = export_to(workspace, find_cycle_id(cycle), out)
        listed = ", ".join(f"{name} {count}" for name, count in rows.items() if count)
        _say(f"written to {out}: {listed} rows; `engage forget` renews this folder as long as it stays there")


def forget(
    scenario: Annotated[str | None, typer.Option("--scenario", help="id of a scenario")] = None,
    source: Annotated[
        str | None,
        typer.Option("--scenario-source", help="forget all scenarios of this source (column scenario.source)"),
    ] = None,
    dry_run: DryRun = False,
) -> None:
    """Delete one person's scenarios with all that was simulated from them; say what cannot be undone."""
    with _alone() as workspace:
        from engage.keeping.forgetting import forget as carry_out
        from engage.keeping.forgetting import plan_forgetting

        workspace.drain()
        plan = plan_forgetting(workspace, source, scenario)
        rows = ", ".join(f"{name} {count}" for name, count in plan.rows.items() if count)
        _say(
            f"{len(plan.scenario_ids)} scenarios in {len(plan.cycles)} cycles: {', '.join(plan.scenario_ids[:20])}",
            f"rows: {rows or 'none'}",
            *(f"file: {file}" for file in plan.files),
            *(f"written anew: {out} (cycle {cycle})" for out, cycle in plan.exports.items()),
        )
        if not dry_run:
            _say(f"{carry_out(workspace, plan)} traces in MLflow; all of this is deleted.")
        _say(*_left(workspace, plan))


def _left(workspace: "Workspace", plan: "Forgetting") -> list[str]:
    """What forgetting does not reach."""
    from engage.keeping.forgetting import exports_of_pruned

    damaged = len(list(workspace.home.outbox.glob("*.damaged")))
    return [
        "What this cannot undo:",
        *(
            f"- trained on it, or begun with what was: {folder}; train again without it, or delete it"
            for folder in plan.adapters
        ),
        *(
            f"- the export of a cycle that was pruned: {folder}; delete it"
            for folder in exports_of_pruned(workspace, plan.scenario_ids)
        ),
        "- means and intervals over many dialogues (evaluation figures, MLflow's metrics, the text of reports) stay as they are;",
        "- the scenario file or corpus, if it still has these scenarios, brings them back: take them out there too;",
        "- data sets that `engage pairs export` wrote: delete them, and export again;",
        "- backups, copies of the home and exports that were moved or sent elsewhere; delete those yourself;",
        "- the ids, not the texts, may stand in Prefect's records of runs.",
        *([f"- {damaged} damaged files in {workspace.home.outbox} cannot be read: delete them"] if damaged else []),
        *(
            f"The pages of cycle {cycle} are deleted: `engage report --cycle {cycle}` writes one anew."
            for cycle in plan.cycles
        ),
    ]


@contextmanager
def _workspace() -> "Iterator[Workspace]":
    """The workspace of a home that has a store; ConfigError for a home without one."""
    from flows.cli.running import quieten

    home = Home.from_env()
    if not home.database.exists():
        raise ConfigError(f"{home.database}: no cycle has been run yet; run `engage nightly` first")
    quieten(verbose=False)
    from engage.workspace import Workspace

    yield Workspace.from_env()


@contextmanager
def _alone() -> "Iterator[Workspace]":
    """The same, for one process at a time that deletes."""
    from filelock import FileLock, Timeout

    with _workspace() as workspace:
        try:
            with FileLock(workspace.home.path / "keeping.lock", timeout=0):
                yield workspace
        except Timeout as error:
            raise ConfigError(
                f"{workspace.home.path}: another prune or forget is at work there; wait for its end"
            ) from error


def _lines(plan: "Pruning", goes: str) -> list[str]:
    kept = [f"stays: {cycle} ({reason})" for cycle, reason in plan.kept.items()]
    gone = [
        f"{goes}: {one.cycle_id}: {one.trees} trees, {one.dialogues} dialogues, {shown_size(one.file_bytes)} of files"
        for one in plan.going
    ]
    total = sum(one.file_bytes for one in plan.going)
    return [
        *kept,
        *gone,
        f"{len(plan.going)} cycles go, with {shown_size(total)} of files and their rows in the database.",
    ]


def _say(*lines: str) -> None:
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
