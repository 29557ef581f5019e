"""Predicts the real outcome from the user's words with a simple model, as a baseline for the simulator's answer.

A lower bound on the information in the text: a few hundred outcomes are little training data.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from engage.corpora import HumanDialogue
from engage.dialogue import Role
from engage.domains import load_domain
from engage.domains.rules.money import stated_sum

MIN_TRAIN_DIALOGUES = 100
"""Minimum number of training dialogues; with fewer, nothing is predicted."""


def predicted_from_words(train: Sequence[HumanDialogue], dialogues: Sequence[HumanDialogue]) -> dict[str, float]:
    """Scenario id to the outcome (in the survey's unit, not clipped) that a ridge regression predicts from the user's words.

    The features are TF-IDF of words and word pairs that at least two dialogues have and, if the survey asks for dollars, the sum that
    the user named last (none: 0). The penalty is chosen by leave-one-out over `train`, which must not contain any of `dialogues`.
    Empty with fewer than MIN_TRAIN_DIALOGUES, or if all outcomes are equal.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline, make_union
    from sklearn.preprocessing import FunctionTransformer

    if len(train) < MIN_TRAIN_DIALOGUES or len({human.outcome for human in train}) < 2:
        return {}
    words = TfidfVectorizer(
        preprocessor=_said, ngram_range=(1, 2), min_df=2, sublinear_tf=True, token_pattern=r"\b\w+\b"
    )
    model = make_pipeline(make_union(words, FunctionTransformer(_stated)), RidgeCV(np.logspace(-1, 3, 15)))
    model.fit(train, [human.outcome for human in train])
    values = model.predict(dialogues)
    return {human.scenario_id: float(value) for human, value in zip(dialogues, values, strict=True)}


def _said(human: HumanDialogue) -> str:
    return "\n".join(turn.text for turn in human.dialogue.turns if turn.role is Role.USER).lower()


def _stated(dialogues: Sequence[HumanDialogue]) -> NDArray[np.float64]:
    """One column; zeros if the outcome is not a sum."""
    most = [load_domain(human.domain).largest_sum for human in dialogues]
    sums = [limit and stated_sum(human.dialogue, limit) for human, limit in zip(dialogues, most, strict=True)]
    return np.array([[amount or 0.0] for amount in sums])
