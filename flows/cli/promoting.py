"""`engage promote` and `engage rollback`: a person makes a candidate, or the version before, champion."""

from typing import Annotated

import typer

from flows.cli.options import console

Why = Annotated[str, typer.Option("--why", help="reason, recorded with your account")]


def promote(
    candidate: Annotated[
        str, typer.Argument(help="id of the cycle that trained it, or its version in MLflow's registry")
    ],
    why: Why,
    unjudged: Annotated[bool, typer.Option("--unjudged", help="also promote what no evaluation has judged")] = False,
) -> None:
    """Make a candidate, or an earlier version, the next night's policy; the registry and the store record who and why."""
    from flows.cli.running import quieten, require_begun

    require_begun()
    quieten(verbose=False)
    from engage.evaluation.promoting import promote_by_person
    from engage.workspace import Workspace

    text = promote_by_person(Workspace.from_env(), candidate, why, unjudged)
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def rollback(why: Why) -> None:
    """Make the version before the champion champion again, or the base model if there was none; the record says who and why."""
    from flows.cli.running import quieten, require_begun

    require_begun()
    quieten(verbose=False)
    from engage.evaluation.promoting import roll_back
    from engage.workspace import Workspace

    text = roll_back(Workspace.from_env(), why)
    console.print(text, markup=False, highlight=False, soft_wrap=True)
