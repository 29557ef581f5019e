"""`engage bench`: runs a benchmark and prints a table, or one JSON object on the last line.

Progress goes to standard error, so that standard output contains only the figures.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console
from rich.table import Table

from engage.config import load_cycle_scenarios
from engage.errors import ConfigError
from flows.cli.bench_display import show_figures, told
from flows.cli.profiles import load_config
from flows.cli.showing import print_table


def show_store(
    console: Console, progress: Console, profile: str, overrides: Sequence[str], nodes: int, as_json: bool
) -> None:
    """Insert trees, then extract pairs in SQL."""
    config = load_config(profile, overrides)
    from engage.bench.store import bench_store

    with told(progress) as tell:
        found = bench_store(nodes, config.pairs, tell)
    rows = [
        ("stored", f"{found.trees:,} trees, {found.nodes:,} nodes, {found.visits:,} visits"),
        ("inserted, outbox and drain", f"{found.trees_per_s:,.0f} trees/s, {found.nodes_per_s:,.0f} nodes/s"),
        ("pairs judged, accepted", f"{found.pairs:,}, {found.accepted:,}"),
        ("extraction in SQL", _extraction(found.sql)),
    ]
    show_figures(console, "engage bench store", rows, found.as_json(), as_json)


def show_night(
    console: Console, progress: Console, profile: str, overrides: Sequence[str], trees: int, as_json: bool
) -> None:
    """Take trees through outbox, drain and pairs."""
    config = load_config(profile, overrides)
    from engage.bench.night import bench_night

    with told(progress) as tell:
        found = bench_night(trees, config.dialogue, config.search, config.pairs, tell)
    rows = [
        (
            step.name,
            f"{step.seconds:,.1f} s, {step.cpu_s_per_1000:.2f} s of processor time per 1,000 trees, {step.peak_mb:,.0f} MB",
        )
        for step in found.steps
    ]
    rows += [
        ("outbox, database", f"{found.outbox_bytes / 1e6:,.1f} MB, {found.database_bytes / 1e6:,.1f} MB"),
        ("rows", ", ".join(f"{table} {count:,}" for table, count in found.rows.items())),
        ("accepted pairs", f"{found.accepted:,}"),
        ("words of prompts, of answers", f"{found.prompt_words:,}, {found.completion_words:,}"),
    ]
    show_figures(console, f"engage bench night ({trees:,} trees)", rows, asdict(found), as_json)


def show_align(
    console: Console,
    progress: Console,
    profile: str,
    overrides: Sequence[str],
    model: str | None,
    steps: int,
    as_json: bool,
) -> None:
    """Train a few steps with our trainer and with a plain TRL script."""
    config = load_config(profile, overrides)
    from engage.bench.align import bench_align

    with told(progress) as tell:
        found = bench_align(model or config.engine.policy_model, steps, config.align, lambda what: tell(what, 0.0))
    rows = [
        (
            "trained",
            f"{found.pairs} pairs, {found.tokens:,} tokens, {found.steps} steps, {found.model} on {found.device}",
        ),
        ("ours", f"{found.tok_s:,.0f} tokens/s, {found.seconds:.1f} s ({found.reference_s:.1f} s the reference)"),
        ("plain TRL script", f"{found.plain_tok_s:,.0f} tokens/s, {found.plain_seconds:.1f} s"),
        ("ours is faster by", f"{found.speedup:.2f} ×"),
        ("peak memory", f"{found.peak_mb:,.0f} MB, plain {found.plain_peak_mb:,.0f} MB"),
        ("peak memory of the GPU", f"{found.gpu_peak_mb:,.0f} MB, plain {found.plain_gpu_peak_mb:,.0f} MB"),
        ("loss of the first step", f"{found.first_loss:.5f}, plain {found.plain_first_loss:.5f}"),
        ("largest difference of a loss", f"{found.largest_loss_difference:.5f}"),
    ]
    show_figures(console, "engage bench align", rows, found.as_json(), as_json)


def show_engine(
    console: Console,
    progress: Console,
    profile: str,
    overrides: Sequence[str],
    sizes: str,
    lengths: str,
    tokens: int,
    plain: bool,
    as_json: bool,
) -> None:
    """Measure the configured engine's policy side, or plain `generate` on its model, under rising load."""
    config = load_config(profile, overrides)
    batch_sizes, prompt_lengths = _numbers("--requests", sizes), _numbers("--prompt-tokens", lengths)
    from engage.bench.engine import saturation
    from engage.bench.plain import PlainGenerate
    from engage.engines import close_engines, shared_engine

    sampling = config.dialogue.speech.policy.model_copy(update={"max_tokens": tokens})
    try:
        with told(progress) as tell:
            tell("loading the model", 0.0)
            sweep = saturation(
                PlainGenerate(config.engine) if plain else shared_engine(config.engine),
                batch_sizes=batch_sizes,
                prompt_lengths=prompt_lengths,
                sampling=sampling,
                on_progress=tell,
            )
            found = asyncio.run(sweep)
    finally:
        close_engines()
    if not as_json:
        print_table(console, _sweep_table(found.points))
    rows = [
        ("decode, saturated", f"{found.decode_tok_s:,.1f} tokens/s with {found.decode_requests} requests"),
        ("prefill, saturated", f"{found.prefill_tok_s:,.1f} tokens/s with {found.prefill_requests} requests"),
        ("alone: first token, each further", f"{found.first_token_ms:,.1f} ms, {found.token_ms:,.1f} ms"),
    ]
    kind = "plain generate" if plain else config.engine.kind
    show_figures(console, f"engage bench engine ({kind})", rows, {"engine": kind, **found.as_json()}, as_json)


