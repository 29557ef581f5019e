"""Which parameters of a chat completion a server accepts, learnt from its refusals; and how requests do without the others.

A parameter has several forms: the first sends it as wanted, the last omits it. A refusal moves it to its next form that changes
the request. This module sends nothing.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import Any

from engage.engines.openai.complaints import Complaint

FEW_LOGPROBS = 5
LARGEST_SEED = 2**31 - 1
LEAST_TEMPERATURE = 0.01
LIMIT, NEW_LIMIT = "max_tokens", "max_completion_tokens"
SURVEY = {LIMIT: 1, "temperature": 1.0, "top_p": 1.0, "logprobs": True, "top_logprobs": 20}
"""What a survey asks for: the whole distribution, also at a server whose own top_p is smaller and that lists what it would sample from."""

BY_PATTERN = "the survey is read by pattern from a sampled answer"

OWN = ("top_k", "min_p", "repetition_penalty", "repeat_penalty", "presence_penalty", "frequency_penalty")
"""What programs add to the sampling of replies; sent to switch it off (`engage.engines.openai.models`)."""
LEAST_LOSS = ("logprob_token_ids", *OWN, "top_logprobs", "seed", "n", "top_p", "logprobs", "temperature", LIMIT)
"""The parameters that may be omitted, least important first; if a refusal names several, the first of these is blamed."""

_FORMS = {"seed": 3, "top_logprobs": 3, "temperature": 4, "top_p": 3, LIMIT: 3}
_NAMED = {
    "n": r"""['"`]n['"`]|\bn\b\s*(?:must|should|cannot|can't|has|is|>|=|:|greater|larger|value)"""
    r"|(?:parameter|argument|field|name|values? (?:for|of))\s*:?\s*n\b|best_of|candidate_?count"
    r"|\b(?:only|single|multiple|number of|more than)\b.{0,20}\b(?:completion|choice|candidate|generation)s?\b",
    "seed": r"\bseeds?\b|random_seed",
    "temperature": r"\btemperature\b",
    "top_p": r"\btop[_ -]?p\b|\btopP\b",
    "logprobs": r"(?<!top_)(?<!top )(?<!top-)log[_ -]?prob(?:s|abilit)|responseLogprobs",
    "top_logprobs": r"\btop[_ -]?log[_ -]?prob|\btopLogprobs|\btop_n_tokens\b",
    "logprob_token_ids": r"logprob_token_ids",
    **{name: rf"\b{name}\b" for name in OWN},
    LIMIT: r"\bmax[_ ]?(?:completion_|new_|output_)?tokens\b|maxOutputTokens",
}
_TOO_LONG = re.compile(
    r"context (?:length|window|size)|maximum context|too many tokens|prompt is too long|reduce the length|input tokens|exceed\w* the model"
    r"|`inputs` (?:tokens \+|must have less)",
    re.IGNORECASE,
)
_REFUSING = re.compile(
    r"allow|support|unknown|unrecogni[sz]ed|unexpected|invalid|must|cannot|can't|only|permit|extra|between|at most|maximum|enabled|available",
    re.IGNORECASE,
)
_LEAST = re.compile(r"(?:at least|minimum(?: value)?\D{0,30}|>=|greater than or equal to)\s*(\d{1,4})", re.IGNORECASE)


