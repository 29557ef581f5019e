"""Tokens of replies: shares of what a server reports; and a count for a server that reports none.

The count needs the served model's tokenizer on this machine.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from engage.errors import ModelError


def shared(total: int, known: Sequence[int]) -> list[int]:
    """`total` tokens of a request as tokens of its replies: the known ones of each, and equal shares of the rest (thoughts)."""
    each, more = divmod(max(0, total - sum(known)), len(known))
    return [count + each + (index < more) for index, count in enumerate(known)]


class TokenCounter:
    """Counts with the model's own template and tokenizer; the server's template may differ by a few tokens."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    @staticmethod
    def of(model: str) -> "TokenCounter | None":
        """The counter for a served model's name; None if no model of this name is on this machine."""
        from engage.models import find_model, open_tokenizer

        try:
            ref = find_model(model)
            return None if ref is None else TokenCounter(open_tokenizer(ref.path))
        except ModelError:
            return None

    def prompt(self, messages: Sequence[Mapping[str, str]]) -> int:
        """Tokens of a chat, up to the start of the model's reply."""
        from engage.models import render

        return self.text(render(self._tokenizer, [dict(message) for message in messages], add_generation_prompt=True))

    def text(self, text: str) -> int:
        """Tokens of a text alone."""
        return len(self._tokenizer(text, add_special_tokens=False)["input_ids"])