def show_agreement(console: Console, progress: Console, profile: str, overrides: Sequence[str], as_json: bool) -> bool:
    """Compare the configured engine with the transformers engine; False if they differ by more than rounding."""
    config = load_config(profile, overrides)
    from engage.bench.agreement import compare, halved
    from engage.engines import EngineConfig, close_engines, shared_engine
    from engage.engines.base import Engine
    from engage.models import adapter_folder

    reference = config.engine.model_copy(update={"kind": "transformers"})
    scenarios = load_cycle_scenarios(config.scenarios)
    own = adapter_folder(config.engine.policy_adapter)

    def opened(wanted: EngineConfig) -> Engine:
        close_engines()  # the one before is closed already, but still known
        return shared_engine(wanted)

    with told(progress) as tell, TemporaryDirectory(prefix="engage-bench-") as folder:
        adapters = {"own": own, "half": halved(own, Path(folder) / "half"), "none": ""} if own else {"none": ""}
        try:
            found = compare(
                lambda: opened(reference),
                lambda: opened(config.engine),
                scenarios,
                config.engine,
                adapters,
                lambda what: tell(what, 0.0),
            )
        finally:
            close_engines()
    rows = [
        ("greedy replies, equal to the last token", f"{found.equal_replies} of {found.replies}"),
        *(
            (f"{one.prompt}, {one.adapter}", f"{one.margin:.3f} nats after {one.tokens} tokens")
            for one in found.differences
        ),
        ("largest difference of a survey's probability", f"{found.survey_difference:.4f}"),
        ("the same adapter after others", f"{found.again_difference:.4f}, {found.again_equal} replies equal"),
        ("GPU memory before, open, closed, closed again", ", ".join(f"{gb:.1f}" for gb in found.used_gb) or "no GPU"),
        ("verdict", "; ".join(found.faults) or "they agree within rounding"),
    ]
    show_figures(
        console,
        f"engage bench agreement ({config.engine.kind})",
        rows,
        {"engine": config.engine.kind, **found.as_json()},
        as_json,
    )
    return not found.faults


