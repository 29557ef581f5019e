"""Whether a user turn speaks as the assistant: offers help, refuses as a machine, consoles or advises the other, asks for a gift.

Logistic regression over the word n-grams of one turn. `weights.json.xz` is what `python -m engage.simulation.roles.train` fitted to
`registers.txt` (our own writing), the shipped dialogues and scenarios, and both roles of PersuasionForGood; `measured.md` says
its accuracy on models and people that it was not fitted to. It works on English only, and it ignores the previous turn, because
that turn is the assistant's in any case.
"""

from engage.simulation.roles.features import length_scale, ngrams
from engage.simulation.roles.weights import Weights, load_weights

__all__ = ["Weights", "assistant_score", "speaks_as_assistant"]


def assistant_score(text: str, weights: Weights | None = None) -> float:
    """Log odds that the turn is an assistant's, minus the threshold: above 0 the turn counts as an assistant's."""
    known = weights or load_weights()
    found = ngrams(text)
    total = sum(known.weights.get(ngram, 0.0) for ngram in found)
    return known.bias + total * length_scale(len(found)) - known.threshold


def speaks_as_assistant(text: str) -> bool:
    """Whether a user's turn speaks as the assistant. Takes well under a millisecond once the weights are loaded."""
    return assistant_score(text) > 0.0
