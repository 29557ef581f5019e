"""Saturation of an engine: its highest token rates over several numbers of concurrent requests and prompt lengths.

It uses the Engine protocol only, so that all engines are measured alike. Prompts differ from their first words on, so that no
prefix is shared. Prefill is measured with requests for one token. Decode is measured with requests for many tokens of an endless
task, sampled as in a search; the prefill time is subtracted, and only the tokens that came back are counted.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from random import Random
from typing import Any

from engage.engines.base import Completion, Engine, Message, Prompt, Sampling, Side, counted
from engage.errors import ConfigError
from engage.seeds import derive_seed

BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
PROMPT_TOKENS = (64, 256)
DECODE_TOKENS = 64
SAMPLING = Sampling(temperature=0.7, top_p=0.9, max_tokens=DECODE_TOKENS)
_TASK = "Write these words down again and again, in any order, without ever stopping."
ENOUGH_GAIN = 1.03
MOST_REQUESTS, MOST_PROMPT_TOKENS = 65_536, 1_000_000
_WORDS = (
    "river window garden letter market winter doctor silver kitchen morning yellow travel people number little summer music "
    "father strong garden simple forest school butter change friend basket corner engine mountain paper bridge"
)

OnProgress = Callable[[str, float], None]
"""Called with what is being measured and the share of the sweep that is done, 0 to 1."""


@dataclass(frozen=True)
class Point:
    """One measurement of the sweep: `requests` at once; `prompt_tokens` and `completion_tokens` are sums over them.

    `first_token_s` is the wall time of all prefills together, `decode_s` that of the tokens after the first. `full_length` is the
    share of the requested tokens that came back. A low share means that replies ended early and the decode rate is too low.
    """

    requests: int
    prompt_length: int
    prompt_tokens: int
    completion_tokens: int
    first_token_s: float
    decode_s: float
    prefill_tok_s: float
    decode_tok_s: float
    full_length: float


@dataclass(frozen=True)
class Saturation:
    """The best rates of a sweep in tokens per second, and the latency of a single request in milliseconds.

    `first_token_ms` and `token_ms` are those of the shortest prompts.
    """

    decode_tok_s: float
    prefill_tok_s: float
    decode_requests: int
    prefill_requests: int
    first_token_ms: float
    token_ms: float
    points: tuple[Point, ...]

    def as_json(self) -> dict[str, Any]:
        """The figures under the names that all benches share, and every measurement of the sweep."""
        return {
            "decode_saturated_tok_s": self.decode_tok_s,
            "prefill_saturated_tok_s": self.prefill_tok_s,
            "decode_saturated_requests": self.decode_requests,
            "prefill_saturated_requests": self.prefill_requests,
            "single_stream_first_token_ms": self.first_token_ms,
            "single_stream_token_ms": self.token_ms,
            "sweep": [asdict(point) for point in self.points],
        }


async def saturation(
    engine: Engine,
    *,
    side: Side = Side.POLICY,
    batch_sizes: Sequence[int] = BATCH_SIZES,
    prompt_lengths: Sequence[int] = PROMPT_TOKENS,
    sampling: Sampling = SAMPLING,
    adapter: str | None = "",
    seed: int = 0,
    on_progress: OnProgress = lambda what, share: None,
) -> Saturation:
    """Sweep the engine. Raises EngineError if a request fails for good, ConfigError for impossible sizes.

    `prompt_lengths` are in tokens and met within a few tokens; `sampling.max_tokens` is the length of the replies for decode. By
    default no adapter is used: adapters trained on short replies end most of them early. For each prompt length the batch sizes
    rise until two in a row gain less than ENOUGH_GAIN.
    """
    _check(batch_sizes, prompt_lengths, sampling)
    sweep = _Sweep(engine, side, adapter, sampling, Random(seed))
    on_progress("warming up", 0.0)
    await sweep.warm_up()
    points: list[Point] = []
    sizes = sorted(set(batch_sizes))
    for number, length in enumerate(sorted(set(prompt_lengths))):
        climbed: list[Point] = []
        for place, size in enumerate(sizes):
            share = (number + place / len(sizes)) / len(set(prompt_lengths))
            on_progress(f"{size} requests of {length} prompt tokens", share)
            climbed.append(await sweep.measure(size, length))
            if _flat(climbed):
                break
        points += climbed
    decode = max(points, key=lambda point: point.decode_tok_s)
    prefill = max(points, key=lambda point: point.prefill_tok_s)
    alone = points[0]
    return Saturation(
        decode_tok_s=decode.decode_tok_s,
        prefill_tok_s=prefill.prefill_tok_s,
        decode_requests=decode.requests,
        prefill_requests=prefill.requests,
        first_token_ms=1e3 * alone.first_token_s / alone.requests,
        token_ms=1e3 * alone.requests / alone.decode_tok_s if alone.decode_tok_s else 0.0,
        points=tuple(points),
    )


def _check(batch_sizes: Sequence[int], prompt_lengths: Sequence[int], sampling: Sampling) -> None:
    if not batch_sizes or not 1 <= min(batch_sizes) <= max(batch_sizes) <= MOST_REQUESTS:
        raise ConfigError(f"name batch sizes from 1 to {MOST_REQUESTS:,}, such as 1, 8, 64")
    if not prompt_lengths or not 1 <= min(prompt_lengths) <= max(prompt_lengths) <= MOST_PROMPT_TOKENS:
        raise ConfigError(f"name prompt lengths from 1 to {MOST_PROMPT_TOKENS:,} tokens, such as 64, 256")
    if sampling.max_tokens < 2:
        raise ConfigError("decoding is measured over at least 2 tokens")


def _flat(points: Sequence[Point]) -> bool:
    """Whether the last two sizes gained less than ENOUGH_GAIN over the best before them, in decode and in prefill."""
    if len(points) < 3:
        return False
    before, last = points[:-2], points[-2:]
    return all(
        max(getattr(point, name) for point in last) < ENOUGH_GAIN * max(getattr(point, name) for point in before)
        for name in ("decode_tok_s", "prefill_tok_s")
    )


class _Sweep:
    """Makes distinct prompts of a given length and asks the engine to complete them."""

    def __init__(self, engine: Engine, side: Side, adapter: str | None, sampling: Sampling, random: Random) -> None:
        self._engine = engine
        self._side = side
        self._adapter = adapter
        self._sampling = sampling
        self._first = sampling.model_copy(update={"max_tokens": 1})
        self._random = random
        self._asked = 0
        self._overhead, self._per_word = 0.0, 1.0

    async def warm_up(self) -> None:
        """Load the model, and measure how many tokens a word and the chat template take."""
        few, many = 16, 64
        await self._ask([self._prompt(few)], self._sampling)
        (short,), _ = await self._ask([self._prompt(few)], self._first)
        (long,), _ = await self._ask([self._prompt(many)], self._first)
        self._per_word = max(0.1, (counted(long.prompt_tokens) - counted(short.prompt_tokens)) / (many - few))
        self._overhead = max(0.0, counted(short.prompt_tokens) - few * self._per_word)

    async def measure(self, requests: int, length: int) -> Point:
        """One measurement: `requests` fresh prompts for one token each, then as many fresh prompts for all tokens."""
        words = max(1, round((length - self._overhead) / self._per_word))
        firsts, first_s = await self._ask([self._prompt(words) for _ in range(requests)], self._first)
        alls, all_s = await self._ask([self._prompt(words) for _ in range(requests)], self._sampling)
        computed = sum(counted(answer.prompt_tokens) - counted(answer.cached_tokens) for answer in firsts)
        decoded = sum(counted(answer.completion_tokens) for answer in alls)
        after_first = max(0, decoded - requests)
        decode_s = all_s - first_s
        if decode_s < 0.05 * all_s:  # an engine whose time does not depend on the tokens: nothing to subtract
            after_first, decode_s = decoded, all_s
        return Point(
            requests=requests,
            prompt_length=length,
            prompt_tokens=sum(counted(answer.prompt_tokens) for answer in firsts),
            completion_tokens=decoded,
            first_token_s=first_s,
            decode_s=decode_s,
            prefill_tok_s=computed / max(first_s, 1e-9),
            decode_tok_s=after_first / max(decode_s, 1e-9),
            full_length=decoded / (requests * self._sampling.max_tokens),
        )

    async def _ask(self, prompts: Sequence[Prompt], sampling: Sampling) -> tuple[list[Completion], float]:
        seeds = [derive_seed("bench", self._asked, index) for index in range(len(prompts))]
        started = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            asked = [
                group.create_task(self._engine.complete(prompt, sampling, [seed]))
                for prompt, seed in zip(prompts, seeds, strict=True)
            ]
        elapsed = time.perf_counter() - started
        return [task.result()[0] for task in asked], elapsed

    def _prompt(self, words: int) -> Prompt:
        self._asked += 1
        text = " ".join(self._random.choices(_WORDS.split(), k=words))
        messages = (Message("system", f"{self._random.randrange(10**6)} {text}"), Message("user", _TASK))
        return Prompt(f"bench/{self._asked}", self._side, messages, self._adapter)
