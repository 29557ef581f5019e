"""The clients of a group's servers, and the key and passwords that they send: opened once, on the loop that uses them."""

import asyncio
import logging
import os
import time
from dataclasses import dataclass, field

import openai

from engage.engines.openai.config import ServerConfig, address_parts
from engage.errors import ConfigError

LONGEST_PAUSE_S = 20.0


@dataclass(eq=False)
class Server:
    """One server: `url` without secrets, what is under way there, and how well it has done."""

    url: str
    client: openai.AsyncOpenAI
    in_flight: int = 0
    failures: int = 0
    down_until: float = 0.0
    adapters: set[str] = field(default_factory=set)
    loading: asyncio.Lock = field(default_factory=asyncio.Lock)

    def rest(self, lost: bool) -> None:
        """Leave it out for a while, longer each time; one that is lost has to be told its adapters again."""
        self.failures += 1
        self.down_until = time.monotonic() + min(LONGEST_PAUSE_S, 0.5 * 2 ** min(self.failures, 10))
        if lost:
            self.adapters.clear()


def open_servers(config: ServerConfig, timeout_s: float) -> tuple[list[Server], list[str]]:
    """A client for each address, and the secrets that no message may hold; ConfigError for a key that cannot be one."""
    key = os.environ.get(config.api_key_env, "").strip()
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise ConfigError(
            f"the key in the environment variable {config.api_key_env} has a line break, a space or a letter that no key has; "
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
            ),
        )
        for part in parts
    ]
    return servers, [key, *(secret for part in parts for secret in part.secrets)]


def reason_of(error: Exception) -> str:
    """Why a server that does not answer does not."""
    slow = isinstance(error, (TimeoutError, openai.APITimeoutError))
    return "does not answer in time (engine.openai.timeout_s)" if slow else "cannot be reached"
