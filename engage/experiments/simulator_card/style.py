"""Whether preference pairs teach style: how well length and punctuation alone identify the chosen reply."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engage.domains.rules.patterns import words_of
from engage.stats import Estimate, ratio
from engage.training import PreferencePair

FEATURES = (
    "words",
    "characters",
    "question marks",
    "exclamation marks",
    "contractions",
    "capital letters",
    "word length",
)
FOLDS = 5
_CONTRACTION = re.compile(r"\w['’](?:s|t|re|ve|ll|d|m)\b", re.IGNORECASE)


@dataclass(frozen=True)
class PairStyle:
    """The pairs of one source: `accuracy` of the style classifier (0.5 is chance) and mean words of both replies."""

    source: str
    pairs: int
    accuracy: Estimate
    chosen_words: Estimate
    rejected_words: Estimate


def style_features(text: str) -> list[float]:
    """The FEATURES of a reply, in this order; none depends on its words."""
    words = words_of(text)
    return [
        float(len(words)),
        float(len(text)),
        float(text.count("?")),
        float(text.count("!")),
        float(len(_CONTRACTION.findall(text))),
        float(sum(letter.isupper() for letter in text)),
        sum(len(word) for word in words) / len(words) if words else 0.0,
    ]


def pair_styles(pairs: Sequence[PreferencePair], seed: int = 0) -> list[PairStyle]:
    """One entry per source (`search`, `human`), sorted; intervals resample scenarios."""
    styles = []
    for source in sorted({pair.source for pair in pairs}):
        own = [pair for pair in pairs if pair.source == source]
        lengths = ([len(words_of(pair.chosen)) for pair in own], [len(words_of(pair.rejected)) for pair in own])
        chosen, rejected = (_by_scenario(own, np.array(one, dtype=float), seed) for one in lengths)
        styles.append(PairStyle(source, len(own), style_accuracy(own, seed), chosen, rejected))
    return styles


def style_accuracy(pairs: Sequence[PreferencePair], seed: int = 0) -> Estimate:
    """Share of pairs in which a classifier, trained on the pairs of other scenarios, picks the chosen reply.

    Logistic regression on the difference of both replies' features, without an intercept, so that the order of the replies does not matter.
    No value with fewer than two scenarios.
    """
    groups = [pair.scenario_id for pair in pairs]
    if len(set(groups)) < 2:
        return Estimate(n=len(set(groups)))
    differences = np.array([np.subtract(style_features(p.chosen), style_features(p.rejected)) for p in pairs])
    return _by_scenario(pairs, _held_out_hits(differences, groups), seed)


def _held_out_hits(differences: NDArray[np.float64], groups: Sequence[str]) -> NDArray[np.float64]:
    """1 if the chosen reply scores higher, 0.5 if both score the same."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold

    hits = np.zeros(len(differences))
    for train, test in GroupKFold(min(FOLDS, len(set(groups)))).split(differences, groups=groups):
        scale = np.sqrt((differences[train] ** 2).mean(0))
        both: Any = np.concatenate([differences[train], -differences[train]]) / np.where(scale > 0, scale, 1.0)
        labels = np.repeat([1, 0], len(train))
        fitted = LogisticRegression(fit_intercept=False).fit(both, labels)
        score = (differences[test] / np.where(scale > 0, scale, 1.0)) @ fitted.coef_[0]
        hits[test] = np.where(np.abs(score) < 1e-12, 0.5, score > 0)
    return hits


def _by_scenario(pairs: Sequence[PreferencePair], values: NDArray[np.float64], seed: int) -> Estimate:
    """Mean over pairs; `n` and the interval are the scenarios'."""
    names = sorted({pair.scenario_id for pair in pairs})
    place = {name: number for number, name in enumerate(names)}
    index_of = np.array([place[pair.scenario_id] for pair in pairs], dtype=int)
    sums, counts = np.bincount(index_of, values, len(names)), np.bincount(index_of, minlength=len(names))
    return ratio(sums, counts, seed)
