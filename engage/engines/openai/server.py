"""Servers with OpenAI's protocol: a group serves one model side; each request goes to the server that is up and should answer first."""

import asyncio
import itertools
import json
import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import openai

from engage.engines.openai.adapters import WITH_ADAPTERS, load_adapter
from engage.engines.openai.answers import Answer, Failed, Reply, Unreadable, read_answer
from engage.engines.openai.checks import Unreachable, check_server
from engage.engines.openai.clients import FORGOTTEN, LONGEST_PAUSE_S, Redirected, Server, open_servers, reason_of
from engage.engines.openai.complaints import Complaint, complaint_of
from engage.engines.openai.concurrency import AdaptiveLimit
from engage.engines.openai.config import ServerConfig
from engage.engines.openai.parameters import LIMIT, NEW_LIMIT, Parameters
from engage.engines.openai.silent import Silent
from engage.engines.openai.status import (
    GaveUp,
    Learned,
    Refused,
    Transient,
    Unsupported,
    failure,
    is_filtered,
    retry_after,
    status_of,
)
from engage.errors import ConfigError, in_one_line
from engage.masking import mask

Result = TypeVar("Result")

FIRST_LIMIT = 32
_log = logging.getLogger("engage")


@dataclass(frozen=True)
class Chat:
    """One request. `wanted` are its parameters as we want them; the server may accept other forms only (`Parameters`).

    `adapter` is a folder of LoRA weights; the servers know it as `adapter_name`. A request of the `probing` at the start changes
    parameters without a line, because the probe writes one.
    """

    model: str
    messages: Sequence[Mapping[str, str]]
    wanted: Mapping[str, Any]
    adapter: Path | None = None
    adapter_name: str = ""
    probing: bool = False


