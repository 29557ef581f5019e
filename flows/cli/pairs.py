"""The commands `engage pairs …`: what preference pairs are like."""

from typing import Annotated

import typer

from flows.cli.options import console

pairs_app = typer.Typer(no_args_is_help=True, help="Preference pairs: what they teach beside what was meant.")


@pairs_app.callback()
def pairs() -> None:
    """Preference pairs: what they teach beside what was meant."""


@pairs_app.command("style")
def style(
    cycle: Annotated[str | None, typer.Option("--cycle", help="id of a cycle; the latest by default")] = None,
) -> None:
    """How well length and punctuation alone tell the chosen reply from the rejected one."""
    from flows.cli.pair_style import show_style

    show_style(console, cycle)
