"""Masks secrets in text that is shown, logged or stored: passwords in addresses, keys that a server echoes.

Knows no settings: the caller names the secrets. Passwords in addresses are found without being named.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote

MASK = "***"
ECHO = 6
"""A part of a secret is masked from this length on."""
_URL = re.compile(r"(?P<scheme>[a-zA-Z][a-zA-Z0-9+.-]*://)(?P<rest>[^\s'\"<>]+)")
_HOST = re.compile(r"(?:[\w.-]+|\[[0-9a-fA-F:.]+\])(?::\d*)?")
_QUERY_VALUE = re.compile(r"(?P<name>[?&;][^=&;#\s]+=)(?P<value>[^&;#]*)")
_PUBLIC_QUERY = ("api-version", "version")
_SECRET_NAME = re.compile(r"key|token|secret|passw|credential|authori[sz]ation|signature", re.IGNORECASE)
_TYPED_SECRET = re.compile(
    r"(?P<name>\b[\w-]*(?:key|token|secret|password|passwd|credentials?|authorization)['\"]?\s*[=:]\s*)(?P<quote>['\"])(?:(?!(?P=quote)).)*(?P=quote)",
    re.IGNORECASE,
)
_BEARER = re.compile(r"\b(bearer|basic)\s+[^\s'\",;]+", re.IGNORECASE)
_STARRED = re.compile(r"[^\s'\",;:()]*(?:\*{2,}|\.{3}|…)[^\s'\",;:()]*")


def mask_urls(text: str) -> str:
    """The text with the passwords and query values of its addresses masked."""

    def masked(match: re.Match[str]) -> str:
        rest = match["rest"]
        authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
        user, at, host = authority.rpartition("@")
        if not at and "@" in rest and authority and not _HOST.fullmatch(authority):  # a slash within the password
            user, at, host = rest.rpartition("@")
            authority = rest[: len(user) + 1 + len(host)]
        tail = rest[len(authority) :]
        shown = f"{MASK}@{host}" if at and user else authority
        return match["scheme"] + shown + _QUERY_VALUE.sub(_masked_value, tail)

    return _URL.sub(masked, text)


def _masked_value(match: re.Match[str]) -> str:
    public = match["name"][1:-1].lower() in _PUBLIC_QUERY
    return match[0] if public or not match["value"] else match["name"] + MASK


def mask_table(value: Any, name: str = "") -> Any:
    """A table of settings; values whose names suggest a key, a token or a password are masked at any depth."""
    if isinstance(value, Mapping):
        return {key: mask_table(inner, str(key)) for key, inner in value.items()}
    if isinstance(value, str):
        return MASK if _SECRET_NAME.search(name) and value else mask_urls(value)
    if isinstance(value, list | tuple):
        return [mask_table(inner, name) for inner in value]
    return value


def mask_setting(text: str) -> str:
    """A setting as it is typed, `name=value`, without passwords in addresses and without quoted values whose name says that they are secret."""
    return _TYPED_SECRET.sub(rf"\g<name>\g<quote>{MASK}\g<quote>", mask_urls(text))


def mask(text: str, secrets: Iterable[str]) -> str:
    """The text with the secrets masked: whole, parts of at least ECHO characters, or abbreviated with stars by a server."""
    text = _BEARER.sub(lambda match: f"{match[1]} {MASK}", mask_urls(text))
    for form in {form for secret in secrets for form in (secret, unquote(secret)) if form}:
        text = _without(text, form)
    return text


def _without(text: str, secret: str) -> str:
    start = secret[:3]

    def hidden(match: re.Match[str]) -> str:
        return MASK if match[0].startswith(start) else match[0]

    text = _STARRED.sub(hidden, text) if len(secret) >= ECHO else text
    if len(secret) < ECHO:
        return re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", MASK, text)
    parts = {secret[index : index + ECHO] for index in range(len(secret) - ECHO + 1)}
    known = [False] * len(text)
    for index in range(len(text) - ECHO + 1):
        if text[index : index + ECHO] in parts:
            known[index : index + ECHO] = [True] * ECHO
    shown: list[str] = []
    for letter, secret_letter in zip(text, known, strict=True):
        if not secret_letter:
            shown.append(letter)
        elif not shown or shown[-1] != MASK:
            shown.append(MASK)
    return "".join(shown)
