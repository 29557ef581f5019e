"""The HTTP clients of a group's servers, with the key and passwords that they send; opened once, on the loop that uses them."""

import asyncio
import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import openai

from engage.engines.openai.config import ServerConfig, address_parts
from engage.errors import ConfigError

LONGEST_PAUSE_S = 20.0
_NOBODY = ("ConnectError", "NoneType")
"""The client's errors without a connection."""
NEWEST, FORGOTTEN = 0.3, 0.997
"""Weight of the newest answer in a server's `pace_s`; and what `pace_s` is multiplied by each time another server is picked, so that a server that was slow
once is tried again."""


class Redirected(openai.OpenAIError):
    """The server sends a request elsewhere, where it would arrive without its body."""


async def _keep_body(response: Any) -> None:
    """Raise Redirected for a redirect that turns POST into GET; the client follows the others."""
    if response.status_code in (301, 302, 303) and response.request.method == "POST":
        place = str(response.url.join(response.headers.get("location", "")))
        raise Redirected(f"redirects to {place.removesuffix('/chat/completions')}: correct base_urls")


@dataclass(eq=False)
class Server:
    """One server: its `url` without secrets, its running requests, recent failures, the models it has, the adapters it has loaded.

    `neutral` are the parameters that switch off its own sampling. `pace_s` is the time of an answer, shared by the requests that ran beside it (the inverse of its throughput); 0 before its first answer.
    """

    url: str
    client: openai.AsyncOpenAI
    in_flight: int = 0
    pace_s: float = 0.0
    failures: int = 0
    down_until: float = 0.0
    models: set[str] = field(default_factory=set)
    neutral: Mapping[str, Any] = field(default_factory=dict)
    adapters: set[str] = field(default_factory=set)
    loading: asyncio.Lock = field(default_factory=asyncio.Lock)

    def answered(self, took_s: float, in_flight: int) -> None:
        """Note an answer: how long it took, and how many requests ran when it was sent, itself included."""
        pace_s = took_s / in_flight
        self.pace_s = (1 - NEWEST) * self.pace_s + NEWEST * pace_s if self.pace_s else pace_s

    def rest(self, lost: bool) -> None:
        """Send it nothing for a while, longer after each failure; if the connection was lost, check its models and load its adapters again later."""
        self.failures += 1
        self.down_until = time.monotonic() + min(LONGEST_PAUSE_S, 0.5 * 2 ** min(self.failures, 10))
        if lost:
            self.models.clear()
            self.adapters.clear()


def open_servers(config: ServerConfig, timeout_s: float) -> tuple[list[Server], list[str]]:
    """A client for each address, and the secrets that no message may show; ConfigError for an impossible key."""
    key = os.environ.get(config.api_key_env, "").strip()
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise ConfigError(
            f"the key in the environment variable {config.api_key_env} has a line break, a space or another impossible character; "
            "put a valid one there"
        )
    parts = [address_parts(url) for url in config.base_urls]
    if any(part.query for part in parts):
        for library in ("httpx", "httpx2", "httpcore", "httpcore2", "openai"):  # they log addresses with their query
            logging.getLogger(library).setLevel(logging.WARNING)
    servers = [
        Server(
            part.url,
            openai.AsyncOpenAI(
                base_url=part.url,
                api_key=key or "none",
                max_retries=0,
                timeout=openai.Timeout(timeout_s, connect=10.0),
                default_headers=part.headers,
                default_query=part.query,
                http_client=openai.DefaultAsyncHttpxClient(event_hooks={"response": [_keep_body]}),
            ),
        )
        for part in parts
    ]
    return servers, [key, *(secret for part in parts for secret in part.secrets)]


def reason_of(error: Exception) -> str:
    """Why a server gave no answer, as the end of a sentence."""
    if isinstance(error, (TimeoutError, openai.APITimeoutError)):
        return "does not answer in time (engine.openai.timeout_s)"
    cause = type(error.__cause__).__name__
    return "cannot be reached" if cause in _NOBODY else f"gives no whole answer ({cause})"
