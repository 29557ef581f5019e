"""Pairs of several nights train together: whose pairs count, each once, and marked with the policy that they were searched under."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
from small_stores import filled, hand_judgement, hand_tree, judge, support_scenario

from engage.errors import ConfigError
from engage.evaluation import Aligned, Collected
from engage.evaluation.summary import _align_lines, _cost_lines, stage_lines
from engage.store import PairConfig, TrajectoryStore
from engage.training import PairSet, load_pairs, pair_set_hash, read_pairs, read_search_pairs, save_pair_set, set_aside
from engage.training.human_pairs import HumanPairs
from flows.cli.profiles import load_config

ONE, TWO, THREE = (support_scenario(name, opening=f"My dog died ({name}).") for name in ("s1", "s2", "s3"))
HELD_OUT = support_scenario("v1", "validation")
GOOD, BAD = [[1.0], [0.875], [1.0]], [[0.0], [0.125], [0.0]]
GROUND = {"prompts": {"emotional_support": "a"}, "models": {"m": "1"}, "dialogue": {"max_exchanges": 2}}
LAST = PairConfig(cycles="last 9")


def home(folder: Path, cycles: dict[str, tuple[dict[str, Any], dict[str, Any]]]) -> TrajectoryStore:
    """A store whose cycles, in order, have this identity and these trees: scenario id to replies; all are scored."""
    known = {one.scenario_id: one for one in (ONE, TWO, THREE, HELD_OUT)}
    trees = [
        hand_tree(known[name], replies, cycle) for cycle, (_, of) in cycles.items() for name, replies in of.items()
    ]
    store = filled(folder, list(known.values()), trees, cycle_ids=tuple(cycles))
    with duckdb.connect(str(store.path)) as connection:
        for cycle, (identity, _) in cycles.items():
            connection.execute("update cycle set config = ? where cycle_id = ?", [json.dumps(identity), cycle])
    for cycle in cycles:
        store.score_pairs(cycle, PairConfig())
    return store


def replies(good: str = "Good?", bad: str = "Bad?") -> dict[str, Any]:
    return {good: GOOD, bad: BAD}


def found(store: TrajectoryStore, config: PairConfig = LAST, **given: Any) -> list[tuple[str, str, str | None]]:
    pairs = read_search_pairs(store, "tonight", config, **given)
    return [(pair.scenario_id, pair.chosen, pair.earlier_cycle) for pair in [*pairs.own, *pairs.earlier]]


@pytest.mark.slow
def test_by_default_only_tonights_pairs_count(tmp_path: Path) -> None:
    store = home(tmp_path, {"c1": (GROUND, {"s1": replies()}), "tonight": (GROUND, {"s2": replies()})})
    assert found(store, PairConfig()) == found(store, PairConfig(cycles="last 1")) == [("s2", "Good?", None)]
    assert read_search_pairs(store, "tonight", PairConfig()).own == read_pairs(store, "tonight")


@pytest.mark.slow
def test_the_last_cycles_count_marked_with_their_policy_and_no_later_one(tmp_path: Path) -> None:
    cycles = {
        "c1": (GROUND, {"s1": replies("Oldest?")}),
        "c2": (GROUND | {"champion_version": None}, {"s1": replies("Older?")}),
        "c3": (GROUND | {"champion_version": "4"}, {"s2": replies("Old?")}),
        "tonight": (GROUND | {"champion_version": "5"}, {"s3": replies()}),
        "c5": (GROUND, {"s1": replies("New?")}),
    }
    store = home(tmp_path, cycles)
    assert found(store, PairConfig(cycles="last 3")) == [
        ("s3", "Good?", None),
        ("s2", "Old?", "c3"),
        ("s1", "Older?", "c2"),
    ]
    names = [pair.source_name for pair in read_search_pairs(store, "tonight", PairConfig(cycles="last 3")).earlier]
    assert names == [
        "search:c3 (values under policy version 4)",
        "search:c2 (values under the policy before the first champion)",
    ]


@pytest.mark.slow
def test_two_replies_to_one_prompt_count_once_as_the_latest_night_has_them(tmp_path: Path) -> None:
    # c1 and c2 found the same pair, c3 preferred the other reply of tonight's; case and blanks do not matter
    cycles = {
        "c1": (GROUND, {"s1": replies("Good?", "Bad?")}),
        "c2": (GROUND, {"s1": replies(" good?", "Bad?")}),
        "c3": (GROUND, {"s2": replies("Bad?", "Good?")}),
        "tonight": (GROUND, {"s2": replies("Good?", "Bad?")}),
    }
    assert found(home(tmp_path, cycles)) == [("s2", "Good?", None), ("s1", " good?", "c2")]


@pytest.mark.parametrize("changed", [{"prompts": {"emotional_support": "b"}}, {"models": {"m": "2"}}])
def test_a_cycle_of_another_domain_or_model_is_left_out_and_named(tmp_path: Path, changed: dict[str, Any]) -> None:
    cycles = {"c1": (GROUND | changed, {"s1": replies()}), "tonight": (GROUND, {"s2": replies()})}
    store = home(tmp_path, cycles)
    assert found(store) == [("s2", "Good?", None)]
    reason = "emotional_support: prompts, models or dialogue settings differ"
    assert read_search_pairs(store, "tonight", LAST).left == {"c1": reason}


@pytest.mark.slow
@pytest.mark.parametrize("older", [False, True])
def test_pairs_that_were_judged_under_another_reward_are_left_out_until_they_are_judged_anew(
    tmp_path: Path, older: bool
) -> None:
    store = home(tmp_path, {"c1": (GROUND, {"s1": replies()}), "tonight": (GROUND, {"s2": replies()})})
    if older:  # as the migration marks what an older engage scored
        with duckdb.connect(str(store.path)) as connection:
            connection.execute("update earlier_spread set degrees = 0, boundary = 0 where cycle_id = 'c1'")
    store.rescore("emotional_support", lambda value: (value - 1) / 4)  # the worst is now the best
    store.score_pairs("tonight", PairConfig())
    assert found(store) == [("s2", "Bad?", None)]
    left = read_search_pairs(store, "tonight", LAST).left
    assert left == {"c1": "emotional_support: judged under another reward; `engage align --cycle c1` judges them anew"}
    store.score_pairs("c1", PairConfig())
    assert found(store) == [("s2", "Bad?", None), ("s1", "Bad?", "c1")]


@pytest.mark.slow
def test_a_cycle_whose_users_another_of_the_same_adapters_played_is_left_out(tmp_path: Path) -> None:
    store = home(tmp_path, {"c1": (GROUND, {"s1": replies()}), "tonight": (GROUND, {"s2": replies()})})
    engine = {
        "policy_model": "m",
        "policy_adapter": "embedded",
        "simulator_model": "m",
        "simulator_adapter": "embedded",
    }
    with duckdb.connect(str(store.path)) as connection:
        for cycle, user in (("c1", "bare"), ("tonight", "embedded")):  # the fingerprints of both are the same
            settings = json.dumps({"engine": engine | {"simulator_adapter": user}})
            connection.execute("update cycle set settings = ? where cycle_id = ?", [settings, cycle])
        connection.execute("delete from earlier_spread where cycle_id = 'tonight'")
    store.score_pairs("tonight", PairConfig())
    assert found(store) == [("s2", "Good?", None)]
    assert "models" in read_search_pairs(store, "tonight", LAST).left["c1"]
    assert store.select("select cycles from earlier_spread where cycle_id = 'tonight'")[1] == [([],)]


def test_a_cycle_that_still_collects_is_left_out_and_named(tmp_path: Path) -> None:
    store = home(tmp_path, {"c1": (GROUND, {"s1": replies()}), "tonight": (GROUND, {"s2": replies()})})
    assert found(store, collecting={"c1"}) == [("s2", "Good?", None)]
    assert read_search_pairs(store, "tonight", LAST, {"c1"}).left == {"c1": "not finished collecting"}


@pytest.mark.slow
def test_earlier_pairs_pass_tonights_thresholds_and_what_people_said_since(tmp_path: Path) -> None:
    store = home(tmp_path, {"c1": (GROUND, {"s1": replies(), "s3": replies()}), "tonight": (GROUND, {"s2": replies()})})
    assert len(found(store)) == 3
    judge(store, hand_judgement("harmful", scenario="s1", cycle_id="c1", left="1", right="5"))
    assert found(store) == [("s2", "Good?", None), ("s3", "Good?", "c1")]
    assert found(store, PairConfig(cycles="last 9", min_q_gap=1.0)) == [
        ("s2", "Good?", None)
    ]  # tonight's were scored before


@pytest.mark.slow
def test_what_people_call_harmful_tonight_is_not_taken_from_an_earlier_night(tmp_path: Path) -> None:
    nights = {"c1": (GROUND, {"s1": replies()}), "tonight": (GROUND, {"s1": replies("Bad?", "Good?"), "s2": replies()})}
    store = home(tmp_path, nights)
    judge(store, hand_judgement("harmful", scenario="s1", cycle_id="tonight", left="1", right="5"))
    for _ in range(2):  # before the pairs are judged again, and after
        assert found(store) == [("s2", "Good?", None)]
        store.score_pairs("tonight", PairConfig())


@pytest.mark.slow
def test_what_is_held_out_stays_held_out(tmp_path: Path) -> None:
    cycles = {
        "c1": (GROUND, {"v1": replies(), "s1": replies("Old?"), "s2": replies("Old?")}),
        "tonight": (GROUND, {"s1": replies(), "s2": replies(), "s3": replies()}),
    }
    pairs = read_search_pairs(home(tmp_path, cycles), "tonight", LAST)
    both = [*pairs.own, *pairs.earlier]
    assert "v1" not in {pair.scenario_id for pair in both}
    more = [replace(both[0], scenario_id=f"x{number}") for number in range(40)]  # set_aside needs some scenarios
    sides = set_aside([*both, *more], 0.5)
    kept, aside = ({(pair.scenario_id, pair.earlier_cycle) for pair in side} for side in sides)
    for name in ("s1", "s2"):  # tonight's pair and the earlier one of a scenario are on one side
        assert len({(name, None), (name, "c1")} & kept) in (0, 2)
        assert len({(name, None), (name, "c1")} & aside) in (0, 2)
    assert aside and kept


@pytest.mark.slow
def test_the_file_the_card_and_the_summary_say_whose_pairs_they_are(tmp_path: Path) -> None:
    cycles = {
        "c1": (GROUND | {"models": {"m": "2"}}, {"s1": replies("Other?")}),
        "c2": (GROUND | {"champion_version": "4"}, {"s1": replies("Old?"), "s2": replies("Old?")}),
        "c3": (GROUND | {"champion_version": "4"}, {"s3": replies("Old?")}),
        "tonight": (GROUND, {"s3": replies()}),
    }
    store = home(tmp_path, cycles)
    pairs = read_search_pairs(store, "tonight", LAST)
    accepted, counts = [*pairs.own, *pairs.earlier], {"candidates": 3, "accepted": 1}
    saved = save_pair_set(accepted, tmp_path / "pairs.parquet", [ONE], HumanPairs(), counts, pairs)
    assert load_pairs(saved.path) == accepted
    assert dict(saved.earlier) == {"c3": 1, "c2": 2}
    assert saved.metrics()["pairs/earlier"] == 3
    # of the three scenarios only one is among tonight's: the store knows where the others come from
    assert set(saved.licences) == {
        "search",
        *(f"search:{name} (values under policy version 4)" for name in ("c2", "c3")),
    }
    exported = {name: {row["policy"] for row in store.rows("exported_pairs", {"cycle": name})} for name in cycles}
    assert exported == {"c1": {"none"}, "c2": {"4"}, "c3": {"4"}, "tonight": {"none"}}
    lines = stage_lines("tonight", Aligned(saved, None))
    assert (
        "- 4 pairs from searches: 1 of tonight, 3 of 2 earlier nights (c3, c2). The values of earlier pairs are those under the policy of their night."
    ) in lines
    assert "- Left out: c1 (emotional_support: prompts, models or dialogue settings differ)." in lines
    plain = [replace(pair, earlier_cycle=None, earlier_policy=None) for pair in accepted]
    assert pair_set_hash(plain) == pair_set_hash(accepted)


def test_pairs_from_people_are_none_of_tonights_searches(tmp_path: Path) -> None:
    # 2 of tonight's search, 3 earlier ones, 4 from people: the night's $6 bought two pairs
    saved = PairSet(Path(), "", 9, {}, {"candidates": 5, "accepted": 2}, earlier={"c1": 3})
    lines = "\n".join([*_align_lines(Aligned(saved, None)), *_cost_lines(Collected(usd=6.0), Aligned(saved, None))])
    assert "5 pairs from searches: 2 of tonight, 3 of 1 earlier night (c1)." in lines
    assert "The searches cost $6.00, $3.00 for each accepted pair, by the prices in engine.prices." in lines


def test_a_pair_set_of_an_older_engage_is_read_as_tonights(tmp_path: Path) -> None:
    store = home(tmp_path, {"tonight": (GROUND, {"s1": replies()})})
    pairs, path = read_pairs(store, "tonight"), tmp_path / "pairs.parquet"
    save_pair_set(pairs, path, [ONE], HumanPairs())
    pq.write_table(pq.read_table(path).drop_columns(["earlier_cycle", "earlier_policy"]), path)
    assert load_pairs(path) == pairs and asdict(pairs[0])["earlier_cycle"] is None


def test_without_earlier_pairs_the_summary_is_as_before() -> None:
    saved = PairSet(Path(), "", 1, {}, {"candidates": 3, "accepted": 1})
    assert not [line for line in stage_lines("c1", Aligned(saved, None)) if "earlier" in line or "Left" in line]


@pytest.mark.parametrize("value", ["last 0", "last", "7", "all", "last 1000", "LAST 7"])
def test_a_wrong_number_of_cycles_says_what_to_write(value: str) -> None:
    with pytest.raises(ConfigError, match=r'--set: pairs\.cycles: write "this", or "last N" with N from 1 to 999'):
        load_config("laptop", [f'pairs.cycles="{value}"'])
    assert load_config("laptop", ['pairs.cycles="last 7"']).pairs.earlier == 6
    assert load_config("laptop").pairs.earlier == 0
