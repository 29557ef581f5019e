"""Fresh rollouts of replies that a search has valued: the user answers, and the policy continues without search up to the survey.

Each reply has seeds of its own, so siblings share no random numbers. The rollouts are stored in one Parquet file; an interrupted or
larger run adds the missing ones.
"""

import asyncio
import json
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from engage.dialogue import Dialogue, Role, Turn
from engage.engines.base import Engine
from engage.errors import StoreError
from engage.experiments.value_check import ValueCheckConfig
from engage.files.digest import digest
from engage.scenario import Scenario
from engage.search import Adapters, BatchResult, gather
from engage.seeds import derive_seed
from engage.simulation import DialogueConfig, Episode, begin_episode, play_out
from engage.store import write_parquet
from engage.workspace import Workspace

SAVE_EVERY_S = 5.0


@dataclass(frozen=True)
class SpokenReply:
    """An assistant reply after a prefix that ends with a user turn and has `exchanges` exchanges."""

    scenario: Scenario
    prefix: Dialogue
    text: str
    exchanges: int

    @property
    def key(self) -> str:
        """The key of its rollouts; the same words at the same place of a scenario have the same key in every tree."""
        return digest([self.scenario.content_hash, [(turn.role, turn.text) for turn in self.prefix.turns], self.text])


SpokenPair = tuple[SpokenReply, SpokenReply]


def spoken_reply(scenarios: Mapping[str, Scenario], row: Mapping[str, Any], column: str) -> SpokenReply:
    """The reply in a row of sql/inspect/credit_pairs.sql or credit_replies.sql; `column` contains its text."""
    prefix = Dialogue.of([*json.loads(row["opening"]), *row["turns"]])
    return SpokenReply(scenarios[row["scenario_id"]], prefix, row[column], row["spine_index"])


@dataclass(frozen=True)
class Rollout:
    """Rollout number `below` through fresh user turn number `turn` of the reply `key`; `reward` is None if unreadable."""

    key: str
    scenario_id: str
    turn: int
    below: int
    user_text: str
    last_user_text: str
    exchanges: int
    end_reason: str
    reward: float | None


