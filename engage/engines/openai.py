"""Any OpenAI-compatible server, through the official client: policy and simulator may be different servers and models.

Prompts go as chats, and the server's own template is used. vLLM servers load adapters at run time; others serve what they serve.
"""

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from engage.engine import Completion, Prompt, Sampling, Scores, ScoresUnavailable, Side
from engage.engines.loop_thread import LoopThread
from engage.engines.openai_config import OpenAIConfig, served_names
from engage.engines.openai_server import Refused, ServerGroup, Unsupported
from engage.errors import EngineError
from engage.models import ModelsConfig, adapter_fingerprint, adapter_folder

TOP_LOGPROBS = 20


class OpenAIEngine:
    """See the module; implements Engine. ConfigError where no server answers, the key is refused or the model is not served."""

    def __init__(self, models: ModelsConfig, config: OpenAIConfig) -> None:
        self.config = config
        self._names = served_names(models, config)
        self._own = {
            Side.POLICY: adapter_folder(models.policy_adapter) or None,
            Side.SIMULATOR: adapter_folder(models.simulator_adapter) or None,
        }
        self._adapter_names: dict[str, str] = {}
        self._logprobs = dict.fromkeys(Side, True)
        self._many = dict.fromkeys(Side, True)
        self._choices: dict[tuple[Side, tuple[str, ...]], list[int] | None] = {}
        self._told = False
        self._loop = LoopThread("engage-openai")
        try:
            self._groups = self._loop.wait(self._connect())
        except BaseException:
            self._loop.close()
            raise

    async def _connect(self) -> dict[Side, ServerGroup]:
        settings = self.config
        policy = ServerGroup(settings.policy, settings.timeout_s, settings.retry_s, settings.max_concurrency)
        simulator = policy
        if settings.simulator is not None:
            simulator = ServerGroup(settings.simulator, settings.timeout_s, settings.retry_s, settings.max_concurrency)
        groups = {Side.POLICY: policy, Side.SIMULATOR: simulator}
        for side, group in groups.items():
            await group.check(self._names[side])
        return groups

    @property
    def has_room(self) -> bool:
        """See Engine."""
        return any(group.limit.has_room for group in self._groups.values())

    async def complete(self, prompt: Prompt, sampling: Sampling, seeds: Sequence[int]) -> list[Completion]:
        """See Engine. n replies are one request with the first seed, where the server gives n; else one request each."""
        return await self._call(prompt, self._complete(prompt, sampling, list(seeds)))

    async def score(self, prompt: Prompt, choices: Sequence[str]) -> Scores:
        """See Engine: read from the next token's distribution, so each choice must be one token.

        vLLM tells any token's probability. Other servers list the most probable tokens: a choice that is not among them gets
        what is left of the probability at most; if none is, all are −inf. Raises ScoresUnavailable where the server gives no
        log-probabilities.
        """
        return await self._call(prompt, self._score(prompt, choices))

    def close(self) -> None:
        """See Engine."""
        if self._loop.closed:
            return
        for group in {id(group): group for group in self._groups.values()}.values():
            self._loop.wait(group.close())
        self._loop.close()

    async def _call(self, prompt: Prompt, work: Any) -> Any:
        try:
            return await self._loop.call(work)
        except Refused as error:
            raise EngineError(str(error), prompt.key) from error
        except RuntimeError as error:
            raise EngineError("the engine is closed", prompt.key) from error

    async def _complete(self, prompt: Prompt, sampling: Sampling, seeds: list[int]) -> list[Completion]:
        body = {"max_tokens": sampling.max_tokens, "temperature": sampling.temperature, "top_p": sampling.top_p}
        found: list[Completion] = []
        while len(found) < len(seeds):
            left = seeds[len(found) :]
            count = len(left) if self._many[prompt.side] else 1
            answer = await self._ask(prompt, {**body, "seed": left[0], **({"n": count} if count > 1 else {})})
            if len(answer.choices) < count:
                self._many[prompt.side] = False
            pairs = zip(answer.choices, left, strict=False)
            found += [_completion(answer, choice, seed) for choice, seed in pairs]
        return found

    async def _ask(self, prompt: Prompt, body: dict[str, Any]) -> Any:
        """One chat completion, with the tokens' log-probabilities where the server gives them."""
        if self._logprobs[prompt.side]:
            try:
                return await self._send(prompt, {**body, "logprobs": True})
            except Unsupported:
                self._logprobs[prompt.side] = False
        return await self._send(prompt, body)

    async def _send(self, prompt: Prompt, body: dict[str, Any]) -> Any:
        adapter = self._own[prompt.side] if prompt.adapter is None else prompt.adapter or None
        if adapter and adapter not in self._adapter_names:
            self._adapter_names[adapter] = f"engage-{adapter_fingerprint(adapter)[:16]}"
        name = self._adapter_names[adapter] if adapter else ""
        messages = [{"role": message.role, "content": message.content} for message in prompt.messages]
        group = self._groups[prompt.side]
        folder = Path(adapter) if adapter else None
        return await group.chat(self._names[prompt.side], folder, name, {**body, "messages": messages})

    async def _score(self, prompt: Prompt, choices: Sequence[str]) -> Scores:
        body: dict[str, Any] = {"max_tokens": 1, "temperature": 1.0, "logprobs": True, "top_logprobs": TOP_LOGPROBS}
        listed, ids = None, None
        if self._logprobs[prompt.side]:
            ids = await self._choice_ids(prompt.side, tuple(choices))
            if ids:
                body["extra_body"] = {"logprob_token_ids": ids}
            try:
                answer = await self._send(prompt, body)
                listed = _top_tokens(answer)
            except Unsupported:
                self._logprobs[prompt.side] = False
        if listed is None:
            if not self._told:
                self._told = True
                logging.getLogger("engage").warning(
                    "%s gives no log-probabilities: the survey is read by pattern from a sampled answer",
                    self._groups[prompt.side].config.base_urls[0],
                )
            raise ScoresUnavailable("the server gives no log-probabilities", prompt.key)
        usage = answer.usage
        exact = dict(listed)
        if ids and all(choice in exact for choice in choices):
            logprobs = tuple(exact[choice] for choice in choices)
        else:
            logprobs = choice_logprobs(listed, choices)
        return Scores(logprobs, usage.prompt_tokens if usage else 0, _cached(usage))

    async def _choice_ids(self, side: Side, choices: tuple[str, ...]) -> list[int] | None:
        """Token ids of a survey's choices, asked for once; None where the server does not tell them."""
        if (side, choices) not in self._choices:
            self._choices[side, choices] = await self._groups[side].single_tokens(self._names[side], choices)
        return self._choices[side, choices]


