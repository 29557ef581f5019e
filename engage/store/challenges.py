"""Challenges and promotions in the store: who challenged whom, on which dialogues, and what was decided. Decides nothing itself."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from engage.store.database import writing
from engage.store.trajectory_store import TrajectoryStore

BASE = "base"
"""In the place of a version: the base model, to which a rollback of the first champion leads."""


class State(StrEnum):
    """What became of a challenge. `passed`: it meets the rule and is not champion yet; `earlier`: from before the table."""

    OPEN = "open"
    PASSED = "passed"
    PROMOTED = "promoted"
    DROPPED = "dropped"
    EARLIER = "earlier"


_COLUMNS = "number, cycle_id, policy, adapter, incumbent, simulator, ground, scenarios, state, reason, passed"


@dataclass(frozen=True)
class Challenge:
    """A row of the table `challenge`, whose columns are explained in sql/schema/13_challenge.sql."""

    number: int
    cycle_id: str
    policy: str
    adapter: str | None
    incumbent: str
    simulator: str
    ground: str | None
    scenarios: tuple[str, ...]
    state: State
    reason: str
    passed: bool

    def is_against(self, incumbent: str, simulator: str, ground: str) -> bool:
        """Whether it is a challenge of this incumbent on this ground."""
        return (self.incumbent, self.simulator, self.ground) == (incumbent, simulator, ground)


@dataclass(frozen=True)
class BatchReward:
    """One dialogue of a challenge's batch; `reward` is None where the survey's answer could not be read."""

    seed: int
    is_candidate: bool
    scenario_id: str
    domain: str
    reward: float | None
    simulator: str


@dataclass(frozen=True)
class Promotion:
    """A row of the table `promotion`, whose columns are explained in sql/schema/15_promotion.sql."""

    promoted_at: datetime
    version: str
    adapter: str
    cycle_id: str | None
    challenge: int | None
    promoted_by: str
    why: str
    replaced: str | None


@dataclass(frozen=True)
class Gain:
    """A policy's gain over its cycle's incumbent with one simulator, as an evaluation measured it; `stored_at` is UTC, None if not noted."""

    stored_at: datetime | None
    cycle_id: str
    simulator: str
    value: float
    low: float | None
    high: float | None


class Challenges:
    """The challenges and promotions of one store."""

    def __init__(self, store: TrajectoryStore) -> None:
        self._store = store

    def all(self) -> list[Challenge]:
        """All challenges in the order in which they began; empty if there is no store yet."""
        if not self._store.path.exists():
            return []
        rows = self._store.select(f"select {_COLUMNS} from challenge order by number")[1]
        return [_challenge(row) for row in rows]

    def begin(
        self,
        cycle_id: str,
        policy: str,
        adapter: str,
        incumbent: str,
        simulator: str,
        ground: str,
        scenarios: Iterable[str],
    ) -> Challenge:
        """The challenge of this candidate against this incumbent on this ground: the one that has begun before, or the next number."""
        with writing(self._store.path, self._store.wait_s) as connection:
            same = "policy = ? and incumbent = ? and simulator = ? and ground = ?"
            key = [policy, incumbent, simulator, ground]
            connection.execute(
                f"insert into challenge ({_COLUMNS}, began_at, changed_at) "
                "select (select coalesce(max(number), 0) + 1 from challenge), ?, ?, ?, ?, ?, ?, ?, 'open', 'begun', false, ?, ? "
                f"where not exists (select 1 from challenge where {same})",
                [cycle_id, policy, adapter, incumbent, simulator, ground, sorted(scenarios), _now(), _now(), *key],
            )
            found = connection.execute(f"select {_COLUMNS} from challenge where {same}", key).fetchone()
        return _challenge(found)

    def add_batches(self, number: int, cycle_id: str, seeds: Iterable[int]) -> None:
        """Count a cycle's dialogues with these seeds in the challenge; a seed counts once, in whichever cycle it came first."""
        with writing(self._store.path, self._store.wait_s) as connection:
            for seed in seeds:
                connection.execute("insert or ignore into challenge_batch values (?, ?, ?)", [number, seed, cycle_id])

    def batches(self, number: int) -> dict[int, str]:
        """The seeds of the dialogues that count in the challenge, each with its cycle."""
        where = f"where number = {int(number)} order by rowid"
        return dict(self._store.select(f"select seed, cycle_id from challenge_batch {where}")[1])

    def rewards(self, number: int, simulators: Sequence[str]) -> list[BatchReward]:
        """The dialogues of both sides with these simulators that count in the challenge, by seed and scenario."""
        rows = self._store.select(
            "select batch.seed, outcome.policy = challenge.policy, outcome.scenario_id, outcome.domain, outcome.reward, outcome.simulator "
            "from challenge join challenge_batch as batch using (number) join outcome "
            "on outcome.purpose = 'evaluation' and outcome.cycle_id = batch.cycle_id and outcome.seed = batch.seed "
            "and list_contains($simulators, outcome.simulator) and outcome.policy in (challenge.policy, challenge.incumbent) "
            "and list_contains(challenge.scenarios, outcome.scenario_id) "
            f"where number = {int(number)} order by batch.seed, outcome.scenario_id, outcome.policy, outcome.simulator",
            {"simulators": list(simulators)},
        )[1]
        return [BatchReward(*row) for row in rows]

    def cycles_that_judged(self, policy: str) -> list[str]:
        """The cycles that have figures of this policy's dialogues, in the order in which they began."""
        judged = {
            cycle
            for one, cycle in self._store.select("select distinct policy, cycle_id from evaluation")[1]
            if one == policy
        }
        return [cycle for cycle in reversed(self._store.cycle_ids()) if cycle in judged]

    def promotions(self) -> list[Promotion]:
        """All promotions in their order; empty if there is no store yet."""
        if not self._store.path.exists():
            return []
        names = ", ".join(field.name for field in fields(Promotion))
        return [Promotion(*row) for row in self._store.select(f"select {names} from promotion order by rowid")[1]]

    def gains(self, policy: str) -> list[Gain]:
        """The gains of this policy over all domains, by evaluation and simulator, the latest last."""
        rows = self._store.select(
            "select stored_at, cycle_id, simulator, value, low, high from evaluation "
            "where policy = $policy and metric = 'difference' and domain = 'all' order by stored_at nulls first, simulator",
            {"policy": policy},
        )[1]
        return [Gain(*row) for row in rows]

    def settle(self, number: int, state: State, reason: str, passed: bool | None = None) -> None:
        """Record what became of a challenge; `passed` stays as it is if it is None."""
        with writing(self._store.path, self._store.wait_s) as connection:
            connection.execute(
                "update challenge set state = ?, reason = ?, passed = coalesce(?, passed), changed_at = ? where number = ?",
                [state, reason, passed, _now(), number],
            )

    def record_promotion(
        self,
        version: str,
        adapter: str,
        by: str,
        why: str,
        replaced: str | None,
        cycle_id: str | None,
        challenge: int | None,
    ) -> None:
        """Record that a registry version became champion; the same promotion, recorded again, adds nothing.

        Of a person's promotions those are the same that have the same reason.
        """
        with writing(self._store.path, self._store.wait_s) as connection:
            last = connection.execute(
                "select version, promoted_by, challenge, why from promotion order by rowid desc limit 1"
            ).fetchone()
            if last is None or last[:3] != (version, by, challenge) or (challenge is None and last[3] != why):
                connection.execute(
                    "insert into promotion (promoted_at, version, adapter, cycle_id, challenge, promoted_by, why, replaced) "
                    "values (?, ?, ?, ?, ?, ?, ?, ?)",
                    [_now(), version, adapter, cycle_id, challenge, by, why, replaced],
                )


def champion_line(promotions: Iterable[Promotion]) -> list[Promotion]:
    """The champion, last, and those before it to which rollbacks lead: a return to an earlier champion takes away what came after it."""
    line: list[Promotion] = []
    for one in promotions:
        known = next((place for place, other in enumerate(line) if other.version == one.version), None)
        line = [] if one.version == BASE else [*line, one] if known is None else line[: known + 1]
    return line


def _challenge(row: Sequence[Any]) -> Challenge:
    values = dict(zip(_COLUMNS.split(", "), row, strict=True))
    return Challenge(**{**values, "scenarios": tuple(values["scenarios"] or ()), "state": State(values["state"])})


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)
