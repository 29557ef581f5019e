"""How simulated user turns differ from people's turns at the same places: counts, and how well a classifier separates them."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from engage.domains.rules.patterns import words_of
from engage.experiments.simulator_card.asking import SaidTwice
from engage.stats import Estimate, auc, divided, estimate, jackknife, rate, ratio

Turns = Mapping[str, Sequence[SaidTwice]]
Figures = dict[str, Estimate]
FOLDS = 5
ROLE_FLIPS = {"role_flip", "role_leak"}


def turn_figures(turns: Turns, seed: int = 0) -> Figures:
    """Figures of people (`human_…`) and of the simulator (`simulated_…`), and the classifier's AUC (`told_apart_…`).

    `words` and `questions` are per turn, `role_flips` (leaks included) and `other_flaws` per first sample, `distinct_1` and `distinct_2` are
    shares of different words and of different word pairs, see `_distinct`.
    """
    said = [list(turns[name]) for name in sorted(turns) if turns[name]]
    sizes = [len(places) for places in said]
    figures: Figures = {}
    for side in ("human", "simulated"):
        texts = [[getattr(place, side) for place in places] for places in said]
        flaws = [[getattr(place, f"{side}_flaw") for place in places] for places in said]
        figures |= {
            f"{side}_words": ratio([sum(len(words_of(text)) for text in one) for one in texts], sizes, seed),
            f"{side}_questions": rate([sum("?" in text for text in one) for one in texts], sizes, seed),
            f"{side}_role_flips": rate([sum(flaw in ROLE_FLIPS for flaw in one) for one in flaws], sizes, seed),
            f"{side}_other_flaws": rate(
                [sum(flaw is not None and flaw not in ROLE_FLIPS for flaw in one) for one in flaws], sizes, seed
            ),
        }
    figures |= _distinct(said, 1) | _distinct(said, 2)
    figures["told_apart_words"] = told_apart(turns, "words", seed)
    figures["told_apart_characters"] = told_apart(turns, "characters", seed)
    return figures


def _distinct(said: Sequence[Sequence[SaidTwice]], length: Literal[1, 2]) -> Figures:
    """Share of different words (the type-token ratio) or word pairs among each side's first n, with n that of the shorter side.

    The share falls with n.
    """
    grams: dict[str, list[list[Any]]] = {"human": [], "simulated": []}
    for side, of in grams.items():
        for places in said:
            spoken = (words_of(getattr(place, side)) for place in places)
            of.append([gram for words in spoken for gram in (words if length == 1 else pairwise(words))])

    def share(side: str, index: NDArray[np.intp]) -> float:
        sampled = {name: [gram for i in index for gram in of[i]] for name, of in grams.items()}
        size = min(len(of) for of in sampled.values())
        return float(divided(len(set(sampled[side][:size])), size))

    return {
        f"{side}_distinct_{length}": jackknife(len(said), lambda index, side=side: share(side, index))  # type: ignore[misc]
        for side in grams
    }


def told_apart(turns: Turns, features: Literal["words", "characters"], seed: int = 0) -> Estimate:
    """AUC of a classifier, trained on other dialogues, that separates simulated from human turns; 0.5: alike, 1: fully separable.

    Logistic regression on tf-idf of lower-case words and punctuation marks, or of character triples with their case, so that
    spelling habits count; cross-validated in FOLDS folds of whole dialogues.
    """
    names = [name for name in sorted(turns) if turns[name]]
    texts = [text for name in names for place in turns[name] for text in (place.human, place.simulated)]
    groups = [number for number, name in enumerate(names) for _ in range(2 * len(turns[name]))]
    simulated = np.arange(len(texts)) % 2 == 1
    if len(names) < 2:
        return Estimate(n=len(names))
    scores = _held_out_scores(texts, simulated, groups, features)
    return estimate(len(names), auc(scores, simulated, groups), seed)


def _held_out_scores(texts: Sequence[str], labels: NDArray[np.bool_], groups: Sequence[int], features: str) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline

    if features == "words":
        seen = TfidfVectorizer(lowercase=True, token_pattern=r"[\w']+|[^\w\s]", sublinear_tf=True)
    else:
        seen = TfidfVectorizer(lowercase=False, analyzer="char_wb", ngram_range=(1, 3), sublinear_tf=True)
    folds = GroupKFold(min(FOLDS, len(set(groups))))
    classifier = make_pipeline(seen, LogisticRegression(C=10.0, max_iter=2_000))
    return cross_val_predict(classifier, list(texts), labels, groups=groups, cv=folds, method="predict_proba")[:, 1]
