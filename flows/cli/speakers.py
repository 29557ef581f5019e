"""The speakers of `engage chat`: a person at the terminal on either side, and models whose turns are shown as they come.

They take the places of the two speakers of a simulated dialogue, so that a talk begins, goes on and ends as in a search.
"""

import asyncio
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, suppress

from rich.console import Console
from rich.table import Table
from rich.text import Text

from engage.dialogue import Dialogue, Reaction, Role, Turn
from engage.domains import Domain
from engage.files.reading import unprintable
from engage.simulation import Policy, SampledTurn, UserSimulator, read_answer
from flows.cli.showing import visible

END = "/end"
LONGEST = 4_000
"""Most characters of a line that a person types."""


class Leaves(Exception):
    """The person ends the conversation with END."""


class Screen:
    """Shows what is said and reads what a person says; `dialogue` is what was said so far, opening included.

    `answer` is what the person last answered to the exit survey, None before it is asked.
    """

    def __init__(self, console: Console, domain: Domain, person: Role | None, opening: Dialogue) -> None:
        self.console = console
        self.domain = domain
        self.dialogue = opening
        self.answer: str | None = None
        self._names = {Role.USER: domain.user_name, Role.ASSISTANT: domain.assistant_name}
        if person:
            self._names[person] += " (you)"
        self._fresh = True
        self._width = max(map(len, self._names.values()))

    def show(self, turn: Turn) -> None:
        """Print a turn; what is wrong with it stands below."""
        table = Table.grid(padding=(0, 2))
        table.add_column(width=self._width, no_wrap=True)
        table.add_column()
        table.add_row(Text(self._names[turn.role], style="bold"), Text(visible(turn.text)))
        if turn.flaw:
            table.add_row("", Text(f"draw {turn.attempts}, still flawed: {turn.flaw}", style="dim"))
        self.console.print(table)

    def choose(self, labels: Sequence[str], turns: Sequence[Turn]) -> int:
        """Print the answers of several models side by side; returns the place of the one that the person wants to go on with."""
        table = Table(expand=True, show_edge=False, pad_edge=False, header_style="bold")
        for number, label in enumerate(labels, 1):
            table.add_column(Text(visible(f"{number}  {label}")), ratio=1, overflow="fold")
        table.add_row(*(Text(visible(turn.text)) for turn in turns))
        self.console.print()
        self.console.print(table)
        numbers = [str(number) for number in range(1, len(labels) + 1)]
        while (answer := self.ask(f"go on with {' or '.join(numbers)}: ")) not in numbers:
            self.console.print(f"type {' or '.join(numbers)}, or {END}")
        return numbers.index(answer)

    def thinking(self, role: Role) -> AbstractContextManager[object]:
        """A sign on a terminal that a model is writing; nothing in a pipe."""
        words = f"the {self._names[role]} is writing" + (", and the model is loaded first" if self._fresh else "")
        self._fresh = False
        return self.console.status(words) if self.console.is_terminal else nullcontext()

    def speak(self, role: Role, dialogue: Dialogue) -> SampledTurn:
        """The next turn of the person; EOFError if the input ends, Leaves at END."""
        self.dialogue = dialogue
        while True:
            line = self.ask(f"{self._names[role]:<{self._width}}  ")
            if line and len(line) <= LONGEST and not unprintable(line):
                break
            if line:
                reason = unprintable(line) or f"is longer than {LONGEST:,} characters"
                self.console.print(f"that line {reason}")
        if not self.domain.reads([line]):
            self.console.print(Text("not in English, which the rules for crises and flaws read", style="dim"))
        return SampledTurn(Turn(role, line), None)

    def ask(self, prompt: str) -> str:
        """One line of the person's, white space reduced; EOFError and Leaves as `speak`."""
        if sys.stdin.isatty() and self.console.is_terminal:
            with suppress(ImportError):
                import readline  # noqa: F401  # lets the person edit the line
            line = input(prompt)
        else:
            line = sys.stdin.readline()
            if not line:
                raise EOFError
            self.console.print(f"{prompt}{line.strip()}", soft_wrap=True)
        line = " ".join(line.split())
        if line == END:
            raise Leaves
        return line


