"""Log-likelihoods of the human replies of whole dialogues under one policy, kept dialogue by dialogue so that a killed run goes on."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engage.corpora import HumanDialogue
from engage.dialogue import Dialogue
from engage.domains import load_domain
from engage.errors import StoreError
from engage.experiments.simulator_card.perplexity import (
    Likelihood,
    batches,
    cut_row,
    labelled_runs,
    open_scorer,
    turn_likelihoods,
)
from engage.files.digest import digest
from engage.files.writing import write_whole
from engage.models import ModelRef, adapter_fingerprint
from engage.simulation import policy_messages
from engage.training import chat_tokenizer, policy_replies, quiet, tokenise_chat

Scores = Mapping[str, Mapping[int, Likelihood]]
"""By scenario id and the reply's number (from 1)."""


@dataclass(frozen=True)
class KeptScores:
    """A file with one line per dialogue; a line that a kill cut off is dropped."""

    path: Path

    @staticmethod
    def of(folder: Path, base: ModelRef, adapter: str, domain: str, max_length: int) -> "KeptScores":
        """The file for a policy: named by all that its likelihoods depend on beside the dialogue, whose id is a hash of its content."""
        prompt = policy_messages(load_domain(domain), Dialogue())[0].content
        key = digest([base.fingerprint, adapter_fingerprint(adapter) if adapter else "", prompt, max_length])
        return KeptScores(folder / f"{key[:16]}.jsonl")

    def read(self) -> dict[str, dict[int, Likelihood]]:
        """What is kept; StoreError if the file is damaged or cannot be read."""
        try:
            lines = self.path.read_text(encoding="utf-8").split("\n") if self.path.exists() else []
        except OSError as error:
            raise StoreError(f"{self.path}: cannot be read: {error.strerror}") from error
        found, whole = {}, []
        for line in lines[:-1]:  # the last one has no end: it is empty, or cut off
            try:
                name, replies = json.loads(line)
                found[name] = {number: Likelihood(nats, tokens) for number, nats, tokens in replies}
            except (ValueError, TypeError) as error:
                raise StoreError(f"{self.path}: is damaged; delete it, and its dialogues are scored again") from error
            whole.append(f"{line}\n")
        if lines and lines[-1]:
            write_whole(self.path, "".join(whole))
        return found

    def add(self, scores: Scores) -> None:
        """Append dialogues."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            for name, replies in scores.items():
                row = [name, [[number, one.nats, one.tokens] for number, one in replies.items()]]
                file.write(json.dumps(row) + "\n")


def score_replies(
    dialogues: Sequence[HumanDialogue],
    base: ModelRef,
    adapter: str,
    max_length: int,
    kept: KeptScores,
    on_done: Callable[[int], None] = lambda _: None,
) -> None:
    """Score the dialogues that `kept` lacks. `adapter` is a folder, "" for the base alone; `on_done` gets numbers of finished dialogues.

    Replies after `max_length` tokens have no score. The end of a turn counts as a token of the reply.
    """
    known = kept.read()
    missing = [human for human in dialogues if human.scenario_id not in known]
    on_done(len(dialogues) - len(missing))
    if not missing:
        return
    with quiet():
        _, template = chat_tokenizer(base)
        model = open_scorer(base, adapter, exact=True)
        rows = {human.scenario_id: reply_rows(human, template, max_length) for human in missing}
        lengths = {name: sum(len(row["input_ids"]) for row, _ in own) for name, own in rows.items()}
        for names in batches(lengths):
            kept.add(dict(zip(names, _scored(model, [rows[name] for name in names]), strict=True)))
            on_done(len(names))


Row = tuple[dict[str, list[int]], list[int]]


def reply_rows(human: HumanDialogue, template: Any, max_length: int) -> list[Row]:
    """The dialogue as tokens with labels on the replies after the opening, and the numbers of each row's replies.

    One row for most templates, see `tokenise_chat`; a row ends with its last whole reply within `max_length` tokens.
    """
    chat, found = policy_replies(human), []
    numbers = iter(range(1, 1 + len(chat.trained)))
    for row in tokenise_chat(chat, template):
        own = [next(numbers) for _ in labelled_runs(row["labels"])]
        cut = cut_row(row, max_length)
        if whole := len(labelled_runs(cut["labels"])):
            found.append((cut, own[:whole]))
    return found


def _scored(model: Any, dialogues: Sequence[Sequence[Row]]) -> list[dict[int, Likelihood]]:
    rows = [row for own in dialogues for row, _ in own]
    scored = iter(turn_likelihoods(model, rows) if rows else [])
    return [
        {number: one for _, numbers in own for number, one in zip(numbers, next(scored), strict=True)}
        for own in dialogues
    ]
