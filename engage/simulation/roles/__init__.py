"""Whether a user turn speaks as the assistant: offers help, refuses as a machine, consoles or advises the other, asks for a gift.

Logistic regression over the word n-grams of one turn. `weights.json.xz` is what `python -m engage.simulation.roles.train` fitted to
`registers.txt` (our own writing), the shipped dialogues and scenarios, and both roles of PersuasionForGood; `measured.md` says
how well it does on models and people that it never saw. It reads English only, and it does not look at the turn before: that
turn is the assistant's whether or not the user keeps their role.
"""

from engage.simulation.roles.features import length_scale, ngrams
from engage.simulation.roles.weights import Weights, load_weights

__all__ = ["Weights", "assistant_score", "speaks_as_assistant"]


def assistant_score(text: str, weights: Weights | None = None) -> float:
    """Log odds that the turn is an assistant's, above 0 where it is taken for one; the threshold is subtracted already."""
    known = weights or load_weights()
    found = ngrams(text)
    total = sum(known.weights.get(ngram, 0.0) for ngram in found)
    return known.bias + total * length_scale(len(found)) - known.threshold


def speaks_as_assistant(text: str) -> bool:
    """Whether a user's turn speaks as the assistant. Takes well under a millisecond once the weights are read."""
    return assistant_score(text) > 0.0
