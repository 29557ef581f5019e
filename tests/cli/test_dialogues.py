"""`engage show` and `engage tree`: a dialogue and a tree as a person reads them, at 80 columns."""

import dataclasses

import own_domain  # noqa: F401  # what a process has imported, data files may name
import pytest
from small_stores import filled, hand_dialogue, hand_tree, support_scenario

from engage.dialogue import Dialogue, Reaction, Role, Trajectory, Turn
from engage.domains import load_domain
from engage.scenario import parse_scenario
from engage.search import DialogueRecord
from engage.store import PairConfig

BAKER = support_scenario("baker", difficulty="guarded")
GIVER = parse_scenario(
    {
        "id": "giver",
        "domain": "persuasion",
        "user_condition": {"person": "a painter", "situation": "It rains."},
        "opening": [{"role": "assistant", "text": "Hello."}, {"role": "user", "text": "Hi there."}],
    }
)


def given(reaction, reward, end_reason="max_exchanges", **turn):
    """A dialogue about a gift, with this answer to the exit survey."""
    said = Dialogue((*GIVER.opening.turns, Turn(Role.ASSISTANT, "Would you\x1b[31m\x07 give?", **turn)))
    trajectory = Trajectory(GIVER.scenario_id, said, reaction, reward, 1, end_reason)
    return DialogueRecord("c1", "evaluation", "base", "bare", 7, trajectory)


@pytest.fixture
def store(own_home):
    # Nodes: 0 root, 1 better reply, 2 and 3 its user turns, 4 worse reply, 5 and 6 its user turns.
    tree = hand_tree(BAKER, {"Tell me more.": [[1.0], [0.8]], "Cheer up.": [[0.0], [0.2]]})
    later = hand_tree(BAKER, {"Hm.": [[0.5]]}, cycle_id="c2")
    nodes = [
        dataclasses.replace(node, attempts=3, redrawn=("role_flip", "list")) if node.node_id == 2 else node
        for node in tree.nodes
    ]
    turns = tree.simulations[0].trajectory.dialogue.turns
    drawn = dataclasses.replace(turns[2], attempts=3, first_flaw="role_flip", redrawn=("role_flip", "list"))
    first = dataclasses.replace(
        tree.simulations[0],
        trajectory=dataclasses.replace(tree.simulations[0].trajectory, dialogue=Dialogue((*turns[:2], drawn))),
    )
    tree = dataclasses.replace(tree, nodes=tuple(nodes), simulations=(first, *tree.simulations[1:]))
    held = [hand_dialogue(BAKER, 0.5), given(Reaction("expected", "6", 1.61), 0.805)]
    store = filled(own_home, [BAKER, GIVER], [tree, later], held, ("c1", "c2"))
    store.score_pairs("c1", PairConfig(min_q_gap=0.0, confidence=0.5))
    return store


def fits(text):
    return all(len(line.rstrip()) <= 80 for line in text.splitlines())


def squeezed(text):
    return " ".join(text.split())


@pytest.mark.slow
def test_a_simulation_with_its_place_in_the_tree(engage, store):
    code, out, err = engage("show", "c1/baker/0")
    assert (code, err) == (0, "") and fits(out)
    assert [line.rstrip() for line in out.splitlines() if line[:1].isdigit()] == [
        "0  seeker     My dog died.",
        "1  supporter  Tell me more.",
        "2  seeker     I miss him (2).",
    ]
    said = squeezed(out)
    assert "simulation 0 of 4 in the search of baker, cycle c1, split train" in said
    assert "The user is a 40-year-old baker My dog died on Sunday and the house is silent." in said
    assert "difficulty: guarded; emotion: sadness; problem: bereavement; initial intensity: 4" in said
    assert "Tell me more. N 2, Q 0.900; place 1 of 2 replies; chosen in an accepted pair" in said  # (1.0 + 0.8)/2
    assert "I miss him (2). N 1, Q 1.000; draw 3, after 2 flawed: role_flip, list" in said
    assert (
        "Exit survey: the feeling is at 1.0 of 5 (4 before the talk) (in the user's words: a number); reward 1.000."
        in said
    )
    assert "Ended after 1 exchange: max_exchanges." in said
    assert "it started at exchange 1." in said  # as the pages number it
    assert "its first 2 turns after the opening are in the tree" in said and "engage tree baker --cycle c1" in said


@pytest.mark.slow
def test_an_evaluation_dialogue_with_what_the_user_gives(engage, store):
    code, out, err = engage("show", "c1/evaluation/base/bare/giver")
    assert (code, err) == (0, "")
    assert "Exit survey: gives $1.61 of $2.00; reward 0.805." in squeezed(out)
    assert "evaluation of base with the simulator bare, scenario giver" in squeezed(out)
    assert "persuader  Hello." in out


def test_a_dialogue_between_people(engage, own_home):
    record = dataclasses.replace(given(Reaction("human", "1.5", 1.5), 0.75, "ended"), purpose="human", policy="human")
    filled(own_home, [GIVER], [], [record])
    out = squeezed(engage("show", "c1/human")[1])
    assert "a dialogue between people, giver, cycle c1" in out
    assert "Exit survey: gives $1.50 of $2.00; reward 0.750." in out


