"""How much of the real outcome the user's words alone tell: a yardstick beside the simulator's answer.

Where a model that was fitted to hundreds of outcomes finds little in the text, no simulator can answer the survey from it.
"""

from collections.abc import Sequence

import numpy as np

from engage.corpora import HumanDialogue
from engage.dialogue import Role

LEAST_LEARNT = 100
"""Dialogues to learn from, below which nothing is foretold."""


def foretold_by_words(learnt_from: Sequence[HumanDialogue], dialogues: Sequence[HumanDialogue]) -> dict[str, float]:
    """Scenario id to the outcome (in the survey's unit, not clipped) that a ridge regression on the user's words foretells.

    TF-IDF of words and word pairs that at least two dialogues have; the penalty by leave-one-out over `learnt_from`, which must
    hold none of `dialogues`. Empty with fewer than LEAST_LEARNT, and where all ended alike.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline

    known = [human for human in learnt_from if human.outcome is not None]
    if len(known) < LEAST_LEARNT or len({human.outcome for human in known}) < 2 or not dialogues:
        return {}
    seen = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    model = make_pipeline(seen, RidgeCV(np.logspace(-1, 3, 15)))
    model.fit([_said(human) for human in known], [human.outcome for human in known])
    found = model.predict([_said(human) for human in dialogues])
    return {human.scenario_id: float(value) for human, value in zip(dialogues, found, strict=True)}


def _said(human: HumanDialogue) -> str:
    return "\n".join(turn.text for turn in human.dialogue.turns if turn.role is Role.USER)
