"""Users who speak as the assistant: the classifier, the recorded flaws of first samples, and the messages of a night and the doctor."""

import dataclasses
import hashlib
import json

import pytest
from own_domain import STUDY_ADVICE, StudyAdvice
from scripted_scenarios import SUPPORT, searched
from small_stores import filled, hand_tree

from engage.dialogue import Dialogue, Role, Turn
from engage.domains import load_domain
from engage.engines.base import Side
from engage.engines.scripted import ScriptedEngine, canned_reply
from engage.evaluation import Collected, FlipShare, Places, stage_text, users_as_assistants
from engage.search import SearchConfig
from engage.simulation import DialogueConfig, SpeechConfig, find_flaw
from engage.simulation.roles import Weights, assistant_score, speaks_as_assistant
from engage.simulation.roles.features import length_scale, ngrams
from engage.simulation.roles.measure import case_rows, in_words
from engage.simulation.roles.registers import draw_registers
from engage.simulation.roles.train import Example, fit
from engage.simulation.roles.weights import CLASSES, REGISTERS, load_weights, read_weights, save_weights

HERE = Places(None, "sqlite:///mlflow.db")
ASSISTANTS = """
I'm glad I could help. If you have any other questions, feel free to ask.
How can I assist you today?
Sure, I'd be happy to help you with that! What would you like to know?
As an AI language model, I don't have feelings.
I'm here to support you whenever you need me.
It sounds like you're going through a lot right now.
It's completely understandable that you feel this way.
Have you considered talking to a therapist about it?
You should try to take some time for yourself.
Thank you for your generous donation!
Would you like to make a donation of $1 today?
Our organization provides food and medicine to children in need.
Every little bit helps, and your gift can make a difference.
I completely understand your decision. If you change your mind, please let me know.
It's great that you're willing to help.
Here are some tips that may help you.
Great question! Let me explain.
Please provide more details so I can assist you.
That must be very hard for you. I'm sorry you're going through this.
Remember, you're not alone, and I'm here to listen.
I apologize for the confusion. How can I help you?
I'm proud of you for taking this step!
""".strip().splitlines()

USERS = """
Thank you so much, that helps a lot.
Can you help me?
What should I do now?
I'm sorry, I did not mean to snap at you.
Hi, how are you today?
How do I know that the money gets to the children?
I think people should look after their neighbours first.
My boss told me that I should take a break.
I don't know. I feel so alone since she left.
I've been feeling overwhelmed lately and I don't know how to cope.
I would like to donate 50 cents.
No thanks, I need the money for rent.
You don't know anything about my life.
What does your charity do?
Are you a robot?
ok bye
Yes, I tried that but it didn't work.
I guess I could call my sister tomorrow.
I volunteer at a shelter on Sundays.
Have a nice day!
That sounds like a good cause, but I can't afford it.
I'm a nurse, I help people all day and nobody asks how I am.
""".strip().splitlines()

OTHER_DOMAINS = """
My order still hasn't arrived and I want my money back.
I'd like a window seat on the morning flight to Rome, please.
I had a fever last night and my knee still hurts.
Is the answer 12 or did I forget the minus sign?
I could start tonight, with the easy chapter first.
Three hundred is too much for a used bike. I can pay two fifty.
At my last job I trained two new colleagues.
My landlord won't fix the heating and it is November.
Yesterday I go to the market with my brother.
Which bus goes to the harbour?
I don't get it, why is it "went" and not "goed"?
We are vegetarians and my son is allergic to nuts.
The app crashes every time I open the camera.
Honestly I would vote against it, it only helps the rich.
Do I need a visa for two weeks?
I've smoked for ten years and tried to stop twice.
""".strip().splitlines()

TALK = Dialogue((Turn(Role.USER, "It is about my week."), Turn(Role.ASSISTANT, "Go on. What is on your mind?")))


@pytest.mark.parametrize("text", ASSISTANTS)
def test_a_user_who_speaks_as_the_assistant_is_found(text):
    assert {find_flaw(load_domain(name), TALK, Role.USER, text) for name in ("emotional_support", "persuasion")} == {
        "role_flip"
    }


@pytest.mark.parametrize("text", USERS + OTHER_DOMAINS)
def test_a_user_who_thanks_asks_or_answers_is_not_flagged(text):
    assert not speaks_as_assistant(text)


def test_an_own_domain_adds_its_expressions():
    said = "Is that about your timetable?"
    assert not speaks_as_assistant(said)
    assert find_flaw(STUDY_ADVICE, TALK, Role.USER, said) == "role_flip"
    assert find_flaw(STUDY_ADVICE, TALK, Role.USER, "My exam is on Friday, I am scared.") is None


