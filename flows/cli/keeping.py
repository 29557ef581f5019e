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
    from engage.workspace import Workspace
    from tasks.pruning import Pruning

DryRun = Annotated[bool, typer.Option("--dry-run", help="say what would be deleted, and delete nothing")]


def prune(
    keep: Annotated[int, typer.Option("--keep", min=1, help="how many of the latest cycles stay")],
    dry_run: DryRun = False,
) -> None:
    """Delete whole old cycles: trees, pairs, adapters, reports. What the champion, a challenger or a kept cycle needs stays."""
    with _alone() as workspace:
        from tasks.pruning import plan_pruning
        from tasks.pruning import prune as carry_out

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
        from tasks.backing_up import back_up

        _say(
            f"written to {file} ({shown_size(back_up(workspace, file))}); it holds every conversation: keep it as safe as the home"
        )


def restore(file: Annotated[Path, typer.Argument(help="a file that `engage backup` wrote")]) -> None:
    """Unpack a backup into the home that ENGAGE_HOME names, which must be empty or missing."""
    from tasks.backing_up import restore as unpack

    home = Home.from_env()
    found = unpack(home, file)
    _say(
        f"restored into {home.path}: the backup of {found['made_at'][:16]} (UTC) by engage {found['engage']}",
        "Schedules are Prefect's and are not in it: schedule nights again with `engage schedule`.",
    )


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
