"""The experiment as a page of text, and as two tables: all figures, and all scored turns with what was told of them. No dialogue's words."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from engage.corpora import licence_of
from engage.experiments.feedback.plan import sizes
from engage.experiments.feedback.result import BEFORE, CEILING, FeedbackResult, Predicted, told_ends, told_splits
from engage.pages import DASH, counted, estimate, page, table
from engage.scenario import Split
from engage.stats import CONFIDENCE, Estimate

_SHAPE = "{:.2f}"


def feedback_page(result: FeedbackResult, model: str, openings: int = 0) -> str:
    """The page; `model` plays the user, `openings` counts how often the test split was opened (0: it was not)."""
    config = result.config
    corpora = " ".join(f"--corpus {name.partition(':')[0]}:PATH" for name in config.corpora)
    simulators = list(dict.fromkeys(one.simulator for one in result.predicted if one.simulator))
    licences = "; ".join(dict.fromkeys(licence_of(name.partition(":")[0]) for name in config.corpora))
    opened = f" The test split was opened {counted(openings, 'time')}." if openings else ""
    return page(
        [
            "# What simulated users tell of people's scores",
            f"`engage experiment feedback {corpora} --split {config.split}`; simulators: {', '.join(simulators)}; model: {model}; "
            f"seed {config.seed}. Licence of the dialogues: {licences}; this page has none of their words.{opened}",
            table(
                ("split", "dialogues with scores", "scored turns", "dialogues with an outcome"),
                [(name, *map(str, counts)) for name, *counts in sizes(result.parts)],
            ),
            "## Single turns",
            "People scored the assistant's turns from 1 to 5 during the talk. *Within*: Spearman's correlation of a method's values with "
            "these scores within each dialogue (3 scores or more, not all alike), averaged with the number of scores as weights. *Given*: "
            "the same for what is left after the score before and the turn's number. "
            f"{CONFIDENCE:.0%} intervals resample dialogues. *Heard*: asked after the assistant's turn; *answered*: after the user's "
            "answer too. The regressions were fitted to the train split; their figures on the train split are cross-validated. *Of the "
            "ceiling*: the figure over the better regression's at the same moment on the same split.",
            _turn_table(result),
            *_end_parts(result),
        ]
    )


def _turn_table(result: FeedbackResult) -> str:
    splits = told_splits(result.config)
    rows: dict[tuple[str, str, str], dict[Split, Predicted]] = {}
    for one in result.predicted:
        rows.setdefault((one.name, one.moment, one.simulator), {})[one.split] = one
    head = ["method", "moment", "simulator"]
    for split in splits:
        head += [f"{split}: within", f"{split}: given", "of the ceiling: within, given"]
    lines = []
    for key, by_split in rows.items():
        line = [*(cell or DASH for cell in key)]
        for split in splits:
            line += _figures(result, by_split[split]) if split in by_split else [DASH] * 3
        lines.append(line)
    return table(head, lines, words=3)


def _figures(result: FeedbackResult, one: Predicted) -> list[str]:
    both = (one.agreement.within, one.agreement.given)
    shares = [
        _share(found, result.ceiling(one.moment, one.split, figure))
        for found, figure in zip(both, ("within", "given"), strict=True)
    ]
    is_reader = one.name not in (*CEILING, *BEFORE)
    return [*(estimate(found, _SHAPE) for found in both), ", ".join(shares) if is_reader else DASH]


def _share(found: Estimate, ceiling: Estimate | None) -> str:
    """The share of the ceiling; a dash if the ceiling's interval does not lie above 0."""
    if found.value is None or ceiling is None or ceiling.value is None or (ceiling.low or 0.0) <= 0.0:
        return DASH
    return f"{found.value / ceiling.value:.0%}"


def _end_parts(result: FeedbackResult) -> list[str]:
    if not result.ended:
        return []
    humans = told_ends(result.config, result.parts)
    rows = [(one.name, one.simulator or DASH, estimate(one.correlation, _SHAPE)) for one in result.ended]
    return [
        f"## Outcomes of whole dialogues ({counted(len(humans), 'dialogue')}, {result.config.split})",
        "Spearman's correlation, over dialogues, of a method's value at the end with the outcome that the person stated: for a regression "
        "the outcome in the survey's unit, for a reader its reward.",
        table(("method", "simulator", "correlation"), rows, words=2),
    ]


def figures_csv(result: FeedbackResult) -> str:
    """One row per method, moment, simulator, split and figure."""
    rows: list[Sequence[object]] = [
        (one.name, one.moment, one.simulator, one.split, figure, found.value, found.low, found.high, found.n)
        for one in result.predicted
        for figure, found in (("within", one.agreement.within), ("given", one.agreement.given))
    ]
    rows += [
        (one.name, "end", one.simulator, result.config.split, "outcome", *_cells(one.correlation))
        for one in result.ended
    ]
    return _csv(("method", "moment", "simulator", "split", "figure", "value", "low", "high", "dialogues"), rows)


def _cells(one: Estimate) -> tuple[object, ...]:
    return one.value, one.low, one.high, one.n


def turns_csv(result: FeedbackResult) -> str:
    """One row per scored turn of the splits that are told about: its score, and each method's value."""
    methods: dict[str, Mapping[Split, Predicted]] = {}
    for one in result.predicted:
        if one.name not in BEFORE:
            name = "/".join(filter(None, (one.name, one.moment, one.simulator)))
            methods[name] = {**methods.get(name, {}), one.split: one}
    rows = []
    for split in told_splits(result.config):
        for place, turn in enumerate(result.turns[split]):
            values = [by_split[split].values[place] if split in by_split else np.nan for by_split in methods.values()]
            told = ["" if np.isnan(value) else f"{value:.4f}" for value in values]
            rows.append((split, turn.dialogue, turn.place, turn.number, turn.score, turn.previous, *told))
    return _csv(("split", "dialogue", "turn", "number", "score", "score before", *methods), rows)


def _csv(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([head, *rows])
    return text.getvalue()


def summary(result: FeedbackResult) -> str:
    """A few lines for the terminal: the regressions and the reader that agree best on the split that is told about."""
    own = [one for one in result.predicted if one.split == result.config.split and one.name not in BEFORE]

    def best(some: Sequence[Predicted]) -> str:
        known = [one for one in some if one.agreement.within.value is not None]
        if not known:
            return "no figure: too few dialogues with three scores that differ"
        top = max(known, key=lambda one: one.agreement.within.value or 0.0)
        name = ", ".join(filter(None, (f"{top.name}/{top.moment}", top.simulator)))
        return f"{name}: {estimate(top.agreement.within, _SHAPE)}, given the score before {estimate(top.agreement.given, _SHAPE)}"

    return (
        f"Rank correlation with people's scores within dialogues ({result.config.split}, {counted(len(result.turns[result.config.split]), 'turn')}):\n"
        f"  best regression: {best([one for one in own if one.name in CEILING])}\n"
        f"  best reader: {best([one for one in own if one.name not in CEILING])}"
    )
