"""A short `make fuzz`, and inputs that it once found."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from engage.errors import EngageError

HERE = Path(__file__).parents[1]
sys.path.append(str(HERE / "fuzz"))
import fuzz  # noqa: E402

FOUND = HERE / "fixtures" / "fuzz"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_mutated_inputs_are_taken_or_refused_in_one_sentence(tmp_path):
    command = [sys.executable, str(HERE / "fuzz" / "fuzz.py"), "--inputs", "140", "--seed", "3", "--out", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True)
    found = "\n".join(path.read_text() for path in sorted(tmp_path.glob("*.txt")))
    assert (ended.returncode, found) == (0, ""), ended.stdout + ended.stderr
    assert "140 inputs, 0 wrong" in ended.stdout


@pytest.fixture
def tried(tmp_path):
    one = fuzz.Fuzz(tmp_path)
    yield one
    one.chat.stop()


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(FOUND.glob("answer-*.json")), ids=lambda path: path.stem)
@pytest.mark.parametrize("scored", [False, True])
def test_an_answer_that_was_found_is_read_or_refused(tried, path, scored):
    tried.input, tried.status = path.read_bytes(), 200
    assert fuzz.judged(lambda: tried.ask(scored)) in {"taken", "refused"}


def test_scenarios_that_were_found_are_refused_in_short_sentences():
    for path in FOUND.glob("*.jsonl"):
        problems = fuzz.read_scenarios(path).problems
        assert problems and all("\n" not in problem and len(problem) < fuzz.LONGEST_SENTENCE for problem in problems)


@pytest.mark.slow
@pytest.mark.parametrize("error", [ValueError("no sentence"), EngageError("two\nlines"), EngageError("x" * 600)])
def test_what_is_neither_taken_nor_refused_in_one_sentence_is_found(tmp_path, monkeypatch, error):
    def broken(*_):
        raise error

    monkeypatch.setitem(fuzz.KINDS, "set", broken)
    one = fuzz.Fuzz(tmp_path)
    one.chat.stop()
    outcome, problem = fuzz.attempt(one, "set", 0, 1)
    assert outcome == "wrong" and type(error).__name__ in problem


@pytest.mark.slow
def test_an_input_is_that_of_its_seed_and_number(tmp_path):
    made = []
    for _ in range(2):
        one = fuzz.Fuzz(tmp_path)
        one.chat.stop()
        fuzz.KINDS["esconv"](one, random.Random("1/esconv/5"))
        made.append(one.input)
    assert made[0] == made[1]
