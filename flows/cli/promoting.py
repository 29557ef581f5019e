"""`engage promote`: a person makes a candidate champion."""

from typing import Annotated

import typer

from flows.cli.options import console


def promote(
    candidate: Annotated[
        str, typer.Argument(help="id of the cycle that trained it, or its version in MLflow's registry")
    ],
    why: Annotated[str, typer.Option("--why", help="reason, recorded with your account")],
    unjudged: Annotated[bool, typer.Option("--unjudged", help="also promote what no evaluation has judged")] = False,
) -> None:
    """Make a candidate, or an earlier version, the next night's policy; the registry and the store record who and why."""
    from flows.cli.running import quieten

    quieten(verbose=False)
    from engage.evaluation.promoting import promote_by_person
    from engage.workspace import Workspace

    text = promote_by_person(Workspace.from_env(), candidate, why, unjudged)
    console.print(text, markup=False, highlight=False, soft_wrap=True)
