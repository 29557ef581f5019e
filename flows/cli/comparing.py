"""Runs `engage compare` in this process: trainings on one cycle, or candidates of finished cycles."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from engage.errors import ConfigError
from engage.grid import combinations
from engage.home import Home
from engage.models import AdapterCard
from engage.training import latest_candidate
from flows.cli.profiles import Asked
from flows.cli.running import command_again, find_cycle_id, in_process, open_cycle


def run_compare(
    console: Console, names: Sequence[str], grid: Sequence[str], asked: Asked, cycle: str | None, verbose: bool
) -> str:
    """Compare and return the page; ConfigError unless either `names` or `grid` says what."""
    if bool(names) == bool(grid):
        raise ConfigError(
            "name two or more cycles or adapters to compare, such as `engage compare CYCLE_A CYCLE_B`, or give trainings of one cycle, "
            "such as `engage compare --cycle CYCLE --grid 'align.dpo.beta=[0.1, 0.5]'`"
        )
    differing = combinations(grid) if grid else {}
    adapters = {name: str(_adapter(name)) for name in names}
    if names and len(adapters) < 2:
        raise ConfigError("name two different cycles or adapters: there is nothing to compare one with itself")
    existing = find_cycle_id(cycle or next((name for name in names if Home.from_env().cycle(name).is_dir()), None))
    config = asked.config(existing)
    cycle_id = open_cycle(console, existing)
    parts = [*names, *(part for text in grid for part in ("--grid", text))]
    with in_process(console, verbose, command_again("compare", asked, cycle_id, parts)):
        from flows.compare import compare_adapters, compare_trainings

        if names:
            return compare_adapters(config, cycle_id, adapters).text
        configs = {name: asked.with_more(overrides).config(existing) for name, overrides in differing.items()}
        differs = [text.partition("=")[0].strip() for text in grid]
        return compare_trainings(config, cycle_id, configs, differs).text


def _adapter(name: str) -> Path:
    """The adapter of a cycle's candidate, of a version in the registry, or in a folder; ConfigError if there is none, or none of engage's."""
    home = Home.from_env()
    if Path(name).is_dir() and (Path(name) / "adapter_config.json").is_file():
        AdapterCard.read(name)
        return Path(name).resolve()
    if not home.cycle(name).is_dir() or Path(name).name != name:
        if version := _registered(name):
            return version
        raise ConfigError(
            f"{name!r:.80} is neither a cycle of this home ({home.path}), nor a version in its registry, nor an adapter's folder"
        )
    candidate = latest_candidate(home.cycle(name), home.find)
    if candidate is None:
        raise ConfigError(f"cycle {name!r} has no candidate: nothing was trained; run `engage align --cycle {name}`")
    return Path(candidate.adapter)


def _registered(version: str) -> Path | None:
    """The adapter of a version in MLflow's registry; None if there is no such version."""
    if not version.isdecimal():
        return None
    from engage.workspace import Workspace

    return Workspace.from_env().tracker.adapter_of(version)