def test_text_of_strangers_cannot_steer_the_terminal(engage, store):
    out = engage("show", "c1/evaluation/base/bare/giver")[1]
    assert "\x1b" not in out and "\x07" not in out
    assert r"Would you\x1b[31m\x07 give?" in out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("record", "said"),
    [
        (
            given(Reaction("pattern", "who knows", None), None),
            "Exit survey: asked, but the answer could not be read: 'who knows'; no reward.",
        ),
        (given(Reaction("human", "", None), None), "Exit survey: asked, but not answered; no reward."),
        (
            given(Reaction("expected", "", None), None),
            "asked, but the model gave no usable probabilities of the answers;",
        ),
        (given(Reaction("unasked", "", None), None, "crisis"), "Exit survey: not asked; no reward."),
        (given(Reaction("expected", "1", 0.25), 0.125, flaw="greeting"), "still flawed: greeting"),
    ],
)
def test_a_dialogue_without_an_answer_or_with_a_flaw_says_so(engage, own_home, record, said):
    filled(own_home, [GIVER], [], [record])
    assert said in squeezed(engage("show", "c1/evaluation")[1])


@pytest.mark.slow
def test_a_dialogue_of_the_latest_cycle_needs_no_cycle_in_its_id(engage, store):
    assert squeezed(engage("show", "baker/0")[1]).startswith("c2/baker/0 ")
    assert squeezed(engage("show", "c1/baker/1")[1]).startswith("c1/baker/1 ")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["show", "c1/baker/"],
            "'c1/baker/' begins several ids: c1/baker/0, c1/baker/1, c1/baker/2, c1/baker/3; write more of it",
        ),
        (["show", "nope"], "no dialogue's id begins with 'nope'; `engage sql --name best_and_worst` shows some ids"),
        (
            ["tree", "nope"],
            "no scenario whose id begins with 'nope' was searched in any cycle; `engage sql --name tree_cost` lists",
        ),
        (
            ["tree", "giver", "--cycle", "c1"],
            "no scenario whose id begins with 'giver' was searched in cycle 'c1'; `engage sql",
        ),
        (["tree", "baker", "--cycle", "c9"], "cycle 'c9' is not in the store"),
    ],
)
def test_what_is_not_there_is_one_sentence(engage, store, arguments, said):
    code, out, err = engage(*arguments)
    assert (code, out) == (2, "")
    assert said in err and len(err.splitlines()) == 1


def test_a_scenario_that_another_cycle_searched_names_that_cycle(engage, own_home):
    filled(own_home, [BAKER], [hand_tree(BAKER, {"Hm.": [[0.5]]})], [], ("c1", "c2"))
    assert "was searched in cycle 'c2'; it was in c1;" in engage("tree", "bak", "--cycle", "c2")[2]


def test_a_tree_with_visits_values_and_errors(engage, store):
    code, out, err = engage("tree", "bak", "--cycle", "c1")
    assert (code, err) == (0, "") and fits(out)
    lines = [line.rstrip() for line in out.splitlines()]
    assert lines[0] == "c1/baker: 4 simulations, 0 failed, split train"
    first = next(number for number, line in enumerate(lines) if "My dog died." in line)
    # Error of a reply: that of the mean over its user turns, sd(1.0, 0.8)/√2 = 0.1; a single simulation has none.
    assert [squeezed(line) for line in lines[first:] if line] == [
        "seeker: My dog died.",
        "2 0.900 0.100 ★ supporter: Tell me more. [chosen in an accepted pair]",
        "1 1.000 ★ seeker: I miss him (2).",
        "1 0.800 seeker: I miss him (3).",
        "2 0.100 0.100 supporter: Cheer up. [rejected in an accepted pair]",
        "1 0.000 seeker: I miss him (5).",
        "1 0.200 seeker: I miss him (6).",
    ]
    indents = [line.index("seeker:") for line in lines[first + 1 :] if "seeker:" in line]
    assert len(set(indents)) == 1 and indents[0] == lines[first + 1].index("supporter:") + 2


def test_a_tree_marks_the_most_visited_path_and_a_reply_beside_it_with_a_higher_q(engage, own_home):
    filled(own_home, [BAKER], [hand_tree(BAKER, {"Tell me more.": [[0.5], [0.5]], "I hear you.": [[1.0]]})])
    out = squeezed(engage("tree", "baker")[1])
    assert "2 0.500 0.000 ★ supporter: Tell me more." in out and "1 1.000 ☆ supporter: I hear you." in out
    assert "☆ a reply beside it with a higher Q: few visits can make a Q high by chance." in out


def test_a_tree_of_the_latest_cycle_that_searched_it(engage, store):
    assert engage("tree", "baker")[1].startswith("c2/baker: 1 simulations")


def test_an_own_domain_that_may_not_be_loaded_is_shown_without_its_words(engage, own_home):
    gone = dataclasses.replace(GIVER, domain="gone_domain:ADVICE")
    filled(own_home, [gone], [], [given(Reaction("expected", "6", 1.5), 0.75)])
    code, out, err = engage("show", "c1/evaluation")
    assert code == 0
    assert "assistant  Hello." in out and "Exit survey: answers 1.50; reward 0.750." in squeezed(out)
    assert (
        err.startswith("shown without its domain: domain 'gone_domain:ADVICE' would run the code")
        and len(err.splitlines()) == 1
    )


def test_a_domain_without_words_of_its_own_names_its_unit():
    domain = load_domain("own_domain:STUDY_ADVICE")
    condition = domain.condition_type(person="a", situation="b", subject="c", days_left=3)
    assert domain.in_words(condition, 3.0) == "answers 3.00 (likelihood of starting, 0 to 4)"