def show_search(
    console: Console,
    progress: Console,
    profile: str,
    overrides: Sequence[str],
    scenarios: int,
    seconds: float,
    as_json: bool,
) -> None:
    """Measure one simulation at a time, all scenarios at once, and the engine alone; each uses different prompts."""
    config = load_config(profile, overrides)
    from engage.bench.search import measure_search
    from engage.engines import close_engines, shared_engine
    from engage.models import has_accelerator

    sizes = (64, 128, 256, 512) if has_accelerator() else (16, 32, 64, 128)
    pool = load_cycle_scenarios(config.scenarios)
    try:
        with told(progress) as tell:
            tell("loading the model", 0.0)
            engine = shared_engine(config.engine)
            work = measure_search(
                engine, pool, config.dialogue, config.search, scenarios, seconds, tell, sizes, config.adapters(None)
            )
            found = asyncio.run(work)
    finally:
        close_engines()
    rows = [
        (
            "engine saturated",
            f"decode {found['decode_saturated_tok_s']:,.0f}, prefill {found['prefill_saturated_tok_s']:,.0f} tokens/s",
        ),
        (
            "utilisation",
            f"{found['utilisation']:.2f} ({found['utilisation_with_drain']:.2f} with the drain at the end)",
        ),
        (
            "simulations",
            f"{found['simulations_per_s']:.2f}/s, one at a time {found['sequential_simulations_per_s']:.2f}/s",
        ),
        ("speedup", f"{found['speedup']:.1f} ×"),
        ("prompt tokens reused", f"{found['reused_share']:.0%} of {found['prompt_tokens']:,}"),
        ("bookkeeping", f"{found['bookkeeping_ms_per_call']:.2f} ms a call, {found['calls']:,} calls"),
    ]
    figures = {"engine": config.engine.kind, **found}
    show_figures(console, f"engage bench search ({config.engine.kind}, {scenarios} scenarios)", rows, figures, as_json)


def show_scheduler(console: Console, progress: Console, trees: int, slots: int, latency: float, as_json: bool) -> None:
    """Measure the search with scripted answers of a fixed latency."""
    from engage.bench.scheduler import measure_scheduler

    with told(progress) as tell:
        found = measure_scheduler(trees, slots, latency, lambda what: tell(what, 0.0))
    rows = [
        ("searched", f"{found['trees']:,.0f} trees, {found['calls']:,.0f} calls in {found['wall_s']:.1f} s"),
        ("busy slots", f"{found['utilisation']:.1%} ({found['utilisation_with_drain']:.1%} with the drain at the end)"),
        ("bookkeeping", f"{found['bookkeeping_ms_per_call']:.3f} ms of processor time a call"),
        ("cost of a tree", f"{found['ms_per_tree']:.1f} ms, {found['cost_ratio']:.2f} × that of a tree among 100"),
        ("peak memory", f"{found['peak_mb']:,.0f} MB"),
    ]
    show_figures(console, "engage bench scheduler", rows, found, as_json)


def _numbers(option: str, text: str) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = [0]
    if min(numbers) < 1:
        raise ConfigError(f"{option} {text!r}: write whole numbers of at least 1, separated by commas, such as 1,8,64")
    return numbers


def _extraction(measured: Any) -> str:
    return f"{measured.seconds:.1f} s, {measured.cpu_s:.1f} s of processor time, {measured.peak_mb:,.0f} MB"


def _sweep_table(points: Sequence[Any]) -> Table:
    table = Table()
    for name in ("requests", "prompt", "prefill tok/s", "decode tok/s", "first s", "of full length"):
        table.add_column(name, justify="right")
    for point in points:
        rates = (f"{point.prefill_tok_s:,.1f}", f"{point.decode_tok_s:,.1f}", f"{point.first_token_s:.2f}")
        table.add_row(str(point.requests), str(point.prompt_length), *rates, f"{point.full_length:.0%}")
    return table
