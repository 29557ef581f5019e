"""The engine for OpenAI-compatible servers, through the official client; policy and simulator may use different servers and models.

Prompts are sent as chats, and the server applies its own template. vLLM servers load adapters at run time; others cannot.
"""

import asyncio
import logging
import math
from collections.abc import Collection, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engage.engines.base import Completion, Prompt, Sampling, Scores, ScoresUnavailable, Side, total
from engage.engines.loop_thread import LoopThread
from engage.engines.openai.answers import NO_LOGPROBS, Answer, Reply
from engage.engines.openai.config import OpenAIConfig, served_names
from engage.engines.openai.parameters import BY_PATTERN, SURVEY
from engage.engines.openai.probe import ProbeResult, probe
from engage.engines.openai.server import Chat, ServerGroup
from engage.engines.openai.status import Refused, Unsupported
from engage.engines.openai.token_counts import TokenCounter, shared
from engage.errors import ConfigError, EngineError
from engage.models import ModelsConfig, adapter_fingerprint, adapter_folder

LEAST_COVERED = 0.95
"""Least share of the choices' probability that must be among the listed tokens; below it, scores would be mostly guesses."""
TOO_FEW = "lists too few of the survey's choices among the most probable tokens"
_log = logging.getLogger("engage")


class OpenAIEngine:
    """See the module; implements Engine. ConfigError if no server answers, the key is refused or the model is not served."""

    def __init__(self, models: ModelsConfig, config: OpenAIConfig) -> None:
        self.config = config
        self._names = served_names(models, config)
        self._own = {
            Side.POLICY: adapter_folder(models.policy_adapter) or None,
            Side.SIMULATOR: adapter_folder(models.simulator_adapter) or None,
        }
        self._adapter_names: dict[str, str] = {}
        self._choices: dict[tuple[Side, tuple[str, ...]], list[int] | None] = {}
        self._probed: dict[tuple[int, str], ProbeResult] = {}
        self._counters: dict[str, TokenCounter | None] = {}
        self._said_unscored: set[tuple[str, bool]] = set()
        self._groups: dict[Side, ServerGroup] = {}
        self._loop = LoopThread("engage-openai")
        try:
            self._loop.wait(self._connect())
        except BaseException:
            self.close()
            raise

    async def _connect(self) -> None:
        settings = self.config
        self._probing = asyncio.Lock()
        self._groups[Side.POLICY] = self._groups[Side.SIMULATOR] = ServerGroup(
            settings.policy, settings.timeout_s, settings.retry_s, settings.max_concurrency
        )
        if settings.simulator is not None:
            self._groups[Side.SIMULATOR] = ServerGroup(
                settings.simulator, settings.timeout_s, settings.retry_s, settings.max_concurrency
            )
        served = {(id(group), self._names[side]): group for side, group in self._groups.items()}
        for (_, name), group in served.items():
            await group.check(name)
        for (_, name), group in served.items():
            try:
                await self._probe(group, name)
            except Refused as error:
                raise ConfigError(str(error)) from None

    async def _probe(self, group: ServerGroup, model: str) -> bool:
        """Find out what the servers accept, once per model; returns whether this call did it."""
        async with self._probing:
            if (id(group), model) in self._probed:
                return False
            result = await probe(group, model)
            if result is None:
                return False
            self._probed[id(group), model] = result
            if result.unscored:
                self._said_unscored.add((group.url, True))
            if result.notice:
                _log.warning(result.notice)
            return True

    @property
    def uncounted(self) -> str:
        """The first server without token counts: it reports none, and its tokenizer is not on this machine; '' if there is none."""
        for side, group in self._groups.items():
            result = self._probed.get((id(group), self._names[side]))
            if result and not result.counts_tokens and self._counter(self._names[side]) is None:
                return f"{group.url} ({self._names[side]})"
        return ""

    @property
    def has_room(self) -> bool:
        return any(group.limit.has_room for group in self._groups.values())

    async def complete(self, prompt: Prompt, sampling: Sampling, seeds: Sequence[int]) -> list[Completion]:
        """See Engine. If the server supports `n`, n replies are one request with the first seed; else they are n requests at once."""
        return await self._call(prompt, self._complete(prompt, sampling, list(seeds)))

    async def score(self, prompt: Prompt, choices: Sequence[str]) -> Scores:
        """See Engine; read from the next token's distribution, so each choice must be one token.

        vLLM gives the probability of any token. Other servers list the most probable tokens; an unlisted choice gets an upper
        bound from the remaining probability. Raises ScoresUnavailable if the server gives no log-probabilities, gives impossible ones
        or lists too few choices.
        """
        return await self._call(prompt, self._score(prompt, choices))

    def close(self) -> None:
        if self._loop.closed:
            return
        for group in {id(group): group for group in self._groups.values()}.values():
            self._loop.wait(group.close())
        self._loop.close()

    async def _call(self, prompt: Prompt, work: Any) -> Any:
        try:
            return await self._loop.call(work)
        except Refused as error:
            raise EngineError(str(error), prompt.key) from None
        except EngineError:
            raise
        except Exception as error:  # one odd answer fails one request, never a tree
            reason = "the engine is closed" if self._loop.closed else f"{type(error).__name__}: {error}"
            raise EngineError(reason, prompt.key) from error

    async def _complete(self, prompt: Prompt, sampling: Sampling, seeds: list[int]) -> list[Completion]:
        wanted = {"max_tokens": sampling.max_tokens, "temperature": sampling.temperature, "top_p": sampling.top_p}
        group = self._groups[prompt.side]
        many = len(seeds) > 1 and not group.parameters.omits("n")
        left = [(seeds[0], len(seeds))] if many else [(seed, 1) for seed in seeds]
        answers: list[Answer] = []
        replies: list[Reply] = []
        counts: list[int | None] = []
        while left:
            asked = [{**wanted, "logprobs": True, "seed": seed} | ({"n": n} if n > 1 else {}) for seed, n in left]
            found = await _together([self._send(prompt, one) for one in asked])
            for answer, (_, count) in zip(found, left, strict=True):
                given = answer.replies[:count]
                if len(given) < count:
                    group.parameters.omit(["n"])
                    group.say_news(group.url, self._names[prompt.side])
                answers.append(answer)
                replies += given
                counts += self._reply_tokens(prompt, answer, given)
            left = [(seed, 1) for seed in seeds[len(replies) :]]
        if sampling.temperature > 0:
            for words in group.silent.equal(f"{group.url} ({self._names[prompt.side]})", [one.text for one in replies]):
                group.warn_once(words)
        read, cached = self._prompt_tokens(prompt, answers)
        return [
            Completion(reply.text, read, cached, count, reply.mean_logprob, reply.reason, seed)
            for reply, count, seed in zip(replies, counts, seeds, strict=True)
        ]

    def _reply_tokens(self, prompt: Prompt, answer: Answer, replies: Sequence[Reply]) -> list[int | None]:
        """The tokens of each reply, with thoughts and with replies that were not asked for."""
        counts: list[int | None] = [len(reply.logprobs) or None for reply in replies]
        if answer.completion_tokens is not None:
            return [*shared(answer.completion_tokens, [count or 0 for count in counts])]
        if None in counts and (counter := self._counter(self._names[prompt.side])):
            return [counter.text(reply.text) for reply in replies]
        return counts

    def _prompt_tokens(self, prompt: Prompt, answers: Sequence[Answer]) -> tuple[int | None, int | None]:
        """The prompt tokens of all requests, and how many of them came from the server's cache."""
        known = [(answer.prompt_tokens, answer.cached_tokens) for answer in answers]
        if any(asked is None for asked, _ in known) and (counter := self._counter(self._names[prompt.side])):
            counted = counter.prompt(_messages(prompt))
            known = [(counted, 0) if asked is None else (asked, cached) for asked, cached in known]
        return total(asked for asked, _ in known), total(cached for _, cached in known)

    def _counter(self, model: str) -> TokenCounter | None:
        """The token counter for a model whose server reports no counts; None without its tokenizer. Looked up once."""
        if model not in self._counters:
            self._counters[model] = TokenCounter.of(model)
        return self._counters[model]

    async def _send(self, prompt: Prompt, wanted: Mapping[str, Any]) -> Answer:
        adapter = self._own[prompt.side] if prompt.adapter is None else prompt.adapter or None
        if adapter and adapter not in self._adapter_names:
            self._adapter_names[adapter] = f"engage-{adapter_fingerprint(adapter)[:16]}"
        name = self._adapter_names[adapter] if adapter else ""
        group, model = self._groups[prompt.side], self._names[prompt.side]
        chat = Chat(model, _messages(prompt), wanted, Path(adapter) if adapter else None, name)
        try:
            return await group.chat(chat)
        except Unsupported:
            if not await self._probe(group, model):  # the probe at the start may have failed
                raise
            return await group.chat(chat)

    async def _score(self, prompt: Prompt, choices: Sequence[str]) -> Scores:
        group = self._groups[prompt.side]
        parameters = group.parameters
        if parameters.omits("logprobs") or parameters.omits(
            "top_logprobs"
        ):  # the settings omit it, or its refusal was said
            own = {"logprobs", "top_logprobs"} & set(group.config.omit)
            raise self._scores_unavailable(prompt, group.url if own else "", NO_LOGPROBS)
        probed = self._probed.get((id(group), self._names[prompt.side]))
        if probed and probed.unscored:
            raise self._scores_unavailable(prompt, "", probed.unscored)
        ids = None if parameters.omits("logprob_token_ids") else await self._choice_ids(prompt.side, tuple(choices))
        answer = await self._send(prompt, {**SURVEY, "logprob_token_ids": ids} if ids else SURVEY)
        tokens, cached = spent = self._prompt_tokens(prompt, [answer])
        if why := answer.replies[0].unscored:
            filtered = answer.replies[0].reason == "content_filter"  # one prompt's, and no trait of the server
            raise self._scores_unavailable(prompt, "" if filtered else answer.url, why, spent)
        listed = answer.replies[0].top
        exact = dict(listed)
        if ids and all(choice in exact for choice in choices):
            return Scores(tuple(exact[choice] for choice in choices), tokens, cached)
        if covered(listed, choices) < LEAST_COVERED:
            if len(choices) == 1:  # no survey: a text that is rated
                raise ScoresUnavailable("the text is not among the most probable tokens", prompt.key, spent)
            raise self._scores_unavailable(prompt, answer.url, TOO_FEW, spent)
        return Scores(choice_logprobs(listed, choices), tokens, cached)

    def _scores_unavailable(
        self, prompt: Prompt, url: str, why: str, spent: tuple[int | None, int | None] | None = None
    ) -> ScoresUnavailable:
        """The error to raise; the first one of the server at `url` is logged, and its first TOO_FEW, which holds for single prompts only."""
        always = why != TOO_FEW
        if url and (url, always) not in self._said_unscored:
            self._said_unscored.add((url, always))
            _log.warning("%s %s: %s%s", url, why, BY_PATTERN, "" if always else " where this happens")
        return ScoresUnavailable(f"the server {why}", prompt.key, spent)

    async def _choice_ids(self, side: Side, choices: tuple[str, ...]) -> list[int] | None:
        """Token ids of a survey's choices, requested once; None if the server does not give them."""
        if (side, choices) not in self._choices:
            self._choices[side, choices] = await self._groups[side].single_tokens(self._names[side], choices)
        return self._choices[side, choices]


