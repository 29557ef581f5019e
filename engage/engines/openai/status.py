"""What a server's error means: try again, give up, or omit a parameter."""

import math
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from engage.engines.openai.complaints import Complaint

PATIENCE, PAYMENT, NOT_IMPLEMENTED = 429, 402, 501
KEY_REFUSED = (401, 403)
_LATER = (408, 409, 423, 424, 425)
_BY_CODE = (
    (r"rate.?limit|too.?many|overload", PATIENCE),
    (r"quota|credit|billing|payment", PAYMENT),
    (r"auth|api.?key", 401),
)
_NO_MONEY = re.compile(
    r"insufficient.?(?:quota|credit|balance|funds)|billing|exceeded your current quota", re.IGNORECASE
)
_FILTER_CODE = re.compile(r"content_?filter|content_policy|ResponsibleAI|data_inspection|moderation", re.IGNORECASE)
_FILTER_WORDS = re.compile(
    r"content (?:management )?polic|content.?filter|requires moderation|\bflagged\b|safety (?:system|polic|filter)|inappropriate content",
    re.IGNORECASE,
)


class Refused(Exception):
    """The servers will never answer this request; the text says why."""


class Unsupported(Refused):
    """The server refuses a part of the request; `complaint` is its message."""

    def __init__(self, reason: str, complaint: Complaint) -> None:
        super().__init__(reason)
        self.complaint = complaint


class GaveUp(Refused):
    """A transient failure lasted longer than the time for retries."""


class Learned(Exception):
    """The request was refused as sent; send it again in its new form."""


class Transient(Exception):
    """Try again later: after `pause_s`, if the server said so. `crowded`: other requests may be the reason."""

    def __init__(self, reason: str, pause_s: float | None = None, crowded: bool = False) -> None:
        super().__init__(reason)
        self.pause_s, self.crowded = pause_s, crowded


def is_filtered(complaint: Complaint) -> bool:
    """Whether a content filter refused the dialogue itself."""
    return bool(_FILTER_CODE.search(complaint.code) or _FILTER_WORDS.search(complaint.words))


def status_of(complaint: Complaint) -> int:
    """The HTTP status that fits an error that came with status 200; 500 if its message does not say."""
    if complaint.status is not None:
        return complaint.status
    said = f"{complaint.code} {complaint.words}"
    return next((status for known, status in _BY_CODE if re.search(known, said, re.IGNORECASE)), 500)


def failure(status: int, complaint: Complaint, url: str, key_env: str, model: str) -> Exception:
    """The exception to raise for an error; secrets in `complaint` are masked already."""
    words, said = complaint.words, f"{url} ({complaint.words!r})" if complaint.words else url
    if status in KEY_REFUSED:
        return Refused(f"{key_refused(url, key_env)} ({words})")
    if status == PAYMENT or (status == PATIENCE and _NO_MONEY.search(f"{complaint.code} {words}")):
        return Refused(f"{url} asks for payment: {words}")
    if status == PATIENCE:
        return Transient(f"{said} has too many requests (429)", crowded=True)
    if status == NOT_IMPLEMENTED:
        return Refused(f"{url} does not offer chat completions (501): correct base_urls")
    if status >= 500 or status in _LATER:
        return Transient(f"{said} fails ({status})")
    if status == 404:
        return Refused(f"{url} does not know the model {model!r} ({words})")
    return Unsupported(f"{url} refuses the request: {words or f'status {status}'}", complaint)


def key_refused(url: str, key_env: str) -> str:
    """The sentence for a refused key."""
    return f"{url} refuses the key; put a valid one into the environment variable {key_env}"


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the server asks to wait (sent as a number or a date); None if it names none."""
    for name, factor in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers[name]) * factor
        except (KeyError, ValueError):
            continue
        return None if math.isnan(seconds) else max(0.0, seconds)
    try:
        return max(0.0, parsedate_to_datetime(headers["retry-after"]).timestamp() - time.time())
    except (KeyError, ValueError, TypeError, OverflowError, OSError):
        return None
