"""`engage review`: people judge pairs and held-out dialogues, blind."""

from typing import Annotated

import typer

from flows.cli.options import DomainModules, console


def review(
    cycle: Annotated[str | None, typer.Option("--cycle", help="id of the cycle; default: the latest")] = None,
    pairs: Annotated[
        int | None,
        typer.Option(
            "--pairs", min=1, help="review this many pairs, drawn at random; default: 30, or as many as before"
        ),
    ] = None,
    dialogues: Annotated[
        int | None,
        typer.Option(
            "--dialogues", min=1, help="review this many held-out dialogues of incumbent and candidate, drawn at random"
        ),
    ] = None,
    ids: Annotated[
        list[str] | None,
        typer.Option(
            "--ids",
            help="review what you name instead of a random sample: a scenario, SCENARIO:NODE:NODE, or the id of a held-out dialogue; repeat for more",
        ),
    ] = None,
    terminal: Annotated[bool, typer.Option("--terminal", help="ask in the terminal instead of in a browser")] = False,
    reviewer: Annotated[
        str | None, typer.Option("--reviewer", help="your name, kept with each judgement; default: your account")
    ] = None,
    open_: Annotated[bool, typer.Option("--open", help="open the page in a browser")] = False,
    domain_module: DomainModules = None,
) -> None:
    """Judge which of two replies, or of two dialogues, is better, without seeing what the search thinks of them.

    The page is served on this machine alone. Every judgement is on disk before the next item is shown, so you can stop at any time
    and go on later. Judgements count in the cycle's report, and `engage align` leaves out pairs that most reviewers call nonsense or harmful.
    """
    from flows.cli.reviewing import Wanted, run_review

    run_review(console, Wanted(cycle, pairs, dialogues, ids or [], reviewer), terminal, open_, domain_module or [])
