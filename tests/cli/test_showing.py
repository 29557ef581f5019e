"""Stored text cannot control a terminal: control characters are shown, markup is plain text. Files and pipes get the exact text."""

import csv
import io
import json
import logging
import os
import pty
import re
import subprocess
import sys
import warnings

import pytest
from rich.table import Table
from rich.text import Text

from engage import progress
from flows.cli import showing
from flows.cli.showing import Terminal, visible, visible_json

STEERING = "\x1b]52;c;cm0gLXJm\x07 \x1b[2J \x00 \x7f \x9b31m \u202egnp.exe\u202c \r \u2028 \ud83d"
SEEN = r"\x1b]52;c;cm0gLXJm\x07 \x1b[2J \x00 \x7f \x9b31m \u202egnp.exe\u202c \x0d \u2028 \ud83d"
HARMLESS = "Héllo\tthere\n你好 👩‍👩‍👧 ❤️ 🏴󠁧󠁢󠁥󠁮󠁧󠁿 می‌خواهم [red]x[/red] :smile:"


@pytest.mark.parametrize(
    ("text", "shown"),
    [(STEERING, SEEN), (HARMLESS, HARMLESS), ("a\U000e0041b", r"a\U000e0041b"), ("x\ufeff\u200b", r"x\ufeff\u200b")],
)
def test_what_steers_a_terminal_is_shown_and_the_rest_stays(text, shown):
    assert visible(text) == shown and visible(shown) == shown


def test_json_made_visible_is_the_same_json():
    text = json.dumps({STEERING: HARMLESS}, ensure_ascii=False)
    shown = visible_json(text)
    assert (
        json.loads(shown) == {STEERING: HARMLESS}
        and "\x7f" not in shown
        and "\u202e" not in shown
        and "你好 👩‍👩‍👧" in shown
    )


def printed(show, **settings) -> str:
    """The output on a terminal of 200 columns, without rich's own escape sequences."""
    stream = io.StringIO()
    show(Terminal(file=stream, width=200, force_terminal=True, **settings))
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", stream.getvalue())


def table(console):
    made = Table("[b]" + STEERING, title=STEERING)
    made.add_row(STEERING)
    made.add_row(Text(STEERING))
    console.print(made)


@pytest.mark.parametrize(
    "show",
    [
        lambda console: console.print(STEERING),
        lambda console: console.print(STEERING, markup=False, highlight=False, soft_wrap=True),
        lambda console: console.print(Text(STEERING)),
        lambda console: console.rule(STEERING),
        table,
    ],
    ids=["line", "soft", "text", "rule", "table"],
)
def test_nothing_that_is_printed_steers(show):
    out = printed(show)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e\ud83d]", out)
    assert r"\x1b]52;c;cm0gLXJm" in out and r"\u202egnp.exe" in out


def test_markup_and_emoji_codes_are_text():
    assert printed(lambda console: console.print("[red]:smile:[/] [link=http://x]y[/link] [/]")) == (
        "[red]:smile:[/] [link=http://x]y[/link] [/]\n"
    )


def test_progress_shows_ids_as_they_are():
    def show(console):
        with progress.show(console):
            progress.Bar(f"searching from [/b]{STEERING}", 2).advance()
            progress.tell(STEERING)

    out = printed(show)
    assert "searching from [/b]" in out and "\x1b]52" not in out and "\x07" not in out
    quiet = io.StringIO()
    with progress.show(Terminal(file=quiet, width=200)):
        progress.tell(STEERING)
    assert quiet.getvalue() == SEEN + "\n"


@pytest.fixture
def protected(monkeypatch):
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    before = logging.getLogRecordFactory()
    showing.protect_streams()
    yield
    logging.setLogRecordFactory(before)


def test_logs_warnings_and_tracebacks_are_visible(protected, capsys):
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    logger = logging.Logger("of a server")
    logger.addHandler(handler)
    try:
        raise ValueError(STEERING)
    except ValueError as error:
        logger.exception("it said %s", STEERING)
        sys.excepthook(ValueError, error, error.__traceback__)
    assert stream.getvalue().startswith(f"it said {SEEN}\nTraceback") and stream.getvalue().endswith(
        f"ValueError: {SEEN}\n"
    )
    assert capsys.readouterr().err.endswith(f"ValueError: {SEEN}\n")
    assert SEEN in warnings.formatwarning(UserWarning(STEERING), UserWarning, "x.py", 1, "")


def engage(tmp_path, *arguments, terminal=False):
    """Exit code, standard output and standard error; with `terminal`, both outputs are one terminal's."""
    command = [sys.executable, "-m", "flows.cli", *arguments]
    env = os.environ | {"ENGAGE_HOME": str(tmp_path / "home"), "COLUMNS": "200", "TERM": "xterm-256color"}
    if not terminal:
        done = subprocess.run(command, capture_output=True, env=env)
        return done.returncode, done.stdout.decode(), done.stderr.decode()
    ours, theirs = pty.openpty()
    process = subprocess.Popen(command, stdout=theirs, stderr=theirs, env=env)
    os.close(theirs)
    said = b""
    try:
        while part := os.read(ours, 65536):
            said += part
    except OSError:  # Linux's way to say that the other end is closed
        pass
    os.close(ours)
    return process.wait(), said.decode().replace("\r\n", "\n"), ""


SELECT = "select chr(27) || '[31m' || chr(8238) || 'x' as said, 1 as \"[b]n\""
CELL = "\x1b[31m\u202ex"


@pytest.mark.slow
def test_csv_and_json_are_exact_in_a_pipe_and_visible_on_a_terminal(tmp_path):
    from engage.store import TrajectoryStore

    (tmp_path / "home").mkdir()
    TrajectoryStore(tmp_path / "home" / "engage.duckdb").begin_cycle("c1", {})
    for form, read in (("csv", lambda text: list(csv.DictReader(io.StringIO(text)))), ("json", json.loads)):
        code, out, _ = engage(tmp_path, "sql", SELECT, "--format", form)
        assert code == 0 and [row["said"] for row in read(out)] == [CELL]
        code, shown, _ = engage(tmp_path, "sql", SELECT, "--format", form, terminal=True)
        assert code == 0 and "\x1b" not in shown and "\u202e" not in shown and r"\u202e" in shown
    code, out, _ = engage(tmp_path, "sql", SELECT)
    assert code == 0 and r"\x1b[31m\u202ex" in out and "[b]n" in out and "\x1b" not in out


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ("scenarios", "validate", "{}/no\x1b[2Jfile.jsonl"),
        ("scenarios", "list", "{}/\x1b]0;title\x07.jsonl"),
        ("scenarios", "import", "esconv", "{}/\x9bx.json"),
        ("scenarios", "import", "es\x1b[2Jconv", "{}"),
        ("nightly", "--profile", "{}/\x1b[2J[red].toml"),
        ("nightly", "--set", "\x1b[2J=1"),
        ("collect", "--cycle", "\x1b[2J"),
        ("sql", "--name", "\x1b[2J"),
        ("no\x1b[2Jcommand",),
        ("nightly", "--no\x1b[2Joption"),
        ("doctor", "--profile", "\u202egpu"),
    ],
)  # fmt: skip
def test_a_mistake_with_odd_characters_is_told_in_visible_ones(arguments, tmp_path):
    code, out, err = engage(tmp_path, *(argument.format(tmp_path) for argument in arguments))
    assert code in (1, 2) and not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", out + err)
    assert re.search(r"\\x1b|\\x9b|\\u202e", out + err) and "Traceback" not in err
