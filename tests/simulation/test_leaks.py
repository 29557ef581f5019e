"""The other side's speech inside a turn is cut off; clean turns stay whole."""

import asyncio
import json
from importlib import resources

import pytest
from scripted_scenarios import SUPPORT

from engage.dialogue import Role, Turn
from engage.domains import load_domain
from engage.engines.scripted import ScriptedEngine
from engage.simulation import Policy, SpeechConfig, leaks_role
from engage.simulation.flaws import heard
from engage.simulation.leaks import cut_leak

DOMAINS = {name: load_domain(name) for name in ("emotional_support", "persuasion")}
SUPPORTING, PERSUADING = DOMAINS.values()

LEAKS = [
    ("Sure, it helps.\nUser: I give two dollars.\nAssistant: Great!", "Sure, it helps."),
    ("Sure, it helps.\n\nUser: I give two dollars.", "Sure, it helps."),
    ("Sure, it helps. User: I give two dollars. Assistant: Great!", "Sure, it helps."),
    ("Sure, it helps. Persuadee: I give two dollars.", "Sure, it helps."),
    ("Sure it helps Persuadee: I give two dollars.", "Sure it helps"),
    ("Sure, it helps. user: ok", "Sure, it helps."),
    ("Sure, it helps! AI: ok", "Sure, it helps!"),
    ("Sure, it helps.\nHelper: Thank you!\nMe: I give all of it.", "Sure, it helps."),
    ("Sure, it helps.\nYou: I give all of it.", "Sure, it helps."),
    ("Sure, it helps.\n**Helper:** Thank you!\n**Me:** Bye.", "Sure, it helps."),
    ("Sure, it helps. **User**: ok", "Sure, it helps."),
    ("Sure, it helps.\nUser says: ok", "Sure, it helps."),
    ("Sure, it helps.\nDonor: ok", "Sure, it helps."),
    ("Sure, it helps. [User]: ok", "Sure, it helps."),
    ("Sure, it helps.\nUser (smiling): ok", "Sure, it helps."),
    ("Sure, it helps.\n### Human: ok", "Sure, it helps."),
    ("Sure, it helps. ### Instruction\nok", "Sure, it helps."),
    ("Sure, it helps.<|user|>ok", "Sure, it helps."),
    ("Sure, it helps.<|im_end|>\n<|im_start|>user\nok", "Sure, it helps."),
    ("Sure, it helps.<end_of_turn>\n<start_of_turn>user\nok", "Sure, it helps."),
    ("Sure, it helps.<start_of_turn>user\nok", "Sure, it helps."),
    ("Sure, it helps.</s>[INST] ok [/INST]", "Sure, it helps."),
    ("Sure, it helps. [INST] ok", "Sure, it helps."),
    ("Sure, it helps.<｜User｜>ok", "Sure, it helps."),
    ("Sure, it helps.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nok", "Sure, it helps."),
    ("Sure, it helps.\nSpeaker 2: ok", "Sure, it helps."),
    ("Persuader: Sure, it helps.\nPersuadee: ok", "Sure, it helps."),
    ("Assistant: Sure, it helps.", "Sure, it helps."),
    ("<|im_start|>assistant\nSure, it helps.<|im_end|>", "Sure, it helps."),
    ("😢\nUser: I give two dollars.", "😢"),
    ("User: I give two dollars.", ""),
    ("<|im_start|>user\nI give two dollars.", ""),
]
CLEAN = [
    "Note: it is your choice.",
    "I told my friend: go and talk to her.",
    "Question for you: what would help?",
    "He said to the user: please wait.",
    "My helper: the dog.",
    "I asked the AI: can you help?",
    "I'm an AI: a machine that listens.",
    "Two things: food, and school.",
    "It is 10:30 now.",
    "See https://www.example.org for more.",
    "P.S.: thank you.",
    "Boss: do it now! I just left.",
    "Pros: it helps. Cons: it costs.",
    "The reason is plain: you care.",
    "What I heard from you: you are tired.",
    "To me: nothing. To them: a lunch.",
    "Dear helper: thank you.",
    "I like #humans and #AI.",
    "I <3 that, and 2 < 3 > 1.",
    "[sic] I mean (well) it.",
    "As a user: I hate it.",
    "The system: broken, as ever.",
    "They call me a bot: rude.",
    "So, human: being kind is hard.",
    "My sister (a supporter) came.",
    "A list of mine:\n- sleep\n- eat",
    "She asked me: who are you?",
    "Hope: that is what you gave me :)",
    "Me: nothing new, as always.",
    "Only *you*: nobody else.",
    "You: the best listener today.",
]


@pytest.mark.parametrize(("written", "said"), LEAKS)
def test_a_turn_ends_where_the_other_side_speaks(written, said):
    assert cut_leak(PERSUADING, Role.ASSISTANT, written) == (said, True)
    assert heard(PERSUADING, Role.ASSISTANT, written, False) == (said, "role_leak")


def test_a_user_s_own_label_is_taken_off_and_the_helper_s_speech_is_not_kept():
    assert cut_leak(SUPPORTING, Role.USER, "**Me:** I am sad.\n**Helper:** Oh no!") == ("I am sad.", True)
    assert cut_leak(SUPPORTING, Role.USER, "Seeker: I am sad. Supporter: Oh no!") == ("I am sad.", True)
    assert cut_leak(SUPPORTING, Role.USER, "Supporter: Oh no!") == ("", True)
    assert cut_leak(SUPPORTING, Role.USER, "<|im_start|>assistant\nI am sad.") == ("I am sad.", True)


@pytest.mark.parametrize("end", ["<|im_end|>", "</s>", "<|eot_id|>", "<end_of_turn>", "<|endoftext|>\n"])
def test_a_mark_at_the_very_end_only_ends_the_turn(end):
    assert cut_leak(PERSUADING, Role.ASSISTANT, f"Sure, it helps.{end}") == ("Sure, it helps.", False)


def test_of_the_clean_turns_at_most_one_in_a_hundred_is_cut():
    labelled = [(domain, text) for domain in DOMAINS.values() for text in CLEAN]
    for name in ("persuasion_dialogues", "support_dialogues"):
        lines = resources.files("engage.data").joinpath(f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
        for line in map(json.loads, lines):
            labelled += [(DOMAINS[line["domain"]], turn["text"]) for turn in line["turns"]]
    cut = [text for domain, text in labelled if leaks_role(domain, text)]
    assert len(labelled) >= 500
    assert len(cut) <= 0.01 * len(labelled), cut


def test_hard_clean_turns_are_never_cut():
    assert [text for text in CLEAN if any(leaks_role(domain, text) for domain in DOMAINS.values())] == []


def test_a_cut_turn_is_drawn_again_and_the_last_one_is_kept_cut():
    engine = ScriptedEngine(lambda prompt, seed: "That hurts.\nUser: Yes.\nAssistant: I see.")
    (drawn,) = asyncio.run(Policy(engine, SUPPORTING, SpeechConfig()).replies(SUPPORT.opening, "k", [1]))
    assert drawn.turn == Turn(Role.ASSISTANT, "That hurts.", 3, "role_leak", "role_leak", ("role_leak",) * 2)
    writing = ["That hurts.\nUser: Yes.", "Since when do you feel so?"]
    engine = ScriptedEngine(lambda prompt, seed: writing.pop(0))
    (drawn,) = asyncio.run(Policy(engine, SUPPORTING, SpeechConfig()).replies(SUPPORT.opening, "k", [1]))
    assert drawn.turn == Turn(Role.ASSISTANT, "Since when do you feel so?", 2, None, "role_leak", ("role_leak",))
