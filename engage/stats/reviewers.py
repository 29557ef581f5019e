"""What several reviewers' votes say: their agreement, how accurate each is, and how probably each item is as labelled.

Numbers in, numbers out. Written here because the packages that do it resample slowly (`krippendorff`) or bring a language toolkit along
(`crowd-kit`).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engage.stats.bootstrap import Counts
from engage.stats.estimates import Estimate, divided, estimate, estimates

_ROUNDS = 200
_ENOUGH = 1e-6
PRIOR_RIGHT, PRIOR_WRONG = 4.0, 2.0
"""Pseudo-votes for each reviewer's accuracy, Beta(4, 2) less its one of each: they decide between an inaccurate reviewer and wrong labels where
the votes cannot, as with a single reviewer."""

Array = NDArray[np.float64]


def krippendorff_alpha(values: Sequence[Sequence[int | None]], unit: ArrayLike | None = None) -> Estimate:
    """Krippendorff's α for nominal values (Krippendorff 2011, "Computing Krippendorff's alpha-reliability"): 1 is agreement, 0 is chance.

    `values` has a row per item with each reviewer's category (None: not judged). The interval resamples units (0, 1, …): the items
    themselves, or what `unit` says that each belongs to. No value without an item of two reviewers, or if all gave one category.
    """
    rows = [[value for value in row if value is not None] for row in values]
    categories = sorted({value for row in rows for value in row})
    votes = np.array([[row.count(category) for category in categories] for row in rows], dtype=float)
    votes = votes.reshape(len(rows), len(categories))
    size = votes.sum(axis=1)
    votes[size < 2] = 0.0
    pairable = votes.sum(axis=1)
    agreeing = divided((votes * (votes - 1)).sum(axis=1), np.where(pairable > 1, pairable - 1, 1.0))
    member = _member(len(rows), unit)

    def statistic(counts: Counts) -> Array:
        weight = counts @ member
        total, same = weight @ pairable, weight @ agreeing
        by_chance = ((weight @ votes) * (weight @ votes - 1)).sum(axis=-1)
        return np.asarray(divided((total - 1) * same - by_chance, total * (total - 1) - by_chance))

    found = estimate(len(member), statistic)
    return Estimate(found.value, found.low, found.high, int((pairable > 0).sum()))


def dawid_skene(votes: Sequence[Sequence[int | None]]) -> list[float]:
    """The probability that each item's label is right, by Dawid & Skene's model (1979, Applied Statistics 28).

    `votes` has a row per item and a column per reviewer: 1 for the label, 0 against it, None for no vote. Each reviewer has one accuracy,
    which is enough where sides are shuffled; EM finds the most probable accuracies and share of right labels.
    """
    patterns, place = _patterns(votes)
    _, _, right = _em(patterns, np.bincount(place, minlength=len(patterns))[None, :].astype(float))
    return [float(value) for value in right[0][place]]


def accuracies(votes: Sequence[Sequence[int | None]], unit: ArrayLike | None = None) -> list[Estimate]:
    """The share of right labels, then each reviewer's accuracy, by the same model, with intervals as in `krippendorff_alpha`."""
    patterns, place = _patterns(votes)
    member = _member(len(votes), unit) @ np.eye(len(patterns))[place]

    def statistic(counts: Counts) -> Array:
        prior, accuracy, _ = _em(patterns, counts @ member)
        return np.column_stack([prior, accuracy]).T

    return estimates(len(member), statistic, 1 + patterns.shape[1])


def _patterns(votes: Sequence[Sequence[int | None]]) -> tuple[Array, NDArray[np.intp]]:
    """The different rows of votes (1 for, −1 against, 0 none), and which of them each item has: there are few, which makes EM fast."""
    signs = np.array([[0.0 if vote is None else 2.0 * vote - 1.0 for vote in row] for row in votes])
    patterns, place = np.unique(signs.reshape(len(votes), -1 if len(votes) else 0), axis=0, return_inverse=True)
    return patterns, place.reshape(-1)


def _em(signs: Array, weight: Array) -> tuple[Array, Array, Array]:
    """For each row of weights of the patterns: the prior [rows], accuracies [rows, reviewers], and P(right) [rows, patterns].

    Items without a vote tell nothing, and take the prior.
    """
    weight = weight * signs.any(axis=1)
    cast = weight @ np.abs(signs) + PRIOR_RIGHT + PRIOR_WRONG - 2
    every = weight.sum(axis=1)
    prior, accuracy = np.full(len(weight), 0.7), np.full((len(weight), signs.shape[1]), 0.75)
    right = np.empty_like(weight)
    for _ in range(_ROUNDS):
        odds = np.log(accuracy / (1 - accuracy)) @ signs.T + np.log(prior / (1 - prior))[:, None]
        right = 1 / (1 + np.exp(-odds))
        for_label = (weight * right) @ (signs > 0) + (weight * (1 - right)) @ (signs < 0)
        before, accuracy = accuracy, (for_label + PRIOR_RIGHT - 1) / cast
        prior = ((weight * right).sum(axis=1) + 1) / (every + 2)
        if np.abs(accuracy - before).max(initial=0.0) < _ENOUGH:
            break
    return prior, accuracy, right


def _member(items: int, unit: ArrayLike | None) -> Array:
    """Which unit (row) each item (column) belongs to."""
    places = np.arange(items) if unit is None else np.asarray(unit, dtype=int)
    return np.eye(int(places.max(initial=-1)) + 1)[:, places]
