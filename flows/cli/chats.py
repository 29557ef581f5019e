"""Imports a team's own conversations: shows what would be stored, asks, writes scenarios and human dialogues."""

import sys
from collections.abc import Sequence
from pathlib import Path

import typer
from rich.console import Console

from engage.corpora import (
    Chats,
    CorpusOptions,
    dialogue_lines,
    read_chats,
    report,
    save_lines,
    save_scenarios,
    turns_to_show,
)
from engage.domains import allow_modules, load_domain
from engage.errors import ConfigError
from engage.scenario import SHIPPED

MAX_SHOWN = 400
"""Characters of a turn that are shown."""


def import_chats(
    console: Console,
    path: Path,
    out: Path,
    domain: str | None,
    conditions: Sequence[str],
    any_language: bool,
    yes: bool,
    domain_modules: Sequence[str],
) -> None:
    """Read the file, print the report and ten of the turns, and write after a yes. Exit code 2 if nobody can be asked, 1 after a no."""
    allow_modules(domain_modules)
    beside = out.with_suffix(".dialogues.jsonl")
    for target in (out, beside):
        if target.exists() and path.exists() and target.samefile(path):
            raise ConfigError(f"--out {out} would overwrite the conversations themselves; name another file")
    name = domain or SHIPPED[0]
    chats = read_chats(path, name, _given(conditions), CorpusOptions(any_language=any_language))
    _say(console, report(chats.corpus))
    _say(console, _replacements(chats.replaced))
    if domain is None:
        _say(console, f"Domain: {name} (--domain names another).")
    assumed = ", ".join(f"{key}={value}" for key, value in chats.condition.items())
    _say(console, f"The chats do not say it, so it holds for all users: {assumed} (--condition changes it).")
    _show(console, chats, name)
    if not yes:
        if not sys.stdin.isatty():
            raise ConfigError("nothing is written: read the turns above, then repeat the command with --yes")
        if not typer.confirm(f"Write {len(chats.corpus.dialogues)} conversations like these?"):
            _say(console, "nothing is written")
            raise typer.Exit(1)
    save_lines(dialogue_lines(chats.corpus), beside)
    save_scenarios(chats.corpus, out)
    _say(console, f"written to {out} (scenarios) and {beside} (human dialogues)")
    _say(console, f"next: engage nightly --set 'scenarios.sources=[\"{out}\"]'")


def _given(conditions: Sequence[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in conditions]
    if wrong := next((name for name, equals, _ in pairs if not equals or not name.strip()), None):
        raise ConfigError(f"--condition {wrong!r}: write name=value, such as emotion=anger")
    return {name.strip(): value for name, _, value in pairs}


def _replacements(replaced: dict[str, int]) -> str:
    counts = ", ".join(f"{count} {kind}" for kind, count in sorted(replaced.items())) or "nothing"
    return (
        f"Replaced by placeholders: {counts}. The rules miss some (of planted names they found 87 %, see "
        "tests/fixtures/planted/README.md), and people can be recognised from what they tell."
    )


def _show(console: Console, chats: Chats, domain: str) -> None:
    kind = load_domain(domain)
    names = {"user": kind.user_name, "assistant": kind.assistant_name}
    _say(console, "Turns as they would be stored:")
    for place, turn in turns_to_show(chats):
        text = turn.text if len(turn.text) <= MAX_SHOWN else f"{turn.text[:MAX_SHOWN]} …"
        _say(console, f"  {place}  {names[turn.role]}: {text}")


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
