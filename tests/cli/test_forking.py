"""`engage fork`: a stored dialogue replayed without a model, and what another word at one turn changes."""

import asyncio
import dataclasses
import shlex

import pytest
from scripted_engines import ask, played_by
from scripted_scenarios import SUPPORT, rewarding, searched
from small_stores import filled, hand_dialogue, support_scenario

from engage.dialogue import Dialogue, Reaction, Role, Turn
from engage.engines.base import Side
from engage.engines.scripted import ScriptedEngine
from engage.errors import EngineError
from engage.home import Home
from engage.models import adapter_folder
from engage.search import DialogueRecord
from engage.simulation import DialogueConfig, Recorded, hold_dialogue, replay
from flows.cli.forked import change_in_words

CONFIG = DialogueConfig(max_exchanges=2)
BASE = "c1/evaluation/base/search/s1/5"
GOOD = "Tell me about him."


class Silent(ScriptedEngine):
    """A model that may not be asked."""

    async def complete(self, prompt, sampling, seeds):
        raise AssertionError("the model was asked")

    async def score(self, prompt, choices):
        raise AssertionError("the model was asked")


def held(engine, seed=5, policy="base"):
    trajectory, calls = asyncio.run(hold_dialogue(engine, SUPPORT, CONFIG, seed, None, None))
    return DialogueRecord("c1", "evaluation", policy, "search", seed, trajectory, calls)


@pytest.fixture
def store(own_home):
    """A search and an evaluation dialogue; the user is at 1 of 5 at the end if GOOD was said, else at 5."""
    model = rewarding(GOOD)
    return filled(own_home, [SUPPORT], [searched(model)], [held(model)])


def said(name):
    rows = "select turn_index, role, text from turn where trajectory_id = $id order by 1"
    return ask(Home.from_env(), rows, id=name)


def test_a_scenarios_name_says_nothing_about_its_requests():
    scenario = dataclasses.replace(SUPPORT, scenario_id="a/survey/1")
    trajectory, calls = asyncio.run(hold_dialogue(rewarding(GOOD), scenario, CONFIG, 5, None, None))
    recorded = Recorded(scenario, trajectory, scenario.opening, "fresh", 0, calls)
    assert asyncio.run(replay(recorded, CONFIG)) == (len(calls), [])


@pytest.mark.slow
@pytest.mark.parametrize("number", range(4))
def test_a_simulation_is_replayed_without_a_model(engage, store, number):
    with played_by(Silent()):
        code, out, err = engage("fork", f"c1/s1/{number}")
    assert (code, err) == (0, "")
    assert "turns, end, survey answer and reward all agree; its first 2 turns" in " ".join(out.split())


def test_a_dialogue_is_replayed_from_exactly_its_requests(engage, store):
    with played_by(Silent()):
        code, out, _ = engage("fork", BASE)
    # two exchanges of two turns each, and the survey
    assert code == 0 and "replayed without a model from 5 stored requests" in " ".join(out.split())


def test_a_turn_that_was_drawn_again_is_replayed_with_its_draws(engage, own_home):
    drawn = iter(range(100))

    def reply(prompt, seed):  # the first reply is flawed: a refusal of a machine's
        if prompt.side is Side.POLICY and next(drawn) == 0:
            return "I cannot assist with that."
        return "Tell me more." if prompt.side is Side.POLICY else f"I miss him, {len(prompt.messages)}."

    filled(own_home, [SUPPORT], [], [held(ScriptedEngine(reply))])
    code, out, _ = engage("fork", BASE)
    assert code == 0 and "from 6 stored requests" in " ".join(out.split())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"reward": 0.123}, "the reward was 0.123, is "),
        ({"end_reason": "farewell"}, "the end was farewell, is max_exchanges"),
        ({"exchanges": 1}, "the number of exchanges was 1, is 2"),
        ({"reaction": Reaction("expected", "1", 2.5, (1.0, 0.0, 0.0, 0.0, 0.0))}, "the survey's value was 2.5, is 1.0"),
    ],
)
def test_a_replay_names_what_differs(engage, own_home, change, sentence):
    record = held(rewarding(GOOD))
    trajectory = dataclasses.replace(record.trajectory, **change)
    filled(own_home, [SUPPORT], [], [dataclasses.replace(record, trajectory=trajectory)])
    code, out, _ = engage("fork", BASE)
    assert code == 1 and "differs from what is stored" in out and sentence in out