async def _together(requests: Sequence[Coroutine[Any, Any, Answer]]) -> list[Answer]:
    """The answers of requests that run at the same time; if one fails, the others are given up."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(request) for request in requests]
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in tasks]


def choice_logprobs(listed: Sequence[tuple[str, float]], choices: Sequence[str]) -> tuple[float, ...]:
    """Log-likelihood of each choice from the most probable next tokens (text, natural log); surrounding white space is ignored.

    An unlisted choice gets its upper bound: the smallest listed probability, or its share of the remaining probability if smaller.
    All are −inf if no choice is listed.
    """
    by_choice, least = _listed(listed, choices)
    if not any(by_choice.values()):
        return tuple(-math.inf for _ in choices)
    return tuple(float(np.logaddexp.reduce(by_choice[choice])) if by_choice[choice] else least for choice in choices)


def covered(listed: Sequence[tuple[str, float]], choices: Sequence[str]) -> float:
    """Lower bound of the listed tokens' share of the probability of all choices; 0 if no choice is listed."""
    by_choice, least = _listed(listed, choices)
    known = sum(math.exp(p) for values in by_choice.values() for p in values)
    missing = sum(not values for values in by_choice.values()) * math.exp(least)
    return known / (known + missing) if known else 0.0


def _listed(listed: Sequence[tuple[str, float]], choices: Collection[str]) -> tuple[dict[str, list[float]], float]:
    """The listed log-probabilities of each choice, and the largest possible one of an unlisted choice."""
    by_choice = {choice: [p for token, p in listed if token.strip() == choice] for choice in choices}
    missing = sum(not values for values in by_choice.values())
    left = max(1e-12, 1.0 - sum(math.exp(p) for _, p in listed))
    return by_choice, min(min(p for _, p in listed), math.log(left / max(1, missing)))


def _messages(prompt: Prompt) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in prompt.messages]
