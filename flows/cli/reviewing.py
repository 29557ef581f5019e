"""Prepares a review, asks in the terminal or serves the page, and moves the judgements into the store at the end."""

import contextlib
import getpass
import webbrowser
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from engage.domains import allow_modules
from engage.errors import ConfigError, QueryError, StoreError
from engage.evaluation import policy_label
from engage.evaluation.night_page.speakers import Speakers, speakers_of
from engage.evaluation.review import (
    CHOICES,
    USUAL_SIZE,
    Item,
    Review,
    Sample,
    Turns,
    dialogue_items,
    draw,
    earlier_judgements,
    named,
    pair_items,
)
from engage.home import Home
from engage.pages import counted
from engage.store import Outbox, TrajectoryStore
from engage.training import latest_candidate
from flows.cli import interrupts
from flows.cli.asking import tell
from flows.cli.dialogues import print_condition
from flows.cli.review_server import ReviewServer
from flows.cli.running import ready_to_paste
from flows.cli.showing import visible

LONGEST_NAME = 80
_END_WAIT_S = 2.0


@dataclass(frozen=True)
class Wanted:
    """What the command line asks for; at most one of `pairs`, `dialogues` and `ids`."""

    cycle: str | None
    pairs: int | None
    dialogues: int | None
    ids: Sequence[str]
    reviewer: str | None

    def command(self, cycle_id: str, reviewer: str, terminal: bool) -> str:
        """The command line that goes on with this review."""
        words = ["review", "--cycle", cycle_id, "--reviewer", reviewer]
        words += ["--pairs", str(self.pairs)] if self.pairs else []
        words += ["--dialogues", str(self.dialogues)] if self.dialogues else []
        words += [word for name in self.ids for word in ("--ids", name)] + (["--terminal"] if terminal else [])
        return ready_to_paste(words)


def run_review(console: Console, wanted: Wanted, terminal: bool, show: bool, domain_modules: Sequence[str]) -> None:
    """Let one person review until the sample is judged, or until they stop. Ctrl-C loses nothing."""
    allow_modules(domain_modules)
    home = Home.from_env()
    store, outbox = TrajectoryStore(home.database, on_wait=tell), Outbox(home.outbox)
    cycle_id = wanted.cycle or store.latest_cycle()
    if cycle_id is None:
        raise QueryError(f"{home.database}: no cycle has been run yet; run `make run` or `engage nightly`")
    if sum(map(bool, (wanted.pairs, wanted.dialogues, wanted.ids))) > 1:
        raise ConfigError("--pairs, --dialogues and --ids: give one of them")
    reviewer = _name(wanted.reviewer)
    earlier = earlier_judgements(store, outbox, cycle_id)
    review = Review(_sample(store, home.cycle(cycle_id), cycle_id, wanted, earlier, home), reviewer, outbox, earlier)
    interrupts.go_on_with(wanted.command(cycle_id, reviewer, terminal))
    if review.item is None:
        console.print(f"{reviewer} has judged all {review.total} items of this sample", soft_wrap=True)
        return
    if terminal:
        _ask(console, review)
    else:
        _serve(console, review, cycle_id, show)
    console.print(review.summary(), soft_wrap=True)
    with contextlib.suppress(StoreError):  # somebody has the store open: whoever drains next takes them
        TrajectoryStore(home.database, _END_WAIT_S).drain(outbox)


def _name(given: str | None) -> str:
    try:
        name = (getpass.getuser() if given is None else given).strip()
    except (KeyError, OSError) as error:
        raise ConfigError("this account has no name; give yours with --reviewer") from error
    if not name or len(name) > LONGEST_NAME or visible(name) != name or "\n" in name:
        raise ConfigError(f"--reviewer {name!a:.100}: write a name of 1 to {LONGEST_NAME} characters on one line")
    return name


