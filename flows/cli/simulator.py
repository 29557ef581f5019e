"""The commands `engage simulator …`: train a simulator on human dialogues, and measure how good simulators are."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.options import Profile, Settings, Verbose, console

simulator_app = typer.Typer(no_args_is_help=True, help="Simulated users: train one, and compare them with people.")


@simulator_app.command("train")
def train_simulator(
    corpus: Annotated[list[str], typer.Option("--corpus", help="esconv:PATH, p4g:PATH, own:PATH, or shipped")],
    out: Annotated[
        Path, typer.Option("--out", help="folder of the training run; the adapter is written to OUT/adapter")
    ],
    role: Annotated[
        list[str] | None,
        typer.Option("--role", help="whose turns to learn: simulator (default) or policy; repeat for both"),
    ] = None,
    max_dialogues: Annotated[
        int | None, typer.Option("--max-dialogues", min=1, help="maximum number of dialogues per corpus")
    ] = None,
    skip_dialogues: Annotated[
        int,
        typer.Option(
            "--skip-dialogues",
            min=0,
            help="skip the N dialogues that --max-dialogues N selects (to train a held-out simulator on other people)",
        ),
    ] = 0,
    start: Annotated[
        str | None,
        typer.Option("--from", help="adapter to continue from: embedded or a folder; default: a new adapter"),
    ] = None,
    profile: Profile = "laptop",
    set_: Settings = None,
    verbose: Verbose = False,
) -> None:
    """Fine-tune an adapter on human dialogues and the people's own answers to the exit survey."""
    from flows.cli.running_experiments import run_simulator_training

    text = run_simulator_training(
        console, profile, set_ or [], corpus, role or ["simulator"], max_dialogues, skip_dialogues, start, out, verbose
    )
    console.print(text, markup=False, highlight=False, soft_wrap=True)


@simulator_app.command("card")
def card(
    corpus: Annotated[list[str], typer.Option("--corpus", help="esconv:PATH, p4g:PATH or own:PATH")],
    adapter: Annotated[
        list[str] | None,
        typer.Option(
            "--adapter", help="embedded, bare or a folder; repeat to compare several; default: the profile's adapter"
        ),
    ] = None,
    split: Annotated[
        str, typer.Option("--split", help="split of the held-out dialogues: validation or test")
    ] = "validation",
    max_dialogues: Annotated[
        int | None, typer.Option("--max-dialogues", min=1, help="maximum number of dialogues per corpus")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="folder for the page and its plots; default: a new folder in ENGAGE_HOME"),
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
