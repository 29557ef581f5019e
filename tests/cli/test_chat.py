"""`engage chat` on scripted models: who talks, how it ends, what is kept; a person's words come from a pipe."""

import asyncio
import io
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from scripted_engines import ask, played_by
from scripted_scenarios import SUPPORT

from engage.dialogue import Dialogue, Role, Turn
from engage.domains import load_domain
from engage.engines.base import Side
from engage.engines.scripted import ScriptedEngine
from engage.errors import ConfigError
from engage.home import Home, check_cycle_id
from engage.simulation import Policy, SpeechConfig
from engage.store import TrajectoryStore
from engage.training import HumanConfig, read_human
from flows.cli.showing import Terminal
from flows.cli.speakers import Leaves, Rivals, Screen

SUPPORT_TALK = ("--domain", "emotional_support", "--set", "seed=3")


def engine(reply="What happened?", user="I lost my job."):
    """Both sides say one line again and again; the survey's answer is always 2."""
    lines = {Side.POLICY: reply, Side.SIMULATOR: user}
    return ScriptedEngine(lambda prompt, _: lines[prompt.side], lambda _, choices: [float(c == "2") for c in choices])


@pytest.fixture
def talk(engage, monkeypatch):
    """Runs `engage chat` with these lines as its input."""

    def run(*words, lines=(), model=None):
        monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
        with played_by(model or engine()):
            return engage("chat", *words)

    return run


def kept():
    rows = "select purpose, policy, simulator, end_reason, exchanges, reader, value, reward"
    joined = "from trajectory join reaction using (trajectory_id) where cycle_id = 'chat'"
    return ask(Home.from_env(), f"{rows} {joined} order by stored_at")


@pytest.mark.slow
def test_a_person_talks_as_the_user_and_answers_the_survey(talk, engage):
    code, out, err = talk(*SUPPORT_TALK, "--save", lines=["My dog died.", "He was old.", "a lot", "3"])
    assert (code, err) == (0, "")
    said = [line for line in out.splitlines() if line.startswith(("seeker (you)", "supporter"))][-4:]
    assert [" ".join(line.split()) for line in said] == [
        "supporter What happened?",
        "seeker (you) My dog died.",
        "supporter What happened?",
        "seeker (you) He was old.",
    ]
    assert "that cannot be read; type one of 1, 2, 3, 4, 5" in out
    assert "Ended after 2 exchanges: max_exchanges." in out and "reward 0.500" in out  # (5 − 3)/4
    assert kept() == [("human", "base", "human", "max_exchanges", 2, "human", 3.0, 0.5)]
    shown = engage("show", "chat/human/base/human")[1]
    assert "My dog died." in shown and "reward 0.500" in shown


@pytest.mark.slow
def test_a_person_plays_the_assistant_and_the_simulator_answers(talk):
    code, out, _ = talk(*SUPPORT_TALK, "--as", "assistant", "--save", lines=["Tell me.", "I see."])
    assert code == 0 and "What the assistant is told:" in out and "initial intensity" not in out
    assert kept() == [("human", "human", "search", "max_exchanges", 2, "expected", 2.0, 0.75)]  # (5 − 2)/4


def test_two_models_talk_and_nothing_is_kept(talk):
    code, out, _ = talk(*SUPPORT_TALK, "--as", "watch")
    assert code == 0 and out.count("What happened?") == 2 and "reward 0.750" in out
    assert not Home.from_env().database.exists()


@pytest.mark.slow
def test_a_crisis_ends_the_conversation_with_the_words_of_a_search(talk):
    code, out, _ = talk(*SUPPORT_TALK, "--save", lines=["I want to kill myself."])
    assert code == 0 and load_domain("emotional_support").referral in " ".join(out.replace("\n", " ").split())
    assert "Ended after 1 exchange: crisis." in out and "Exit survey: not asked; no reward." in out
    assert kept() == [("human", "base", "human", "crisis", 1, "unasked", None, None)]


def test_the_person_may_end_it_and_is_asked_the_survey(talk):
    out = talk(*SUPPORT_TALK, lines=["Hm.", "/end", ""])[1]
    assert "Ended after 2 exchanges: left." in out and "asked, but not answered; no reward." in out


@pytest.mark.slow
def test_an_ended_input_ends_the_conversation_and_what_was_said_is_kept(talk):
    code, out, err = talk(*SUPPORT_TALK, "--save", lines=["My dog died."])
    assert (code, err) == (0, "") and "the input has ended, and with it the conversation" in out
    assert kept() == [("human", "base", "human", "left", 2, "unasked", None, None)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["Old.", "Ill.", "much better"], "asked, but the answer could not be read: 'much better'; no reward."),
        (["Old.", "Ill."], "asked, but not answered; no reward."),
    ],
)
def test_an_input_that_ends_after_the_survey_was_asked_says_that_it_was_asked(talk, engage, lines, said):
    out = talk(*SUPPORT_TALK, "--save", lines=lines)[1]
    assert f"Exit survey: {said}" in out and "not asked" not in out
    assert kept() == [("human", "base", "human", "max_exchanges", 2, "human", None, None)]
    assert said in " ".join(engage("show", "chat/human")[1].split())


def test_without_a_word_of_the_person_nothing_is_kept(talk):
    out = talk(*SUPPORT_TALK, "--save")[1]
    assert "you said nothing, so nothing is saved" in out and kept() == []


@pytest.mark.slow
def test_ctrl_c_ends_it_in_one_word_and_what_was_said_is_kept(talk):
    answers = iter(["What happened?"])

    def reply(prompt, seed):
        if (line := next(answers, None)) is None:
            raise KeyboardInterrupt
        return line

    code, _, err = talk(*SUPPORT_TALK, "--save", lines=["My dog died."], model=ScriptedEngine(reply))
    assert (code, err.split()[-1:]) == (130, ["interrupted"]) and "Traceback" not in err
    assert kept() == [("human", "base", "human", "left", 1, "unasked", None, None)]


