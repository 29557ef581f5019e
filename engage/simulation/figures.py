"""What the dialogues held so far came to, in words and for the display."""

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from engage.dialogue import Dialogue, Trajectory
from engage.engines.metered import Meter, gpu_busy
from engage.visible import visible


class Figures:
    """What finished dialogues came to: mean reward and the last exchange; what the engine did in the last minute; and a note.

    `meter` is that of the engine that holds the dialogues; `note` is said as long as there is anything to say.
    """

    def __init__(self, meter: Meter | None = None, note: str = "") -> None:
        self._meter, self._note = meter, note
        self._dialogues = self._rewards = 0
        self._reward_sum = 0.0
        self._last = Dialogue()

    def add(self, trajectories: Iterable[Trajectory]) -> None:
        """Add finished dialogues."""
        for trajectory in trajectories:
            self._dialogues += 1
            self._last = trajectory.dialogue
            if trajectory.reward is not None:
                self._rewards += 1
                self._reward_sum += trajectory.reward

    def text(self, last: bool = False) -> str:
        """In words; empty before the first dialogue and the first seconds of the engine. The `last` line goes without the note."""
        parts = []
        if self._dialogues:
            mean = f"mean reward {self._reward_sum / self._rewards:.3f}" if self._rewards else "no reward"
            parts.append(f"{mean} over {self._dialogues} dialogues")
        if self._meter and (minute := self._meter.last_minute()):
            gpu = gpu_busy()
            computing = "" if gpu is None else f", GPU {gpu:.0%} busy"
            parts.append(f"last minute {minute.tokens_per_s:.0f} tokens/s, engine busy {minute.busy:.0%}{computing}")
        return "; ".join([*parts, self._note] if parts and self._note and not last else parts)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The words, and one line for each turn of the last exchange."""
        if self._meter and self._meter.waits:
            yield Text("waiting for the engine's first answer; it may be loading its model")
        elif words := self.text():
            yield Text(words)
            for turn in self._last.turns[-2:]:
                yield Text(visible(f"{turn.role}: {turn.text}"), style="dim", no_wrap=True, overflow="ellipsis")
