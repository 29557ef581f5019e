"""Finds out at the start what a server accepts: two small requests, changed until it accepts them.

A refusal that names a parameter moves it to its next form (`Parameters.learn`). If it names none, the refused one is found by
bisection. If several parameters were changed, each is tried once more, because a message may have named the wrong one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engage.engines.openai.answers import NO_LOGPROBS, Answer
from engage.engines.openai.parameters import BY_PATTERN, LEAST_LOSS, LIMIT, OWN, SURVEY, last_form
from engage.engines.openai.server import Chat, ServerGroup
from engage.engines.openai.silent import repeated
from engage.engines.openai.status import GaveUp, Refused, Unsupported
from engage.errors import in_one_line
from engage.seeds import derive_seed

PROBE = ({"role": "system", "content": "Be brief."}, {"role": "user", "content": "Say hello."})
PROBE_S = 30.0
_REPLIES = {
    "n": 2,
    "seed": derive_seed("probe") | 1 << 62,
    LIMIT: 16,
    "temperature": 0.7,
    "top_p": 0.9,
    "logprobs": True,
}


@dataclass(frozen=True)
class ProbeResult:
    """Result of a probe: a line on what the server refuses or omits ('' for nothing), and whether it reports token counts.

    `unscored`: why a survey is read by pattern, as the line says; '' if it need not be.
    """

    notice: str
    counts_tokens: bool
    unscored: str


async def probe(group: ServerGroup, model: str) -> ProbeResult | None:
    """Ask once for replies and once for a survey's choices; `group.parameters` then holds what the servers accept.

    None if the servers are too busy or failing; raises Refused if they accept no request at all, or repeat the prompt in their replies.
    """
    try:
        replies = await _taken(group, model, _REPLIES)
        survey = None
        if not group.parameters.omits("logprobs") and not group.parameters.omits("top_logprobs"):
            survey = await _taken(group, model, SURVEY)
    except GaveUp:
        return None
    if what := repeated(PROBE, [reply.text for reply in replies.replies]):
        raise Refused(
            f"{group.url} ({model}) begins its replies with {what} ({in_one_line(replies.replies[0].text, 60)!r}): let it return the new "
            "text alone, without what its chat template writes"
        )
    counts = bool(replies.prompt_tokens) and (
        replies.completion_tokens is not None or not any(reply.text for reply in replies.replies)
    )
    refused = group.parameters.notices()
    one = len(replies.replies) < 2 and not group.parameters.omits("n")
    if one:
        group.parameters.omit(["n"])
    group.parameters.news()  # said here
    parts = [f"refuses {', '.join(refused)}"] if refused else []
    parts += ["ignores n (each reply is a request of its own)"] if one else []
    why = survey.replies[0].unscored if survey is not None else NO_LOGPROBS
    parts += [f"{why}: {BY_PATTERN}"] if why and survey is not None else []
    parts += [] if counts else ["does not say how many tokens a request took"]
    return ProbeResult(f"{group.url} ({model}) {'; '.join(parts)}" if parts else "", counts, why)


async def _taken(group: ServerGroup, model: str, wanted: Mapping[str, Any]) -> Answer:
    """The answer to the request in the form that the server accepts with the fewest changes."""
    before = dict(group.parameters.level)
    chat = Chat(model, PROBE, wanted, probing=True)
    try:
        answer = await _asked(group, chat, learn=True)
    except Unsupported:
        names = [name for name in LEAST_LOSS if name in {*wanted, *OWN} and before.get(name, 0) < last_form(name)]
        group.parameters.omit(names)
        await _asked(group, chat)  # if it is refused even so, no parameter is the reason
        await _restore(group, chat, names, before)
        return await _asked(group, chat)
    moved = [name for name, form in group.parameters.level.items() if form > before.get(name, 0)]
    if len(moved) > 1:
        await _restore(group, chat, moved, before)
        answer = await _asked(group, chat)
    return answer


async def _restore(group: ServerGroup, chat: Chat, names: Sequence[str], before: Mapping[str, int]) -> None:
    """Restore the parameters that the server accepts after all, by bisection; the others stay in their first accepted form."""
    level = group.parameters.level
    given_up = {name: level.get(name, 0) for name in names}
    for form in range(last_form(names[0])) if len(names) == 1 else [0]:
        level |= {name: max(form, before.get(name, 0)) for name in names}
        if {name: level[name] for name in names} == given_up or await _is_taken(group, chat):
            return
    level |= given_up
    if len(names) > 1:
        middle = len(names) // 2
        await _restore(group, chat, names[:middle], before)
        await _restore(group, chat, names[middle:], before)


async def _is_taken(group: ServerGroup, chat: Chat) -> bool:
    try:
        await _asked(group, chat)
    except GaveUp:
        raise
    except Refused:
        return False
    return True


async def _asked(group: ServerGroup, chat: Chat, learn: bool = False) -> Answer:
    return await group.chat(chat, learn, min(PROBE_S, group.retry_s))