def _sample(
    store: TrajectoryStore, folder: Path, cycle_id: str, wanted: Wanted, earlier: Sequence[Any], home: Home
) -> Sample:
    """Pairs by default. A sample of no stated size is as large as the cycle's largest so far."""
    pairs = [] if wanted.dialogues else pair_items(store, cycle_id, wanted.ids or None)
    dialogues: list[Item] = []
    if wanted.dialogues or wanted.ids:
        candidate = latest_candidate(folder, home.find)
        label = policy_label("candidate", candidate.adapter) if candidate else None
        dialogues = dialogue_items(store, cycle_id, label)
    if wanted.ids:
        return named([*pairs, *dialogues], wanted.ids)
    kind, items = ("dialogue", dialogues) if wanted.dialogues else ("pair", pairs)
    before = [row["sample_size"] for row in earlier if row["kind"] == kind and row["sample"] == "random"]
    size = wanted.dialogues or wanted.pairs or max(before, default=USUAL_SIZE)
    if not items:
        raise QueryError(
            f"cycle {cycle_id!r} has no held-out dialogues of an incumbent and a candidate; `engage evaluate` holds them"
            if wanted.dialogues
            else f"cycle {cycle_id!r} has no accepted pair to review; `engage align` extracts pairs, "
            "`engage sql --name pair_counts` says why they were dropped"
        )
    return draw(items, size)


def _serve(console: Console, review: Review, cycle_id: str, show: bool) -> None:
    server = ReviewServer(review, cycle_id)
    try:
        console.print(f"review at {server.address}", soft_wrap=True)
        console.print("the page has a button to end; Ctrl-C here ends as well, and loses nothing", soft_wrap=True)
        if show and not webbrowser.open(server.address):
            console.print("no browser could be opened here; open the address in one", soft_wrap=True)
        server.wait()
    finally:
        server.close()


def _ask(console: Console, review: Review) -> None:
    """One item after the other on the terminal, until the last, `q`, or the end of the input."""
    shown: Item | None = None
    while (item := review.item) is not None:
        if item is not shown:
            _print_item(console, review, item)
            shown = item
        console.print("A, B, (E)qual, (N)onsense, (H)armful, (C)ontext, (U)ndo, (V)alues, (Q)uit: ", end="")
        try:
            key = input().strip().lower()
        except EOFError:
            console.print()
            return
        if key == "q":
            return
        if key == "u":
            console.print(review.undo() or "there is nothing to take back", soft_wrap=True)
        elif key == "c":
            _print_context(console, item)
        elif key == "v":
            _print_values(console, review)
        elif key in CHOICES:
            review.judge(item.item_id, key)
        else:
            console.print(f"{key!r:.40} is none of them", soft_wrap=True)
    _print_values(console, review)


def _print_item(console: Console, review: Review, item: Item) -> None:
    """What the judgement needs: who the user is, their last turn, both sides. The key C shows the rest."""
    speakers = speakers_of(item.domain)
    left, right = review.sides(item)
    console.rule(f"{review.done + 1} of {review.total}: {speakers.title}")
    if item.earlier:
        folded = f"{item.gist} ({counted(len(item.earlier), 'earlier turn')})"
        console.print(Text(visible(folded), style="dim"))
    _print_turns(console, speakers, item.latest)
    for title, turns in (("A", left.turns), ("B", right.turns)):
        if len(turns) == 1:
            console.print(Text(f"\n{title}: ", style="bold").append(visible(turns[0][1]), style="not bold"))
        else:
            console.print(Text(f"\n{title}", style="bold"))
            _print_turns(console, speakers, turns)
    console.print()


def _print_context(console: Console, item: Item) -> None:
    """The user's whole condition, and the turns that `_print_item` leaves out."""
    speakers = speakers_of(item.domain)
    print_condition(console, f"\nThe {speakers.user} is", dict(item.condition))
    _print_turns(console, speakers, item.earlier)
    console.print()


def _print_turns(console: Console, speakers: Speakers, turns: Turns) -> None:
    for role, text in turns:
        console.print(Text(f"{_who(speakers, role)}: ", style="bold").append(visible(text), style="not bold"))


def _who(speakers: Speakers, role: str) -> str:
    return visible(speakers.assistant if role == "assistant" else speakers.user)


def _print_values(console: Console, review: Review) -> None:
    for row in review.values():
        console.print(f"{row['scenario']}: you said {row['said']}; {row['facts']}", soft_wrap=True)