class Parameters:
    """What one served model accepts: `least_tokens`, its smallest reply limit, and `most_listed`, its most listed log-probabilities."""

    def __init__(self, omit: Collection[str] = ()) -> None:
        self._never_sent = frozenset(omit)
        self.level = {name: last_form(name) for name in omit if name in LEAST_LOSS}
        if LIMIT in omit and NEW_LIMIT not in omit:
            self.level[LIMIT] = 1
        self.least_tokens, self.most_listed = 1, FEW_LOGPROBS
        self._said: set[str] = set()

    def body(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters in the form that this server accepts."""
        sent: dict[str, Any] = {}
        for name, value in wanted.items():
            form = self.level.get(name, 0)
            asked = max(value, self.least_tokens) if name == LIMIT else value
            if form < last_form(name):
                sent |= _other_form(name, form, asked, self.most_listed) if form else {name: asked}
        needless = self._never_sent if "logprobs" in sent else {*self._never_sent, "top_logprobs", "logprob_token_ids"}
        return {name: value for name, value in sent.items() if name not in needless}

    def omits(self, name: str) -> bool:
        """Whether the parameter is never sent."""
        return self.level.get(name, 0) >= last_form(name)

    def omit(self, names: Iterable[str]) -> None:
        """Omit these from now on."""
        self.level |= {name: last_form(name) for name in names}

    def learn(
        self, complaint: Complaint, wanted: Mapping[str, Any], sent: Mapping[str, Any], sure: bool = True
    ) -> bool:
        """Move the parameter that the complaint names to its next form; False if it names none that was sent.

        `sent` is the refused request; True at once if another request has learnt of it in the meantime. Without `sure` (that the
        request itself was refused) the message's words must say so.
        """
        if self.body(wanted) != sent:
            return True
        if _TOO_LONG.search(complaint.words) or not (sure or _REFUSING.search(complaint.words)):
            return False
        name = blamed(complaint, sent)
        if name is None:
            return False
        self._note_bounds(name, complaint.words, sent)
        while self.body(wanted) == sent and not self.omits(name):
            self.level[name] = self.level.get(name, 0) + 1
        return self.body(wanted) != sent

    def _note_bounds(self, name: str, words: str, sent: Mapping[str, Any]) -> None:
        """Record the bounds in the message: the least number of tokens, the most listed log-probabilities."""
        if name == LIMIT and (least := _LEAST.search(words)):
            self.least_tokens = max(self.least_tokens, int(least[1]))
        if name == "top_logprobs":
            below = [int(number) for number in re.findall(r"\d{1,3}", words) if 0 < int(number) < sent[name]]
            self.most_listed = min(
                max(below, default=FEW_LOGPROBS), self.most_listed if self.level.get(name) else sent[name]
            )

    def notices(self) -> list[str]:
        """What the server refuses and what happens instead; without the parameters that the settings omit."""
        forms = [(name, self.level.get(name, 0)) for name in LEAST_LOSS if name not in self._never_sent]
        least = [f"{LIMIT} below {self.least_tokens} ({self.least_tokens} is sent)"] if self.least_tokens > 1 else []
        return [_NOTICES[form](self) for form in forms if form in _NOTICES] + least

    def news(self) -> list[str]:
        """The notices that this function has not returned before."""
        new = [notice for notice in self.notices() if notice not in self._said]
        self._said |= set(new)
        return new


def last_form(name: str) -> int:
    """The form that omits a parameter."""
    return _FORMS.get(name, 2) - 1


def blamed(complaint: Complaint, sent: Mapping[str, Any]) -> str | None:
    """The parameter of a refused request that a complaint names; None if it names none that may be omitted."""
    there = [name for name in LEAST_LOSS if name in sent or (name == LIMIT and NEW_LIMIT in sent)]
    own = LIMIT if complaint.param == NEW_LIMIT else complaint.param.rpartition(".")[2]
    if own in there:
        return own
    if own in {"messages", "prompt", "input", "model"}:
        return None
    quoted = [name for name in there if re.search(rf"['\"`]{name}['\"`]", complaint.words)]
    named = [name for name in there if re.search(_NAMED[name], complaint.words, re.IGNORECASE)]
    return next(iter(quoted or named), None)


def _other_form(name: str, form: int, value: Any, most_listed: int) -> dict[str, Any]:
    """The parameter in a form between the first (as wanted) and the last (omitted)."""
    if name == LIMIT:
        return {NEW_LIMIT: value}
    if name == "seed":
        return {name: value % LARGEST_SEED + 1}
    if name == "top_logprobs":
        return {name: min(value, most_listed)}
    if name == "temperature":
        return {name: max(value, LEAST_TEMPERATURE) if form == 1 else 1.0}
    return {name: value} if value < 1.0 else {}  # top_p of 1 changes nothing


def _its_own(name: str, _: Parameters) -> str:
    return f"{name} (the server's own is used)"


_NOTICES: dict[tuple[str, int], Callable[[Parameters], str]] = {
    **{(name, 1): partial(_its_own, name) for name in OWN},
    ("n", 1): lambda _: "n (each reply is a request of its own)",
    ("seed", 1): lambda _: "large seeds (seeds are reduced to 31 bits)",
    ("seed", 2): lambda _: "seed (seeds are not honoured: a run cannot be repeated exactly)",
    ("temperature", 1): lambda _: f"temperature 0 ({LEAST_TEMPERATURE} is sent)",
    ("temperature", 2): lambda _: "temperatures other than 1 (1 is sent)",
    ("temperature", 3): lambda _: "temperature (the server's own is used)",
    ("top_p", 2): lambda _: "top_p (the server's own is used)",
    ("logprobs", 1): lambda _: f"logprobs ({BY_PATTERN})",
    ("top_logprobs", 1): lambda p: f"top_logprobs above {p.most_listed} (the survey is read from those)",
    ("top_logprobs", 2): lambda _: f"top_logprobs ({BY_PATTERN})",
    (LIMIT, 1): lambda _: f"{LIMIT} ({NEW_LIMIT} is sent)",
    (LIMIT, 2): lambda _: f"{LIMIT} (replies have no limit)",
}
