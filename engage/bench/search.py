"""How much of the engine the search uses: its tokens per second against saturation, its simulations against one at a time.

Tokens are counted as the engine reports them for each request; a prompt with n samples counts once. Utilisation is

    (decoded tokens / decode saturation + newly computed prompt tokens / prefill saturation) / wall time

so 1 means that this engine could not have computed the same tokens sooner, even in its best batches.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from engage.bench.engine import Saturation, saturation
from engage.engines.base import Completion, Engine, Prompt, Sampling, Scores, counted
from engage.scenario import Scenario
from engage.search import Adapters, SearchConfig, TreeRecord, search_scenarios
from engage.simulation import DialogueConfig

OnSimulations = Callable[[int], None]
AS_CONFIGURED = Adapters()
"""The speakers of the engine's own configuration."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answered request: its tokens, and when it was answered (seconds of the process clock)."""

    at_s: float
    prompt_tokens: int
    cached_tokens: int
    decoded_tokens: int


@dataclass
class MeteredEngine:
    """Passes every request on and records its tokens and times; implements Engine."""

    engine: Engine
    answers: list[Answer] = field(default_factory=list)
    last_begun_s: float = 0.0
    _seen: set[str] = field(default_factory=set)

    @property
    def has_room(self) -> bool:
        return self.engine.has_room

    async def complete(self, prompt: Prompt, sampling: Sampling, seeds: Sequence[int]) -> list[Completion]:
        self._note_scenario(prompt)
        replies = await self.engine.complete(prompt, sampling, seeds)
        decoded = sum(counted(reply.completion_tokens) for reply in replies)
        self.answers.append(
            Answer(time.perf_counter(), counted(replies[0].prompt_tokens), counted(replies[0].cached_tokens), decoded)
        )
        return replies

    async def score(self, prompt: Prompt, choices: Sequence[str]) -> Scores:
        scores = await self.engine.score(prompt, choices)
        self.answers.append(
            Answer(time.perf_counter(), counted(scores.prompt_tokens), counted(scores.cached_tokens), 0)
        )
        return scores

    def close(self) -> None:
        """Does nothing: whoever created the engine behind this one closes it."""

    def _note_scenario(self, prompt: Prompt) -> None:
        scenario_id = prompt.key.partition("/")[0]
        if scenario_id not in self._seen:
            self._seen.add(scenario_id)
            self.last_begun_s = time.perf_counter()


@dataclass(frozen=True)
class SearchRun:
    """The cost of searching many scenarios. `full_s` is the time until the first tree ends after the last was begun."""

    trees: int
    simulations: int
    answers: tuple[Answer, ...]
    started_s: float
    full_s: float
    wall_s: float
    bookkeeping_s: float

    def used(self, saturation: Saturation, until_s: float) -> float:
        """Utilisation of the first `until_s` seconds."""
        counted = [answer for answer in self.answers if answer.at_s <= self.started_s + until_s]
        decode = sum(answer.decoded_tokens for answer in counted) / saturation.decode_tok_s
        prefill = sum(answer.prompt_tokens - answer.cached_tokens for answer in counted) / saturation.prefill_tok_s
        return (decode + prefill) / until_s

    @property
    def prompt_tokens(self) -> int:
        """Prompt tokens of all requests."""
        return sum(answer.prompt_tokens for answer in self.answers)

    @property
    def reused_tokens(self) -> int:
        """Prompt tokens that came from the cache."""
        return sum(answer.cached_tokens for answer in self.answers)


async def run_search(
    engine: Engine,
    scenarios: Sequence[Scenario],
    dialogue: DialogueConfig,
    search: SearchConfig,
    on_simulations: OnSimulations = lambda _: None,
    on_tree: Callable[[TreeRecord], Any] = lambda _: None,
    adapters: Adapters = AS_CONFIGURED,
) -> SearchRun:
    """Search all scenarios as a cycle does, on this thread's loop; the thread's CPU time is the bookkeeping."""
    metered = MeteredEngine(engine)
    spent: list[int] = []
    ends: list[float] = []

    def keep(tree: TreeRecord) -> None:
        on_tree(tree)
        ends.append(time.perf_counter())

    def count(simulations: int) -> None:
        spent.append(simulations)
        on_simulations(simulations)

    started, cpu = time.perf_counter(), time.thread_time()
    await search_scenarios(
        metered,
        scenarios,
        dialogue,
        search,
        cycle_id="bench",
        seed=1,
        adapters=adapters,
        on_tree=keep,
        on_simulations=count,
    )
    wall = time.perf_counter() - started
    after = [end for end in ends if end >= metered.last_begun_s]
    return SearchRun(
        trees=len(ends),
        simulations=sum(spent),
        answers=tuple(metered.answers),
        started_s=started,
        full_s=(min(after) if after else started + wall) - started,
        wall_s=wall,
        bookkeeping_s=time.thread_time() - cpu,
    )


