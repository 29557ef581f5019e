"""Runs `engage compare` in this process: trainings on one cycle, or candidates of finished cycles."""

from collections.abc import Sequence

from rich.console import Console

from engage.errors import ConfigError
from engage.evaluation import check_adapter_names
from engage.grid import combinations
from engage.home import Home
from flows.cli.policies import named_adapter
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
    adapters = {name: str(named_adapter(name)) for name in names}
    if names and len(adapters) < 2:
        raise ConfigError("name two different cycles or adapters: there is nothing to compare one with itself")
    existing = find_cycle_id(cycle or next((name for name in names if Home.from_env().cycle(name).is_dir()), None))
    config = asked.config(existing)
    check_adapter_names(config.engine, config.evaluation)
    cycle_id = open_cycle(console, existing)
    parts = [*names, *(part for text in grid for part in ("--grid", text))]
    with in_process(console, verbose, command_again("compare", asked, cycle_id, parts)):
        from flows.compare import compare_adapters, compare_trainings

        if names:
            return compare_adapters(config, cycle_id, adapters).text
        configs = {name: asked.with_more(overrides).config(existing) for name, overrides in differing.items()}
        differs = [text.partition("=")[0].strip() for text in grid]
        return compare_trainings(config, cycle_id, configs, differs).text
