"""A user's own domain, in one file, works in all parts of the method: search, store, pairs, plain dialogues, checks."""

import asyncio
import importlib
import re
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import own_domain
import pytest
from own_domain import NAME, STUDY_ADVICE, StudyAdvice

from engage.corpora import HumanDialogue
from engage.dialogue import Dialogue, Reaction, Role, Turn
from engage.domains import Domain, allow_modules, load_domain
from engage.engines.base import Side
from engage.engines.scripted import ScriptedEngine
from engage.errors import ConfigError
from engage.evaluation import hacking_rates
from engage.experiments.simulator_card.card import SimulatorFigures
from engage.experiments.simulator_card.page import Heading, card_page
from engage.experiments.simulator_card.survey import calibration
from engage.scenario import load_scenarios
from engage.search import Adapters, DialogueRecord, SearchConfig, hold_dialogues, search_scenarios
from engage.simulation import DialogueConfig, leaks_role
from engage.simulation.reaction import read_pattern
from engage.store import Outbox, PairConfig, TrajectoryStore
from engage.training import read_pairs

SCENARIOS = load_scenarios([str(Path(__file__).parents[1] / "fixtures" / "own_scenarios.jsonl")])
GOOD = "Open the book at page one and read for five minutes."
REPLIES = (GOOD, "That is a lot of work, is it not?", "You will surely pass.")
ANSWERS = ("I only have the evenings.", "It never sticks.", "Where do I even begin?", "Others find this easy.")


def reply(prompt, seed):
    options = REPLIES if prompt.side is Side.POLICY else ANSWERS
    return options[seed % len(options)]


def choose(prompt, choices):
    """The student certainly starts (4) after the good advice, and certainly does not (0) without it."""
    helped = any(message.content == GOOD for message in prompt.messages)
    return [1.0 if choice == ("4" if helped else "0") else 1e-12 for choice in choices]