async def run_sequentially(
    engine: Engine,
    scenarios: Sequence[Scenario],
    dialogue: DialogueConfig,
    search: SearchConfig,
    seconds: float,
    adapters: Adapters = AS_CONFIGURED,
) -> float:
    """Simulations per second when one runs at a time, as in a plain MCTS, on the same engine with the same reuse of prefixes.

    Ends after `seconds`; an unfinished simulation counts towards the time, but not as a simulation.
    """
    spent: list[int] = []
    one_by_one = search.model_copy(update={"round_size": 1})
    started = time.perf_counter()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            for scenario in scenarios:
                await run_search(engine, [scenario], dialogue, one_by_one, spent.append, adapters=adapters)
    return sum(spent) / (time.perf_counter() - started)


async def measure_search(
    engine: Engine,
    scenarios: Sequence[Scenario],
    dialogue: DialogueConfig,
    search: SearchConfig,
    count: int,
    sequential_s: float,
    on_progress: Callable[[str, float], None] = lambda what, share: None,
    batch_sizes: Sequence[int] = (16, 32, 64, 128),
    adapters: Adapters = AS_CONFIGURED,
) -> dict[str, float]:
    """Run one simulation at a time for `sequential_s`, then `count` scenarios at once, then the sweep; see `summarise`.

    `batch_sizes` of the sweep must include the engine's best. Each part has scenarios of its own, so that none finds another's
    prompts in the cache. The sweep's prompts have the mean length of the search's, because decoding slows with the context.
    """
    on_progress("one simulation at a time", 0.0)
    alone = repeated(scenarios, count, first=count)
    per_s = await run_sequentially(engine, alone, dialogue, search, sequential_s, adapters)
    total, spent = count * search.num_simulations * dialogue.max_exchanges, 0

    def tell(simulations: int) -> None:
        nonlocal spent
        spent += simulations
        on_progress(f"{count} scenarios at once", spent / total)

    run = await run_search(engine, repeated(scenarios, count), dialogue, search, tell, adapters=adapters)
    length = round(run.prompt_tokens / max(1, len(run.answers)))
    sweep = await saturation(
        engine, batch_sizes=batch_sizes, prompt_lengths=(length,), adapter=None, on_progress=on_progress
    )
    return {**summarise(run, sweep, per_s), "mean_prompt_tokens": length}


def summarise(run: SearchRun, saturation: Saturation, sequential_per_s: float) -> dict[str, float]:
    """The figures of `engage bench search`, in tokens, seconds and shares."""
    per_s = run.simulations / run.wall_s
    return {
        "decode_saturated_tok_s": saturation.decode_tok_s,
        "prefill_saturated_tok_s": saturation.prefill_tok_s,
        "utilisation": run.used(saturation, run.full_s),
        "utilisation_with_drain": run.used(saturation, run.wall_s),
        "simulations_per_s": per_s,
        "sequential_simulations_per_s": sequential_per_s,
        "speedup": per_s / sequential_per_s if sequential_per_s else float("nan"),
        "prompt_tokens": run.prompt_tokens,
        "prompt_tokens_reused": run.reused_tokens,
        "reused_share": run.reused_tokens / max(1, run.prompt_tokens),
        "decoded_tokens": sum(answer.decoded_tokens for answer in run.answers),
        "calls": len(run.answers),
        "bookkeeping_ms_per_call": 1000 * run.bookkeeping_s / max(1, len(run.answers)),
        "trees": run.trees,
        "simulations": run.simulations,
        "full_s": run.full_s,
        "wall_s": run.wall_s,
    }


def in_turn(scenarios: Sequence[Scenario], count: int) -> list[Scenario]:
    """`count` scenarios, taken from the domains in turn; they are repeated if there are fewer."""
    domains = sorted({scenario.domain for scenario in scenarios})
    groups = [[scenario for scenario in scenarios if scenario.domain == domain] for domain in domains]
    places = [divmod(number, len(groups)) for number in range(count)]
    return [groups[group][place % len(groups[group])] for place, group in places]


def repeated(scenarios: Sequence[Scenario], count: int, first: int = 0) -> list[Scenario]:
    """`count` scenarios from number `first` on, each with a name of its own; they are repeated if there are fewer."""
    return [
        replace(scenarios[number % len(scenarios)], scenario_id=f"bench{number}")
        for number in range(first, first + count)
    ]
