"""Turns, dialogues, reactions and trajectories: the frozen values that all other modules use. Knows no domain and no model."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

UNSPOKEN = ("empty", "refusal", "content_filter", "thought")
"""Flaws of a turn without usable text: the dialogue ends with it and gets no reward. Text rules detect `empty` and `refusal`
(`engage.simulation.flaws`); an engine reports `refusal`, `content_filter` and `thought` (a reply that is only a thought)."""


class Role(StrEnum):
    """The two sides of a dialogue."""

    ASSISTANT = "assistant"
    USER = "user"

    @property
    def other(self) -> "Role":
        """The side that answers this one."""
        return Role.USER if self is Role.ASSISTANT else Role.ASSISTANT


@dataclass(frozen=True, slots=True)
class Turn:
    """One message; `text` is stripped.

    A flawed sampled turn (see `engage.simulation.flaws`) is drawn again. `attempts` counts the draws, and `flaw` is the flaw of the
    turn that was kept, None for a clean turn. `first_flaw` is the flaw of the first draw; it is also None if it was not recorded (a
    turn of an older version, or one that was not sampled). `redrawn` are the flaws of the draws that were thrown away, in order.
    """

    role: Role
    text: str
    attempts: int = 1
    flaw: str | None = None
    first_flaw: str | None = None
    redrawn: tuple[str, ...] = ()

    @property
    def unspoken(self) -> bool:
        """Whether the turn has no usable text, even after all draws."""
        return self.flaw in UNSPOKEN


@dataclass(frozen=True, slots=True)
class Dialogue:
    """Turns in order; either side may open."""

    turns: tuple[Turn, ...] = ()

    @staticmethod
    def of(said: Iterable[Mapping[str, str]]) -> "Dialogue":
        """From turns as the store and its JSON hold them: `role` and `text`."""
        return Dialogue(tuple(Turn(Role(turn["role"]), turn["text"]) for turn in said))

    def add(self, turn: Turn) -> "Dialogue":
        """The dialogue one turn longer."""
        return Dialogue((*self.turns, turn))

    @property
    def last(self) -> Turn | None:
        """The latest turn, None before the first."""
        return self.turns[-1] if self.turns else None

    def text(self, **names: str) -> str:
        """One line per turn, `name: text`; names per role by keyword, the role itself by default."""
        return "\n".join(f"{names.get(turn.role, turn.role)}: {turn.text}" for turn in self.turns)


@dataclass(frozen=True, slots=True)
class Reaction:
    """The user's answer to the exit survey.

    `value` is on the survey's own scale (support: intensity 1..5; persuasion: dollars 0..2), None where the answer could
    not be read. `text` is the sampled answer (reader `pattern`) or the most probable choice (reader `expected`);
    in a human dialogue the reader is `human`, in one that ended with a referral, or with a turn in which nothing was said,
    `unasked`.
    `probabilities` are those of the survey's choices, in the survey's order, for the reader `expected`; else empty.
    """

    reader: str
    text: str
    value: float | None
    probabilities: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Trajectory:
    """A finished dialogue with its reaction; `reward` in [0, 1], None where the reaction could not be read.

    `exchanges` counts the assistant replies given after the scenario's opening; `end_reason` is the domain's, or `max_exchanges`.
    """

    scenario_id: str
    dialogue: Dialogue
    reaction: Reaction
    reward: float | None
    exchanges: int
    end_reason: str
