"""The commands `engage experiment …`. Their bodies are imported when needed, because the libraries take seconds to import."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.options import CycleProfile, DomainModules, Profile, Settings, Verbose, console
from flows.cli.profiles import Asked

experiment_app = typer.Typer(
    no_args_is_help=True, help="Experiments: check a cycle's figures, compare policies, check simulated users."
)


@experiment_app.command("credit")
def credit(
    cycle: Annotated[str | None, typer.Option("--cycle", help="id of a collected cycle; default: the latest")] = None,
    pairs: Annotated[
        int, typer.Option("--pairs", min=1, help="number of pairs to re-roll, spread over the stated P")
    ] = 100,
    prefixes: Annotated[
        int, typer.Option("--prefixes", min=2, help="dialogue prefixes per domain that the noise is estimated from")
    ] = 12,
    rollouts: Annotated[int, typer.Option("--rollouts", min=2, help="fresh rollouts per reply of a pair")] = 32,
    profile: CycleProfile = None,
    set_: Settings = None,
    domain_module: DomainModules = None,
    verbose: Verbose = False,
) -> None:
    """Repeat rollouts to measure the noise of one rollout and to check the stated P(Q+ > Q-)."""
    from flows.cli.running_experiments import run_credit

    text = run_credit(console, Asked.by(profile, set_, domain_module), cycle, pairs, prefixes, rollouts, verbose)
    console.print(text, markup=False, highlight=False, soft_wrap=True)


@experiment_app.command("people")
def people(
    corpus: Annotated[str, typer.Option("--corpus", help="human corpus as esconv:PATH, p4g:PATH or own:PATH")],
    cycle: Annotated[
        str | None, typer.Option("--cycle", help="id of the cycle whose pairs trained the policy; default: the latest")
    ] = None,
    policy: Annotated[
        str | None,
        typer.Option("--policy", help="folder or registry version of the adapter; default: the cycle's candidate"),
    ] = None,
    split: Annotated[
        str, typer.Option("--split", help="validation or test: which held-out dialogues are scored")
    ] = "validation",
    max_dialogues: Annotated[
        int | None, typer.Option("--max-dialogues", help="maximum number of scored dialogues, sampled at random")
    ] = None,
    nulls: Annotated[int, typer.Option("--nulls", help="number of trainings on randomly swapped pairs")] = 5,
    profile: CycleProfile = None,
    set_: Settings = None,
    domain_module: DomainModules = None,
    verbose: Verbose = False,
) -> None:
    """Check on held-out human dialogues whether a policy prefers replies that went with a better outcome."""
    from flows.cli.running_experiments import run_people

    settings = {"corpus": corpus, "split": split, "max_dialogues": max_dialogues, "nulls": nulls}
    text = run_people(console, Asked.by(profile, set_, domain_module), cycle, policy, settings, verbose)
    console.print(text, markup=False, highlight=False, soft_wrap=True)


@experiment_app.command("abilities")
def abilities(
    cycle: Annotated[
        str | None, typer.Option("--cycle", help="id of the cycle whose policies are asked; default: the latest")
    ] = None,
    policy: Annotated[
        str | None,
        typer.Option(
            "--policy",
            help="folder or registry version of the trained adapter, or base for none; default: the cycle's candidate",
        ),
    ] = None,
    profile: CycleProfile = None,
    set_: Settings = None,
    domain_module: DomainModules = None,
    verbose: Verbose = False,
) -> None:
    """Check with 200 short instructions whether a trained policy still does what its base and its start could."""
    from flows.cli.running_experiments import run_abilities

    text = run_abilities(console, Asked.by(profile, set_, domain_module), cycle, policy, verbose)
    console.print(text, markup=False, highlight=False, soft_wrap=True)


@experiment_app.command("transfer")
def transfer(
    cycle: Annotated[
        str | None, typer.Option("--cycle", help="id of the cycle whose pairs are checked; default: the latest")
    ] = None,
    profile: CycleProfile = None,
    set_: Settings = None,
    domain_module: DomainModules = None,
    verbose: Verbose = False,
) -> None:
    """Check whether a night's pairs hold for a held-out simulator that reads the search's conversations."""
    from flows.cli.running_experiments import run_transfer

    text = run_transfer(console, Asked.by(profile, set_, domain_module), cycle, verbose)
    console.print(text, markup=False, highlight=False, soft_wrap=True)


@experiment_app.command("comparison")
def comparison(
    cycle: Annotated[
        str | None, typer.Option("--cycle", help="id of the experiment; an existing one is resumed")
    ] = None,
    profile: CycleProfile = None,
    set_: Settings = None,
    domain_module: DomainModules = None,
    verbose: Verbose = False,
) -> None:
    """Compare policies on the same held-out scenarios: prompted, fine-tuned, searching, trained with DPO."""
    from flows.cli.running import run_stage

    text = run_stage(console, "comparison", Asked.by(profile, set_, domain_module), cycle, verbose, must_exist=False)
    console.print(text, markup=False, highlight=False, soft_wrap=True)


@experiment_app.command("feedback")
def feedback(
    corpus: Annotated[
        list[str],
        typer.Option("--corpus", help="dialogues with scores of single turns: esconv:PATH (FailedESConv.json)"),
    ],
    adapter: Annotated[
        list[str] | None,
        typer.Option(
            "--adapter", help="simulator: embedded, bare or a folder; repeat for several; default: bare and embedded"
        ),
    ] = None,
    split: Annotated[
        str, typer.Option("--split", help="validation, or test: for one reader of one simulator, chosen before")
    ] = "validation",
    reader: Annotated[
        str | None,
        typer.Option("--reader", help="ask one way only, such as relief/heard; default: all ways"),
    ] = None,
    max_dialogues: Annotated[
        int | None,
        typer.Option("--max-dialogues", min=1, help="maximum number of dialogues per split, for a quick try"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="folder for the page and its tables; default: a new one in ENGAGE_HOME")
    ] = None,
    profile: Profile = "laptop",
    set_: Settings = None,
    verbose: Verbose = False,
) -> None:
    """Check whether simulated users answer for what was said: compare them with people's own scores of single turns."""
    from flows.cli.running_experiments import run_feedback

    settings = {
        "corpora": corpus,
        "adapters": adapter or ["bare", "embedded"],
        "split": split,
        "reader": reader,
        "max_dialogues": max_dialogues,
    }
    text = run_feedback(console, profile, set_ or [], settings, out, verbose)
    console.print(text, markup=False, highlight=False, soft_wrap=True)
