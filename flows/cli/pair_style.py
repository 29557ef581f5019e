"""Shows the style of a cycle's pairs as a table, and logs it to the cycle's MLflow run."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from engage.errors import ConfigError
from engage.experiments.simulator_card.style import PairStyle, pair_styles
from engage.files.digest import digest
from engage.home import Home, check_cycle_id
from engage.pages import estimate
from engage.training import load_pairs
from flows.cli.showing import print_table


def show_style(console: Console, cycle: str | None) -> None:
    """Print one row per source of pairs; ConfigError for an unknown cycle or one without pairs."""
    home = Home.from_env()
    cycle_id = check_cycle_id(cycle or _latest(home))
    pairs = [pair for path in _pair_files(home, cycle_id) for pair in load_pairs(path)]  # of a mixed set in two files
    if not pairs:
        raise ConfigError(
            f"cycle {cycle_id!r} has no pairs ({home.cycle(cycle_id)}); `engage sql --name pair_counts --param cycle={cycle_id}` "
            "shows why its candidate pairs were dropped"
        )
    styles = pair_styles(
        list({digest([pair.scenario_id, pair.prompt, pair.chosen, pair.rejected]): pair for pair in pairs}.values())
    )
    print_table(console, style_table(styles))
    console.print(
        "Accuracy: how often a classifier that sees only length, punctuation and capitals picks the chosen reply in pairs of other "
        "scenarios; 50 % is chance. In brackets: 95 % interval, resampling scenarios.",
        highlight=False,
    )
    _track(home, cycle_id, styles)


def style_table(styles: list[PairStyle]) -> Table:
    """One row per source of pairs; a dash marks a number that does not exist."""
    table = Table("pairs of", "pairs", "accuracy", "words chosen", "words rejected")
    for one in styles:
        lengths = (estimate(one.chosen_words, "{:.1f}"), estimate(one.rejected_words, "{:.1f}"))
        table.add_row(one.source, str(one.pairs), estimate(one.accuracy, "{:.1%}"), *lengths)
    return table


def _pair_files(home: Home, cycle: str) -> list[Path]:
    """Pair files of a nightly cycle and of a comparison's trainings, the latest last. `cycle` may be a glob pattern."""
    folder = home.cycle("any").parent
    found = [*folder.glob(f"{cycle}/pairs.parquet"), *folder.glob(f"{cycle}/policies/*/pairs.parquet")]
    return sorted(found, key=lambda path: path.stat().st_mtime)


def _latest(home: Home) -> str:
    found = _pair_files(home, "*")
    if not found:
        raise ConfigError("no cycle has pairs yet; run `engage align` or `engage nightly` first")
    return found[-1].relative_to(home.cycle("any").parent).parts[0]


def _track(home: Home, cycle_id: str, styles: list[PairStyle]) -> None:
    from engage.workspace import Workspace

    run = Workspace(home).tracker.cycle_run(cycle_id)
    for one in styles:
        numbers = {"accuracy": one.accuracy, "words_chosen": one.chosen_words, "words_rejected": one.rejected_words}
        for name, number in numbers.items():
            run.estimate(f"style/{one.source}/{name}", number)