class ServerGroup:
    """The servers of one side; used from one event loop. `limit` bounds the running requests of all of them together.

    `parameters` is what they accept, learnt from the refusals of any of them; `silent` is what they do without a word.
    """

    def __init__(self, config: ServerConfig, timeout_s: float, retry_s: float, max_concurrency: int) -> None:
        self.config = config
        self.retry_s = retry_s
        self.parameters = Parameters(config.omit)
        self.silent = Silent()
        self.limit = AdaptiveLimit(FIRST_LIMIT, max_concurrency)
        self._timeout_s = timeout_s
        self._answered = 0.0
        self._warned: set[str] = set()
        self._servers, self._secrets = open_servers(config, timeout_s)

    @property
    def url(self) -> str:
        """The first server's address, as the name of the group."""
        return self._servers[0].url

    async def check(self, model: str) -> None:
        """Ask every server for its models; ConfigError if none answers, or if one refuses the key or does not serve the model."""
        unreachable = []
        for server in self._servers:
            try:
                await self._check(server, model)
            except Unreachable as error:
                server.down_until = time.monotonic() + LONGEST_PAUSE_S
                unreachable.append(str(error))
        if len(unreachable) == len(self._servers):
            raise ConfigError(unreachable[0])
        for words in unreachable:
            self.warn_once(f"{words}; the other servers work without it")

    async def _check(self, server: Server, model: str) -> None:
        """Check that a server has the model, once, and again after its connection was lost; raises as `check_server` does."""
        if model in server.models:
            return
        notice = await check_server(server, model, self.config.api_key_env, self._secrets, self._timeout_s)
        if notice is None:
            if len(self._servers) > 1:
                raise Unreachable(f"{server.url} is not ready to say which models it has")
            return  # a request to the only server says more
        if notice:
            self.warn_once(notice)
        server.models.add(model)

    def say_news(self, url: str, model: str) -> None:
        """Log what the parameters have changed to since the start, which holds for all servers of the group."""
        if new := self.parameters.news():
            _log.warning(
                "%s (%s) refuses %s since the run began; all later requests of this side change",
                url,
                model,
                ", ".join(new),
            )

    def warn_once(self, words: str) -> None:
        """Log a sentence, unless it was logged before."""
        if words not in self._warned:
            self._warned.add(words)
            _log.warning(words)

    async def chat(self, chat: Chat, learn: bool = True, retry_s: float | None = None) -> Answer:
        """Send a request, to one server after another for at most `retry_s`; raises Refused with the last reason.

        With `learn`, parameters that the server refuses are changed from now on.
        """
        return await self._persist(lambda: self._try(chat, learn), self.retry_s if retry_s is None else retry_s)

    async def single_tokens(self, model: str, texts: Sequence[str]) -> list[int] | None:
        """Token ids of texts of one token each, from vLLM's own endpoint; None without the endpoint, or if a text has more tokens."""
        try:
            return await self._persist(lambda: self._single_tokens(model, texts), self.retry_s)
        except Refused:
            return None

    async def _persist(self, ask: Callable[[], Awaitable[Result]], retry_s: float) -> Result:
        """Retry until there is an answer, for `retry_s` seconds from the first failure; a server's Retry-After is respected.

        If the servers are only crowded, the time restarts with every answer to another request.
        """
        began = 0.0
        for attempt in itertools.count():
            try:
                return await ask()
            except Learned:
                continue
            except Transient as error:
                now = time.monotonic()
                began = max(began or now, self._answered if error.crowded else 0.0)
                left = began + retry_s - now
                if left <= 0:
                    raise GaveUp(f"{error} (tried for {retry_s:g} s)") from None
                jittered = min(LONGEST_PAUSE_S, 0.5 * 2 ** min(attempt, 10)) + random.random()
                pause_s = jittered if error.pause_s is None else error.pause_s + 0.1 * min(jittered, 5.0)
                await asyncio.sleep(min(pause_s, left))
        raise AssertionError("unreachable")

    async def _single_tokens(self, model: str, texts: Sequence[str]) -> list[int] | None:
        server = self._pick()
        path = f"{server.url.rstrip('/').removesuffix('/v1')}/tokenize"
        ids: list[int] = []
        for text in texts:
            body = {"model": model, "prompt": text, "add_special_tokens": False}
            try:
                answer: Any = await server.client.post(path, body=body, cast_to=object)
            except openai.APIConnectionError as error:
                raise Transient(f"{server.url} {reason_of(error)}", crowded=True) from None
            except openai.APIStatusError as error:
                if error.status_code not in (429, 503):
                    return None
                raise Transient(f"{server.url} is busy", retry_after(error.response.headers)) from None
            except (openai.OpenAIError, json.JSONDecodeError):
                return None
            tokens = answer.get("tokens") if isinstance(answer, dict) else None
            if not isinstance(tokens, list) or len(tokens) != 1:
                return None
            ids += tokens
        return ids

    async def _try(self, chat: Chat, learn: bool) -> Answer:
        await self.limit.acquire()
        tokens, refused = 0.0, False
        server = self._pick()
        server.in_flight += 1
        sent: Mapping[str, Any] = {}
        try:
            await self._see(server, chat.model)
            chat = replace(chat, wanted={**server.neutral, **chat.wanted})
            began, busy, sent = time.monotonic(), server.in_flight, self.parameters.body(chat.wanted)
            answer = await self._ask(server, chat, sent)
            server.failures, self._answered = 0, time.monotonic()
            server.answered(self._answered - began, busy)
            tokens = (answer.completion_tokens or len(answer.replies)) + 0.1 * (answer.prompt_tokens or 0)
            for words in self.silent.notices(answer, chat.adapter_name or chat.model, chat.messages, sent):
                self.warn_once(mask(words, self._secrets))
            return answer
        except openai.APIStatusError as error:
            refused = error.status_code == 429
            said = complaint_of(error.response.text)
            return self._refusal(
                server, chat, sent, error.status_code, said, learn, retry_after(error.response.headers)
            )
        except Failed as error:
            return self._refusal(server, chat, sent, status_of(error.complaint), error.complaint, learn, None)
        except (openai.APIConnectionError, TimeoutError) as error:
            lost = isinstance(error, openai.APIConnectionError) and not isinstance(error, openai.APITimeoutError)
            server.rest(lost)
            raise Transient(f"{server.url} {reason_of(error)}", crowded=lost) from None
        except Unreadable as error:
            raise Transient(mask(f"{server.url} {error}", self._secrets)) from None
        except Redirected as error:
            raise Refused(mask(f"{server.url} {error}", self._secrets)) from None
        except (Learned, Transient, Refused):
            raise
        except Exception as error:  # an error of the client or its libraries fails one request, not the search
            words = mask(in_one_line(error, 200), self._secrets)
            raise Refused(f"{server.url}: {type(error).__name__}: {words}") from None
        finally:
            server.in_flight -= 1
            self.limit.release(tokens, refused)

    async def _ask(self, server: Server, chat: Chat, sent: Mapping[str, Any]) -> Answer:
        body = {"messages": list(chat.messages), **sent, **self.config.extra_body}
        async with asyncio.timeout(self._timeout_s):
            if chat.adapter is not None:
                await load_adapter(server, chat.adapter_name, chat.adapter, self._secrets)
            body["model"] = chat.adapter_name if chat.adapter else chat.model
            text = await server.client.post("/chat/completions", body=body, cast_to=str)
        answer = read_answer(text, sent.get(LIMIT, sent.get(NEW_LIMIT)))
        if chat.adapter and answer.model == chat.model != chat.adapter_name:
            raise Refused(
                f"{server.url} answers as {chat.model!r}, its base model, when the adapter {chat.adapter_name} is asked for: "
                f"{WITH_ADAPTERS}"
            )
        return replace(answer, url=server.url)

    async def _see(self, server: Server, model: str) -> None:
        """Send no request to a server that came back with another model; raises Transient, so that other servers answer."""
        try:
            await self._check(server, model)
        except Unreachable:
            server.rest(lost=True)
            raise Transient(f"{server.url} cannot be reached", crowded=True) from None
        except ConfigError as error:
            server.rest(lost=True)
            self.warn_once(f"{error}; no requests are sent to it")
            raise Transient(str(error), crowded=True) from None

    def _refusal(
        self,
        server: Server,
        chat: Chat,
        sent: Mapping[str, Any],
        status: int,
        said: Complaint,
        learn: bool,
        pause_s: float | None,
    ) -> Answer:
        """Handle an error: return a filtered reply as an answer, or raise what `Parameters.learn` and `failure` make of it."""
        said = replace(said, words=mask(said.words, self._secrets))
        if status < 500 and is_filtered(said):
            return Answer((Reply("", "content_filter"),) * sent.get("n", 1))
        if status == 404 and chat.adapter is not None and chat.adapter_name in server.adapters:
            server.adapters.discard(chat.adapter_name)  # the server was restarted
            raise Transient(f"{server.url} has lost the adapter {chat.adapter_name}", 0.0) from None
        error = failure(status, said, server.url, self.config.api_key_env, chat.model)
        may_be_parameter = isinstance(error, Unsupported) or status == 404 or status >= 500
        if (
            learn
            and may_be_parameter
            and self.parameters.learn(said, chat.wanted, sent, isinstance(error, Unsupported))
        ):
            if not chat.probing:
                self.say_news(server.url, chat.model)
            raise Learned from None
        if status >= 500 and isinstance(error, Transient):
            server.rest(lost=False)
        if isinstance(error, Transient):
            error.pause_s = pause_s
        raise error from None

    def _pick(self) -> Server:
        """The server that is up and should answer first, so that all work at their own speed; if none is up, the one whose rest ends first."""
        now = time.monotonic()
        up = [server for server in self._servers if server.down_until <= now]
        if not up:
            return min(self._servers, key=lambda s: s.down_until)
        known = all(server.pace_s for server in up)
        picked = min(up, key=lambda s: (s.in_flight + 1) * s.pace_s if known else s.in_flight)
        for other in up:
            other.pace_s *= 1.0 if other is picked else FORGOTTEN
        return picked

    async def close(self) -> None:
        for server in self._servers:
            await server.client.close()
