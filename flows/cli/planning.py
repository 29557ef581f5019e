"""`engage plan`: how large a comparison has to be to show a gain, from what the home's evaluations measured. Reads only."""

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from engage.errors import ConfigError
from engage.home import Home
from engage.pages import DASH
from flows.cli.profiles import Asked
from flows.cli.showing import print_table, visible_json

if TYPE_CHECKING:
    from engage.evaluation import Plan


def show_plan(console: Console, gain: float, asked: Asked, as_json: bool) -> None:
    """Print the plan as a table with remarks, or as JSON; ConfigError if the gain is none, or if nothing was evaluated yet."""
    from engage.config import load_cycle_scenarios
    from engage.evaluation import plan
    from flows.cli.asking import tell
    from flows.cli.reading import store_to_read

    if not 0.0 < gain <= 1.0:
        raise ConfigError(f"--gain {gain}: is not over 0 and at most 1; rewards lie in 0..1")
    store = store_to_read(Home.from_env(), False, tell)
    config = asked.config(store.latest_cycle(), store)
    found = plan(store, load_cycle_scenarios(config.scenarios), config.evaluation, config.engine.prices, gain)
    if as_json:
        text = json.dumps(asdict(found), ensure_ascii=False, indent=1)
        print(visible_json(text) if sys.stdout.isatty() else text)
        return
    told = (
        f"To show a true gain of {gain:g} with a power of {found.power:.0%} (the {found.confidence:.0%} interval above 0, "
        f"{found.decides.simulator} simulator):"
    )
    console.print(told, soft_wrap=True)
    print_table(console, _sizes(found))
    print_table(console, _measured(found))
    for sentence in remarks(found):
        console.print(sentence, soft_wrap=True)


def _sizes(found: "Plan") -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in ("dialogues a scenario", "scenarios", "per domain", "dialogues", "minutes", "US dollars"):
        table.add_column(name, justify="right")
    for one in found.sizes:
        numbers = (one.scenarios, one.per_domain or "too few", one.talks)
        minutes, usd = ("" if value is None else f"{value:,.0f}" for value in (one.minutes, one.usd))
        table.add_row(str(one.dialogues), *(str(each or DASH) for each in numbers), minutes or DASH, usd or DASH)
    return table


def _measured(found: "Plan") -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("simulator")
    for name in ("differences", "SD between scenarios", "SD within", "gain shown now"):
        table.add_column(name, justify="right")
    for one in found.measured:
        within, least = (
            DASH if value is None else f"{value:.3f}"
            for value in (None if one.spread.within is None else one.spread.within**0.5, one.least_gain)
        )
        table.add_row(one.simulator, str(one.differences), f"{one.spread.between**0.5:.3f}", within, least)
    return table


def remarks(found: "Plan") -> list[str]:
    """What the tables mean, a sentence each."""
    least, within = found.decides.least_gain, found.decides.spread.within
    held = sum(found.sources.values())
    size = f"{found.present_scenarios} scenarios × {found.present_dialogues}"
    lines = [
        f"The present size, {size}, shows no gain that a reward can have."
        if least is None
        else f"The present size, {size}, shows a gain of {least:.3f} or more.",
        f"The sources hold {held} held-out scenarios ({', '.join(f'{name} {count}' for name, count in found.sources.items())})"
        + (": enough for each row." if all(one.per_domain for one in found.sizes) else _too_few(found)),
        f"`evaluation.per_domain` and `evaluation.dialogues` set the size. Dialogues count both policies with {found.simulators} simulators each. Measured on {found.decides.comparisons} "
        f"candidates in the last {found.cycles} evaluations.",
    ]
    if within is not None and not found.decides.spread.between:
        lines.append(
            "So few scenarios show no difference between scenarios; there may be one: rather add scenarios than dialogues."
        )
    if within is None:
        lines.append(
            "No scenario had two dialogues of one candidate, so that noise within scenarios is unknown: evaluation.dialogues=2 measures it."
        )
    return [*lines, "A promotion needs evidence as well, which may gather over nights: `engage doctor` says how much."]


def _too_few(found: "Plan") -> str:
    enough = [one.dialogues for one in found.sizes if one.per_domain]
    if enough:
        return f": enough with {min(enough)} dialogues a scenario or more."
    return ": too few for each row; add scenarios (15 % are in the validation split, and half of these decide)."
