"""NaN and infinity from an engine, a domain, a file or an outbox are unreadable, counted, and used in no decision."""

import asyncio
import dataclasses
import json
import logging
import math

import duckdb
import pytest
from own_domain import StudyAdvice
from scripted_scenarios import SUPPORT, searched
from small_stores import filled, hand_dialogue, hand_tree, support_scenario

from engage.corpora.own import read_own
from engage.domains import base as domains
from engage.domains import load_domain, reward_of
from engage.engines.base import Message, Prompt, Sampling, Side
from engage.engines.recording import RecordingEngine
from engage.engines.scripted import ScriptedEngine
from engage.errors import ConfigError, CorpusError, EngineError, ScenarioError
from engage.scenario import parse_scenario, read_scenarios
from engage.search import SearchConfig
from engage.simulation.reaction import read_expected
from engage.stats import is_finite, odd_number, paired_comparison
from engage.store import PairConfig
from engage.survey import Survey
from engage.training import read_pairs

NAN, INF = math.nan, math.inf
SURVEY = load_domain("emotional_support").survey
ASKED = Prompt("k", Side.POLICY, (Message("user", "Hi."),))
ODD = (NAN, INF, -INF, 2.0, -0.1, "0.5", None, True, [1])


@pytest.mark.parametrize(
    ("value", "finite"),
    [(0.5, True), (3, True), (NAN, False), (INF, False), ("1", False), (None, False), (True, False), (10**400, False)],
)
def test_what_can_be_reckoned_with(value, finite):
    assert is_finite(value) is finite


@pytest.mark.parametrize("logprobs", [(NAN, -1, -1, -1, -1), (INF, -1, -1, -1, -1), (-INF,) * 5, (NAN,) * 5, ()])
def test_a_survey_without_a_distribution_cannot_be_read(logprobs):
    assert read_expected(SURVEY, logprobs).value is None


def test_a_choice_that_is_ruled_out_is_no_such_case():
    assert read_expected(SURVEY, (0.0, -INF, -INF, -INF, 0.0)).value == pytest.approx(3.0)  # (1 + 5) / 2


class Odd(StudyAdvice):
    """A domain with a given reward for values between the choices."""

    name = "odd_reward"

    def __init__(self, between):
        self.between = between

    def reward(self, value):
        if value.is_integer():
            return value / 4.0
        if isinstance(self.between, Exception):
            raise self.between
        return self.between


@pytest.mark.parametrize("between", [*ODD, ZeroDivisionError("no")], ids=repr)
def test_a_reward_that_is_none_is_unreadable_and_said_once(between, caplog):
    domains._warned.clear()
    with caplog.at_level(logging.WARNING):
        assert [reward_of(Odd(between), value) for value in (2.5, 1.5, 2.0)] == [None, None, 0.5]
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("domain 'odd_reward': the reward of 2.5 ") and "unreadable" in line


@pytest.mark.parametrize("value", [None, NAN, INF])
def test_a_value_that_is_none_has_no_reward(value):
    assert reward_of(StudyAdvice(), value) is None


@pytest.mark.parametrize("given", ["0.5", NAN, None])
def test_a_domain_whose_choices_have_no_reward_is_refused(given, monkeypatch):
    class Bad(StudyAdvice):
        def reward(self, value):
            return given

    monkeypatch.setattr("own_domain.STUDY_ADVICE", Bad())
    with pytest.raises(ConfigError, match=r"the reward of 0 is .*, not in 0..1"):
        load_domain("own_domain:STUDY_ADVICE")


@pytest.mark.parametrize("value", [NAN, INF, "1"])
def test_a_survey_whose_choices_are_no_numbers_is_refused(value, monkeypatch):
    class Bad(StudyAdvice):
        survey = Survey("How?", {"0": 0.0, "1": value}, (), {"": 1.0})

    monkeypatch.setattr("own_domain.STUDY_ADVICE", Bad())
    with pytest.raises(ConfigError, match="the survey's choice '1' has the value"):
        load_domain("own_domain:STUDY_ADVICE")


def test_an_answer_of_many_dots_is_no_number():
    survey = Survey("How?", {"0": 0.0, "4": 4.0}, (r"(?P<value>[\d.]+)",), {"": 1.0})
    from engage.simulation.reaction import read_pattern

    assert [read_pattern(survey, text).value for text in ("1.2.3", ".", "9" * 400, "3.5")] == [None, None, None, 3.5]


