"""Writes a cycle's accepted pairs as a data set, and says what was written."""

import contextlib
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from engage.domains import allow_modules
from engage.errors import ConfigError, StoreError
from engage.home import Home
from engage.store import Outbox, TrajectoryStore
from engage.training import FORMATS, gather_pairs, pair_card, write_export
from flows.cli.asking import tell


def write_pairs(
    console: Console,
    form: str,
    out: Path,
    cycles: Sequence[str],
    test_share: float,
    seed: int,
    domain_modules: Sequence[str],
) -> None:
    """Write the folder and print the counts; ConfigError for an unknown format, without a pair, and for a folder in use."""
    if form not in FORMATS:
        raise ConfigError(f"--format {form!r} is not known; use {', '.join(FORMATS)}")
    allow_modules(domain_modules)
    home = Home.from_env()
    store = TrajectoryStore(home.database, on_wait=tell)
    if home.database.exists():
        with contextlib.suppress(StoreError):  # another command writes: what people judged in the meantime waits
            store.drain(Outbox(home.outbox))
    latest = store.latest_cycle()
    if latest is None:
        raise ConfigError("no cycle is stored yet; run `engage nightly` first")
    wanted = list(dict.fromkeys(cycles)) or [latest]
    found = gather_pairs(store, wanted, test_share, seed)
    write_export(found, form, pair_card(store, found, form, wanted, seed), out)
    of = ", ".join(wanted) + ("" if cycles else " (the latest cycle; --cycle takes others)")
    parts = ", ".join(f"{len(pairs)} {part}" for part, pairs in found.parts.items())
    console.print(
        f"{parts} pairs of {of}; near-duplicates left out: {found.repeated}, "
        f"called nonsense or harmful by most of their reviewers: {found.refused}\n"
        f"written to {out}; its README.md says what the columns mean and under which licences the pairs stand",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
