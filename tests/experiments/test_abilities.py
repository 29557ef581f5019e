"""The instructions and their checks, the replies that are kept, and the paired change."""

import asyncio
import json
from collections import Counter

import pytest

from engage.engines.scripted import ScriptedEngine
from engage.errors import StoreError
from engage.experiments.abilities.instructions import Instruction, ask, instructions, kept_replies
from engage.experiments.abilities.page import Abilities, abilities_answer, abilities_page, change

BY_ID = {one.id: one for one in instructions()}


def test_there_are_ten_kinds_of_twenty_different_instructions():
    assert set(Counter(one.kind for one in instructions()).values()) == {20}
    assert len(BY_ID) == len({one.instruction for one in instructions()}) == 200
    assert len({one.kind for one in instructions()}) == 10


@pytest.mark.parametrize("reply", ["", " ", ".", "I am here to help.", "no way", "0"])
def test_a_reply_that_says_nothing_is_right_nowhere(reply):
    said = [one.id for one in instructions() if one.right(reply)]
    # the ten questions that are answered by no
    assert len(said) == (10 if reply == "no way" else 0)


def test_repeating_the_instruction_is_no_answer():
    assert [one.id for one in instructions() if one.right(one.instruction)] == []


# right and wrong replies of a small base model and of a larger one, judged by hand
@pytest.mark.parametrize(
    ("name", "reply", "right"),
    [
        ("arithmetic-01", "To add 7 and 5, you simply add them together: 7 + 5 = 12.", True),
        ("arithmetic-03", "The answer is 140.", False),
        ("arithmetic-14", "12 divided by 3 is 3.", False),
        ("arithmetic-14", "4", True),
        ("copying-09", "One two three four.", True),
        ("copying-04", "The seven cups are on the table.", False),
        ("format-01", '```json\n{\n  "name": "Anna",\n  "age": 31\n}\n```', True),
        ("format-06", '```json\n{"1": [1, 2, 3]}\n```', False),
        ("format-11", "1. Wake up\n2. Eat\n3. Walk", True),
        ("format-11", "1. Wake up\n2. Eat\n3. Walk\n4. Sleep", False),
        ("format-14", "Hello in capital letters.", False),
        ("format-14", "HELLO", True),
        ("counting-01", 'The word "cat" has 3 letters.', True),
        ("counting-01", 'The word "cat" has 11 letters.', False),
        ("counting-04", "1. 1\n2. 2\n3. 3\n4. 4\n5. 5", True),
        ("counting-04", "1, 2, 3, 4, 5, 6", False),
        ("facts-05", "The planet we live on is called Kepler-41B, similar to Earth.", False),
        ("facts-05", "We live on Earth.", True),
        ("reading-02", "No, the shop is not open on Sundays.", True),
        ("reading-01", "No, Anna did not buy fish.", False),
        ("translation-01", "El perro es el cielo.", False),
        ("translation-01", 'The Spanish word for "dog" is "perro".', True),
        ("sorting-02", "To sort the numbers, arrange them as follows:\n\n1. 4\n2. 6\n3. 9", True),
        ("sorting-05", "10, 20, 30, 30, 30", False),
        ("sorting-11", "1. Apple\n2. Lemon\n3. Pear", True),
        ("constraint-01", "Blue.", True),
        ("constraint-01", "The sky is blue.", False),
        ("constraint-10", "The capital of England is London. DONE", True),
        ("constraint-10", "The capital of England is London. Done", False),
        ("finding-14", "Grandpa is 84, not 80.", True),
        ("finding-19", "The winner was Kim, and Lou came second.", False),
    ],
)
def test_replies_are_judged_as_a_reader_judges_them(name, reply, right):
    assert BY_ID[name].right(reply) is right


def test_a_plain_answer_has_to_be_the_whole_reply():
    one = Instruction("x", "copying", "Copy this: Rain fell.", "Rain fell")
    assert [one.right(said) for said in ('"rain  fell."', "```\nRain fell\n```", "Rain fell. Yes.")] == [
        True,
        True,
        False,
    ]