def test_a_domain_whose_users_help_is_judged_by_its_expressions_alone():
    class Mentors(StudyAdvice):
        users_help = True

    assert find_flaw(Mentors(), TALK, Role.USER, "How can I assist you today?") is None
    assert find_flaw(Mentors(), TALK, Role.USER, "Is that about your timetable?") == "role_flip"


def test_the_shipped_weights_were_fitted_to_the_text_beside_them():
    digest = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (REGISTERS, CLASSES)}
    made_from = load_weights().made_from
    assert {name: made_from[name] for name in digest} == digest, "run python -m engage.simulation.roles.train"


def test_the_score_is_the_scaled_sum_less_the_threshold():
    weights = Weights(bias=-1.0, threshold=0.5, weights={"hi": 2.0, "^ hi": 1.0, "no": 9.0}, made_from={})
    # ^ hi ! $$ are 4 + 3 + 2 n-grams of up to three tokens; hi is of the class HELLO, which has 6 + 1 more: 16, fewer than 35
    assert ngrams("Hi!") == {
        "^", "hi", "!", "$$", "^ hi", "hi !", "! $$", "^ hi !", "hi ! $$",
        "HELLO", "^ HELLO", "HELLO !", "^ HELLO !", "HELLO ! $$", "^ HELLO ! $$", "<few words>",
    }  # fmt: skip
    assert length_scale(16) == pytest.approx((120 / 35) ** 0.5) and length_scale(480) == 0.5
    assert assistant_score("Hi!", weights) == pytest.approx(-1.0 + 3.0 * (120 / 35) ** 0.5 - 0.5)


def test_contractions_numbers_and_curly_quotes_are_seen_alike():
    assert ngrams("I can’t give 5") == ngrams("I can not give 17")


def test_registers_are_drawn_from_lines(tmp_path):
    path = tmp_path / "registers.txt"
    path.write_text(
        "# a note\n= fruit: pear | fig\n\n## assistant: shop\n(Take|Buy) a {fruit} (now|).\n\n## user: shop\nNo.\n"
    )
    drawn = draw_registers(path)
    single = {(one.text, one.assistant, one.section, one.line) for one in drawn if one.text.count(".") == 1}
    wanted = {
        f"{verb} a {fruit}{end}." for verb in ("Take", "Buy") for fruit in ("pear", "fig") for end in (" now", "")
    }
    assert single <= {(text, True, "assistant: shop", 5) for text in wanted} | {("No.", False, "user: shop", 8)}
    assert len(single) > 4 and draw_registers(path) == drawn


def test_a_line_whose_brackets_do_not_match_is_refused(tmp_path):
    path = tmp_path / "registers.txt"
    path.write_text("## user: x\n(a|b\n")
    with pytest.raises(ValueError, match="left open"):
        draw_registers(path)
    path.write_text("## user: x\na)\n")
    with pytest.raises(ValueError, match="too many"):
        draw_registers(path)


def test_the_threshold_leaves_few_real_users_above_it(tmp_path):
    learnt = [Example("how may I serve you", True, 1.0) for _ in range(40)]
    learnt += [Example("I am so tired", False, 1.0, fold=n % 5) for n in range(198)]
    odd = [Example("how may I serve you", False, 1.0, fold=n) for n in range(2)]
    weights = fit(
        [*learnt, *odd], {"text": "0"}
    )  # 1 of 100 real users speaks as the assistant: fewer than FALSE_ALARMS
    assert assistant_score("how may I serve you", weights) > 0 > assistant_score("I am so tired", weights)
    many = [Example("how may I serve you", False, 1.0, fold=n % 5) for n in range(20)]
    assert assistant_score("how may I serve you", fit([*learnt, *many], {})) <= 0  # 1 of 10
    save_weights(weights, tmp_path / "weights")
    assert read_weights(tmp_path / "weights") == weights


def test_what_is_measured_on_cases(tmp_path):
    cases = [("How can I assist you today?", True), ("I feel so alone.", True), ("ok bye", False), ("Hm.", None)]
    path = tmp_path / "cases.jsonl"
    lines = [json.dumps({"model": "m", "text": text, "speaks_as_assistant": side}) for text, side in cases]
    path.write_text("\n".join(lines))
    rows = dict(case_rows(path))
    assert rows["recall, other models"] == in_words(1, 2) == "1 of 2: 50.0% [9.5%, 90.5%]"  # Wilson's interval
    assert rows["precision, other models"].startswith("1 of 1: 100.0%")
    assert rows["flagged of those that the reader left open"].startswith("0 of 1")