class KeptRollouts:
    """The rollouts of one cycle, in memory and in one file; StoreError if the file cannot be used."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._found = {(r.key, r.turn, r.below): r for r in map(lambda row: Rollout(**row), _read(path))}
        self._saved_at, self._unsaved = time.monotonic(), False

    @classmethod
    def of(cls, workspace: Workspace, cycle_id: str) -> "KeptRollouts":
        """The cycle's. The file's name includes everything they depend on, so a new cycle with the same id has another file."""
        known = digest(workspace.store.cycle_config(cycle_id))
        return cls(workspace.home.cycle(cycle_id) / "credit" / f"rollouts-{known[:16]}.parquet")

    def __len__(self) -> int:
        return len(self._found)

    def rewards(self, reply: SpokenReply, turns: int, below: int = 1) -> list[list[float | None]] | None:
        """Rewards of the first `below` rollouts of each of the first `turns` user turns; None if one is missing."""
        wanted = [[self._found.get((reply.key, turn, place)) for place in range(below)] for turn in range(turns)]
        if any(rollout is None for row in wanted for rollout in row):
            return None
        return [[rollout.reward for rollout in row if rollout] for row in wanted]

    def missing(self, reply: SpokenReply, turn: int, below: int) -> list[int]:
        """The numbers of the missing ones among the first `below` rollouts through a user turn."""
        return [place for place in range(below) if (reply.key, turn, place) not in self._found]

    def user_text(self, reply: SpokenReply, turn: int) -> str | None:
        """The stored user turn, if any, because an engine might not sample the same again."""
        known = (self._found.get((reply.key, turn, below)) for below in (0, 1))
        return next((rollout.user_text for rollout in known if rollout), None)

    def add(self, rollout: Rollout) -> None:
        """Add a rollout, and save the file if the last save is SAVE_EVERY_S old."""
        self._found[rollout.key, rollout.turn, rollout.below] = rollout
        self._unsaved = True
        if time.monotonic() - self._saved_at >= SAVE_EVERY_S:
            self.save()

    def save(self) -> None:
        """Write the file atomically."""
        import pyarrow as pa

        if self._unsaved:
            rows = [asdict(rollout) for rollout in self._found.values()]
            write_parquet(pa.Table.from_pylist(rows, schema=_schema()), self.path)
            self._saved_at, self._unsaved = time.monotonic(), False


@dataclass(frozen=True)
class Roller:
    """Makes rollouts on one engine; `seed` is the cycle's. Used on one event loop."""

    engine: Engine
    dialogue: DialogueConfig
    adapters: Adapters
    seed: int
    kept: KeptRollouts
    _alone: dict[str, asyncio.Lock] = field(default_factory=dict)  # pairs may share a reply: only one rolls it out

    async def replies(
        self, replies: Sequence[SpokenReply], check: ValueCheckConfig, on_done: Callable[[None], None]
    ) -> BatchResult:
        """Roll out each reply as often as the noise floor needs, as many at once as the engine has room for."""

        async def one(reply: SpokenReply) -> None:
            await self._reply(reply, check.turns, check.below)

        return await gather(self.engine, replies, one, on_done, lambda reply: reply.scenario.scenario_id)

    async def pairs(
        self, pairs: Sequence[SpokenPair], check: ValueCheckConfig, on_done: Callable[[None], None]
    ) -> BatchResult:
        """Roll out both replies of every pair."""

        async def one(pair: SpokenPair) -> None:
            await _all([self._reply(reply, check.rollouts, 1) for reply in pair])

        return await gather(self.engine, pairs, one, on_done, lambda pair: pair[0].scenario.scenario_id)

    async def _reply(self, reply: SpokenReply, turns: int, below: int) -> None:
        """Make the missing rollouts of `turns` user turns with `below` rollouts each, all at once."""
        seed = derive_seed(self.seed, "credit", reply.key)
        _, user = self.adapters.user(self.seed, reply.scenario.scenario_id)  # the one that the tree drew
        episode = begin_episode(self.engine, reply.scenario, self.dialogue, seed, self.adapters.policy_adapter, user)
        async with self._alone.setdefault(reply.key, asyncio.Lock()):
            wanted = ((turn, self.kept.missing(reply, turn, below)) for turn in range(turns))
            await _all([self._turn(episode, reply, turn, places) for turn, places in wanted if places])

    async def _turn(self, episode: Episode, reply: SpokenReply, turn: int, places: Sequence[int]) -> None:
        path = f"credit.{reply.key[:8]}.{turn}"
        said = reply.prefix.add(Turn(Role.ASSISTANT, reply.text))
        text = self.kept.user_text(reply, turn)
        if text is None:
            drawn = await episode.user.next_turn(said, episode.key_of(path), episode.seed_of("turn", turn))
            text = drawn.turn.text
        answered = said.add(Turn(Role.USER, text))

        async def one(place: int) -> None:
            ended = await play_out(episode, answered, reply.exchanges + 1, path, place)
            last = next(turn.text for turn in reversed(ended.dialogue.turns) if turn.role is Role.USER)
            how = (ended.exchanges, ended.end_reason, ended.reward)
            self.kept.add(Rollout(reply.key, reply.scenario.scenario_id, turn, place, text, last, *how))

        await _all([one(place) for place in places])


async def _all(work: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Await all coroutines, then raise the first error, so that none is left running."""
    for ended in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(ended, BaseException):
            raise ended


def _schema() -> Any:
    import pyarrow as pa

    text, integer = pa.string(), pa.int32()
    columns = {"key": text, "scenario_id": text, "turn": integer, "below": integer, "user_text": text}
    columns |= {"last_user_text": text, "exchanges": integer, "end_reason": text, "reward": pa.float64()}
    return pa.schema(list(columns.items()))


def _read(path: Path) -> list[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.exists():
        return []
    try:
        return list(pq.read_table(path, schema=_schema()).to_pylist())
    except (pa.ArrowException, OSError, ValueError) as error:
        raise StoreError(f"{path}: not a file of fresh rollouts, or damaged; delete it and run again") from error
