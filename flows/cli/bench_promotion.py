"""`engage bench promotion`: simulated years of nights under several promotion rules, and panels, as Markdown tables or one JSON object."""

import json
from dataclasses import asdict

from rich.console import Console

from engage.bench.panels import SEEN, Gate, gate
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
_PANELS = [
    "members of the panel",
    "held back at first",
    "promoted in 60 nights",
    "nights to the evidence",
    "nights to promotion",
]


def show_promotion(console: Console, progress: Console, years: int, as_json: bool) -> None:
    """Simulate and print one row per rule."""
    histories, found = max(2, years // YEARS_OF_A_HISTORY), []
    for name, rule in RULES.items():
        progress.print(f"{name} …", highlight=False, markup=False)
        found.append(years_of(name, rule, histories, YEARS_OF_A_HISTORY))
    progress.print("panels …", highlight=False, markup=False)
    gates = [gate(*seen) for seen in SEEN]
    if as_json:
        rules, panels = [asdict(one) for one in found], [asdict(one) for one in gates]
        print(json.dumps({"bench": "engage bench promotion", "rules": rules, "panels": panels}))
        return
    console.print(table(_HEADER, [_row(one) for one in found]), markup=False, highlight=False, soft_wrap=True)
    console.print(table(_PANELS, [_panel_row(one) for one in gates]), markup=False, highlight=False, soft_wrap=True)


def _panel_row(found: Gate) -> list[str]:
    nights = "never" if found.nights_promoted is None else f"{found.nights_promoted:.0f}"
    return [
        f"{found.members}: gain {found.gain:+.2f}, with the last {found.last_gain:+.2f}",
        f"{found.held_back:.1%}",
        f"{found.promoted:.1%}",
        f"{found.nights_evidence:.0f}",
        nights,
    ]


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
