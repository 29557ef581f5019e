"""The commands `engage pairs …`: inspect preference pairs."""

from typing import Annotated

import typer

from flows.cli.options import console

pairs_app = typer.Typer(no_args_is_help=True, help="Preference pairs: find side effects that they may teach.")


@pairs_app.callback()
def pairs() -> None:
    """Preference pairs: find side effects that they may teach."""


@pairs_app.command("style")
def style(
    cycle: Annotated[str | None, typer.Option("--cycle", help="id of a cycle; the latest by default")] = None,
) -> None:
    """Measure how well length and punctuation alone identify the chosen reply."""
    from flows.cli.pair_style import show_style

    show_style(console, cycle)
