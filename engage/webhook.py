"""Posts a text to a webhook: JSON with `text`, as Slack, Mattermost and others take it. An address is a secret: whoever has it can write there."""

import json
import urllib.error
import urllib.request
from urllib.parse import urlsplit

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from engage.errors import ConfigError

TRIES = 3
AGAIN_S = 1.0
TIMEOUT_S = 10.0


def check_address(address: str) -> str:
    """The address itself; ConfigError if it is none of a webhook. The error does not repeat it."""
    try:
        parts = urlsplit(address)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and not any(map(str.isspace, address))
    except ValueError:
        usable = False
    if not usable:
        raise ConfigError("--notify: not an address of a webhook; write it with http:// or https:// and a host")
    return address


def post(text: str, address: str) -> str | None:
    """Post the text, trying again while the server fails; returns why it could not be posted, without the address, None if it was."""
    request = urllib.request.Request(address, json.dumps({"text": text}).encode(), {"Content-Type": "application/json"})
    again = retry_if_exception_type(OSError)
    try:
        for attempt in Retrying(
            stop=stop_after_attempt(TRIES), wait=wait_exponential(AGAIN_S), retry=again, reraise=True
        ):
            with attempt, urllib.request.urlopen(request, timeout=TIMEOUT_S):
                pass
    except Exception as error:
        return f"HTTP status {error.code}" if isinstance(error, urllib.error.HTTPError) else type(error).__name__
    return None
