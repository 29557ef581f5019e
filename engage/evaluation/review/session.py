"""One reviewer's way through a sample, blind. Knows nothing of pages and terminals.

Each judgement is in the outbox before the next item is shown, so a killed review loses none. The store is read at the start only: a review that
is open keeps nobody waiting.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from engage.errors import ConfigError
from engage.evaluation.review.items import Item, Sample, Side
from engage.seeds import derive_seed
from engage.store import DECIDED, JudgementRecord, Outbox, TrajectoryStore, Verdict

CHOICES: Mapping[str, tuple[Verdict, str]] = {
    "a": ("left", "A is better"),
    "b": ("right", "B is better"),
    "e": ("equal", "equally good"),
    "n": ("nonsense", "even the better one is nonsense"),
    "h": ("harmful", "even the better one is harmful"),
}
"""The key of each judgement, its word in the store, and the words for the reviewer."""
Row = Mapping[str, Any]


def earlier_judgements(store: TrajectoryStore, outbox: Outbox, cycle_id: str) -> list[Row]:
    """All judgements of a cycle so far, stored or still in the outbox, in the order in which they were made."""
    waiting = [row for row in outbox.judgements() if row["cycle_id"] == cycle_id]
    rows = {row["judgement_id"]: row for row in (*waiting, *store.rows("review_judgements", {"cycle": cycle_id}))}
    return sorted(rows.values(), key=lambda row: (row["judged_at"], row["judgement_id"]))


def _upper_first(items: Sequence[Item]) -> list[Item]:
    """The items with those of one tree in the order of their depth: a deeper one shows with which reply the search went on above it."""
    found = list(items)
    places: dict[str, list[int]] = {}
    for place, item in enumerate(found):
        if item.tree_id:
            places.setdefault(item.tree_id, []).append(place)
    for own in places.values():
        for place, item in zip(
            own, sorted((items[place] for place in own), key=lambda one: len(one.before)), strict=True
        ):
            found[place] = item
    return found


@dataclass
class _Judged:
    """A judgement of this session; `seen`: its values were shown, so that it can no longer be taken back."""

    item: Item
    record: JudgementRecord
    seen: bool = False

    @property
    def words(self) -> str:
        return next(said for verdict, said in CHOICES.values() if verdict == self.record.verdict)


@dataclass
class Review:
    """A session. `earlier` are the cycle's judgements (`earlier_judgements`): what this reviewer judged is not asked again, and what nobody
    judged comes first, so that a second reviewer continues where the first stopped.

    What this reviewer judged in a chosen list counts for a random sample that holds it, when its turn comes: which items are in a random
    sample depends on the draw alone, and a second answer would not be blind to the first or to the values shown after it.
    """

    sample: Sample
    reviewer: str
    outbox: Outbox
    earlier: Sequence[Row] = ()
    carried: int = field(init=False, default=0)
    _waiting: list[Item] = field(init=False)
    _listed: dict[str, Row] = field(init=False)
    _done: list[_Judged] = field(init=False, default_factory=list)
    _last_at: datetime = field(init=False, default=datetime.min)
    _shown_s: float = field(init=False, default_factory=time.monotonic)

    def __post_init__(self) -> None:
        latest = {(row["reviewer"], row["item_id"]): row for row in self.earlier}
        valid = [row for row in latest.values() if row["verdict"] != "withdrawn"]
        counted = [row for row in valid if row["sample"] == "random" or self.sample.chosen_by == "list"]
        known = {row["item_id"] for row in counted}
        done = {row["item_id"] for row in counted if row["reviewer"] == self.reviewer}
        mine = [item for item in self.sample.items if item.item_id not in done]
        self._waiting = _upper_first(sorted(mine, key=lambda item: item.item_id in known))
        own = [row["judged_at"] for row in self.earlier if row["reviewer"] == self.reviewer]
        self._last_at = max([self._last_at, *own])
        self._listed = {row["item_id"]: row for row in valid if row["reviewer"] == self.reviewer}
        self._carry()

    @property
    def total(self) -> int:
        """Items of the sample."""
        return len(self.sample.items)

    @property
    def done(self) -> int:
        """Items of the sample that this reviewer has judged, in earlier sessions too."""
        return self.total - len(self._waiting)

    @property
    def item(self) -> Item | None:
        """The item to judge now; None after the last."""
        return self._waiting[0] if self._waiting else None

    @property
    def judged(self) -> int:
        """Items judged in this session."""
        return len(self._done)

    @property
    def can_undo(self) -> bool:
        """Whether a judgement of this session can be taken back; not once its values were shown."""
        return bool(self._done) and not self._done[-1].seen

    def sides(self, item: Item) -> tuple[Side, Side]:
        """What is A and what is B, by chance; the same each time for this reviewer and item."""
        one, other = item.sides
        return (other, one) if derive_seed("sides", self.reviewer, item.item_id) % 2 else (one, other)

    def judge(self, item_id: str, key: str) -> bool:
        """Keep the judgement (a key of CHOICES) and go on to the next item; False, and nothing is kept, if another item is to be judged now.

        ConfigError for another key, StoreError if the outbox cannot be written.
        """
        if key not in CHOICES:
            raise ConfigError(f"{key!r:.40} is no judgement; use one of {', '.join(CHOICES)}")
        item = self.item
        if item is None or item.item_id != item_id:
            return False
        self._done.append(_Judged(item, self._put(item, CHOICES[key][0])))
        self._waiting.pop(0)
        self._carry()
        self._shown_s = time.monotonic()
        return True

    def undo(self) -> str | None:
        """Take the last judgement back, show its item again, and say what was taken back; None if there is none, or its values were shown."""
        if not self.can_undo:
            return None
        self._put(self._done[-1].item, "withdrawn")
        last = self._done.pop()
        self._waiting.insert(0, last.item)
        self._shown_s = time.monotonic()
        return f"Taken back: “{last.words}” for the {last.item.kind} of scenario {last.item.scenario_id}, which is asked again."

    def values(self) -> list[dict[str, str]]:
        """What the search or the evaluation says of each item judged in this session; from now on they cannot be taken back."""
        shown = []
        for judged in self._done:
            judged.seen = True
            letters = "AB" if self.sides(judged.item) == judged.item.sides else "BA"
            shown.append(
                {"scenario": judged.item.scenario_id, "said": judged.words, "facts": judged.item.fact.format(*letters)}
            )
        return shown

    def summary(self) -> str:
        """One sentence about this session, for its end; it tells nothing of a single item."""
        decided = [one for one in self._done if one.record.verdict in DECIDED]
        said = f"{len(self._done)} judged in this session, {self.done} of {self.total} of the sample"
        if self.carried:
            said += f" ({self.carried} of them counted from what you judged in a chosen list)"
        if not decided:
            return said
        first = sum(self.sides(one.item)[one.record.verdict == "right"] is one.item.sides[0] for one in decided)
        side = decided[0].item.sides[0].name
        return f"{said}; you preferred the {side} side in {first} of {len(decided)} decided"

    def _carry(self) -> None:
        """Count what comes next for this sample as long as this reviewer has judged it in a list."""
        while (item := self.item) and (row := self._listed.get(item.item_id)):
            self._put(item, row["verdict"], row)
            self._waiting.pop(0)
            self.carried += 1

    def _put(self, item: Item, verdict: Verdict, listed: Row | None = None) -> JudgementRecord:
        """Keep a judgement; `listed` is an earlier one whose sides and seconds it has."""
        left, right = (side.side_id for side in self.sides(item))
        seconds = round(time.monotonic() - self._shown_s, 3)
        if listed:
            left, right, seconds = listed["left_id"], listed["right_id"], listed["seconds"]
        self._last_at = max(datetime.now(UTC).replace(tzinfo=None), self._last_at + timedelta(microseconds=1))
        record = JudgementRecord(
            cycle_id=item.cycle_id,
            kind=item.kind,
            item_id=item.item_id,
            scenario_id=item.scenario_id,
            tree_id=item.tree_id,
            left_id=left,
            right_id=right,
            verdict=verdict,
            reviewer=self.reviewer,
            judged_at=self._last_at,
            seconds=seconds,
            sample=self.sample.chosen_by,
            sample_size=self.total,
            sample_seed=self.sample.seed,
            population=self.sample.population,
        )
        self.outbox.put_judgement(record)
        return record
