"""Thoughts are not part of a turn: they are recognised, counted and kept out of training."""

import asyncio

import pytest
from scripted_scenarios import SUPPORT

from engage.dialogue import Dialogue, Role, Turn
from engage.domains import load_domain
from engage.engines.scripted import ScriptedEngine
from engage.models import strip_thoughts
from engage.models.thoughts import closing
from engage.simulation import Policy, SpeechConfig, UserSimulator, find_flaw, policy_messages, read_answer
from engage.simulation.flaws import heard

DOMAIN = load_domain("emotional_support")


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("<think>She is sad.</think>That hurts.", "That hurts."),
        ("<think>\nShe is sad.\n</think>\n\nThat hurts.", "That hurts."),
        ("<THINK>She is sad.</THINK> That hurts.", "That hurts."),
        ("<thinking>She is sad.</thinking>That hurts.", "That hurts."),
        ("<thought>She is sad.</thought>That hurts.", "That hurts."),
        ("<reasoning>She is sad.</reasoning>That hurts.", "That hurts."),
        ("<think>She is sad.</thinking>That hurts.", "That hurts."),
        ('<think lang="en">She is sad.</think >That hurts.', "That hurts."),
        ("<seed:think>She is sad.</seed:think>That hurts.", "That hurts."),
        ("<|think|>She is sad.<|/think|>That hurts.", "That hurts."),
        ("[THINK]She is sad.[/THINK]That hurts.", "That hurts."),
        ("◁think▷She is sad.◁/think▷That hurts.", "That hurts."),
        ("<|START_THINKING|>Sad.<|END_THINKING|><|START_RESPONSE|>That hurts.<|END_RESPONSE|>", "That hurts."),
        (
            "<|begin_of_thought|>Sad.<|end_of_thought|><|begin_of_solution|>That hurts.<|end_of_solution|>",
            "That hurts.",
        ),
        ("<think>Sad.</think><answer>That hurts.</answer>", "That hurts."),
        ("<think>a<think>b</think>c</think>That hurts.", "That hurts."),
        ("<think>a<think>b</think>That hurts.", "That hurts."),
        ("That hurts.<think>Was that kind?</think>", "That hurts."),
        ("That hurts.<think>Was that", "That hurts."),
        ("She is sad.</think>\nThat hurts.", "That hurts."),
        ("<think>She is sad and I should", ""),
        ("<think>She is sad.</think>", ""),
        ("<think>", ""),
        (
            "<|channel|>analysis<|message|>Sad.<|end|><|start|>assistant<|channel|>final<|message|>That hurts.<|return|>",
            "That hurts.",
        ),
        ("That hurts.<|end|><|start|>assistant<|channel|>analysis<|message|>Was that", "That hurts."),
        ("<|channel|>analysis<|message|>She is sad and", ""),
        ("<|channel>thought\nSad.<channel|>That hurts.", "That hurts."),
        ("analysisShe is sad.assistantfinalThat hurts.", "That hurts."),
        ("analysisShe is sad and I", ""),
    ],
)
def test_what_is_thought_is_not_said(written, said):
    assert strip_thoughts(written) == (said, True)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("That hurts.", "That hurts."),
        ("<think>\n\n</think>\n\nThat hurts.", "That hurts."),
        ("<|channel|>final<|message|>That hurts.<|return|>", "That hurts."),
        ("I <3 you & <b>them</b>, [sic] a < b > c", "I <3 you & <b>them</b>, [sic] a < b > c"),
        ("analysis of this is hard for me", "analysis of this is hard for me"),
        ("I think that my thoughts are loud.", "I think that my thoughts are loud."),
        ("[thinking] I don't know", "[thinking] I don't know"),
    ],
)
def test_nothing_is_thought(written, said):
    assert strip_thoughts(written) == (said, False)


@pytest.mark.parametrize(
    ("prompt", "end"),
    [
        ("<a><think>\n", "\n</think>\n\n"),
        ("<a>[THINK]", "\n\n[/THINK]\n\n"),
        ("<a><|START_THINKING|>", "\n\n<|END_THINKING|>\n\n"),
        ("<a><seed:think>\n", "\n</seed:think>\n\n"),
        ("<a><think>\n\n</think>\n\n", ""),
        ("<a>", ""),
    ],
)
def test_an_opened_thought_is_closed_in_its_own_spelling(prompt, end):
    assert closing(prompt) == end


def test_a_thought_is_a_flaw_and_the_turn_is_drawn_again_without_it():
    writing = ["<think>She is sad.</think>That hurts.", "Since when do you feel so?"]
    engine = ScriptedEngine(lambda prompt, seed: writing.pop(0))
    (drawn,) = asyncio.run(Policy(engine, DOMAIN, SpeechConfig()).replies(SUPPORT.opening, "k", [1]))
    assert drawn.turn == Turn(Role.ASSISTANT, "Since when do you feel so?", 2, None, "thought", ("thought",))


@pytest.mark.parametrize(
    ("written", "kept"), [("<think>Sad.</think>\n\nThat hurts.", "That hurts."), ("<think>Sad and I", "…")]
)
def test_the_last_draw_is_kept_without_its_thought_and_counted(written, kept):
    engine = ScriptedEngine(lambda prompt, seed: written)
    (drawn,) = asyncio.run(Policy(engine, DOMAIN, SpeechConfig()).replies(SUPPORT.opening, "k", [1]))
    assert drawn.turn == Turn(Role.ASSISTANT, kept, 3, "thought", "thought", ("thought", "thought"))


def test_an_empty_thought_is_no_flaw():
    assert heard(DOMAIN, Role.ASSISTANT, "<think>\n\n</think>\n\nThat hurts.", False) == ("That hurts.", None)


def test_a_thought_about_the_survey_is_not_its_answer():
    assert read_answer(DOMAIN, "<think>It was 5, now 1 or 2.</think>\n3").value == 3.0
    assert read_answer(DOMAIN, "<think>It was 5, now").value is None
    speech = SpeechConfig(reader="pattern")
    engine = ScriptedEngine(lambda prompt, seed: "so it was 5</think>4")
    user = UserSimulator(engine, DOMAIN, speech, SUPPORT.user_condition)
    assert asyncio.run(user.react(SUPPORT.opening, "k", 1)).value == 4.0


def test_a_person_s_reply_that_thinks_is_flawed():
    assert find_flaw(DOMAIN, Dialogue(), Role.ASSISTANT, "<think>Sad.</think>That hurts.") == "thought"


def test_a_thought_in_an_imported_turn_reaches_no_prompt():
    said = Dialogue((Turn(Role.USER, "Hi."), Turn(Role.ASSISTANT, "<think>Sad.</think>Why?"), Turn(Role.USER, "So.")))
    assert [message.content for message in policy_messages(DOMAIN, said)][1:] == ["Hi.", "Why?", "So."]
