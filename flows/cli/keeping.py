"""The commands that keep a home small and safe: `engage prune`, `backup`, `restore`, `export`, `forget`. Their bodies are imported when needed."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from engage.errors import ConfigError
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
            _say(f"{size(freed)} are free; the home has {size(_home_bytes(workspace))}.")


@contextmanager
def _alone() -> "Iterator[Workspace]":
    """The workspace of a home that has a store, for one of these commands at a time. ConfigError for a home without one."""
    from filelock import FileLock, Timeout

    from flows.cli.running import quieten

    home = Home.from_env()
    if not home.database.exists():
        raise ConfigError(f"{home.database}: no cycle has been run yet; run `engage nightly` first")
    quieten(verbose=False)
    from engage.workspace import Workspace

    try:
        with FileLock(home.path / "keeping.lock", timeout=0):
            yield Workspace.from_env()
    except Timeout as error:
        raise ConfigError(f"{home.path}: another prune or forget is at work there; wait for its end") from error


def _lines(plan: "Pruning", goes: str) -> list[str]:
    kept = [f"stays: {cycle} ({reason})" for cycle, reason in plan.kept.items()]
    gone = [
        f"{goes}: {one.cycle_id}: {one.trees} trees, {one.dialogues} dialogues, {size(one.file_bytes)} of files"
        for one in plan.going
    ]
    total = sum(one.file_bytes for one in plan.going)
    return [*kept, *gone, f"{len(plan.going)} cycles go, with {size(total)} of files and their rows in the database."]


def _home_bytes(workspace: "Workspace") -> int:
    from engage.tracking.files import disk_bytes

    return disk_bytes([workspace.home.path])


def size(count: int) -> str:
    """Bytes as people read them: 1.2 GB, 30.1 MB."""
    return f"{count / 1e9:.2f} GB" if abs(count) >= 1e9 else f"{count / 1e6:.1f} MB"


def _say(*lines: str) -> None:
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
