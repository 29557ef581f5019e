"""A team's own conversations as scenarios and human dialogues: OpenAI messages and ShareGPT (one JSON object a line), CSV.

People's names, addresses and numbers become placeholders (`engage.corpora.placeholders`) before anything else is done with a turn.
JSON Lines are read line by line; a CSV file and a JSON list are read whole. What cannot be used is left out with its place and the reason.
Messages are put into the order that their times or places state (`engage.corpora.order`).
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

from engage.corpora.base import BY_DEFAULT, Corpus, CorpusOptions, Gathering, checked_condition
from engage.corpora.files import ROUNDED, column_named, csv_rows, json_records, text_lines
from engage.corpora.order import find_order, order_fields
from engage.corpora.own import OWN
from engage.corpora.placeholders import replace_personal
from engage.dialogue import Role, Turn
from engage.domains import load_domain
from engage.domains.rules.cleaning import check_text, clean_turns
from engage.errors import ConfigError, CorpusError
from engage.files.reading import Unreadable, strict_json

Chat = tuple[str, Any]
"""A place (`file:line`) and the conversation's list of messages, or the reason why there is none."""

ROLES = {
    **dict.fromkeys(("user", "human", "customer", "client", "seeker", "visitor", "prompter"), Role.USER),
    **dict.fromkeys(("assistant", "gpt", "bot", "agent", "model", "ai", "support", "supporter", "helper"), Role.ASSISTANT),
}  # fmt: skip
ASIDE = frozenset(
    ("system", "developer", "tool", "function", "function_call", "function_response", "observation", "tool_call")
)
COLUMNS = (
    ("conversation_id", "conversation", "conversation id", "chat_id", "thread_id", "dialogue_id", "id"),
    ("role", "from", "speaker", "sender", "author"),
    ("text", "content", "message", "value", "body"),
)
"""Names of the CSV columns: conversation, role, text; the first that is there counts."""
NO_IDS = frozenset(("", "nan", "null", "none", "n/a", "na", "#n/a", "\\n", "undefined"))
"""What an export writes where a row has no conversation id, in lower case."""
NO_OBJECT = "not one JSON object on one line; write one conversation a line, or all as one JSON list"
MAX_SITUATION = 600
PERSON = "a person who writes to a helper"
ASSUMED: Mapping[str, Mapping[str, Any]] = {
    "emotional_support": {"emotion": "troubled", "problem": "what happened", "initial_intensity": 3}
}
"""What a domain asks of a user and no chat says, where nothing else is given."""


@dataclass(frozen=True)
class Chats:
    """The conversations taken, replacements by kind, and the parts of the user condition that are the same for all of them."""

    corpus: Corpus
    replaced: Counter[str]
    condition: Mapping[str, Any]


def read_chats(path: Path, domain: str, given: Mapping[str, Any], options: CorpusOptions = BY_DEFAULT) -> Chats:
    """All conversations of a file that make a scenario of the domain.

    `given` are values of the user condition, by name, for all users; the situation is what the user says first. ConfigError if the
    domain needs more of them, CorpusError if the file cannot be read or nothing of it can be used.
    """
    condition = {"person": PERSON, **ASSUMED.get(domain, {}), **given}
    kind = load_domain(domain).condition_type
    for name, value in given.items():
        check_text(f"--condition {name}", str(value))
    wrong = checked_condition(kind, {"situation": "I need some help.", **condition})
    if isinstance(wrong, str):
        raise ConfigError(f"domain {domain}: user_condition.{wrong}; give it as --condition NAME=VALUE")
    gathering = Gathering(OWN, load_domain(domain), options, domain, path.parent)
    replaced: Counter[str] = Counter()
    for place, messages in _chats(path):
        _take(gathering, place, messages, condition, replaced)
    return Chats(gathering.corpus(path), replaced, condition)


def _take(
    gathering: Gathering,
    place: str,
    messages: Any,
    condition: Mapping[str, Any],
    replaced: Counter[str],
) -> None:
    """Accept one conversation, or record why not."""
    remarks: list[str] = []
    said = messages if isinstance(messages, str) else _said(messages, remarks)
    if isinstance(said, str):
        return gathering.drop(place, said)
    try:
        turns, removed, doubt = clean_turns(place, said)
        if not doubt and clean_turns(place, turns)[0] != turns:  # a second layer would come out after the replacing
            doubt = "marked up in several layers"
    except CorpusError as error:
        doubt = str(error).partition(": turn ")[2].partition(": ")[2]
    if doubt:
        return gathering.drop(place, doubt)
    texts, counts = replace_personal([text for _, text in turns])
    turns = [(role, text) for (role, _), text in zip(turns, texts, strict=True)]
    roles = [role for role, _ in turns]
    if any(one is other for one, other in pairwise(roles)):
        remarks.append("turns of one side that follow each other joined")
    before = len(gathering.taken)
    try:
        gathering.take(place, turns, {**condition, "situation": _situation(turns)}, None, [*remarks, *removed])
    except CorpusError:
        return gathering.drop(place, "the same conversation as another one")
    if len(gathering.taken) > before:
        replaced.update(counts)
    return None


def _situation(turns: list[tuple[Role, str]]) -> str:
    """The user's first words: whole turns up to MAX_SITUATION characters, at least (the beginning of) the first."""
    said = ""
    for text in (" ".join(text.split()) for role, text in turns if role is Role.USER):
        if said and len(said) + len(text) >= MAX_SITUATION:
            break
        said = f"{said} {text}".strip()
    return (
        said if len(said) <= MAX_SITUATION else f"{said[:MAX_SITUATION].rpartition(' ')[0] or said[:MAX_SITUATION]} …"
    )


