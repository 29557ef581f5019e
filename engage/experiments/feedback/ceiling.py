"""The ceiling: what a ridge regression, fitted to people's own scores, tells of a turn from words or from a model's states.

A lower bound of what there is to know: some hundred scores are little training data.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engage.corpora import HumanDialogue
from engage.dialogue import Role
from engage.experiments.feedback.agreement import Values, mean_within
from engage.experiments.feedback.plan import FOLDS, ScoredTurn

PENALTIES = np.logspace(-1, 6, 8)

Features = Any
"""One row per scored turn: a list of texts by side, or an array of numbers."""
Regression = Callable[[float], Any]
"""A scikit-learn regression with the given penalty."""


def new_words(turn: ScoredTurn, moment: str) -> dict[str, str]:
    """What each side said since the score before, by side, in lower case; `answered` includes the user's turn that carries the score."""
    new = turn.human.dialogue.turns[turn.begin : turn.heard_length(moment)]
    return {role.value: "\n".join(said.text for said in new if said.role is role).lower() for role in Role}


def on_words(penalty: float) -> Any:
    """Ridge on tf-idf of words and word pairs, those of each side apart."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline

    return make_pipeline(TfidfVectorizer(analyzer=_terms, min_df=2, sublinear_tf=True), Ridge(penalty))


def _terms(said: Mapping[str, str]) -> list[str]:
    """Words and word pairs with their side; one term that every turn has, so that a vocabulary is never empty."""
    terms = [""]
    for side, text in said.items():
        words = re.findall(r"\w+|\?", text)
        terms += [f"{side} {term}" for term in (*words, *map(" ".join, pairwise(words)))]
    return terms


def on_states(penalty: float) -> Any:
    """Ridge on standardised numbers."""
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), Ridge(penalty))


def held_out(make: Regression, train: Sequence[ScoredTurn], features: Features, others: Features) -> Values:
    """Predictions for `others`, which must come from other dialogues than `train`.

    The target is the score less the dialogue's mean score. The penalty is the one whose predictions, cross-validated by dialogue
    within `train`, order scores best within dialogues (the larger one of equals).
    """
    target = within_dialogue(train)
    best = max(
        PENALTIES.tolist(), key=lambda penalty: (_cross_validated(make(penalty), train, features, target), penalty)
    )
    return np.asarray(make(best).fit(features, target).predict(others), dtype=float)


def cross_fitted(make: Regression, train: Sequence[ScoredTurn], features: Features) -> Values:
    """Predictions for `train` itself, each from a regression that saw none of its dialogue, its choice of the penalty included."""
    predicted = np.full(len(train), np.nan)
    for fitted, left in _folds(train):
        own = [train[index] for index in fitted]
        predicted[left] = held_out(make, own, _rows(features, fitted), _rows(features, left))
    return predicted


def within_dialogue(turns: Sequence[ScoredTurn]) -> NDArray[np.float64]:
    """Each score less the mean score of its dialogue."""
    scores: dict[str, list[float]] = {}
    for turn in turns:
        scores.setdefault(turn.dialogue, []).append(turn.score)
    return np.array([turn.score - float(np.mean(scores[turn.dialogue])) for turn in turns])


def _cross_validated(
    regression: Any, train: Sequence[ScoredTurn], features: Features, target: NDArray[np.float64]
) -> float:
    """The mean correlation within dialogues; −1 where it does not exist."""
    predicted = np.full(len(train), np.nan)
    for fitted, left in _folds(train):
        regression.fit(_rows(features, fitted), target[fitted])
        predicted[left] = regression.predict(_rows(features, left))
    found = mean_within(train, predicted)
    return -1.0 if np.isnan(found) else round(found, 9)


def _folds(train: Sequence[ScoredTurn]) -> Any:
    from sklearn.model_selection import GroupKFold

    groups = [turn.dialogue for turn in train]
    return GroupKFold(min(FOLDS, len(set(groups)))).split(groups, groups=groups)


def _rows(features: Features, places: Sequence[int]) -> Features:
    return features[places] if isinstance(features, np.ndarray) else [features[place] for place in places]


def outcomes_from_states(train: Sequence[HumanDialogue], states: Any, others: Any) -> Values:
    """Outcomes that a ridge regression tells from a model's states at the end; the penalty is chosen by leave-one-out."""
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), RidgeCV(PENALTIES)).fit(states, [human.outcome for human in train])
    return np.asarray(model.predict(others), dtype=float)
