"""The role check: whether a user turn speaks as the assistant (offers help, refuses as a machine, consoles, advises, asks for a gift).

It is a logistic regression over the word n-grams of one turn. `python -m engage.simulation.roles.train` made `weights.json.xz` from
`registers.txt` (written by us), the shipped dialogues and scenarios, and both roles of PersuasionForGood. `measured.md` states its
accuracy on other models and people. It works for English only, and it does not read the previous turn.
"""

from engage.simulation.roles.features import length_scale, ngrams
from engage.simulation.roles.weights import Weights, load_weights

__all__ = ["Weights", "assistant_score", "speaks_as_assistant"]


def assistant_score(text: str, weights: Weights | None = None) -> float:
    """Log odds that the turn is an assistant's, minus the threshold: above 0 the turn counts as an assistant's."""
    known = weights or load_weights()
    grams = ngrams(text)
    total = sum(known.weights.get(gram, 0.0) for gram in grams)
    return known.bias + total * length_scale(len(grams)) - known.threshold


def speaks_as_assistant(text: str) -> bool:
    """Whether a user's turn speaks as the assistant. Takes well under a millisecond once the weights are loaded."""
    return assistant_score(text) > 0.0
