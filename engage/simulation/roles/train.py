"""Fits the role check: `python -m engage.simulation.roles.train PATH_OF_PERSUASIONFORGOOD` writes `weights.json.xz` (deterministic).

The test split of PersuasionForGood is left out, to measure false alarms on it. The threshold is set so that the share FALSE_ALARMS of
the real persuadees' turns is above it, each judged by a fit without its dialogue (cross-validation with FOLDS). It uses neither
ESConv, because of its licence, nor turns of models.
"""

import hashlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engage.corpora import HumanDialogue, read_p4g, read_shipped
from engage.dialogue import Role
from engage.errors import EngageError
from engage.scenario import SHIPPED, load_scenarios
from engage.simulation.roles.features import length_scale, ngrams
from engage.simulation.roles.registers import draw_registers
from engage.simulation.roles.weights import CLASSES, REGISTERS, WEIGHTS, Weights, save_weights

FALSE_ALARMS, FOLDS = 0.02, 5
HELPER, OWN_WORDS, ASSISTANT, OTHER_WORK, USER = 0.1, 0.5, 0.5, 0.08, 0.33
"""Weights of examples: helpers' turns of the shipped dialogues, scenarios' texts, assistant turns of the registers, those of
OTHER_WORK_SECTION (a shop's clerk, a teacher; not heard in the shipped domains), user turns of the registers. A real persuadee's turn
counts 1. Persuaders are left out: they speak as people do, and any weight of theirs lowers recall at the same false-alarm rate."""
OTHER_WORK_SECTION = "assistant: other work, answers"
STRENGTH, RAREST, SMALLEST = 0.1, 3, 0.01
"""C of the regression; least number of examples with an n-gram; least absolute weight that is kept."""


@dataclass(frozen=True)
class Example:
    """One turn with its role and weight; `fold` is that of its dialogue for a real persuadee's turn, else None."""

    text: str
    assistant: bool
    weight: float
    fold: int | None = None


def examples(p4g: Path) -> list[Example]:
    """All training examples."""
    people = [dialogue for dialogue in read_p4g(p4g).dialogues if dialogue.split != "test"]
    turns = [*_turns(people, 0.0, real=True), *_turns(read_shipped().dialogues, HELPER, real=False)]
    for scenario in load_scenarios(tuple(SHIPPED)):
        said = [scenario.user_condition.situation, *(t.text for t in scenario.opening.turns if t.role is Role.USER)]
        turns += [Example(text, False, OWN_WORDS) for text in said]
    for drawn in draw_registers():
        weight = OTHER_WORK if drawn.section == OTHER_WORK_SECTION else ASSISTANT
        turns.append(Example(drawn.text, drawn.assistant, weight if drawn.assistant else USER))
    return turns


def _turns(dialogues: Sequence[HumanDialogue], assistant_weight: float, real: bool) -> Iterator[Example]:
    for dialogue in dialogues:
        fold = int(hashlib.sha256(dialogue.scenario_id.encode()).hexdigest(), 16) % FOLDS if real else None
        for turn in dialogue.dialogue.turns:
            assistant = turn.role is Role.ASSISTANT
            if weight := assistant_weight if assistant else 1.0:
                yield Example(turn.text, assistant, weight, fold)


def fit(learnt: Sequence[Example], made_from: dict[str, str]) -> Weights:
    """Fit the regression on all examples, and the threshold by cross-validation."""
    from scipy.sparse import diags
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression

    seen = CountVectorizer(analyzer=ngrams, min_df=RAREST, binary=True)
    counts = seen.fit_transform([one.text for one in learnt]).astype(float)
    scaled = (diags([length_scale(len(ngrams(one.text))) for one in learnt]) @ counts).tocsr()
    sides, counting = np.array([one.assistant for one in learnt]), np.array([one.weight for one in learnt])
    folds = np.array([-1 if one.fold is None else one.fold for one in learnt])

    def fitted(rows: NDArray[np.bool_]) -> Any:
        model = LogisticRegression(C=STRENGTH, solver="liblinear", max_iter=500, random_state=0)
        return model.fit(scaled[rows], sides[rows], sample_weight=counting[rows])

    held_out = [fitted(folds != fold).decision_function(scaled[folds == fold]) for fold in sorted({*folds} - {-1})]
    threshold = float(np.quantile(np.concatenate(held_out), 1.0 - FALSE_ALARMS))
    model = fitted(np.ones(len(learnt), dtype=bool))
    rounded = zip(seen.get_feature_names_out(), model.coef_[0].round(3).tolist(), strict=True)
    weights = {str(ngram): weight for ngram, weight in rounded if abs(weight) >= SMALLEST}
    return Weights(round(float(model.intercept_[0]), 3), round(threshold, 3), weights, made_from)


def digests(p4g: Path) -> dict[str, str]:
    """SHA-256 of the training files, by file name."""
    files = [REGISTERS, CLASSES, *(p4g / name for name in ("full_dialog.csv", "full_info.csv"))]
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def main(arguments: Sequence[str]) -> str:
    """Fit and save the weights; returns one sentence about the result."""
    if len(arguments) != 1:
        return "usage: python -m engage.simulation.roles.train FOLDER_OF_PERSUASIONFORGOOD"
    p4g = Path(arguments[0])
    try:
        weights = fit(examples(p4g), digests(p4g))
    except (EngageError, OSError) as error:
        return f"error: {error}"
    save_weights(weights)
    return f"{len(weights.weights)} n-grams, threshold {weights.threshold}; written to {WEIGHTS}"


if __name__ == "__main__":
    print(main(sys.argv[1:]))