def test_a_replay_names_requests_that_are_not_stored(engage, own_home):
    record = held(rewarding(GOOD))
    filled(own_home, [SUPPORT], [], [dataclasses.replace(record, calls=record.calls[:-1])])
    code, out, _ = engage("fork", BASE)
    assert code == 1 and "s1/fresh/survey/0 asks the simulator to score 1 times, and is stored 0 times" in out


@pytest.mark.slow
def test_another_word_changes_the_value(engage, store):
    """The assistant never says GOOD by itself here: every continuation with it ends at reward 1, every other one at 0."""
    silent = rewarding("never said")
    model = ScriptedEngine(
        lambda prompt, seed: "Go on." if prompt.side is Side.POLICY else f"Well, {seed % 97}.", rewarding(GOOD)._choose
    )
    record = held(silent, seed=6)
    filled(store.path.parent, [SUPPORT], [], [record])
    name = BASE[:-1] + "6"
    with played_by(model):
        code, out, err = engage("fork", name, "--turn", "1", "--text", GOOD, "-n", "3")
    assert (code, err) == (0, "")
    shown = " ".join(out.split())
    assert "as it was 0.000" in shown and f"instead 1.000 {GOOD}" in shown
    assert "Mean reward of the 3 new continuations without your text, and of the 3 with it (the stored" in shown
    assert "Change of the reward: +1.000, from 3 pairs with the same seeds (all changed alike" in shown
    (row,) = store.rows("forks", {"dialogue": name})
    assert (row["pairs"], row["reward_unedited"], row["reward_edited"], row["change"]) == (3, 0.0, 1.0, 1.0)
    forks = ask(Home.from_env(), "select trajectory_id, edited, seed from fork_outcome where forked_id = $id", id=name)
    assert len(forks) == 6 and len({seed for _, _, seed in forks}) == 3
    for fork_id, edited, _ in forks:
        first = said(name)[1][2]
        assert [text for _, _, text in said(fork_id)][:2] == ["My dog died.", GOOD if edited else first]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ([0.25], "+0.250, from 1 pair with the same seeds. Fewer than three give no interval, so this does not tell"),
        # mean 0.2, sd 0.1, t(0.975, 2) = 4.3027: 0.2 ± 4.3027·0.1/√3 = 0.2 ± 0.2484
        (
            [0.1, 0.2, 0.3],
            "+0.200 (95 % interval -0.048 to +0.448), from 3 pairs with the same seeds. The interval includes 0, so this does not",
        ),
        # 0.6 ± 0.2484
        (
            [0.5, 0.6, 0.7],
            "(95 % interval +0.352 to +0.848), from 3 pairs with the same seeds. It is about this one dialogue",
        ),
    ],
)
def test_the_change_is_told_with_what_it_rests_on(changes, words):
    assert words in change_in_words(changes, 0)


