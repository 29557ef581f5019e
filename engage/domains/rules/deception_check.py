"""The deception check: finds deceiving replies in persuasion that the rules of `engage.domains.rules.deception` miss.

It is a logistic regression over words and pairs of words, fitted at its first use (half a second) on `engage/data/deceiving_replies.jsonl`:
replies of small models and of people, nearly all in persuasion, labelled by a language model. It reads English. More than half of what it adds
is honest: that costs a pair, whereas a deceiving reply would be taught. Its recall and precision: tests/fixtures/README.md.
"""

import json
import re
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any

DECEIVES_ABOVE = 0.5
"""A reply is found above this probability (of an equal mix of both kinds)."""
STRENGTH, RAREST = 10.0, 2
"""C of the regression; least number of replies with a word or a pair of words."""
_WORDS = r"[\w']+|[$?!.,]"


def find_deceiving(replies: Sequence[str]) -> list[bool]:
    """Whether each reply probably deceives, without regard to case. Takes some 0.01 ms a reply."""
    return [bool(found) for found in _fitted().predict_proba(replies)[:, 1] > DECEIVES_ABOVE] if replies else []


@cache
def _fitted() -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    text = (resources.files("engage") / "data" / "deceiving_replies.jsonl").read_text(encoding="utf-8")
    labelled = [json.loads(line) for line in text.splitlines()]
    words = TfidfVectorizer(
        preprocessor=_plain, token_pattern=_WORDS, ngram_range=(1, 2), sublinear_tf=True, min_df=RAREST
    )
    model = make_pipeline(words, LogisticRegression(C=STRENGTH, class_weight="balanced", max_iter=5_000))
    return model.fit([one["reply"] for one in labelled], [one["deceives"] for one in labelled])


def _plain(text: str) -> str:
    """In lower case, with typed apostrophes and one digit for each number."""
    return re.sub(r"\d+", "0", text.lower().replace("’", "'"))
