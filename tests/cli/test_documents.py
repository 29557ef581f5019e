"""What the documents say exists: paths, links, command lines, settings, make targets; and README stays short."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from engage.config import CycleConfig, setting_names
from flows.cli import app

ROOT = Path(__file__).parents[2]
DOCUMENTS = (
    "README.md",
    "CONTRIBUTING.md",
    "deployments/README.md",
    "deployments/benchmarks.md",
    "deployments/trust.md",
    "deployments/comparison/README.md",
    "deployments/scale.md",
    "engage/evaluation/README.md",
    "sql/README.md",
)
README_WORDS = 900
ROOMS = ("engage", "sql", "tasks", "flows", "deployments", "tests")
PLACEHOLDER = "NAME"
"""Stands for a file that the reader names."""
ROOT_COMMAND: Any = typer.main.get_command(app)


def text_of(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def prose_and_code(text: str) -> tuple[list[str], list[str]]:
    """Lines outside and inside code blocks (fenced, or indented by four spaces after an empty line); a continued code line is one."""
    prose: list[str] = []
    code: list[str] = []
    fenced = indented = False
    before = ""
    for line in text.splitlines():
        indented = line.startswith("    ") and (indented or not before.strip())
        if line.startswith("```"):
            fenced = not fenced
        elif not (fenced or indented):
            prose.append(line)
        elif code and code[-1].endswith("\\"):
            code[-1] = code[-1][:-1] + line.strip()
        else:
            code.append(line.strip())
        before = line
    return prose, code


def snippets(text: str) -> list[str]:
    """Lines of code blocks, and what stands in backticks."""
    prose, code = prose_and_code(text)
    return code + re.findall(r"`([^`]+)`", "\n".join(prose))


def paths_in(text: str) -> set[str]:
    """Backticked paths of this repository."""
    found = re.findall(rf"`((?:{'|'.join(ROOMS)})/[\w./-]*)`", text)
    return {path for path in found if PLACEHOLDER not in path}


def engage_lines(text: str) -> Iterator[list[str]]:
    """The words after `engage` of each command line."""
    for snippet in snippets(text):
        if match := re.match(r"(?:\w+=\S+ )*(?:\S*/bin/)?engage( .*)?$", snippet):
            words = shlex.split((match[1] or "").replace("…", ""), comments=True)
            if words:
                yield words


def wrong_with(words: list[str]) -> str | None:
    """The first command or option that the command line does not have, or the argument that is too many; None for a good line."""
    command, rest = ROOT_COMMAND, list(words)
    while hasattr(command, "commands") and rest:
        name = rest.pop(0)
        if name == "--help":
            return None
        if name not in command.commands:
            return name
        command = command.commands[name]
    options = {name: param for param in command.params for name in param.opts if name.startswith("-")}
    arguments = [param for param in command.params if param.param_type_name == "argument"]
    room = 99 if any(param.nargs < 0 for param in arguments) else len(arguments)
    while rest:
        word = rest.pop(0)
        name, given, _ = word.partition("=")
        if not word.startswith("-"):
            room -= 1
            if room < 0:
                return word
        elif name != "--help":
            if name not in options:
                return name
            if not (given or options[name].is_flag) and rest:
                rest.pop(0)
    return None


def settings_in(text: str) -> set[str]:
    """Names given to `--set`, and backticked dotted names that begin with a section of the configuration."""
    named = re.findall(rf"`((?:{'|'.join(CycleConfig.model_fields)})\.[a-z_.]+)`", text)
    return {*named, *(name for snippet in snippets(text) for name in re.findall(r"--set '?([\w.]+)=", snippet))}


def slug(heading: str) -> str:
    """GitHub's anchor of a heading."""
    return re.sub(r"[^\w -]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("document", DOCUMENTS)
def test_paths_in_a_document_exist(document):
    assert sorted(path for path in paths_in(text_of(document)) if not (ROOT / path).exists()) == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_in_a_document_lead_somewhere(document):
    lost = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(document)):
        if target.startswith("http"):
            continue
        name, _, anchor = target.partition("#")
        path = (ROOT / document).parent / name if name else ROOT / document
        if not path.exists():
            lost.append(target)
        elif anchor:
            headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            lost += [] if anchor in map(slug, headings) else [target]
    assert lost == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_command_lines_in_a_document_can_be_parsed(document):
    found = {" ".join(words): wrong_with(words) for words in engage_lines(text_of(document))}
    assert {line: wrong for line, wrong in found.items() if wrong} == {}
    assert found or document == "sql/README.md"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_settings_in_a_document_exist(document):
    known = set(setting_names())
    parts = ((name, name.split(".")) for name in settings_in(text_of(document)))
    unknown = [name for name, path in parts if not any(".".join(path[:n]) in known for n in range(1, len(path) + 1))]
    assert unknown == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_make_targets_in_a_document_exist(document):
    targets = set(re.findall(r"^([a-z-]+):", text_of("Makefile"), re.MULTILINE))
    named = {match[1] for snippet in snippets(text_of(document)) if (match := re.match(r"make ([a-z-]+)", snippet))}
    assert named - targets == set()


def test_readme_is_short():
    prose, _ = prose_and_code(text_of("README.md"))
    assert len(" ".join(prose).split()) <= README_WORDS


def test_the_two_commands_of_the_quick_start_are_there():
    _, code = prose_and_code(text_of("README.md"))
    assert [line.split()[:2] for line in code if line.startswith("make ")] == [["make", "run"], ["make", "test"]]


def test_a_wrong_path_command_option_argument_and_setting_are_found():
    text = "See `engage/nowhere.py`, `sql/inspect/NAME.sql`.\n\n    X=1 .venv/bin/engage nigthly\n    engage sql --nmae x --list\n"
    assert paths_in(text) == {"engage/nowhere.py"}
    assert list(engage_lines(text)) == [["nigthly"], ["sql", "--nmae", "x", "--list"]]
    assert wrong_with(["nigthly"]) == "nigthly"
    assert wrong_with(["sql", "--nmae", "x", "--list"]) == "--nmae"
    assert wrong_with(["bench", "stroe"]) == "stroe"
    assert wrong_with(["align", "--cycle", "c1", "c2"]) == "c2"
    assert wrong_with(["align", "--cycle", "c1", "--set", "a=b", "--help"]) is None
    assert settings_in("`--set 'scenarios.suorces=[1]'`, `pairs.q_gap`") == {"scenarios.suorces", "pairs.q_gap"}
