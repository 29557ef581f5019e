"""Prints what a fork found: the mean rewards with and without the new text, the change, and how the dialogue went on."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from engage.dialogue import Dialogue
from engage.domains import load_domain
from engage.files.digest import digest
from engage.seeds import derive_seed
from engage.stats import jackknife
from engage.store import StoredDialogue, TrajectoryStore
from flows.cli.dialogues import answered
from flows.cli.showing import visible

BRANCHES = ("as it was", "instead")
LISTED = 4
"""Most pairs of continuations whose ids are printed."""
_MORE = "the same command with a larger -n goes on from here"


@dataclass(frozen=True)
class Stage:
    """Who continues a forked dialogue: labels and adapters of both sides, and the prefix with the turn that was said and the other."""

    kept: StoredDialogue
    turn: int
    policy: str
    simulator: str
    adapters: tuple[str | None, str | None]
    branches: tuple[Dialogue, Dialogue]

    def seed(self, number: int) -> int:
        """The seed of a pair of continuations: the same for every text at this turn."""
        return derive_seed(self.kept.id, "fork", self.turn, number)

    def name(self, branch: Dialogue) -> str:
        """The beginning of the ids under which a branch's continuations are stored, see `fork_outcome`."""
        text = branch.turns[-1].text
        return f"{self.kept.id}/fork/{self.turn}/{digest([text, self.policy, self.simulator])[:8]}"

    @property
    def query(self) -> dict[str, object]:
        """The parameters of the query `fork_dialogues`."""
        return {"id": self.kept.id, "turn": self.turn, "policy": self.policy, "simulator": self.simulator}


def print_change(console: Console, store: TrajectoryStore, stage: Stage, times: int, failed: Mapping[str, str]) -> None:
    """Print both texts with their mean rewards, the change with its interval, and the continuations, from what is stored."""
    rows, seeds = store.rows("fork_dialogues", stage.query), [stage.seed(number) for number in range(times)]
    found = [{row["seed"]: row for row in rows if row["text"] == branch.turns[-1].text} for branch in stage.branches]
    pairs = [tuple(side[seed] for side in found) for seed in seeds if all(seed in side for side in found)]
    rewards = [(said["reward"], instead["reward"]) for said, instead in pairs]
    known = [pair for pair in rewards if None not in pair]
    speaker, sides = stage.kept.turns[stage.turn].role, f"{stage.policy} goes on with the {stage.simulator} simulator"
    console.print(f"Turn {stage.turn} of {stage.kept.id}, said by the {speaker}; {sides}.", soft_wrap=True)
    _print_means(console, stage, known)
    console.print(change_in_words([instead - said for said, instead in known], times - len(known)), soft_wrap=True)
    for name, reason in list(failed.items())[:1]:
        again = f"{len(failed)} continuations failed; the same command tries them again"
        console.print(f"{again}: {name}: {reason}", soft_wrap=True)
    if pairs:
        _print_continuations(console, store, stage, pairs)
    console.print(
        f"\nAll forks of it: engage sql --live --name forks --param dialogue={shlex.quote(stage.kept.id)}",
        soft_wrap=True,
    )


def _print_means(console: Console, stage: Stage, known: Sequence[tuple[float, float]]) -> None:
    """Both texts; before them, if there are rewards, what their means are means of."""
    if known:
        one = len(known) == 1
        many = "Reward of the new continuation" if one else f"Mean reward of the {len(known)} new continuations"
        others = "of the one" if one else f"of the {len(known)}"
        stored = "the stored dialogue itself does not count"
        console.print(f"\n{many} without your text, and {others} with it ({stored}):", soft_wrap=True)
    table = Table.grid(padding=(0, 2))
    for _ in range(3):
        table.add_column()
    for name, branch, rewards in zip(
        BRANCHES, stage.branches, zip(*known, strict=True) if known else ((), ()), strict=True
    ):
        mean = f"{fmean(rewards):.3f}" if rewards else ""
        table.add_row(Text(name, style="bold"), mean, Text(visible(branch.turns[-1].text)))
    console.print(Padding(table, (1, 0, 1, 0)))


def _print_continuations(
    console: Console, store: TrajectoryStore, stage: Stage, pairs: Sequence[tuple[Mapping[str, Any], ...]]
) -> None:
    """The new turns of the first pair, and how to read the others."""
    domain = load_domain(stage.kept.scenario.domain)
    names = {"user": domain.user_name, "assistant": domain.assistant_name}
    for branch, continuation in zip(BRANCHES, pairs[0], strict=True):
        name = continuation["trajectory_id"]
        (row,) = store.rows("dialogue", {"id": name})
        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True)
        table.add_column()
        for line in store.rows("dialogue_lines", {"id": name}):
            if line["turn_index"] > stage.turn:
                table.add_row(Text(names[line["role"]], style="bold"), Text(visible(line["text"])))
        table.add_row(Text("exit survey", style="bold"), Text(visible(answered(row, domain))))
        console.print(f"\nHow it went on the first time, {branch}:", soft_wrap=True)
        console.print(Padding(table, (0, 0, 0, 2)))
    console.print("\nRead them:" if len(pairs) <= LISTED else f"\nRead the first {LISTED} pairs:")
    for pair in pairs[:LISTED]:
        for branch, continuation in zip(BRANCHES, pair, strict=True):
            name = shlex.quote(continuation["trajectory_id"])
            console.print(f"  {branch:<9}  engage show --live {name}", soft_wrap=True)
    if len(pairs) > LISTED:
        given = " ".join(f"--param {shlex.quote(f'{name}={value}')}" for name, value in stage.query.items())
        console.print(f"All {len(pairs)}: engage sql --live --name fork_dialogues {given}", soft_wrap=True)


def change_in_words(changes: Sequence[float], left: int) -> str:
    """The mean change of the reward with its 95 % interval (Student's t over the pairs), and what it rests on; `left` pairs have no change."""
    found = jackknife(len(changes), lambda places: fmean(changes[place] for place in places))
    gone = f"; {left} left out, because an answer is missing or could not be read" if left else ""
    if found.value is None:
        return f"No change can be given: no pair has two rewards{gone}."
    pairs = f"{found.n} pair{'s' * (found.n != 1)} with the same seeds{gone}"
    if found.low is None or found.high is None or max(changes) - min(changes) < 1e-12:
        if found.n < 3:
            few = "Fewer than three give no interval, so this does not tell whether the text changes anything"
            return f"Change of the reward: {found.value:+.3f}, from {pairs}. {few}; {_MORE}."
        return f"Change of the reward: {found.value:+.3f}, from {pairs} (all changed alike, which gives no interval)."
    sentence = (
        f"Change of the reward: {found.value:+.3f} (95 % interval {found.low:+.3f} to {found.high:+.3f}), from {pairs}."
    )
    if found.low <= 0 <= found.high:
        return f"{sentence} The interval includes 0, so this does not tell whether the text changes anything; {_MORE}."
    return f"{sentence} It is about this one dialogue with this simulated user, not about other users."
