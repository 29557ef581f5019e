"""The commands `engage pairs …`: inspect preference pairs, and export them."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.options import DomainModules, console

pairs_app = typer.Typer(
    no_args_is_help=True, help="Preference pairs: find side effects that they may teach, export them."
)


@pairs_app.callback()
def pairs() -> None:
    """Preference pairs: find side effects that they may teach, export them."""


@pairs_app.command("style")
def style(
    cycle: Annotated[str | None, typer.Option("--cycle", help="id of a cycle; the latest by default")] = None,
) -> None:
    """Measure how well length and punctuation alone identify the chosen reply."""
    from flows.cli.pair_style import show_style

    show_style(console, cycle)


@pairs_app.command("export")
def export(
    form: Annotated[str, typer.Option("--format", help="trl, kto, sharegpt or csv")],
    out: Annotated[Path, typer.Option("--out", help="folder to write; it must be new or empty")],
    cycle: Annotated[
        list[str] | None, typer.Option("--cycle", help="id of a cycle; repeat for more; the latest by default")
    ] = None,
    test_share: Annotated[
        float, typer.Option("--test-share", min=0.0, max=0.9, help="share of the scenarios for the test part, 0 to 0.9")
    ] = 0.1,
    seed: Annotated[int, typer.Option("--seed", help="another seed gives another test part")] = 0,
    domain_module: DomainModules = None,
) -> None:
    """Write accepted pairs with their evidence as a data set that `datasets.load_dataset` reads."""
    from flows.cli.pair_export import write_pairs

    write_pairs(console, form, out, cycle or [], test_share, seed, domain_module or [])
