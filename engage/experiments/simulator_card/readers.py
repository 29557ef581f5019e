"""The two readers of the exit survey on the same dialogues: `pattern` over sampled answers against `expected`."""

from collections.abc import Sequence

import numpy as np

from engage.corpora import HumanDialogue
from engage.experiments.simulator_card.asking import Answers, Cost
from engage.stats import Estimate, estimate, mean, rate, spearman

Figures = dict[str, Estimate]


def reader_figures(dialogues: Sequence[HumanDialogue], answers: Answers, seed: int = 0) -> Figures:
    """Figures in the survey's unit, over dialogues with an expected value and a readable answer.

    `unreadable`: share of the sampled answers. `pattern_bias`: mean of pattern − expected. `pattern_noise`: variance of the
    answers to one dialogue, which `expected` does not have. `pattern_distance`: mean square of one answer − expected.
    `spearman_…`: rank correlation of one reading with the real outcome, `spearman_gain` that of expected minus that of pattern.
    """
    asked = [human for human in dialogues if human.scenario_id in answers.pattern]
    all_read = [[reaction.value for reaction in answers.pattern[human.scenario_id]] for human in asked]
    figures = {
        "unreadable": rate(
            [sum(value is None for value in values) for values in all_read], [len(v) for v in all_read], seed
        )
    }
    rows = []
    for human, values in zip(asked, all_read, strict=True):
        reaction = answers.expected.get(human.scenario_id)
        read = np.array([value for value in values if value is not None])
        if reaction is not None and reaction.reader == "expected" and reaction.value is not None and len(read):
            rows.append((human.outcome, reaction.value, read))
    outcome, expected = (np.array([row[place] for row in rows], dtype=float) for place in (0, 1))
    first = np.array([row[2][0] for row in rows], dtype=float)
    several = [row[2] for row in rows if len(row[2]) > 1]
    by_expected, by_pattern = spearman(expected, outcome), spearman(first, outcome)
    return figures | {
        "pattern_bias": mean([row[2].mean() - row[1] for row in rows], seed),
        "pattern_noise": mean([read.var(ddof=1) for read in several], seed),
        "pattern_distance": mean([((row[2] - row[1]) ** 2).mean() for row in rows], seed),
        "spearman_expected": estimate(len(rows), by_expected, seed),
        "spearman_pattern": estimate(len(rows), by_pattern, seed),
        "spearman_gain": estimate(len(rows), lambda counts: by_expected(counts) - by_pattern(counts), seed),
    }


def cost_figures(cost: Cost, dialogues: int) -> Figures:
    """Calls, tokens and seconds per dialogue; single measurements without an interval. Unknown counts are left out."""
    if not dialogues or not cost.calls:
        return {}
    totals = {
        "calls": cost.calls,
        "prompt_tokens": cost.prompt_tokens,
        "reused_tokens": cost.cached_tokens,
        "completion_tokens": cost.completion_tokens,
        "seconds": cost.seconds,
    }
    return {name: Estimate(total / dialogues, n=dialogues) for name, total in totals.items() if total is not None}


def favoured(figures: Figures) -> str:
    """Which reader the evidence favours, in one sentence: first by the outcome; if that is undecided, by noise and unreadable answers."""
    gain, noise, lost = (figures.get(name, Estimate()) for name in ("spearman_gain", "pattern_noise", "unreadable"))
    if gain.n == 0 or lost.value is None:
        return "The readers cannot be compared: no dialogue was read by both."
    shares = f"{lost.value:.0%} of the sampled answers cannot be read"
    if noise.value is not None:
        shares += f", and answers to one dialogue vary by a standard deviation of {noise.value**0.5:.2f}"
    each = [figures.get(f"spearman_{reader}", Estimate()) for reader in ("expected", "pattern")]
    if not any(one.low is not None and one.low > 0 for one in each):
        same = "Neither reader ranks the real outcomes beyond chance, so that they cannot decide"
    elif gain.low is not None and gain.low > 0:
        return f"`expected` is favoured: it ranks the real outcomes better than one sampled answer ({shares})."
    elif gain.high is not None and gain.high < 0:
        return f"`pattern` is favoured: one sampled answer ranks the real outcomes better than `expected`, though {shares}."
    else:
        same = "Neither reader ranks the real outcomes better than the other beyond doubt"
    if lost.value > 0 or (noise.value or 0.0) > 0:
        return f"{same}; `expected` is favoured, because it adds no noise and loses no answer ({shares})."
    return f"{same}, and {shares}: nothing favours one of them."
