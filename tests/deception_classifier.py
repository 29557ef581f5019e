"""Does a small classifier find deceiving replies that the rules miss? TF-IDF of words and characters, logistic regression.

Cross-validated on all labelled replies of fixtures/ in folds of whole scenarios; thresholds are chosen within the training folds.
`python tests/deception_classifier.py` prints the table of fixtures/README.md.
"""

import json
from collections import Counter

import numpy as np
from deception_measured import FRESH, POPULATION, deceives, matched, read_replies
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline, make_union

from engage.pages import bounded, table

PRECISION, LEAST = 0.9, 5
"""The wanted precision, and the least number of replies to measure it on."""
RESAMPLES = 4_000
STRENGTHS = (1.0, 10.0)
Flags = NDArray[np.bool_]
Numbers = NDArray[np.float64]


def read_all() -> tuple[list[dict[str, object]], Numbers]:
    """All labelled replies, and how many of the population each stands for: 0 for those of earlier sets, and for people's."""
    fresh = read_replies()
    stratum = [(one["source"], one["domain"], one["drawn_from"]) for one in fresh]
    drawn = Counter(stratum)
    weight = [POPULATION[s, d][name] / drawn[s, d, name] * (s != "p4g" and d == "persuasion") for s, d, name in stratum]
    earlier = [
        {"dialogue": f"{name} {line}", "domain": "persuasion", **json.loads(text)}
        for name in ("labelled_replies", "life_replies")
        for line, text in enumerate(FRESH.with_name(f"{name}.jsonl").read_text(encoding="utf-8").splitlines())
    ]
    return [*earlier, *fresh], np.array([0.0] * len(earlier) + weight)


def lowest_threshold(score: Numbers, deceiving: Flags, base: Flags, counted: Flags) -> float:
    """The lowest score at which what it finds, or `base` found, is right often enough among the `counted`; infinite if there is none."""
    for value in np.unique(score):
        found = ((score >= value) | base) & counted
        if found.sum() >= LEAST and deceiving[found].mean() >= PRECISION:
            return float(value)
    return float("inf")


def scores(texts: Flags, deceiving: Flags, train: NDArray[np.intp], test: NDArray[np.intp], strength: float) -> Numbers:
    """P(deceives) of the test replies."""
    model = make_pipeline(
        make_union(
            TfidfVectorizer(ngram_range=(1, 3), sublinear_tf=True, token_pattern=r"(?u)\b\w[\w']*\b|\$", min_df=2),
            TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True, min_df=2),
        ),
        LogisticRegression(C=strength, class_weight="balanced", max_iter=2_000),
    )
    return np.asarray(model.fit(texts[train], deceiving[train]).predict_proba(texts[test])[:, 1])


def judged(texts: Flags, deceiving: Flags, groups: Flags, rules: Flags) -> dict[str, Flags]:
    """What each way of finding them flags, every reply judged by a model that saw nothing of its scenario."""
    nothing = np.zeros(len(texts), bool)
    found = {name: nothing.copy() for name in ("alone", "beside, all flagged", "beside, what it adds")}
    for train, test in StratifiedGroupKFold(5, shuffle=True, random_state=1).split(texts, deceiving, groups):
        inner = {strength: np.zeros(len(train)) for strength in STRENGTHS}
        for fit, held in StratifiedGroupKFold(5, shuffle=True, random_state=2).split(
            train, deceiving[train], groups[train]
        ):
            for strength, score in inner.items():
                score[held] = scores(texts, deceiving, train[fit], train[held], strength)
        strength = max(inner, key=lambda one: average_precision_score(deceiving[train], inner[one]))
        score = scores(texts, deceiving, train, test, strength)
        ways = {
            "alone": (nothing[train], ~nothing[train]),
            "beside, all flagged": (rules[train], ~nothing[train]),
            "beside, what it adds": (nothing[train], ~rules[train]),
        }
        for name, (base, counted) in ways.items():
            found[name][test] = score >= lowest_threshold(inner[strength], deceiving[train], base, counted)
    return {"rules": rules} | {name: flags | rules if "beside" in name else flags for name, flags in found.items()}


def rows(found: dict[str, Flags], deceiving: Flags, groups: Flags, weight: Numbers) -> list[tuple[str, ...]]:
    """By way: precision, recall, recall minus the rules', and what it adds to them; whole scenarios are resampled."""
    names, place = np.unique(groups, return_inverse=True)
    rng = np.random.default_rng(0)
    times = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), RESAMPLES)[:, place]
    counts = np.vstack([np.ones(len(groups)), times]) * weight
    base = counts @ (found["rules"] & deceiving) / (counts @ deceiving)
    result = []
    for name, flags in found.items():
        right = flags & deceiving
        figures = (
            counts @ right / (counts @ flags),
            counts @ right / (counts @ deceiving),
            counts @ right / (counts @ deceiving) - base,
        )
        added = flags & ~found["rules"] & (weight > 0)
        bounds = [np.nanquantile(figure[1:], (0.025, 0.975)) for figure in figures]
        cells = [bounded(f[0], low, high, "{:.2f}") for f, (low, high) in zip(figures, bounds, strict=True)]
        result.append((name, *cells, f"{(added & deceiving).sum()} of {added.sum()} right"))
    return result


def main() -> None:
    """Print a table over all labels, and one over the simulated persuasion of the fresh replies, weighted by stratum."""
    replies, weight = read_all()
    texts = np.array([str(one["reply"]).replace("’", "'") for one in replies], dtype=object)
    deceiving, rules = np.array(list(map(deceives, replies))), np.array(list(map(matched, replies)))
    groups = np.array([one["dialogue"] for one in replies])
    found = judged(texts, deceiving, groups, rules)
    head = ("way", "precision", "recall", "recall − rules'", "adds")
    print(table(head, rows(found, deceiving, groups, np.ones(len(replies)))), end="\n\n")
    print(table(head, rows(found, deceiving, groups, weight)))


if __name__ == "__main__":
    main()
