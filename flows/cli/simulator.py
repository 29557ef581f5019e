"""The commands `engage simulator …`: train one on human dialogues, and tell how good simulators are."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.options import Profile, Settings, Verbose, console

simulator_app = typer.Typer(no_args_is_help=True, help="Simulated users: train one, and tell how real they are.")


@simulator_app.command("train")
def train_simulator(
    corpus: Annotated[list[str], typer.Option("--corpus", help="esconv:PATH, p4g:PATH, or shipped")],
    out: Annotated[Path, typer.Option("--out", help="folder of the run; the adapter is OUT/adapter")],
    role: Annotated[
        list[str] | None, typer.Option("--role", help="whose turns are learnt: simulator (the default) or policy")
    ] = None,
    max_dialogues: Annotated[
        int | None, typer.Option("--max-dialogues", min=1, help="dialogues of people taken from one corpus at most")
    ] = None,
    skip_dialogues: Annotated[
        int,
        typer.Option(
            "--skip-dialogues",
            min=0,
            help="leave out the people that --max-dialogues N takes: a held-out simulator learns from others than the search's",
        ),
    ] = 0,
    start: Annotated[
        str | None, typer.Option("--from", help="adapter to go on from: embedded or a folder; a new one by default")
    ] = None,
    profile: Profile = "laptop",
    set_: Settings = None,
    verbose: Verbose = False,
) -> None:
    """Fine-tune an adapter on what people said, with the exit survey as they answered it."""
    from flows.cli.running_experiments import run_simulator_training

    text = run_simulator_training(
        console, profile, set_ or [], corpus, role or ["simulator"], max_dialogues, skip_dialogues, start, out, verbose
    )
    console.print(text, markup=False, highlight=False, soft_wrap=True)


@simulator_app.command("card")
def card(
    corpus: Annotated[list[str], typer.Option("--corpus", help="esconv:PATH or p4g:PATH")],
    adapter: Annotated[
        list[str] | None,
        typer.Option(
            "--adapter", help="embedded, bare or a folder, again for more side by side; the profile's by default"
        ),
    ] = None,
    split: Annotated[str, typer.Option("--split", help="held-out dialogues: validation or test")] = "validation",
    max_dialogues: Annotated[
        int | None, typer.Option("--max-dialogues", min=1, help="dialogues of one corpus at most")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="folder of the page and its plots; one in the home by default")
    ] = None,
    profile: Profile = "laptop",
    set_: Settings = None,
    verbose: Verbose = False,
) -> None:
    """Compare simulated users with people on held-out dialogues: likelihood, survey, turns, readers."""
    from flows.cli.running_experiments import run_simulator_card

    settings = {
        "corpora": corpus,
        "adapters": adapter,
        "split": split,
        "max_dialogues": max_dialogues,
    }
    text = run_simulator_card(console, profile, set_ or [], settings, out, verbose)
    console.print(text, markup=False, highlight=False, soft_wrap=True)