def choice_logprobs(listed: Sequence[tuple[str, float]], choices: Sequence[str]) -> tuple[float, ...]:
    """Log-likelihood of each choice from the most probable next tokens (text, natural log), white space around them aside.

    The probability of an unlisted choice is at most the smallest listed one, and at most what all listed ones leave.
    """
    found = {choice: [p for token, p in listed if token.strip() == choice] for choice in choices}
    if not any(found.values()):
        return tuple(-math.inf for _ in choices)
    left = max(1e-12, 1.0 - sum(math.exp(p) for _, p in listed))
    least = min(min(p for _, p in listed), math.log(left))
    return tuple(float(np.logaddexp.reduce(found[choice])) if found[choice] else least for choice in choices)


def _top_tokens(answer: Any) -> list[tuple[str, float]] | None:
    content = getattr(answer.choices[0].logprobs, "content", None)
    if not content or not content[0].top_logprobs:
        return None
    return [(item.token, item.logprob) for item in content[0].top_logprobs]


def _completion(answer: Any, choice: Any, seed: int) -> Completion:
    logprobs = [item.logprob for item in getattr(choice.logprobs, "content", None) or ()]
    usage = answer.usage
    tokens = len(logprobs) or (usage.completion_tokens // len(answer.choices) if usage else 0)
    reason: Literal["stop", "length"] = "length" if choice.finish_reason == "length" else "stop"
    mean = sum(logprobs) / len(logprobs) if logprobs else None
    text = (choice.message.content or "").strip()
    return Completion(text, usage.prompt_tokens if usage else 0, _cached(usage), tokens, mean, reason, seed)


def _cached(usage: Any) -> int:
    details = getattr(usage, "prompt_tokens_details", None)
    return getattr(details, "cached_tokens", None) or 0