class ShownPolicy(Policy):
    """The assistant's model; its replies are shown."""

    def __init__(self, policy: Policy, screen: Screen) -> None:
        super().__init__(policy.engine, policy.domain, policy.speech, policy.adapter)
        self._screen = screen

    async def replies(self, dialogue: Dialogue, key: str, seeds: Sequence[int]) -> list[SampledTurn]:
        self._screen.dialogue = dialogue
        with self._screen.thinking(Role.ASSISTANT):
            drawn = await super().replies(dialogue, key, seeds)
        self._screen.show(drawn[0].turn)
        return drawn


class Rivals(Policy):
    """Two assistants that answer side by side with the same seeds; the person says which answer stays. `picked` counts by label."""

    def __init__(self, policies: dict[str, Policy], screen: Screen) -> None:
        first = next(iter(policies.values()))
        super().__init__(first.engine, first.domain, first.speech, first.adapter)
        self._policies = policies
        self._screen = screen
        self.picked = dict.fromkeys(policies, 0)

    async def replies(self, dialogue: Dialogue, key: str, seeds: Sequence[int]) -> list[SampledTurn]:
        self._screen.dialogue = dialogue
        with self._screen.thinking(Role.ASSISTANT):
            asked = (policy.replies(dialogue, f"{key}/{label}", seeds) for label, policy in self._policies.items())
            drawn = [replies[0] for replies in await asyncio.gather(*asked)]
        if len({one.turn.text for one in drawn}) == 1:
            self._screen.show(drawn[0].turn)
            self._screen.console.print(Text("both answer this", style="dim"))
            return [drawn[0]]
        place = self._screen.choose(list(self._policies), [one.turn for one in drawn])
        self.picked[list(self._policies)[place]] += 1
        self._screen.show(drawn[place].turn)
        return [drawn[place]]


class ShownUser(UserSimulator):
    """The simulated user; its turns are shown."""

    def __init__(self, user: UserSimulator, screen: Screen) -> None:
        super().__init__(user.engine, user.domain, user.speech, user.condition, user.adapter)
        self._screen = screen

    async def next_turn(self, dialogue: Dialogue, key: str, seed: int) -> SampledTurn:
        self._screen.dialogue = dialogue
        with self._screen.thinking(Role.USER):
            drawn = await super().next_turn(dialogue, key, seed)
        self._screen.show(drawn.turn)
        return drawn


class PersonAsAssistant(Policy):
    """A person plays the assistant."""

    def __init__(self, policy: Policy, screen: Screen) -> None:
        super().__init__(policy.engine, policy.domain, policy.speech, policy.adapter)
        self._screen = screen

    async def replies(self, dialogue: Dialogue, key: str, seeds: Sequence[int]) -> list[SampledTurn]:
        return [self._screen.speak(Role.ASSISTANT, dialogue)]


class PersonAsUser(UserSimulator):
    """A person plays the user and answers the exit survey."""

    def __init__(self, user: UserSimulator, screen: Screen) -> None:
        super().__init__(user.engine, user.domain, user.speech, user.condition, user.adapter)
        self._screen = screen

    async def next_turn(self, dialogue: Dialogue, key: str, seed: int) -> SampledTurn:
        return self._screen.speak(Role.USER, dialogue)

    async def react(self, dialogue: Dialogue, key: str, seed: int) -> Reaction:
        """The person's answer, asked again until it can be read; value None for an empty line."""
        self._screen.dialogue, self._screen.answer, survey = dialogue, "", self.domain.survey
        self._screen.console.print(f"\n{survey.question} (Enter: no answer)")
        while True:
            try:
                text = self._screen.ask("your answer: ")
            except Leaves:
                text = ""
            value = survey.choices.get(text, read_answer(self.domain, text).value)
            if value is not None or not text:
                return Reaction("human", text, value)
            self._screen.answer = text
            self._screen.console.print(f"that cannot be read; type one of {', '.join(survey.choices)}")