def test_what_changed_sides_by_hand():
    # 6 of 8 before; five lost, one gained: (1 - 5) / 8; McNemar: 2 * (1 + 6) / 2**6
    before, after = [1, 1, 1, 1, 1, 1, 0, 0], [1, 0, 0, 0, 0, 0, 1, 0]
    found = change(list("aaaabbbb"), before, after)
    assert (found.value, found.only_before, found.only_after) == (-0.5, 5, 1)
    assert found.p_value == pytest.approx(14 / 64)
    assert change(list("aabb"), [1] * 4, [1] * 4).p_value == 1.0


def test_intervals_resample_instructions_within_their_kinds():
    # one kind was gained as a whole and one was lost: every resample within kinds has the difference 0
    found = change(["a", "a", "b", "b"], [0, 0, 1, 1], [1, 1, 0, 0])
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)
    # three of four gained in one kind: resamples of four lie between 0 and 1
    found = change(["a"] * 4, [0] * 4, [1, 1, 1, 0])
    assert found.low == pytest.approx(0.25) and found.high == 1.0


def made(*said):
    asked = tuple(Instruction(f"{kind}-{n}", kind, f"{kind} {n}?", "yes") for kind in "ab" for n in range(20))
    return Abilities(asked, dict(zip(("base", "before", "candidate"), said, strict=False)))


def test_a_loss_is_called_a_loss_and_the_page_has_the_numbers_of_each_kind():
    found = made(["yes"] * 40, ["yes"] * 40, ["yes"] * 20 + ["no"] * 15 + ["yes"] * 5)
    assert abilities_answer(found) == "The trained policy lost abilities: 15 instructions of 40 right before only."
    page = abilities_page("c1", found, {"base": "tiny"})
    assert "| b | 20 | 20 | 20 | 5 |" in page and "| all | 40 | 40 | 40 | 25 |" in page
    assert found.metrics()["abilities/candidate/b"] == 0.25 and found.metrics()["abilities/only_before"] == 15
    assert found.line.startswith("right of 40: base 40, before 40, candidate 25; candidate − before: -0.375 [")


def test_a_base_alone_is_compared_with_nothing():
    found = made(["yes"] * 40)
    assert abilities_answer(found) == "Nothing to compare with: right of 40: base 40."


def test_a_reply_that_is_kept_is_not_asked_for_again(tmp_path):
    asked, path, engine_said = list(instructions()[:45]), tmp_path / "x.jsonl", []

    def reply(prompt, seed):
        if len(engine_said) == 42:
            raise RuntimeError("the lights went out")
        engine_said.append(prompt.messages[-1].content)
        return f"to {prompt.messages[-1].content}"

    with pytest.raises(RuntimeError):
        asyncio.run(ask(ScriptedEngine(reply), "", asked, path))
    assert len(kept_replies(path).read()) == 40
    engine_said.clear()
    asyncio.run(ask(ScriptedEngine(reply), "", asked, path))
    assert engine_said == [one.instruction for one in asked[40:]]
    assert kept_replies(path).read()[asked[44].instruction] == f"to {asked[44].instruction}"
    path.write_text("{}\n", encoding="utf-8")
    with pytest.raises(StoreError, match="is damaged; delete it"):
        kept_replies(path).read()


def test_two_commands_that_ask_at_once_keep_the_replies_of_both(tmp_path):
    path, asked = tmp_path / "replies.jsonl", instructions()[:60]

    def reply(prompt, *_):
        if prompt.messages[-1].content == asked[0].instruction:  # the other one has asked the last twenty meanwhile
            rows = ({"instruction": one.instruction, "reply": "theirs"} for one in asked[40:])
            path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return "ours"

    asyncio.run(ask(ScriptedEngine(reply), "", asked[:40], path))
    assert kept_replies(path).read() == {
        one.instruction: "ours" if place < 40 else "theirs" for place, one in enumerate(asked)
    }
