"""What a server does without saying so, read from its answers: another model, a limit of its own, a prompt cut short, equal replies.

Asks nobody and changes nothing: each is a sentence for the log, which gives it once.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from engage.engines.openai.answers import Answer
from engage.engines.openai.parameters import LIMIT, NEW_LIMIT

FEWER, MORE = 0.9, 1.5
"""Shares of the tokens that replies may have: another limit ended them before FEWER, and theirs did not end them before MORE."""
ENDS = 2
"""Tokens of a turn's end that a server may count beside the reply's."""
LONG_TEXT, LETTERS = 1_500, 8.0
"""No tokenizer makes a token of LETTERS characters on average, in a text of at least LONG_TEXT."""
SURE = 20
"""Prompts in a row whose replies are equal."""
_VARIANT = re.compile(r"(?:[-@]\d{3,}[\d-]*|[-@]latest|\.gguf)*")
_HEADER = re.compile(r"\W*(?:assistant|model)\W*\n", re.IGNORECASE)

Messages = Sequence[Mapping[str, str]]


class Silent:
    """Remembers what the servers of one group said."""

    def __init__(self) -> None:
        self._named: dict[tuple[str, str], str] = {}
        self._equal: dict[str, int] = {}

    def notices(self, answer: Answer, asked: str, messages: Messages, sent: Mapping[str, Any]) -> Iterator[str]:
        """Sentences on an answer to a request for the model `asked`; `sent` are its parameters as the server got them."""
        before = self._named.get((answer.url, asked), asked)
        if answer.model and not alike(before, answer.model):
            self._named[answer.url, asked] = answer.model
            no_longer = "" if before == asked else f", and no longer as {before!r},"
            yield (
                f"{answer.url} answers as {answer.model!r}{no_longer} when {asked!r} is asked for: if that is another model, stop this run "
                "and correct the server or the model's name"
            )
        place, most = f"{answer.url} ({asked})", sent.get(LIMIT, sent.get(NEW_LIMIT))
        if most:
            yield from _of_limit(place, answer, most)
        length = sum(len(message["content"]) for message in messages)
        if answer.prompt_tokens and length >= max(LONG_TEXT, LETTERS * answer.prompt_tokens):
            yield (
                f"{place} counts too few tokens for a long prompt: it cuts long prompts off (start it with a longer context), or does not "
                "count what it had cached"
            )

    def equal(self, place: str, texts: Sequence[str]) -> Iterator[str]:
        """A sentence if SURE prompts in a row got equal replies; `texts` are those to one prompt, sampled."""
        if len(texts) > 1 and texts[0]:
            self._equal[place] = self._equal.get(place, 0) + 1 if len(set(texts)) == 1 else 0
            if self._equal[place] == SURE:
                yield (
                    f"{place} gave equal replies to each of {SURE} prompts: it ignores temperature and seed or caches its replies, and a "
                    "search has nothing to compare; correct the server's settings"
                )


def _of_limit(place: str, answer: Answer, most: int) -> Iterator[str]:
    written, count = answer.completion_tokens or 0, len(answer.replies)
    if 0 < written < FEWER * most * count and all(reply.reason == "length" for reply in answer.replies):
        yield f"{place} ends replies before {LIMIT} is reached: a limit of its own, or its context, is smaller; raise it there"
    longest = max(len(reply.text) for reply in answer.replies)
    if written > MORE * (most + ENDS) * count or longest > LETTERS * (most + ENDS):
        yield f"{place} writes more than {LIMIT} allows: it ignores that limit, or counts thoughts beside it"


def alike(one: str, other: str) -> bool:
    """Whether two names may be one model's: the same but for a folder, a tag, a date behind it, or capitals."""
    short, long = sorted((name.rpartition("/")[2].partition(":")[0].lower() for name in (one, other)), key=len)
    return long.startswith(short) and _VARIANT.fullmatch(long[len(short) :]) is not None


def repeated(messages: Messages, texts: Sequence[str]) -> str:
    """What the replies to one prompt begin with that is no reply: the prompt, or the header of the turn; '' if one does not."""
    prompt = re.compile(".{0,200}?" + ".*?".join(re.escape(message["content"]) for message in messages), re.DOTALL)
    found = (
        what for what, sign in (("the prompt", prompt), ("the speaker's name", _HEADER)) if all(map(sign.match, texts))
    )
    return next(found, "")