def test_what_a_model_says_cannot_steer_the_terminal(talk):
    hostile = "\x1b]52;c;cm0gLXJm\x07 [bold]hi[/bold] \u202eabc"
    out = talk(*SUPPORT_TALK, "--as", "watch", model=engine(hostile, hostile))[1]
    assert not {"\x1b", "\x07", "\u202e"} & set(out)
    assert r"\x1b]52;c;cm0gLXJm\x07" in out and "[bold]hi[/bold]" in out and r"\u202e" in out


def test_a_line_that_cannot_be_said_is_asked_again(talk):
    out = talk(*SUPPORT_TALK, lines=["a\x1b[Ab", "x" * 4001, "", "Good bye.", "3"])[1]
    assert r"that line holds the control character \x1b; take it out" in out
    assert "that line is longer than 4,000 characters" in out
    assert "Ended after 1 exchange: farewell." in out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--as", "nobody"], "--as 'nobody': write user, assistant, watch"),
        (["--as", "watch", "--save"], "--save keeps what a person said"),
        (["--as", "assistant", "--against", "base"], "--as assistant makes you the only one"),
        (["--against", "base"], "--against 'base' is the same assistant as --policy"),
        (["--scenario", "support-"], "scenarios begin so; there are support-"),
        (["--scenario", "nope"], "no scenario begins so; there are"),
        (["--domain", "cooking"], "--domain 'cooking': the scenarios are of emotional_support, persuasion"),
        (["--scenario", "a", "--domain", "b"], "--scenario and --domain: give one of them"),
        (["--policy", "nope"], "'nope' is neither a cycle of this home"),
        (["--policy", "champion"], "this home has no champion yet"),
        (["--policy", "candidate"], "no cycle has been run yet, so there is no candidate"),
    ],
)
def test_a_mistake_is_one_sentence(talk, words, sentence):
    code, _, err = talk(*words)
    assert code == 2 and sentence in err and len(err.splitlines()) == 1


def test_two_assistants_answer_side_by_side_and_the_person_chooses(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.StringIO("3\n2\n"))
    domain = load_domain("emotional_support")
    said = ScriptedEngine(lambda prompt, _: f"I am {prompt.adapter}.")
    rivals = {name: Policy(said, domain, SpeechConfig(), name) for name in ("one", "two")}
    screen = Screen(Terminal(width=80), domain, Role.USER, SUPPORT.opening)
    chooser = Rivals(rivals, screen)
    (chosen,) = asyncio.run(chooser.replies(SUPPORT.opening, "k", [1]))
    assert chosen.turn == Turn(Role.ASSISTANT, "I am two.") and chooser.picked == {"one": 0, "two": 1}
    out = capsys.readouterr().out
    (beside,) = [line for line in out.splitlines() if "I am one." in line]
    assert "I am two." in beside and "type 1 or 2, or /end" in out
    monkeypatch.setattr(sys, "stdin", io.StringIO("/end\n"))
    with pytest.raises(Leaves):
        asyncio.run(chooser.replies(SUPPORT.opening, "k", [1]))
    assert screen.dialogue == SUPPORT.opening


@pytest.mark.slow
def test_only_conversations_in_which_a_person_played_the_assistant_can_be_trained_on_and_only_if_named(talk):
    talk(*SUPPORT_TALK, "--save", lines=["My dog died.", "He was old.", "3"])
    for _ in range(2):  # the same scenario and seed: two people, two conversations
        talk(*SUPPORT_TALK, "--as", "assistant", "--save", lines=["Tell me.", "I see."])
    store = TrajectoryStore(Home.from_env().database)
    assert read_human(HumanConfig(), store) == []
    first, second = read_human(HumanConfig(corpora=("chat",)), store)
    for human in (first, second):
        replies = [turn.text for turn in human.dialogue.turns if turn.role is Role.ASSISTANT]
        assert replies[-2:] == ["Tell me.", "I see."] and (human.outcome, human.reward) == (2.0, 0.75)
        assert Dialogue(human.dialogue.turns[: len(human.scenario.opening.turns)]) == human.scenario.opening
    assert first.scenario_id != second.scenario_id


def test_no_cycle_may_have_the_name_of_the_chats():
    with pytest.raises(ConfigError, match="`engage chat --save` keeps conversations under it"):
        check_cycle_id("chat")


@pytest.mark.slow
def test_ctrl_c_while_the_person_is_to_speak_ends_a_real_process(own_home):
    words = [sys.executable, "-m", "flows.cli", "chat", *SUPPORT_TALK, "--set", "engine.kind=scripted"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(words, cwd=Path(__file__).parents[2], env=environment, text=True, **pipes) as process:
        while not process.stdout.readline().startswith("supporter"):  # from here on the person is waited for
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert (process.wait(60), process.stderr.read()) == (130, "interrupted\n")


@pytest.mark.slow
def test_what_a_saved_chat_says_to_run_next_shows_it_before_the_copy_for_readers_is_renewed(talk, engage):
    talk(*SUPPORT_TALK, "--save", lines=["My dog died.", "He was old.", "3"])
    home = Home.from_env()
    home.snapshot.write_bytes(home.database.read_bytes())
    _, out, _ = talk(*SUPPORT_TALK, "--save", lines=["My cat died.", "She was old.", "3"])
    code, shown, _ = engage(*shlex.split(out.partition("read it with: engage ")[2]))
    assert code == 0 and "My cat died." in shown