def _said(messages: Any, remarks: list[str]) -> list[tuple[Role, str]] | str:
    """Who says what, in the order that the messages state; or why the conversation cannot be used.

    What is left out of a usable one, and what is to be said of its order, is added to `remarks`.
    """
    if not isinstance(messages, list) or not messages:
        return "no messages"
    said: list[tuple[Role, str]] = []
    spoken = []
    left = set()
    for message in messages:
        if not isinstance(message, Mapping):
            return "a message is not an object"
        if "messages" in message or "conversations" in message:
            return "conversations where messages are expected; write one conversation a line, or all as one JSON list"
        role = str(message.get("role", message.get("from"))).strip().lower()
        if role in ASIDE:
            left.add("messages of system and tools left out")
            continue
        if role not in ROLES:
            return "the role of a message is not known; use user and assistant, or names such as human and gpt"
        text, whole = _text(message.get("content", message.get("value", message.get("text"))))
        if not whole:
            left.add("pictures, calls and other parts that are no text left out")
        said.append((ROLES[role], text))
        spoken.append(message)
    if not any(text.strip() for _, text in said):
        return "no text"
    order = find_order(spoken, [role for role, _ in said])
    remarks += [*filter(None, [order.remark]), *sorted(left)]
    return order.doubt or [said[number] for number in order.numbers]


def _text(content: Any) -> tuple[str, bool]:
    """A message's text, and whether that is all of it: OpenAI's content may be a list of parts, or null beside a call."""
    if isinstance(content, str):
        return content, True
    parts = content if isinstance(content, list) else []
    texts = [part.get("text") for part in parts if isinstance(part, Mapping)]
    known = [text for text in texts if isinstance(text, str)]
    return "\n".join(known), bool(parts) and len(known) == len(parts)


def _chats(path: Path) -> Iterator[Chat]:
    lines = text_lines(path)
    blank = []
    for number, line in lines:
        blank.append((number, line))
        if line is None or line.strip():
            break
    start = (blank[-1][1] or "{").lstrip()[:1] if blank else ""
    if start == "[":
        yield from ((place, _messages(record)) for place, record in json_records(path, "messages"))
    elif start == "{":
        yield from _json_lines(path, chain(blank, lines))
    elif start:
        yield from _csv_chats(path)
    else:
        raise CorpusError(f"{path}: is empty; give a file with conversations")


def _json_lines(path: Path, lines: Iterator[tuple[int, str | None]]) -> Iterator[Chat]:
    for number, line in lines:
        place = f"{path.name}:{number}"
        if line is None:
            yield place, "the line is too long"
        elif line.strip():
            try:
                yield place, _messages(strict_json(line))
            except (json.JSONDecodeError, Unreadable):
                yield place, NO_OBJECT


def _messages(record: Any) -> Any:
    if not isinstance(record, Mapping):
        return NO_OBJECT
    messages = record.get("messages") or record.get("conversations")
    if messages is None and not {"messages", "conversations"} & set(record):
        return "neither `messages` nor `conversations` in it"
    return "the messages are one text; write them as a list of objects" if isinstance(messages, str) else messages


def _csv_chats(path: Path) -> Iterator[Chat]:
    columns = [column_named(path, names) for names in COLUMNS]
    found: dict[str, tuple[str, list[dict[str, str]]]] = {}
    for line, row in csv_rows(path, columns):
        key, role, text = (row[name] for name in columns)
        place, key = f"{path.name}:{line}", key.strip()
        if reason := _not_an_id(key):
            yield place, reason
            continue
        message = {"role": role, "content": text, **{name: row[name] for name in order_fields(row)}}
        found.setdefault(key, (place, []))[1].append(message)
    yield from found.values()


def _not_an_id(key: str) -> str | None:
    """Why rows with this conversation id may be of several conversations; None for a good one."""
    if key.lower() in NO_IDS:
        return "a row (each counts as one) without a conversation id"
    if ROUNDED.fullmatch(key):
        return (
            "a row (each counts as one) whose conversation id a spreadsheet rounded, as 1.71234E+14; export ids as text"
        )
    return None


def dialogue_lines(corpus: Corpus) -> Iterator[str]:
    """The human dialogues in engage's own format, one a line, as `read_own` reads them."""
    for human in corpus.dialogues:
        record = {
            "domain": human.domain,
            "user_condition": human.user_condition.model_dump(mode="json", exclude_none=True),
            "turns": [{"role": str(turn.role), "text": turn.text} for turn in human.dialogue.turns],
        }
        yield json.dumps(record, ensure_ascii=False)


def turns_to_show(chats: Chats, number: int = 10) -> list[tuple[str, Turn]]:
    """Turns as they would be stored, each with its place: half of them with a placeholder if there are enough, spread over the file."""
    turns = [(human.origin, turn) for human in chats.corpus.dialogues for turn in human.dialogue.turns]
    hit = [one for one in turns if "[" in one[1].text]
    rest = [one for one in turns if "[" not in one[1].text]
    half = min(len(hit), max(number // 2, number - len(rest)))
    return [*_spread(hit, half), *_spread(rest, number - half)]


def _spread(turns: list[tuple[str, Turn]], number: int) -> list[tuple[str, Turn]]:
    return [turns[index * len(turns) // number] for index in range(number)] if len(turns) > number else turns
