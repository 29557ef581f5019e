"""Association of two numbers per reply, given what was known before the reply: both are predicted, and the remainders are correlated.

Partialling out with cross-fitting (Robinson 1988, Chernozhukov et al. 2018): outcome and log-ratio are each predicted from the same
covariates by a regression that saw no reply of the same dialogue. A policy that asks those who already lean towards giving has a high
raw correlation, because the prefix decides both; its remainders do not correlate. Knows no model and no corpus.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engage.stats import Estimate, Statistic, divided, estimate

FOLDS = 5
LEAST_DIALOGUES = 2 * FOLDS
"""With fewer dialogues nothing is measured."""
WORDS = 500
"""The commonest words of the prefixes that the regression sees."""
PENALTIES = (1.0, 10.0, 100.0, 1e3, 1e4)

_NOTHING = 1e-12

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Covariates:
    """What is known of each of n replies: `prefixes`, the words said before it, separated by spaces; `numbers` [n, k]."""

    prefixes: tuple[str, ...]
    numbers: Numbers

    def at(self, places: Sequence[int] | NDArray[np.intp]) -> "Covariates":
        """Those of some replies."""
        return Covariates(tuple(self.prefixes[place] for place in places), self.numbers[places])

    def and_those(self, others: "Covariates") -> "Covariates":
        """Those of the others after these."""
        return Covariates(self.prefixes + others.prefixes, np.concatenate([self.numbers, others.numbers]))


@dataclass(frozen=True)
class Sample:
    """n replies with one number each; `dialogues` [n] says by 0, 1, … to which dialogue each belongs."""

    covariates: Covariates
    target: Numbers
    dialogues: NDArray[np.intp]

    def at(self, places: NDArray[np.intp]) -> "Sample":
        """Some of the replies."""
        return Sample(self.covariates.at(places), self.target[places], self.dialogues[places])

    def and_those(self, others: "Sample | None") -> "Sample":
        """These and the replies of other dialogues."""
        if others is None:
            return self
        apart = others.dialogues + self.dialogues.max(initial=-1) + 1
        covariates, target = self.covariates.and_those(others.covariates), np.concatenate([self.target, others.target])
        return Sample(covariates, target, np.concatenate([self.dialogues, apart]))


def cross_fitted(sample: Sample, beside: Sample | None = None) -> Numbers:
    """The prediction [n] of each reply's number by a regression on the other folds, which hold whole dialogues, and on `beside`.

    Needs two dialogues or more.
    """
    from sklearn.model_selection import GroupKFold

    predicted = np.zeros(len(sample.target))
    folds = GroupKFold(min(FOLDS, len(np.unique(sample.dialogues))))
    for learnt, new in folds.split(sample.target, groups=sample.dialogues):
        predicted[new] = _predicted(sample.at(learnt).and_those(beside), sample.covariates.at(new))
    return predicted


def _predicted(learnt: Sample, new: Covariates) -> Numbers:
    """Least squares on intercept and numbers, ridge on the tf-idf of the prefixes' words.

    The penalty is chosen by cross-validation over dialogues.
    """
    from sklearn.linear_model import RidgeCV
    from sklearn.model_selection import GroupKFold

    words, new_words = _word_weights(learnt.covariates.prefixes, new.prefixes)
    ones, new_ones = (np.column_stack([np.ones(len(one.numbers)), one.numbers]) for one in (learnt.covariates, new))

    def on_numbers(values: Numbers) -> Numbers:
        return np.asarray(np.linalg.lstsq(ones, values, rcond=None)[0])

    weights = np.zeros(words.shape[1])
    count = len(np.unique(learnt.dialogues))
    if words.shape[1] and count > 1:
        # of both sides only what the numbers leave: a joint fit in which the numbers have no penalty
        left, goal = words - ones @ on_numbers(words), learnt.target - ones @ on_numbers(learnt.target)
        inner = list(GroupKFold(min(FOLDS, count)).split(left, groups=learnt.dialogues))
        weights = RidgeCV(PENALTIES, fit_intercept=False, cv=inner).fit(left, goal).coef_
    found = new_ones @ on_numbers(learnt.target - words @ weights) + new_words @ weights
    return np.asarray(found, dtype=float)


def _word_weights(prefixes: Sequence[str], others: Sequence[str]) -> tuple[Numbers, Numbers]:
    """tf-idf of the commonest words, one row per prefix; no columns if there are no words."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    if not any(prefix.split() for prefix in prefixes):
        return np.zeros((len(prefixes), 0)), np.zeros((len(others), 0))
    seen = TfidfVectorizer(token_pattern=r"\S+", sublinear_tf=True, max_features=WORDS)
    return seen.fit_transform(prefixes).toarray(), seen.transform(others).toarray()


@dataclass(frozen=True)
class Association:
    """`rank` is Spearman's correlation over all replies, `slope` the least-squares change of the second number for one standard
    deviation of the first; intervals resample whole dialogues, with ranks and predictions as they are."""

    rank: Estimate
    slope: Estimate


def association(first: Numbers, second: Numbers, dialogues: NDArray[np.intp], seed: int = 0) -> Association:
    """The association of two numbers per reply; no value if one of them is constant."""
    from scipy.stats import rankdata

    count = int(dialogues.max(initial=-1)) + 1
    _, ranks = _slope_and_correlation(rankdata(first), rankdata(second), dialogues)
    slope, _ = _slope_and_correlation(first / (first.std() or 1.0), second, dialogues)
    return Association(estimate(count, ranks, seed), estimate(count, slope, seed))


def _slope_and_correlation(x: Numbers, y: Numbers, dialogues: NDArray[np.intp]) -> tuple[Statistic, Statistic]:
    """Slope of y on x, and correlation of both; sums are taken within dialogues once, so that a resample is one product."""
    count = int(dialogues.max(initial=-1)) + 1
    x, y = x - x.mean(), y - y.mean()
    parts = np.array([np.bincount(dialogues, part, count) for part in (np.ones(len(x)), x, y, x * x, y * y, x * y)])

    def covariances(counts: Numbers) -> tuple[Numbers, Numbers, Numbers]:
        n, sx, sy, sxx, syy, sxy = (counts @ part for part in parts)
        return sxx - divided(sx * sx, n), syy - divided(sy * sy, n), sxy - divided(sx * sy, n)

    def slope(counts: Numbers) -> Numbers:
        xx, _, xy = covariances(counts)
        return np.asarray(divided(xy, np.where(xx > _NOTHING, xx, 0.0)))

    def correlation(counts: Numbers) -> Numbers:
        xx, yy, xy = covariances(counts)
        spread = np.sqrt(np.maximum(xx, 0.0) * np.maximum(yy, 0.0))
        return np.asarray(divided(xy, np.where(spread > _NOTHING, spread, 0.0)))

    return slope, correlation