ENGINE = ScriptedEngine(reply, choose)
DIALOGUE = DialogueConfig(max_exchanges=1)


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A store with a search of every scenario under cycle `c1`."""
    home = tmp_path_factory.mktemp("home")
    store, outbox = TrajectoryStore(home / "engage.duckdb"), Outbox(home / "outbox")
    store.begin_cycle("c1", {})
    store.add_scenarios(SCENARIOS)
    search = SearchConfig(num_simulations=12, round_size=6, reply_factor=6, reply_exponent=0.0, min_visits=3)
    outcome = asyncio.run(
        search_scenarios(
            ENGINE, SCENARIOS, DIALOGUE, search, cycle_id="c1", seed=5, adapters=Adapters(), on_tree=outbox.put_tree
        )
    )
    assert (outcome.done, outcome.failed) == (12, {})
    assert store.drain(outbox) == 12
    return store


def test_twelve_scenarios_fill_every_split():
    assert Counter(s.split for s in SCENARIOS) == {"train": 6, "validation": 3, "test": 3}


@pytest.mark.slow
def test_its_rewards_reach_the_store(searched):
    rewards = searched.select("select distinct round(reward, 6) from reaction order by 1")[1]
    assert rewards == [(0.0,), (1.0,)]  # 0 / 4 and 4 / 4


@pytest.mark.slow
def test_its_pairs_prefer_the_advice_that_helps_and_come_from_train_only(searched):
    counts = searched.score_pairs("c1", PairConfig(min_q_gap=0.1, confidence=0.9, max_pairs_per_prefix=9))
    pairs = read_pairs(searched, "c1")
    assert counts["accepted"] == len(pairs) > 0
    assert counts["not_train"] > 0
    assert {pair.chosen for pair in pairs} == {GOOD}
    train = {s.scenario_id for s in SCENARIOS if s.split == "train"}
    assert {pair.scenario_id for pair in pairs} <= train
    assert {pair.prompt[0]["content"] for pair in pairs} == {STUDY_ADVICE.policy_prompt()}


def test_its_rewards_can_be_mapped_anew(searched):
    def strict(value):
        return float(value >= 3.5) / 2

    assert searched.rescore(NAME, strict) > 0
    assert searched.select("select max(reward) from reaction")[1] == [(0.5,)]
    assert searched.rescore(NAME, STUDY_ADVICE.reward) > 0


@pytest.mark.slow
def test_plain_dialogues_are_held_and_stored(tmp_path):
    store, outbox = TrajectoryStore(tmp_path / "engage.duckdb"), Outbox(tmp_path / "outbox")
    store.begin_cycle("c1", {})
    store.add_scenarios(SCENARIOS)

    def keep(seed, trajectory, calls):
        outbox.put_dialogues([DialogueRecord("c1", "evaluation", "base", "training", seed, trajectory, calls)])

    work = [(scenario, 3) for scenario in SCENARIOS]
    held = hold_dialogues(ENGINE, work, DialogueConfig(max_exchanges=2), adapters=Adapters(), on_dialogue=keep)
    assert asyncio.run(held).done == 12
    assert store.drain(outbox) == 12
    assert store.select("select count(*), min(exchanges), max(exchanges) from trajectory")[1] == [(12, 2, 2)]


def test_its_own_ending_rule_ends_a_dialogue():
    engine = ScriptedEngine(
        lambda prompt, seed: GOOD if prompt.side is Side.POLICY else "Fine, I'm starting now.", choose
    )
    found = []
    held = hold_dialogues(
        engine,
        [(SCENARIOS[0], 3)],
        DialogueConfig(max_exchanges=5),
        adapters=Adapters(),
        on_dialogue=lambda seed, trajectory, calls: found.append(trajectory),
    )
    asyncio.run(held)
    assert [(t.end_reason, t.exchanges, t.reward) for t in found] == [("started", 1, pytest.approx(1.0))]


@pytest.mark.parametrize(("text", "value"), [("I'd say 3.", 3.0), ("maybe 2 of them", 2.0), ("7", None), ("no", None)])
def test_its_survey_is_read_by_its_own_patterns(text, value):
    assert read_pattern(STUDY_ADVICE.survey, text).value == value


def test_the_simulator_card_ranks_and_names_its_own_outcome():
    ends, answers = (0.0, 4.0, 3.0), (1.0, 2.0, 2.5)
    humans = [
        HumanDialogue(scenario, Dialogue(()), end, "by hand") for scenario, end in zip(SCENARIOS, ends, strict=False)
    ]
    readings = {human.scenario_id: Reaction("expected", "", a) for human, a in zip(humans, answers, strict=True)}
    found = calibration(humans, readings)
    # the two who would start, 4 and 3, were given 2.0 and 2.5; the one who would not was given 1.0
    assert found["auc_would_start"].value == 1.0 and "stated" not in found
    figures = {f"survey_{name}": one for name, one in found.items()}
    page = card_page(Heading({}), [SimulatorFigures("bare", NAME, 3, figures)])
    assert "Exit survey (likelihood of starting, 0 to 4)" in page
    assert "| AUC: would start tonight | | 1.00" in page and "amount stated" not in page


def test_the_named_queries_show_it(searched):
    columns, rows = searched.named("engagement_by_scenario")
    found = [dict(zip(columns, row, strict=True)) for row in rows]
    assert {row["domain"] for row in found} == {NAME} and len(found) == 12
    assert all(row["relief"] is row["released"] is row["donation_usd"] is None for row in found)


def test_its_speakers_labels_are_known_to_the_leak_rule():
    assert leaks_role(STUDY_ADVICE, "Open the book.\nStudent: I did.")
    assert not leaks_role(STUDY_ADVICE, "A good student: that is what you are.")


def test_its_lexicon_exposes_promises():
    # one of two replies
    said = {"d1": [Turn(Role.ASSISTANT, "You will surely pass."), Turn(Role.ASSISTANT, "Which chapter is first?")]}
    assert hacking_rates(STUDY_ADVICE, said) == {"promise": 0.5, "false_identity": 0.0, "invented_fact": 0.0}


def test_its_measures_and_strata_by_hand():
    condition = SCENARIOS[0].user_condition  # nine days left
    assert (STUDY_ADVICE.measures(condition, 3.0), STUDY_ADVICE.measures(condition, 2.5)) == (
        {"would_start": 1.0},
        {"would_start": 0.0},
    )
    assert STUDY_ADVICE.strata(condition) == {"difficulty": "cooperative", "pressed": "no"}


def test_a_goodbye_still_ends_it():
    assert STUDY_ADVICE.end_reason(Dialogue((Turn(Role.USER, "ok bye"),))) == "farewell"


def broken(monkeypatch, base=StudyAdvice, **wrong):
    kind = type("Broken", (base,), wrong)
    monkeypatch.setattr(own_domain, "BROKEN", kind(), raising=False)
    return "own_domain:BROKEN"


def test_a_reward_outside_the_unit_interval_is_refused_when_the_domain_is_loaded(monkeypatch):
    name = broken(monkeypatch, reward=lambda self, value: value)
    with pytest.raises(ConfigError, match=r"own_domain:BROKEN.*the reward of 2 is 2, not in 0\.\.1"):
        load_domain(name)


def test_a_reward_that_fails_is_refused_when_the_domain_is_loaded(monkeypatch):
    name = broken(monkeypatch, reward=lambda self, value: 1 / value)
    with pytest.raises(ConfigError, match="the reward of 0 fails: float division by zero"):
        load_domain(name)


def test_an_attribute_that_is_not_set_is_named_when_the_domain_is_loaded(monkeypatch):
    methods = {name: getattr(StudyAdvice, name) for name in ("policy_prompt", "simulator_prompt", "reward")}
    name = broken(monkeypatch, Domain, **methods, name="study_advice", opens=Role.USER, lexicon={}, user_name="student")
    with pytest.raises(ConfigError, match="own_domain:BROKEN': condition_type, survey, assistant_name is not set"):
        load_domain(name)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"opens": "user"}, "opens is 'user'; write Role.USER or Role.ASSISTANT"),
        ({"name": 5}, "name is 5, not a line of text"),
        ({"assistant_name": " "}, "assistant_name is ' ', not a line of text"),
        ({"survey": 3}, "survey is 3, not an engage.domains.Survey"),
        ({"condition_type": dict}, "condition_type is <class 'dict'>, not a subclass of engage.domains.UserCondition"),
        ({"lexicon": ("a",)}, "lexicon is ('a',), not a mapping"),
        ({"flips": "my notes"}, "flips is 'my notes', not a tuple of regular expressions, such as (r\"...\",)"),
        ({"lexicon": {"promise": "sure"}}, "lexicon['promise'] is 'sure', not a tuple of regular expressions"),
        ({"farewells": ("(",)}, "farewells: '(' is not a regular expression: missing ), unterminated subpattern"),
        ({"crisis": (re.compile("bye"),)}, "crisis: re.compile('bye') is not a text; write the regular expression"),
    ],
)
def test_an_attribute_of_another_kind_is_named_when_the_domain_is_loaded(monkeypatch, wrong, said):
    with pytest.raises(ConfigError) as refused:
        load_domain(broken(monkeypatch, **wrong))
    assert str(refused.value).startswith(f"domain 'own_domain:BROKEN': {said}")


@pytest.mark.parametrize("method", ["policy_prompt", "simulator_prompt", "exit_question"])
def test_a_prompt_that_is_no_text_is_one_sentence(monkeypatch, method):
    domain = load_domain(broken(monkeypatch, **{method: lambda self, *_: 3}))
    with pytest.raises(ConfigError, match=f"own_domain:BROKEN': {method} returns 3, not a text"):
        getattr(domain, method)(*([] if method == "policy_prompt" else [None]))


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("def (:", "SyntaxError"),
        ("raise RuntimeError('no licence')", "RuntimeError: no licence"),
        ("import no_such_library", "No module named 'no_such_library'"),
    ],
)
def test_a_module_that_fails_while_it_is_imported_is_one_sentence(tmp_path, monkeypatch, source, reason):
    (tmp_path / f"failing_{len(source)}.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    allow_modules([f"failing_{len(source)}"])
    with pytest.raises(ConfigError, match=f"cannot be loaded: {reason}"):
        load_domain(f"failing_{len(source)}:X")


def test_threads_that_load_it_at_one_time_all_get_it(tmp_path, monkeypatch):
    begin, own_class = Path(own_domain.__file__).read_text().split("class StudentCondition", 1)
    slowly = f"{begin}import time\n\ntime.sleep(0.3)\n\n\nclass StudentCondition{own_class}"
    (tmp_path / "imported_slowly.py").write_text(slowly)
    monkeypatch.syspath_prepend(tmp_path)
    allow_modules(["imported_slowly"])
    with ThreadPoolExecutor() as pool:
        first = pool.submit(load_domain, "imported_slowly:STUDY_ADVICE")
        while "imported_slowly" not in sys.modules:
            time.sleep(0.01)
        later = pool.submit(load_domain, "imported_slowly:STUDY_ADVICE")
    assert later.result() is first.result()


def test_what_collecting_depends_on_is_its_fingerprint(tmp_path, monkeypatch):
    source = (Path(__file__).parents[1] / "own_domain.py").read_text(encoding="utf-8")

    def fingerprint(name: str, old: str = "", new: str = "") -> str:
        assert old in source
        (tmp_path / f"{name}.py").write_text(source.replace(old, new) if old else source, encoding="utf-8")
        allow_modules([name])
        return load_domain(f"{name}:STUDY_ADVICE").fingerprint()

    monkeypatch.syspath_prepend(tmp_path)
    plain = fingerprint("plain")
    assert plain == fingerprint("rewarded", "return value / 4.0", "return value**2 / 16.0")
    assert plain == fingerprint("read", "(?:surely |certainly )?", "(?:surely )?")  # its signs of a promise
    assert plain == fingerprint("remarked", "def policy_prompt", "# asks for one step\n    def policy_prompt")
    assert plain != fingerprint("prompted", "propose one small", "propose a small")
    assert plain != fingerprint("ended", "i'm starting now", "i start now")
    (tmp_path / "heir.py").write_text(
        "from plain import StudyAdvice\n\n\nclass Heir(StudyAdvice):\n    pass\n\n\nHEIR = Heir()\n", encoding="utf-8"
    )
    allow_modules(["heir"])
    inherited = load_domain("heir:HEIR").fingerprint()
    (tmp_path / "heir.py").write_text(
        (tmp_path / "heir.py").read_text(encoding="utf-8").replace("plain", "prompted"), encoding="utf-8"
    )
    monkeypatch.delitem(sys.modules, "heir")
    importlib.invalidate_caches()
    assert load_domain("heir:HEIR").fingerprint() != inherited


def test_a_name_that_no_module_has_is_refused_in_a_short_sentence():
    for name in ("x" * 5000, "pkg." * 1500 + "m:OBJECT"):
        with pytest.raises(ConfigError, match="is not known; use emotional_support") as refused:
            load_domain(name)
        assert len(str(refused.value)) < 200


def test_a_modules_error_of_many_lines_becomes_one_line(tmp_path, monkeypatch):
    (tmp_path / "torn.py").write_text("raise ValueError('first\\nsecond')\n")
    monkeypatch.syspath_prepend(tmp_path)
    allow_modules(["torn"])
    with pytest.raises(ConfigError, match=r"ValueError: first second$"):
        load_domain("torn:OBJECT")