def flipping(prompt, seed):
    if prompt.side is Side.POLICY:
        return canned_reply(prompt, seed)
    return f"I'm here to help you with anything, number {seed % 97}." if seed % 3 == 0 else f"It was day {seed % 97}."


def test_the_flaw_of_a_first_draw_is_kept(tmp_path):
    dialogue = DialogueConfig(max_exchanges=2, speech=SpeechConfig(max_attempts=10))
    tree = searched(ScriptedEngine(flipping), SearchConfig(num_simulations=24), dialogue)
    users = [node for node in tree.nodes if node.role == "user"]
    assert {(node.attempts > 1, node.first_flaw, node.flaw) for node in users} == {
        (False, None, None),
        (True, "role_flip", None),
    }
    store = filled(tmp_path, [SUPPORT], [tree])
    stored = store.select(
        "select attempts > 1, first_flaw, flaw from node where role = 'user' group by all order by 1"
    )[1]
    assert [tuple(row) for row in stored] == [(False, None, None), (True, "role_flip", None)]


def test_the_reason_of_every_draw_that_was_thrown_away_is_kept(tmp_path):
    # Each user turn is drawn three times: as the assistant, as a list, and then well.
    said: dict[str, int] = {}

    def thrice(prompt, seed):
        if prompt.side is Side.POLICY:
            return canned_reply(prompt, seed)
        said[prompt.key] = number = said.get(prompt.key, 0) + 1
        return ("How can I help you today?", "1. Sleep 2. Eat", f"It was day {seed % 997}.")[(number - 1) % 3]

    tree = searched(ScriptedEngine(thrice), SearchConfig(num_simulations=6), DialogueConfig(max_exchanges=2))
    store = filled(tmp_path, [SUPPORT], [tree])
    turns = "select distinct attempts, flaw, first_flaw, redrawn from {} where role = 'user'"
    drawn = (3, None, "role_flip", ["role_flip", "list"])
    assert store.select(turns.format("node"))[1] == [drawn]
    opening = (1, None, None, [])
    assert sorted(store.select(turns.format("turn"))[1]) == [opening, drawn]


def test_the_share_of_first_draws_counts_every_sampled_user_turn_once(tmp_path):
    dialogue = DialogueConfig(max_exchanges=2, speech=SpeechConfig(max_attempts=10))
    tree = searched(ScriptedEngine(flipping), SearchConfig(num_simulations=12), dialogue)
    turns = [node for node in tree.nodes if node.role == "user"]
    for one in tree.simulations:  # what was rolled out below the tree
        below = one.trajectory.dialogue.turns[1 + len(one.node_ids) - 1 :]  # the opening is one turn
        turns += [turn for turn in below if turn.role is Role.USER]
    found = users_as_assistants(filled(tmp_path, [SUPPORT], [tree]), "c1")
    assert (found.turns, found.hits) == (len(turns), sum(turn.first_flaw == "role_flip" for turn in turns))
    assert found.hits > 0 and found.value == pytest.approx(found.hits / found.turns)


def test_a_cycle_that_did_not_note_all_first_draws_gives_no_share(tmp_path):
    tree = hand_tree(SUPPORT, {"Tell me.": [[1.0, 0.5], [0.25]]})
    again = [dataclasses.replace(node, attempts=2) if node.role == "user" else node for node in tree.nodes]
    store = filled(tmp_path, [SUPPORT], [dataclasses.replace(tree, nodes=tuple(again))])
    assert store.rows("first_draws", {"cycle": "c1"})[0]["unknown"] == 2
    assert users_as_assistants(store, "c1") is None


def night(share):
    return Collected(users_as_assistants=FlipShare(share, share - 0.02, share + 0.02, 500, round(500 * share)))


def test_a_night_whose_users_are_no_users_says_so_in_its_first_line():
    first = stage_text("c1", night(0.43), HERE).splitlines()[0]
    assert first.startswith("The simulated users speak as assistants in 43.0% [41.0%, 45.0%] of first draws.")
    assert "engage simulator train" in first


def test_a_night_of_users_names_the_share_among_its_lines():
    lines = stage_text("c1", night(0.03), HERE).splitlines()
    said = "- The simulated users spoke like an assistant in 3.0% [1.0%, 5.0%] of 500 first draws. Such turns were drawn again."
    assert said in lines and lines[0] == "- No search was completed."
