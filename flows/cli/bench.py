"""The commands `engage bench …`. Their bodies are in flows/cli/benching.py, because the libraries take seconds to import."""

from typing import Annotated

import typer

from flows.cli.options import Json, Profile, Settings, console, errors

bench_app = typer.Typer(no_args_is_help=True, help="Benchmarks; each makes its comparison within one run.")


@bench_app.command("store")
def bench_store(
    nodes: Annotated[int, typer.Option("--nodes", help="number of nodes in the temporary store")] = 300_000,
    profile: Profile = "laptop",
    set_: Settings = None,
    json: Json = False,
) -> None:
    """Insert trees; extract pairs in SQL."""
    from flows.cli.benching import show_store

    show_store(console, errors, profile, set_ or [], nodes, json)


@bench_app.command("night")
def bench_night(
    trees: Annotated[int, typer.Option("--trees", min=1, max=1_000_000, help="number of trees of the night")] = 1000,
    profile: Profile = "laptop",
    set_: Settings = None,
    json: Json = False,
) -> None:
    """Take a night's trees through outbox, database, pairs and the copy for readers: seconds, memory, bytes and rows."""
    from flows.cli.benching import show_night

    show_night(console, errors, profile, set_ or [], trees, json)


@bench_app.command("align")
def bench_align(
    steps: Annotated[int, typer.Option("--steps", help="optimiser steps to time, after one warm-up step")] = 3,
    model: Annotated[
        str | None, typer.Option("--model", help="`embedded`, a folder or a hub id; default: the policy's model")
    ] = None,
    profile: Profile = "laptop",
    set_: Settings = None,
    json: Json = False,
) -> None:
    """Train a few steps of DPO, and train on the same pairs with a plain TRL script."""
    from flows.cli.benching import show_align

    show_align(console, errors, profile, set_ or [], model, steps, json)


@bench_app.command("engine")
def bench_engine(
    requests: Annotated[
        str, typer.Option("--requests", help="numbers of concurrent requests, separated by commas")
    ] = "1,2,4,8,16,32,64,128",
    prompt_tokens: Annotated[
        str, typer.Option("--prompt-tokens", help="prompt lengths in tokens, separated by commas")
    ] = "64,256",
    tokens: Annotated[int, typer.Option("--tokens", min=2, max=4096, help="tokens to generate per request")] = 64,
    plain: Annotated[
        bool,
        typer.Option(
            "--plain", help="measure transformers' own `generate` on the policy's model instead of the engine"
        ),
    ] = False,
    profile: Profile = "laptop",
    set_: Settings = None,
    json: Json = False,
) -> None:
    """Measure the engine under rising load: prefill and decode tokens/s, and the latency of one request."""
    from flows.cli.benching import show_engine

    show_engine(console, errors, profile, set_ or [], requests, prompt_tokens, tokens, plain, json)


@bench_app.command("agreement")
def bench_agreement(profile: Profile = "laptop", set_: Settings = None, json: Json = False) -> None:
    """Send the same requests to the engine and to the transformers engine; exit code 1 if they differ by more than rounding."""
    from flows.cli.benching import show_agreement

    if not show_agreement(console, errors, profile, set_ or [], json):
        raise typer.Exit(1)


@bench_app.command("search")
def bench_search(
    scenarios: Annotated[
        int, typer.Option("--scenarios", min=1, max=100_000, help="scenarios searched at the same time")
    ] = 24,
    seconds: Annotated[
        float, typer.Option("--seconds", min=1.0, help="seconds to measure one simulation at a time")
    ] = 40.0,
    profile: Profile = "laptop",
    set_: Settings = None,
    json: Json = False,
) -> None:
    """Search many scenarios at once: the share of the engine's best speed that is used, and the speed of one simulation at a time."""
    from flows.cli.benching import show_search

    show_search(console, errors, profile, set_ or [], scenarios, seconds, json)


@bench_app.command("scheduler")
def bench_scheduler(
    trees: Annotated[int, typer.Option("--trees", min=1, max=10_000_000, help="number of trees to search")] = 1000,
    slots: Annotated[
        int, typer.Option("--slots", min=1, max=1_000_000, help="requests that are answered at the same time")
    ] = 256,
    latency: Annotated[float, typer.Option("--latency", min=0.0, max=3600.0, help="seconds per answer")] = 0.5,
    json: Json = False,
) -> None:
    """Search with scripted answers instead of a model: the cost of the search itself, and the share of busy slots."""
    from flows.cli.benching import show_scheduler

    show_scheduler(console, errors, trees, slots, latency, json)


@bench_app.command("promotion")
def bench_promotion(
    years: Annotated[
        int, typer.Option("--years", min=10, max=100_000, help="simulated years, in histories of five years")
    ] = 2000,
    json: Json = False,
) -> None:
    """Simulate years of nights under several promotion rules: false promotions, their harm, and how long a true gain waits."""
    from flows.cli.bench_promotion import show_promotion

    show_promotion(console, errors, years, json)
