"""What a chat server says is wrong, read from an error of any layout: JSON in many forms, plain text, or a page. Asks nobody."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engage.errors import in_one_line


@dataclass(frozen=True)
class Complaint:
    """A server's error message on one line, with its `code` and `param` ('' if absent) and its `status` if the body has one."""

    words: str
    code: str = ""
    param: str = ""
    status: int | None = None


def complaint_of(content: Any) -> Complaint:
    """The error message in an error's body (text or decoded JSON), whatever its layout."""
    if isinstance(content, str):
        try:
            content = json.loads(content)
        except (ValueError, RecursionError):
            return Complaint(_line(page_of(content) or content))
    if isinstance(content, list) and content:
        content = content[0]
    if not isinstance(content, Mapping):
        return Complaint(_line(content))
    error = next((content[name] for name in ("error", "errors", "detail") if content.get(name)), content)
    if isinstance(error, list):
        error = error[0]
    if not isinstance(error, Mapping):
        return Complaint(_line(error), str(content.get("error_type") or content.get("code") or ""))
    words = next((error[name] for name in ("message", "msg", "error", "detail") if error.get(name)), None)
    where = error.get("loc")
    param = str(where[-1]) if isinstance(where, list) and where else str(error.get("param") or "")
    said = _line(words if words is not None else json.dumps(error, default=str))
    about = error.get("metadata")
    if isinstance(about, Mapping) and about.get("raw"):
        said += f" ({complaint_of(about['raw']).words})"
    if param and not re.search(rf"(?<!\w){re.escape(param)}(?!\w)", said):
        said = f"{param}: {said}"
    code = error.get("code")
    status = int(str(code)) if re.fullmatch(r"[45]\d\d", str(code)) else None
    return Complaint(said[:400], _filter_code(error) or str(code or error.get("type") or ""), param, status)


def error_in(text: str) -> str:
    """The error message in a body with status 200: of an object that is an error, or of a page; '' for any other body."""
    if page_of(text):
        return complaint_of(text).words
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(content, Mapping):
        return ""
    failed = content.get("error") or content.get("errors") or content.get("detail") or content.get("object") == "error"
    return complaint_of(content).words if failed else ""


def _filter_code(error: Mapping[str, Any]) -> str:
    """What a filter calls itself below the error's own code, which may be only its status; '' where it says nothing of a filter."""
    about = error.get("metadata")
    if isinstance(about, Mapping) and (about.get("flagged_input") or about.get("reasons")):
        return "moderation"
    inner = error.get("innererror") or error.get("inner_error")
    return str(inner.get("code") or "") if isinstance(inner, Mapping) else ""


def _line(words: Any) -> str:
    text = words if isinstance(words, str) else json.dumps(words, default=str)
    return in_one_line(text)


def page_of(text: str) -> str:
    """What a page in place of JSON is about; '' for what is no page."""
    if not text.lstrip().startswith("<"):
        return ""
    title = re.search(r"<title[^>]*>(.*?)</title>", text, re.IGNORECASE | re.DOTALL)
    words = " ".join(re.sub(r"<[^>]+>", " ", title[1] if title else text).split())
    return f"a page: {words[:100]}" if words else "a page"