@pytest.mark.slow
@pytest.mark.parametrize("times", [2, 5])
def test_what_was_said_in_the_continuations_is_shown_and_can_be_read(engage, store, times):
    with played_by(rewarding(GOOD)):
        out = engage("fork", BASE, "--turn", "2", "--text", "He was old.", "-n", str(times))[1]
    commands = [line.partition("engage ")[2] for line in out.splitlines() if "engage show --live" in line]
    assert len(commands) == 2 * min(times, 4)
    for place, name in enumerate(("as it was", "instead")):
        shown = out.partition(f"How it went on the first time, {name}:")[2].partition("\n\n")[0]
        fork_id = shlex.split(commands[place])[-1]
        turns = [" ".join(line.split()) for line in shown.strip().splitlines()]
        roles = {"assistant": "supporter", "user": "seeker"}
        assert turns[:-1] == [f"{roles[role]} {text}" for number, role, text in said(fork_id) if number > 2]
        assert len(turns) == 3 and turns[-1].startswith("exit survey") and "reward" in turns[-1]
    code, read, _ = engage(*shlex.split(commands[1]))
    assert code == 0 and "He was old." in read
    if times > 4:
        code, rows, _ = engage(*shlex.split(out.partition("All 5: engage ")[2].splitlines()[0]), "--format", "csv")
        assert code == 0 and len(rows.splitlines()) == 1 + 10


@pytest.mark.slow
def test_forks_are_kept_apart_and_are_not_held_twice(engage, store):
    model = rewarding(GOOD)
    views = ("search_outcome", "evaluation_outcome", "human_outcome", "sampled_turn", "reply_value")
    count = {view: f"select count(*) from {view}" for view in views}
    before = {view: ask(Home.from_env(), sql) for view, sql in count.items()}
    with played_by(model):
        engage("fork", BASE, "--turn", "2", "--text", "He was old.", "-n", "2")
        kept = ask(Home.from_env(), "select trajectory_id, stored_at from trajectory where purpose = 'fork' order by 1")
        engage("fork", BASE, "--turn", "2", "--text", "He was old.", "-n", "3")
    after = ask(Home.from_env(), "select trajectory_id, stored_at from trajectory where purpose = 'fork' order by 1")
    assert (len(kept), len(after)) == (4, 6) and set(kept) < set(after)
    assert {view: ask(Home.from_env(), sql) for view, sql in count.items()} == before
    with played_by(Silent()):
        for name, _ in after:
            assert engage("fork", name)[0] == 0
    assert f"{BASE}, forked and continued by base" in " ".join(engage("show", after[0][0])[1].split())


@pytest.mark.slow
def test_a_user_turn_that_is_a_crisis_has_no_reward_and_so_no_change(engage, store):
    with played_by(rewarding(GOOD)):
        out = engage("fork", BASE, "--turn", "2", "--text", "I want to kill myself.", "-n", "2")[1]
    assert "No change can be given: no pair has two rewards; 2 left out" in " ".join(out.split())


@pytest.mark.slow
def test_continuations_that_fail_are_named_and_the_others_stay(engage, store):
    left = iter([True] * 4)

    def reply(prompt, seed):
        if prompt.side is Side.POLICY and not next(left, False):
            raise EngineError("the model is out of order", prompt.key)
        return f"Well, {seed % 97} and more."

    with played_by(ScriptedEngine(reply)):
        code, out, err = engage("fork", BASE, "--turn", "1", "--text", "Say more.", "-n", "4")
    assert err == ""
    assert code == 0 and "4 continuations failed; the same command tries them again" in " ".join(out.split())
    assert ask(Home.from_env(), "select count(*) from fork_outcome") == [(4,)]
    with played_by(rewarding(GOOD)):
        engage("fork", BASE, "--turn", "1", "--text", "Say more.", "-n", "4")
    assert ask(Home.from_env(), "select count(*) from fork_outcome") == [(8,)]


@pytest.mark.slow
def test_ctrl_c_loses_no_continuation_and_the_same_command_goes_on(engage, store):
    words, left = ["fork", BASE, "--turn", "1", "--text", "Say more.", "-n", "4"], iter([True] * 4)

    def reply(prompt, seed):
        if prompt.side is Side.POLICY and not next(left, False):
            raise KeyboardInterrupt
        return f"Well, {seed % 97} and more."

    with played_by(ScriptedEngine(reply)):
        code, _, err = engage(*words)
    home = f"ENGAGE_HOME={shlex.quote(str(Home.from_env().path))}"
    assert code == 130 and f"go on with: {home} .venv/bin/engage fork c1/evaluation" in err
    kept = ask(Home.from_env(), "select trajectory_id, stored_at from trajectory where purpose = 'fork'")
    with played_by(rewarding(GOOD)):
        assert engage(*words)[0] == 0
    after = ask(Home.from_env(), "select trajectory_id, stored_at from trajectory where purpose = 'fork'")
    assert len(after) == 8 and set(kept) <= set(after)