class OddEngine(ScriptedEngine):
    """An engine with given figures; a third of the surveys are unreadable."""

    def __init__(self, **odd):
        super().__init__()
        self.odd = odd

    async def complete(self, prompt, sampling, seeds):
        return [dataclasses.replace(one, **self.odd) for one in await super().complete(prompt, sampling, seeds)]

    async def score(self, prompt, choices):
        found = await super().score(prompt, choices)
        bad = len(prompt.messages[-1].content + prompt.key) % 3 == 0
        return dataclasses.replace(found, logprobs=(NAN, *found.logprobs[1:])) if bad else found


@pytest.mark.slow
@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_a_search_of_odd_figures_stores_none_of_them(value, tmp_path):
    engine = OddEngine(mean_logprob=value, prompt_tokens=value, completion_tokens=-3)
    tree = searched(engine, SearchConfig(num_simulations=16, round_size=4))
    assert "NaN" not in json.dumps(dataclasses.asdict(tree)) and "Infinity" not in json.dumps(dataclasses.asdict(tree))
    unread = [one for one in tree.simulations if one.trajectory.reward is None]
    assert unread and len(unread) < len(tree.simulations)
    store = filled(tmp_path, [SUPPORT], [tree])
    (row,) = store.rows("reward_by_domain", {"cycle": "c1"})
    assert (row["unreadable"], row["reward_mean"] is not None) == (len(unread), True)
    assert {row["prompt_tokens"] for row in store.rows("cycle_cost", {"cycle": "c1"}) if row["kind"] == "complete"} == {
        None
    }


def test_an_engine_that_gives_too_little_fails_by_the_request():
    class Short(ScriptedEngine):
        async def complete(self, prompt, sampling, seeds):
            return (await super().complete(prompt, sampling, seeds))[1:]

        async def score(self, prompt, choices):
            return dataclasses.replace(await super().score(prompt, choices), logprobs=(-1.0,))

    engine = RecordingEngine(Short())
    with pytest.raises(EngineError, match="1 replies for 2 seeds"):
        asyncio.run(engine.complete(ASKED, Sampling(), (1, 2)))
    with pytest.raises(EngineError, match="1 figures for 5 choices"):
        asyncio.run(engine.score(ASKED, tuple("12345")))


def trees():
    scenarios = [support_scenario(f"s{index}", opening=f"My dog {index} died.") for index in range(6)]
    good = [
        hand_tree(one, {f"Tell me about number {i}, friend.": [[0.9], [0.95]], f"That is how life goes, number {i}.": [[0.1], [0.15]]})
        for i, one in enumerate(scenarios)
    ]  # fmt: skip
    return scenarios, good


def with_odd_reward(tree, reward, value=None):
    first = tree.simulations[0]
    trajectory = dataclasses.replace(
        first.trajectory, reward=reward, reaction=dataclasses.replace(first.trajectory.reaction, value=value)
    )
    return dataclasses.replace(
        tree, simulations=(dataclasses.replace(first, trajectory=trajectory), *tree.simulations[1:])
    )


@pytest.mark.slow
@pytest.mark.parametrize("reward", [NAN, INF, -INF, 2.0, -1.0])
def test_an_odd_reward_of_an_outbox_file_spoils_no_pair(reward, tmp_path):
    scenarios, good = trees()
    store = filled(tmp_path, scenarios, [with_odd_reward(good[0], reward, reward), *good[1:]])
    counts = store.score_pairs("c1", PairConfig(min_q_gap=0.05, confidence=0.6))
    # the first reply of the first tree has one user turn left that could be read, and two are needed
    assert (counts["candidates"], counts["accepted"]) == (5, 5)
    assert all(math.isfinite(pair.q_gap) for pair in read_pairs(store, "c1"))
    assert store.select("select count(*) from reaction where reward is null and (value is null or isfinite(value))")[
        1
    ] == [(1,)]
    assert [row["id"] for row in store.rows("unreadable_reactions", {"cycle": "c1"})] == ["c1/s0/0"]


