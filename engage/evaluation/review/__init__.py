"""Review by people: what is shown of a cycle, and one reviewer's way through it, blind. What they said: `engage.evaluation.reviewed`."""

from engage.evaluation.review.items import USUAL_SIZE, Item, Sample, Turns, dialogue_items, draw, named, pair_items
from engage.evaluation.review.session import CHOICES, Review, earlier_judgements

__all__ = [
    "CHOICES",
    "USUAL_SIZE",
    "Item",
    "Review",
    "Sample",
    "Turns",
    "dialogue_items",
    "draw",
    "earlier_judgements",
    "named",
    "pair_items",
]