@pytest.mark.slow
def test_a_fork_goes_on_with_the_simulator_of_its_dialogue(engage, own_home):
    filled(own_home, [SUPPORT], [], [dataclasses.replace(held(rewarding(GOOD)), simulator="held-out bare")])
    adapters = set()

    def reply(prompt, seed):
        adapters.add((prompt.side, prompt.adapter))
        return f"Well, {seed % 97} and more."

    with played_by(ScriptedEngine(reply)):
        code, out, _ = engage("fork", "c1/evaluation", "--turn", "1", "--text", "Say more.", "-n", "1")
    assert code == 0 and "base goes on with the held-out bare simulator" in " ".join(out.split())
    assert adapters == {(Side.POLICY, None), (Side.SIMULATOR, "")}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["c1/s1/0", "c1/evaluation/base/search/s1/3"])
def test_a_fork_goes_on_with_the_user_that_its_dialogue_drew(engage, own_home, name):
    # of `bare` and `embedded`, scenario s1 draws bare under seed 7, which the tree has, and embedded under the dialogue's seed 3
    tree = dataclasses.replace(searched(rewarding(GOOD)), simulator="bare")
    filled(own_home, [SUPPORT], [tree], [held(rewarding(GOOD), seed=3)])
    several = ["engine.simulator_adapter=", 'engine.simulators=["embedded", "bare"]']
    adapters = set()

    def reply(prompt, seed):
        adapters.add((prompt.side, prompt.adapter))
        return f"Well, {seed % 97} and more."

    given = [word for setting in several for word in ("--set", setting)]
    with played_by(ScriptedEngine(reply)):
        code, out, _ = engage("fork", name, "--turn", "1", "--text", "Say more.", "-n", "1", *given)
    drew, folder = ("bare", "") if name.startswith("c1/s1") else ("embedded", adapter_folder("embedded"))
    assert code == 0 and f"base goes on with the {drew} simulator" in " ".join(out.split())
    with_user = " in the search of s1 with the bare simulator, cycle c1" in " ".join(engage("show", name)[1].split())
    assert with_user == (drew == "bare")
    assert adapters == {(Side.POLICY, None), (Side.SIMULATOR, folder)}


PEOPLE = dataclasses.replace(hand_dialogue(SUPPORT, 0.5), purpose="human", policy="human", simulator="human")
OVER = dataclasses.replace(
    hand_dialogue(support_scenario("over"), None, policy="base", simulator="search"),
    trajectory=dataclasses.replace(
        hand_dialogue(support_scenario("over"), None).trajectory,
        dialogue=Dialogue(
            (
                *SUPPORT.opening.turns,
                Turn(Role.ASSISTANT, "Hm."),
                Turn(Role.USER, "I want to kill myself."),
                Turn(Role.ASSISTANT, "Call."),
            )
        ),
        end_reason="crisis",
    ),
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([BASE, "--turn", "1"], "--turn and --text: give both to replace a turn, or neither"),
        ([BASE, "--turn", "5", "--text", "x"], "--turn 5: turns 0 to 4 of this dialogue can be replaced"),
        ([BASE, "--turn", "1", "--text", " "], "--text: says nothing"),
        ([BASE, "--turn", "1", "--text", "a\x1bb"], r"--text: holds the control character \x1b"),
        ([BASE, "--turn", "0", "--text", "My dog died."], "--text: is what is said at turn 0 already"),
        (["nope"], "no dialogue's id begins with 'nope'"),
        (["c1/human/"], "a person spoke in it, so no model can be replayed; fork it with --turn and --text"),
        (["c1/evaluation/base/search/over", "--turn", "3", "--text", "x"], "the dialogue was over before it (crisis)"),
        (["c1/evaluation/gone-12345678", "--turn", "1", "--text", "x"], "the weights of its assistant 'gone-12345678'"),
        (
            ["c1/evaluation/base/other", "--turn", "1", "--text", "x"],
            "its simulator 'other' is not one of these settings",
        ),
    ],
)
def test_a_mistake_is_one_sentence(engage, store, words, sentence):
    others = [
        PEOPLE,
        OVER,
        hand_dialogue(SUPPORT, 0.5, policy="gone-12345678", simulator="search"),
        hand_dialogue(SUPPORT, 0.5, policy="base", simulator="other"),
    ]
    filled(store.path.parent, [support_scenario("over")], [], others)
    code, out, err = engage("fork", *words)
    assert (code, out) == (2, "") and sentence in err and len(err.splitlines()) == 1


