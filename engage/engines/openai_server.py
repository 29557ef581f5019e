"""Servers that speak OpenAI's protocol: one group serves one model side; a request goes to whichever is up and least busy."""

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import openai
from openai.types.chat import ChatCompletion
from tenacity import AsyncRetrying, RetryCallState, RetryError, retry_if_exception_type, stop_after_delay
from tenacity.wait import wait_exponential_jitter

from engage.engines.concurrency import AdaptiveLimit
from engage.engines.openai_config import ServerConfig
from engage.errors import ConfigError

Answer = TypeVar("Answer")

FIRST_LIMIT = 32
NOT_IMPLEMENTED = 501
LONGEST_PAUSE_S = 20.0
LONGEST_RETRY_AFTER_S = 120.0


class Refused(Exception):
    """The servers will not answer this request, now or later; the text says why."""


class Unsupported(Refused):
    """The server does not know a parameter of the request."""


class _Transient(Exception):
    """Worth another try; `pause_s` is what the server asked for."""

    def __init__(self, reason: str, pause_s: float | None = None) -> None:
        super().__init__(reason)
        self.pause_s = pause_s


@dataclass(eq=False)
class _Server:
    url: str
    client: openai.AsyncOpenAI
    in_flight: int = 0
    failures: int = 0
    down_until: float = 0.0
    adapters: set[str] = field(default_factory=set)
    loading: asyncio.Lock = field(default_factory=asyncio.Lock)