@pytest.mark.slow
def test_an_odd_reward_in_an_older_store_reaches_no_view(tmp_path):
    scenarios, good = trees()
    store = filled(tmp_path, scenarios, good)
    with duckdb.connect(str(store.path)) as connection:
        connection.execute("update reaction set reward = 'NaN', value = 'inf' where trajectory_id = 'c1/s0/0'")
    counts = store.score_pairs("c1", PairConfig(min_q_gap=0.05, confidence=0.6))
    assert (counts["candidates"], counts["accepted"]) == (5, 5)
    for sql in (
        "select count(*) from node_value where not isfinite(coalesce(q_value, 0)) or not isfinite(reward_sum)",
        "select count(*) from outcome where not isfinite(coalesce(reward, 0)) or not isfinite(coalesce(value, 0))",
        "select count(*) from pair where not isfinite(q_gap) or not isfinite(p_greater)",
    ):
        assert store.select(sql)[1] == [(0,)]


@pytest.mark.slow
def test_a_file_whose_seconds_are_none_is_set_aside_and_the_others_are_stored(tmp_path):
    scenarios, good = trees()
    store = filled(tmp_path, scenarios, [dataclasses.replace(good[0], wall_s=NAN), *good[1:]])
    assert store.select("select count(*) from tree")[1] == [(5,)]
    assert len(list((tmp_path / "outbox").glob("*.damaged"))) == 1


def test_a_comparison_leaves_out_what_is_no_reward():
    base, candidate = {"a": [0.2, 0.4], "b": [NAN], "c": [0.1]}, {"a": [0.4, INF], "b": [0.5], "c": [0.3]}
    found = paired_comparison(base, candidate)
    assert (found.n, found.n_unreadable, found.difference) == (2, 2, pytest.approx(0.2))  # (0.4 − 0.2 + 0.3 − 0.1) / 2


def test_rescoring_refuses_what_is_no_reward(tmp_path):
    scenario = support_scenario("s1")
    store = filled(tmp_path, [scenario], dialogues=[hand_dialogue(scenario, 0.5)])
    for odd in (NAN, "0.5", 2.0):
        with pytest.raises(ConfigError, match=r"the reward of 3 is .*, not in 0..1"):
            store.rescore("emotional_support", lambda _, odd=odd: odd)


RECORD = {
    "id": "s1",
    "domain": "emotional_support",
    "user_condition": {
        "person": "a baker", "emotion": "sadness", "problem": "loss", "situation": "My dog died.", "initial_intensity": 4,
    },
    "opening": [{"role": "user", "text": "My dog died."}],
}  # fmt: skip


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_scenario_file_with_a_number_that_is_none_is_refused_with_line_and_field(literal, tmp_path):
    path = tmp_path / "s.jsonl"
    line = json.dumps(RECORD)
    path.write_text(
        line + "\n" + line.replace('"s1"', '"s2"').replace('intensity": 4', f'intensity": {literal}') + "\n"
    )
    (problem,) = read_scenarios(path).problems
    shown = {"NaN": "nan", "-Infinity": "-inf"}.get(literal, "inf")
    assert problem == f"{path}:2: user_condition.initial_intensity is {shown}, not a finite number"


def test_a_field_of_an_own_domain_is_no_exception():
    record = {**RECORD, "domain": "own_domain:STUDY_ADVICE", "user_condition": {"days_left": NAN}}
    with pytest.raises(ScenarioError, match=r"user_condition\.days_left is nan, not a finite number"):
        parse_scenario(record)


@pytest.mark.parametrize("literal", ["NaN", "1e999"])
def test_a_corpus_with_a_number_that_is_none_is_refused_with_line_and_field(literal, tmp_path):
    path = tmp_path / "c.jsonl"
    turns = [*RECORD["opening"], {"role": "assistant", "text": "Tell me."}, {"role": "user", "text": "He was old."}]
    record = {
        "id": "c1",
        "domain": RECORD["domain"],
        "user_condition": RECORD["user_condition"],
        "turns": turns,
        "value": 3,
    }
    path.write_text(json.dumps(record).replace('"value": 3', f'"value": {literal}'))
    with pytest.raises(
        CorpusError, match=rf"c\.jsonl:1: value is {literal.lower().replace('1e999', 'inf')}, not a finite"
    ):
        read_own(path)


def test_the_place_of_an_odd_number():
    assert odd_number({"a": [1, {"b": 2.0}], "c": "NaN"}) is None
    assert odd_number({"a": [1, {"b": NAN}], "c": INF}) == "a[1].b is nan"
    assert odd_number(INF) == "the value is inf"
