"""The commands `engage bench …`; their bodies are in flows/benching.py, because the libraries take seconds to import."""

from typing import Annotated

import typer

from flows.cli.options import Json, Profile, Settings, console, errors

bench_app = typer.Typer(no_args_is_help=True, help="Benchmarks: each compares within one run.")


@bench_app.command("store")
def bench_store(
    nodes: Annotated[int, typer.Option("--nodes", help="size of the throw-away store")] = 300_000,
    profile: Profile = "laptop",
    set_: Settings = None,
    json: Json = False,
) -> None:
    """Insert trees; extract pairs in SQL."""
    from flows.cli.benching import show_store

    show_store(console, errors, profile, set_ or [], nodes, json)


@bench_app.command("align")
def bench_align(
    steps: Annotated[int, typer.Option("--steps", help="optimiser steps timed, after one that warms up")] = 3,
    model: Annotated[
        str | None, typer.Option("--model", help="`embedded`, a folder or a hub id; by default the policy's")
    ] = None,
    profile: Profile = "laptop",
    set_: Settings = None,
    json: Json = False,
) -> None:
    """Train a few steps of DPO; the same pairs with a plain TRL script."""
    from flows.cli.benching import show_align

    show_align(console, errors, profile, set_ or [], model, steps, json)


@bench_app.command("engine")
def bench_engine(
    requests: Annotated[
        str, typer.Option("--requests", help="numbers of concurrent requests")
    ] = "1,2,4,8,16,32,64,128",
    prompt_tokens: Annotated[str, typer.Option("--prompt-tokens", help="lengths of the prompts")] = "64,256",
    tokens: Annotated[int, typer.Option("--tokens", min=2, max=4096, help="tokens asked of each request")] = 64,
    plain: Annotated[
        bool, typer.Option("--plain", help="transformers' own `generate` on the policy's model instead of the engine")
    ] = False,
    profile: Profile = "laptop",
    set_: Settings = None,
    json: Json = False,
) -> None:
    """Sweep the engine: prefill and decode tokens/s, latency of one request."""
    from flows.cli.benching import show_engine

    show_engine(console, errors, profile, set_ or [], requests, prompt_tokens, tokens, plain, json)


@bench_app.command("agreement")
def bench_agreement(profile: Profile = "laptop", set_: Settings = None, json: Json = False) -> None:
    """Ask the engine and the transformers engine the same; exit code 1 where they differ by more than rounding."""
    from flows.cli.benching import show_agreement

    if not show_agreement(console, errors, profile, set_ or [], json):
        raise typer.Exit(1)


@bench_app.command("search")
def bench_search(
    scenarios: Annotated[int, typer.Option("--scenarios", min=1, max=100_000, help="scenarios searched at once")] = 24,
    seconds: Annotated[float, typer.Option("--seconds", min=1.0, help="time for one simulation at a time")] = 40.0,
    profile: Profile = "laptop",
    set_: Settings = None,
    json: Json = False,
) -> None:
    """Search many scenarios; what share of the engine's best that uses, and one simulation at a time."""
    from flows.cli.benching import show_search

    show_search(console, errors, profile, set_ or [], scenarios, seconds, json)


@bench_app.command("scheduler")
def bench_scheduler(
    trees: Annotated[int, typer.Option("--trees", min=1, max=10_000_000, help="trees searched")] = 1000,
    slots: Annotated[int, typer.Option("--slots", min=1, max=1_000_000, help="requests answered at a time")] = 256,
    latency: Annotated[
        float, typer.Option("--latency", min=0.0, max=3600.0, help="seconds that an answer takes")
    ] = 0.5,
    json: Json = False,
) -> None:
    """Search without a model, on scripted answers: what the search itself costs, and whether all slots are busy."""
    from flows.cli.benching import show_scheduler

    show_scheduler(console, errors, trees, slots, latency, json)
