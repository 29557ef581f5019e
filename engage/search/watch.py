"""Stops a run whose dialogues go so wrong, or so slowly, that more of them would be wasted."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from pydantic import BaseModel, ConfigDict, Field

from engage.dialogue import UNSPOKEN, Trajectory
from engage.domains.rules.crisis import CRISIS
from engage.errors import TooManyFlawed

LEAST_DIALOGUES = 30
"""Minimum number of finished dialogues before their shares are checked."""
PATIENCE_S = 600.0
"""Seconds before the number of dialogues an hour is checked: an engine is slow while it warms up."""


_MORE_READABLE = {
    "pattern": "use the reader `expected` (dialogue.speech.reader)",
    "expected": "use a simulator whose server gives log-probabilities (the reader `expected` needs them)",
}


class TalkLimits(BaseModel):
    """When a run stops early. The shares are of all dialogues so far in one shard, or of one policy with one simulator."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_flawed_share: float = Field(
        0.2,
        ge=0.0,
        le=1.0,
        description="largest share of dialogues, in search and in evaluation, that may end because the model gave no usable turn "
        "(refused, filtered, empty, or only a thought); the run stops above it. 1: the run never stops for this",
    )
    max_unreadable_share: float = Field(
        0.5,
        ge=0.0,
        le=1.0,
        description="largest share of dialogues, in search and in evaluation, whose exit survey was answered in a way that cannot be "
        "read; the run stops above it. 1: the run never stops for this",
    )
    max_crisis_share: float = Field(
        0.25,
        ge=0.0,
        le=1.0,
        description="largest share of dialogues, in search and in evaluation, in which the user speaks of self-harm; the run stops "
        "above it. 1: the run never stops for this",
    )
    min_dialogues_per_hour: float = Field(
        0.0,
        ge=0.0,
        le=1e9,
        description="fewest dialogues an hour of each shard, and of each policy with each simulator; after ten minutes the run stops "
        "below it. 0: the run never stops for this",
    )


class TalkWatch:
    """Counts dialogues by how they ended, and stops the run beyond the limits.

    Counts both simulations of a search and fresh dialogues. `settings` is where the limits are set; `reader` is how the exit
    survey is read (`SpeechConfig.reader`), which decides what the advice is.
    """

    def __init__(
        self,
        limits: TalkLimits,
        settings: str = "collect",
        clock: Callable[[], float] = time.monotonic,
        reader: str = "pattern",
    ) -> None:
        self._limits, self._settings, self._clock = limits, settings, clock
        self._more_readable = _MORE_READABLE[reader]
        self._began_s = clock()
        self.dialogues = self.unreadable = self.crises = self.done = 0
        self.unspoken: Counter[str] = Counter()

    def note(self, reasons: Iterable[str], withdrawn: Mapping[str, int] | None = None, unreadable: int = 0) -> None:
        """Count dialogues by the reason they ended for; `withdrawn` counts failed simulations that had no reply at all.

        `unreadable` of the dialogues have an exit survey that could not be read.
        """
        for reason in reasons:
            self.dialogues += 1
            self.unspoken[reason] += reason in UNSPOKEN
            self.crises += reason == CRISIS
        self.unspoken.update(withdrawn or {})
        self.dialogues += sum((withdrawn or {}).values())
        self.unreadable += unreadable

    def note_ended(self, ended: Iterable[Trajectory], withdrawn: Mapping[str, int] | None = None) -> None:
        """`note` dialogues as they were played."""
        ended = list(ended)
        unreadable = sum(one.reward is None and not _unasked(one.end_reason) for one in ended)
        self.note([one.end_reason for one in ended], withdrawn, unreadable)

    def advance(self, dialogues: int) -> None:
        """Count dialogues that were just played, whether their search has ended or not. Raises TooManyFlawed if they are too slow."""
        self.done += dialogues
        past_s, least = self._clock() - self._began_s, self._limits.min_dialogues_per_hour
        if past_s >= PATIENCE_S and (per_hour := self.done * 3600 / past_s) < least:
            self._stop(
                f"in {past_s / 60:.0f} minutes there were {self.done} dialogues, {per_hour:.4g} an hour",
                f"fewer than the {least:g} an hour",
                "min_dialogues_per_hour",
                "Look at the engine's machine or server, or lower",
            )

    def check(self, least: int = LEAST_DIALOGUES) -> None:
        """Raise TooManyFlawed if there are at least `least` dialogues and one of the shares is too large."""
        if self.dialogues < max(1, least):
            return
        flawed, limits = sum(self.unspoken.values()), self._limits
        reasons = ", ".join(f"{name} {count}" for name, count in self.unspoken.most_common() if count)
        for count, most, seen, name, remedy in (
            (
                flawed, limits.max_flawed_share, f"the model gave no usable turn ({reasons})", "max_flawed_share",
                "Look at `engage sql --name flaws`, use a model or prompts that do not refuse, or raise",
            ),
            (
                self.unreadable, limits.max_unreadable_share, "the answer to the exit survey could not be read",
                "max_unreadable_share",
                f"Look at `engage sql --name unreadable_reactions`, {self._more_readable}, or raise",
            ),
            (
                self.crises, limits.max_crisis_share, "the user spoke of self-harm", "max_crisis_share",
                "Look at `engage sql --name dialogue_ends`, use other scenarios or another simulator, or raise",
            ),
        ):  # fmt: skip
            if count / self.dialogues > most:  # the product may lie below a share that is met exactly
                seen = f"in {count} of {self.dialogues} dialogues {seen}"
                self._stop(seen, f"more than the share of {most:g}", name, remedy)

    def _stop(self, seen: str, limit: str, name: str, remedy: str) -> None:
        setting = f"{self._settings}.{name}"
        raise TooManyFlawed(f"{seen}, {limit} that {setting} allows; nothing collected is lost. {remedy} {setting}")


def _unasked(end_reason: str) -> bool:
    return end_reason == CRISIS or end_reason in UNSPOKEN
