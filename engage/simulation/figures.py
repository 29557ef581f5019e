"""What the dialogues held so far came to, in words and for the display."""

import time
from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from engage.dialogue import Dialogue, Trajectory
from engage.engines.recording import CallRecord
from engage.visible import visible


class Figures:
    """What finished dialogues came to: mean reward, decoded tokens (unknown counts as none), and the last exchange."""

    def __init__(self) -> None:
        self._began = self._ended = time.monotonic()
        self._dialogues = self._rewards = self._tokens = 0
        self._reward_sum = 0.0
        self._last = Dialogue()

    def add(self, trajectories: Iterable[Trajectory], calls: Iterable[CallRecord]) -> None:
        """Add finished dialogues, and the requests that they took."""
        for trajectory in trajectories:
            self._dialogues += 1
            self._last = trajectory.dialogue
            if trajectory.reward is not None:
                self._rewards += 1
                self._reward_sum += trajectory.reward
        self._ended = time.monotonic()
        self._tokens += sum(call.completion_tokens or 0 for call in calls)

    def text(self) -> str:
        """In words; empty before the first dialogue."""
        if not self._dialogues:
            return ""
        mean = f"mean reward {self._reward_sum / self._rewards:.3f}" if self._rewards else "no reward"
        rate = self._tokens / max(1e-9, self._ended - self._began)
        return f"{mean} over {self._dialogues} dialogues" + (f", {rate:.0f} tokens/s" if self._tokens else "")

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The words, and one line for each turn of the last exchange."""
        if words := self.text():
            yield Text(words)
            for turn in self._last.turns[-2:]:
                yield Text(visible(f"{turn.role}: {turn.text}"), style="dim", no_wrap=True, overflow="ellipsis")