class ServerGroup:
    """The servers of one side; used from one event loop. `limit` bounds what is under way at all of them together."""

    def __init__(self, config: ServerConfig, timeout_s: float, retry_s: float, max_concurrency: int) -> None:
        self.config = config
        self._timeout_s, self._retry_s = timeout_s, retry_s
        key = os.environ.get(config.api_key_env, "").strip() or "none"
        if not (key.isascii() and key.isprintable()) or " " in key:
            raise ConfigError(
                f"the key in the environment variable {config.api_key_env} has a line break, a space or a letter that no key has; "
                "put a valid one there"
            )
        self._servers = [
            _Server(
                url,
                openai.AsyncOpenAI(
                    base_url=url,
                    api_key=key,
                    max_retries=0,
                    timeout=openai.Timeout(timeout_s, connect=10.0),
                ),
            )
            for url in config.base_urls
        ]
        self.limit = AdaptiveLimit(FIRST_LIMIT, max_concurrency)

    async def check(self, model: str) -> None:
        """Ask every server for its models; ConfigError where none answers, the key is refused or the model is not there."""
        problems = [problem for server in self._servers if (problem := await self._problem(server, model))]
        if len(problems) == len(self._servers):
            raise ConfigError(problems[0])

    async def _problem(self, server: _Server, model: str) -> str | None:
        try:
            async with asyncio.timeout(self._timeout_s):
                served = [item.id async for item in server.client.models.list()]
        except (openai.AuthenticationError, openai.PermissionDeniedError):
            return self._key_refused(server)
        except (openai.APIConnectionError, TimeoutError):
            server.down_until = time.monotonic() + LONGEST_PAUSE_S
            return f"no server answers at {server.url}: start it, or correct base_urls of engine.openai.policy (or simulator)"
        except openai.APIError:  # many servers offer no list; the first request will tell
            return None
        except Exception as error:  # what is no list of models breaks the client in its own ways
            reason = " ".join(str(error).split())[:100]
            return f"{server.url} is no OpenAI-compatible server ({type(error).__name__}: {reason}): correct base_urls"
        if served and model not in served:
            return f"{server.url} does not serve {model!r} but {', '.join(served[:5])}: correct the model's name"
        return None

    def _key_refused(self, server: _Server) -> str:
        return f"{server.url} refuses the key; put a valid one into the environment variable {self.config.api_key_env}"

    async def chat(self, model: str, adapter: Path | None, adapter_name: str, body: dict[str, Any]) -> ChatCompletion:
        """One request, on one server after another while `retry_s` lasts; raises Refused with the reason that stays."""
        return await self._persist(lambda: self._try(model, adapter, adapter_name, body))

    async def single_tokens(self, model: str, texts: Sequence[str]) -> list[int] | None:
        """Ids of texts that are one token each, from vLLM's own endpoint; None where there is none, or a text is longer."""
        return await self._persist(lambda: self._single_tokens(model, texts))

    async def _persist(self, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        retrying = AsyncRetrying(
            stop=stop_after_delay(self._retry_s),
            wait=_pause,
            retry=retry_if_exception_type(_Transient),
        )
        try:
            async for attempt in retrying:
                with attempt:
                    return await ask()
        except RetryError as error:
            raise Refused(f"{error.last_attempt.exception()} (tried for {self._retry_s:g} s)") from error
        raise AssertionError("unreachable")

    async def _single_tokens(self, model: str, texts: Sequence[str]) -> list[int] | None:
        server = self._pick()
        path = f"{server.url.rstrip('/').removesuffix('/v1')}/tokenize"
        found: list[int] = []
        for text in texts:
            body = {"model": model, "prompt": text, "add_special_tokens": False}
            try:
                answer: Any = await server.client.post(path, body=body, cast_to=object)
            except (openai.APIConnectionError, openai.InternalServerError) as error:
                raise _Transient(f"{server.url} {_reason(error)}", _retry_after(error)) from error
            except (openai.APIError, json.JSONDecodeError):
                return None
            tokens = answer.get("tokens") if isinstance(answer, dict) else None
            if not isinstance(tokens, list) or len(tokens) != 1:
                return None
            found += tokens
        return found

    async def _try(self, model: str, adapter: Path | None, name: str, body: dict[str, Any]) -> ChatCompletion:
        await self.limit.acquire()
        tokens, refused = 0.0, False
        server = self._pick()
        server.in_flight += 1
        try:
            async with asyncio.timeout(self._timeout_s):
                if adapter is not None:
                    await self._load_adapter(server, name, adapter)
                answer = await server.client.chat.completions.create(model=name if adapter else model, **body)
            tokens = _checked(answer, server)
            server.failures = 0
            return answer
        except (openai.APIConnectionError, TimeoutError, openai.InternalServerError) as error:
            if getattr(error, "status_code", None) == NOT_IMPLEMENTED:
                raise Refused(f"{server.url} does not offer chat completions (501): correct base_urls") from error
            lost = isinstance(error, openai.APIConnectionError) and not isinstance(error, openai.APITimeoutError)
            self._rest(server, lost)
            raise _Transient(f"{server.url} {_reason(error)}", _retry_after(error)) from error
        except openai.RateLimitError as error:
            refused = True
            if error.code == "insufficient_quota":
                raise Refused(f"{server.url}: {_said(error)}") from error
            raise _Transient(f"{server.url} asks for patience (429)", _retry_after(error)) from error
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            raise Refused(self._key_refused(server)) from error
        except openai.NotFoundError as error:
            if adapter is not None and name in server.adapters:  # the server was started again and has forgotten it
                server.adapters.discard(name)
                raise _Transient(f"{server.url} has lost the adapter {name}", 0.0) from error
            raise Refused(f"{server.url} does not know the model {model!r} ({_said(error)})") from error
        except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
            kind = Unsupported if "logprob" in _said(error).lower() else Refused
            raise kind(f"{server.url} refuses the request: {_said(error)}") from error
        except (openai.APIError, json.JSONDecodeError) as error:
            raise _Transient(f"{server.url} gives an answer that cannot be read ({type(error).__name__})") from error
        except (_Transient, Refused):
            raise
        except Exception as error:  # of the client or the libraries below it: one request fails, not the search
            raise Refused(f"{server.url}: {type(error).__name__}: {' '.join(str(error).split())[:200]}") from error
        finally:
            server.in_flight -= 1
            self.limit.release(tokens, refused)

    def _pick(self) -> _Server:
        """The least busy of those that are up; where none is, the one that has rested longest."""
        now = time.monotonic()
        up = [server for server in self._servers if server.down_until <= now]
        return min(up, key=lambda s: s.in_flight) if up else min(self._servers, key=lambda s: s.down_until)

    def _rest(self, server: _Server, lost: bool) -> None:
        """Leave a failing server out for a while, longer each time; one that is lost has to be told its adapters again."""
        server.failures += 1
        server.down_until = time.monotonic() + min(LONGEST_PAUSE_S, 0.5 * 2 ** min(server.failures, 10))
        if lost:
            server.adapters.clear()

    async def _load_adapter(self, server: _Server, name: str, folder: Path) -> None:
        """vLLM's own endpoint; an adapter that is there already is fine."""
        async with server.loading:
            if name in server.adapters:
                return
            body = {"lora_name": name, "lora_path": str(folder.resolve())}
            try:
                await server.client.post("/load_lora_adapter", body=body, cast_to=str)
            except openai.NotFoundError as error:
                raise Refused(
                    f"{server.url} cannot load adapters: start vLLM with --enable-lora and "
                    "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True, or set policy_adapter and simulator_adapter to bare"
                ) from error
            except openai.BadRequestError as error:
                if "already" not in _said(error):
                    raise Refused(f"{server.url} cannot load the adapter {folder}: {_said(error)}") from error
            server.adapters.add(name)

    async def close(self) -> None:
        """Close the connections."""
        for server in self._servers:
            await server.client.close()


def _checked(answer: Any, server: _Server) -> float:
    """Tokens of the answer; _Transient where it is no answer."""
    choices: Sequence[Any] = getattr(answer, "choices", None) or ()
    if not choices or any(getattr(choice, "message", None) is None for choice in choices):
        raise _Transient(f"{server.url} gives an answer without a reply")
    usage = answer.usage
    return float(usage.completion_tokens + 0.1 * usage.prompt_tokens) if usage else float(len(choices))


def _pause(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = getattr(error, "pause_s", None)
    jittered = wait_exponential_jitter(multiplier=0.5, max=LONGEST_PAUSE_S, jitter=1.0)(state)
    return jittered if asked is None else min(asked, LONGEST_RETRY_AFTER_S) + 0.1 * min(jittered, 5.0)


def _retry_after(error: Exception) -> float | None:
    """Seconds that the server asks for."""
    response = getattr(error, "response", None)
    try:
        return None if response is None else max(0.0, float(response.headers["retry-after"]))
    except (KeyError, ValueError):
        return None


def _reason(error: Exception) -> str:
    if isinstance(error, (TimeoutError, openai.APITimeoutError)):
        return "does not answer in time (engine.openai.timeout_s)"
    if isinstance(error, openai.InternalServerError):
        return f"fails ({error.status_code})"
    return "cannot be reached"


def _said(error: openai.APIStatusError) -> str:
    """The server's own words, in one line."""
    body = error.body if isinstance(error.body, dict) else {}
    return " ".join(str(body.get("message") or error.message).split())[:300]