@pytest.mark.slow
def test_a_dialogue_between_people_is_forked_and_continued_by_the_base_model(engage, own_home):
    filled(own_home, [SUPPORT], [], [PEOPLE])
    with played_by(rewarding(GOOD)):
        code, out, _ = engage("fork", "c1/human/", "--turn", "1", "--text", GOOD, "-n", "2")
    assert code == 0 and "base goes on with the search simulator" in " ".join(out.split())


@pytest.mark.slow
def test_a_long_dialogue_between_people_may_stay_long_and_its_fork_is_replayed(engage, own_home):
    said = [*SUPPORT.opening.turns]
    for number in range(4):  # two exchanges are what the settings allow
        said += [Turn(Role.ASSISTANT, f"Reply {number}."), Turn(Role.USER, f"Answer {number}.")]
    trajectory = dataclasses.replace(PEOPLE.trajectory, dialogue=Dialogue(tuple(said)), exchanges=4)
    filled(own_home, [SUPPORT], [], [dataclasses.replace(PEOPLE, trajectory=trajectory)])
    with played_by(ScriptedEngine(lambda prompt, seed: f"Well, {seed % 97} and {len(prompt.messages)} more.")):
        engage("fork", "c1/human/", "--turn", "6", "--text", "Other.", "-n", "1")
    forks = ask(Home.from_env(), "select trajectory_id, exchanges, end_reason from fork_outcome")
    assert [row[1:] for row in forks] == [(4, "max_exchanges")] * 2  # turn 6 ends the third exchange
    assert [engage("fork", name)[0] for name, _, _ in forks] == [0, 0]


@pytest.mark.slow
def test_a_mean_over_edited_and_unedited_continuations_is_noticed(engage, store):
    with played_by(rewarding(GOOD)):
        engage("fork", BASE, "--turn", "1", "--text", "Say more.", "-n", "1")
    assert "fork_outcome holds more than one edited" in engage("sql", "select avg(reward) from fork_outcome")[2]


def test_before_the_first_cycle_there_is_nothing_to_fork(engage, own_home):
    code, _, err = engage("fork", "c1/s1/0")
    assert code != 0 and len(err.splitlines()) == 1


@pytest.mark.slow
def test_what_a_fork_says_to_run_next_shows_it_before_the_copy_for_readers_is_renewed(engage, store):
    Home.from_env().snapshot.write_bytes(store.path.read_bytes())
    with played_by(rewarding(GOOD)):
        _, out, _ = engage("fork", BASE, "--turn", "2", "--text", "He was old.", "-n", "1")
    words = shlex.split(out.partition("All forks of it: engage ")[2])
    code, shown, _ = engage(*words, "--format", "csv")
    assert code == 0 and f"{BASE},2,base,search,He was old.,1" in shown
