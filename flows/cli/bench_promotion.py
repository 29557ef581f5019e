"""`engage bench promotion`: simulated years of nights under several promotion rules, as a Markdown table or one JSON object."""

import json
from dataclasses import asdict

from rich.console import Console

from engage.bench.promotion import GAINS, RULES, Years, years_of
from engage.pages import table

YEARS_OF_A_HISTORY = 5
_HEADER = [
    "rule",
    "promoted a year",
    "no gain here",
    "no gain at large",
    "share false",
    "harm a year",
    "net gain a year",
    "false a year, all null",
    "all null, skewed",
    *(f"nights, gain {gain:g}" for gain in GAINS),
]


def show_promotion(console: Console, progress: Console, years: int, as_json: bool) -> None:
    """Simulate and print one row per rule."""
    histories, found = max(2, years // YEARS_OF_A_HISTORY), []
    for name, rule in RULES.items():
        progress.print(f"{name} …", highlight=False, markup=False)
        found.append(years_of(name, rule, histories, YEARS_OF_A_HISTORY))
    if as_json:
        print(json.dumps({"bench": "engage bench promotion", "rules": [asdict(one) for one in found]}))
        return
    console.print(table(_HEADER, [_row(one) for one in found]), markup=False, highlight=False, soft_wrap=True)


def _row(found: Years) -> list[str]:
    counts = (found.promotions, found.false_here, found.false_at_large)
    sums = (found.harm, found.gain, found.null_false, found.skewed_false)
    waits = [" / ".join("never" if nights is None else str(nights) for nights in both) for both in found.waits.values()]
    return [
        found.rule,
        *(f"{number:.2f}" for number in counts),
        f"{found.share_false:.2%}",
        *(f"{number:.2f}" for number in sums),
        *waits,
    ]
