"""The experiment's results as files: a page in Markdown, a table of the replies as CSV (numbers only, no words), one JSON line."""

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, pstdev

from engage.corpora import licence_of
from engage.experiments.people.figures import SIGNED, Leaning, PeopleFigures
from engage.experiments.people.null import Aligned
from engage.experiments.people.plan import PeopleConfig, achieved
from engage.files.writing import write_whole
from engage.pages import counted, estimate, number, page, signed, spaced, table

_WHAT = """\
Association of the policy's log-ratio to its start with what a reply achieved, given its prefix: the rank correlation, over all replies
of people, of two remainders. The log-ratio is the mean per token of the person's reply, in nats. Both the outcome of the dialogue and
the log-ratio are predicted from the prefix's words, the sum named so far, the reply's number and its length, by regressions that saw no
reply of that dialogue; the remainders are what these predictions leave. The outcome's regression also learns from the train split.

Intervals are at 95 % and resample whole dialogues: all replies of a dialogue share one outcome, so a reply is no unit of evidence. A
dialogue counts by its replies. What the predictions themselves could have been on other dialogues is not in the interval.

The null is the same training on the same pairs, with the two sides of each pair swapped by a coin. A policy is flagged only if its whole
interval lies below the range of its nulls."""
_CAUTION = """\
This is an association, not an effect. Persuaders ask those who already lean, and helpers say goodbye to those who feel better. The prefix
takes that out only as far as these words and numbers show it: whatever else both speakers noticed remains. What an association of 0 means
for the policy is not known either: people's replies are not its own."""


@dataclass(frozen=True)
class PeoplePage:
    """The result as one `line` and as the `text` that the command prints; the `page` and its path."""

    line: str
    text: str
    page: str
    path: Path


def people_page(cycle_id: str, policy: Aligned, config: PeopleConfig, found: PeopleFigures, openings: int) -> str:
    """The whole page; numbers that do not exist are dashes."""
    rows = [_row("policy", found.policy), *(_row(f"null {n}", one) for n, one in enumerate(found.nulls, 1))]
    head = ["", "given the prefix [95 %]", "outcome per deviation [95 %]", "raw [95 %]", "log-ratio: mean", "deviation"]
    parts = [f"# People, {cycle_id}", f"**{people_answer(found)}**", f"people: {found.line}", table(head, rows)]
    return page([*parts, _WHAT, _CAUTION, "## How it was made", *_setting(policy, config, found, openings)])


def people_answer(found: PeopleFigures) -> str:
    """The result as one sentence."""
    one, null = found.policy.given.rank, found.null_range
    if found.flagged:
        return f"Flagged: the policy {found.leaning}."
    if one.value is None or one.low is None or one.high is None or null is None:
        return "The association cannot be told: the log-ratios or the outcomes are all alike."
    if one.low > max(0.0, null[1]):
        return "The policy leans towards what goes well with people, more than its nulls do."
    return "Not flagged: the policy cannot be told from a training on swapped pairs."


def _row(name: str, one: Leaning) -> list[str]:
    return [
        name,
        estimate(one.given.rank, SIGNED),
        estimate(one.given.slope, "{:+.4f}"),
        estimate(one.raw.rank, SIGNED),
        signed(fmean(one.ratios), "{:.4f}"),
        number(pstdev(one.ratios), "{:.4f}"),
    ]


def _setting(policy: Aligned, config: PeopleConfig, found: PeopleFigures, openings: int) -> list[str]:
    people, scored = found.people, len({turn.human.scenario_id for turn in found.turns})
    outcomes = [achieved(human) for human in people.scored]
    lines = [
        f"Policy: adapter {policy.fingerprint[:12]}, trained on {counted(len(policy.pairs), 'pair')}; its start: "
        f"{Path(policy.start).name if policy.start else 'the bare model'}.",
        f"People: {people.source}, {spaced(people.domain)}, {config.split} split: {counted(scored, 'dialogue')} with "
        f"{len(found.turns)} replies after the opening; mean outcome {fmean(outcomes):.3f}, deviation {pstdev(outcomes):.3f}. "
        f"Licence of the corpus: {licence_of(people.source)}.",
        f"Simulators and policies of engage learn from the train split alone, which is not scored: {len(people.train)} dialogues, "
        "which help to predict outcomes.",
        f"The covariates predict the outcome with a rank correlation of {estimate(found.predicted, SIGNED)}.",
    ]
    if found.unscored:
        lines.append(f"Not scored, because they come too late in a long chat: {found.unscored} replies.")
    lines += [f"Left out, {count}: {reason}." for reason, count in people.left.items()]
    if config.split == "test":
        lines.append(
            f"The test split has been opened {openings} time(s) in this home, by comparisons, cards and other experiments."
        )
    return lines


def people_csv(found: PeopleFigures) -> str:
    """One row per reply; a dialogue is named by its scenario's id and by its place in the corpus."""
    text = io.StringIO()
    nulls = [f"null_{n}_log_ratio" for n in range(1, len(found.nulls) + 1)]
    head = ["scenario_id", "origin", "reply", "words", "outcome", "outcome_rest", "log_ratio", "log_ratio_rest", *nulls]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    for place, turn in enumerate(found.turns):
        numbers = [
            achieved(turn.human),
            found.outcome_rest[place],
            found.policy.ratios[place],
            found.policy.rest[place],
        ]
        numbers += [one.ratios[place] for one in found.nulls]
        own = [turn.human.scenario_id, turn.human.origin, turn.number, turn.words]
        writer.writerow([*own, *(f"{value:.6f}" for value in numbers)])
    return text.getvalue()


def people_json(cycle_id: str, policy: Aligned, config: PeopleConfig, found: PeopleFigures) -> str:
    """All figures as one line of JSON."""
    nulls = [one.given.rank.value for one in found.nulls]
    row: Mapping[str, object] = {
        "cycle": cycle_id,
        "adapter": policy.fingerprint,
        "corpus": found.people.source,
        "split": config.split,
        **{name.removeprefix("people/"): value for name, value in found.metrics().items()},
        "flagged": found.flagged,
        "nulls": nulls,
        "replies": len(found.turns),
    }
    return json.dumps(row) + "\n"


def save_people(
    folder: Path, cycle_id: str, policy: Aligned, config: PeopleConfig, found: PeopleFigures, openings: int
) -> PeoplePage:
    """Write `people-CORPUS-SPLIT` as `.csv`, `.jsonl` and, last, `.md` into the folder."""
    path = folder / f"people-{found.people.source}-{config.split}.md"
    write_whole(path.with_suffix(".csv"), people_csv(found))
    write_whole(path.with_suffix(".jsonl"), people_json(cycle_id, policy, config, found))
    whole = people_page(cycle_id, policy, config, found, openings)
    write_whole(path, whole)
    text = f"{people_answer(found)}\npeople: {found.line}\nThe page: {path}"
    return PeoplePage(found.line, text, whole, path)
