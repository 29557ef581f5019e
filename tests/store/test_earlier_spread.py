"""How far siblings' values differ: estimated from tonight's siblings and what earlier cycles told, never 0, and right on nights with known values."""

import json

import duckdb
import numpy as np
import pytest
from old_homes import old_store
from small_stores import filled, hand_tree, support_scenario

from engage.domains import load_domain
from engage.store import PairConfig, TrajectoryStore, delete_rows
from engage.store.queries import statement

ROOTS, SIBLINGS, REWARD_SD = 20, 3, 0.112
"""A domain's night of the profile laptop: 10 scenarios of two search roots, three replies each, of two to six sampled user turns."""
OLDER = (0.0, 0.0, 0.0)
"""The prior that gives the estimate of engage before schema 11: no earlier comparisons, and nothing keeps it from 0."""


def simulated(sd, nights, roots=ROOTS, seed=7):
    """Replies of many nights whose true values differ by `sd`: the columns of reply_evidence, and the true value beside them."""
    rng = np.random.default_rng(seed)
    shape = (nights, roots, SIBLINGS)
    groups = rng.integers(2, 7, shape)
    truth = rng.normal(0.4, 0.08, (nights, roots, 1)) + rng.normal(0.0, 1.0, shape) * sd
    means = truth + rng.normal(0.0, 1.0, shape) * REWARD_SD / np.sqrt(groups)
    variances = REWARD_SD**2 * rng.chisquare(groups - 1) / (groups - 1)
    night, root, reply = (index.ravel() for index in np.indices(shape))
    columns = (night, root, reply, groups.ravel(), means.ravel(), variances.ravel(), truth.ravel())
    return [tuple(map(float, row)) for row in zip(*columns, strict=True)]


def scored(rows, priors=None):
    """A connection with `reply_value` and the pairs of its replies; `priors` maps a night to degrees, excess and boundary."""
    connection = duckdb.connect()
    connection.execute("set threads = 1")
    connection.execute(
        "create table reply_evidence (cycle_id varchar, scenario_id varchar, domain varchar, tree_id varchar, decision_id integer, "
        "spine_index integer, reply_id integer, group_count bigint, q_mean double, group_variance double, truth double)"
    )
    import pandas as pd

    names = ["night", "root", "reply", "groups", "mean", "variance", "truth"]
    connection.register("incoming", pd.DataFrame(rows, columns=names))
    connection.execute(
        "insert into reply_evidence select night::integer, 's', 'd', root::integer, 0, 0, reply::integer, groups, mean, variance, truth "
        "from incoming"
    )
    connection.execute(statement("schema", "earlier_spread"))
    for night, prior in (priors or {}).items():
        connection.execute("insert into earlier_spread values (?, 'd', ?, ?, ?, [])", [night, *prior])
    connection.execute(f"create view reply_value as {statement('score', 'reply_value')}")
    for name in ("normal_tail", "normal_cdf", "p_greater"):
        connection.execute(statement("schema", name))
    connection.execute(f"create view sibling_pair as {statement('score', 'sibling_pair')}")
    return connection


def accepted(connection, confidence=0.7, gap=0.005):
    """Share of nights with an accepted pair, pairs per search root, mean stated P, and the share that is right. One pair a root, as in a night."""
    nights, pairs, stated, right = connection.execute(
        """
        with pair as (
            select sibling_pair.*, chosen.truth > rejected.truth as is_right
            from sibling_pair
            join reply_evidence as chosen
                on (chosen.cycle_id, chosen.tree_id, chosen.reply_id)
                = (sibling_pair.cycle_id, sibling_pair.tree_id, sibling_pair.chosen_id)
            join reply_evidence as rejected
                on (rejected.cycle_id, rejected.tree_id, rejected.reply_id)
                = (sibling_pair.cycle_id, sibling_pair.tree_id, sibling_pair.rejected_id)
            where p_greater >= ? and q_gap >= ?
            qualify row_number() over (partition by sibling_pair.cycle_id, sibling_pair.tree_id order by p_greater desc) = 1
        )
        select count(distinct cycle_id), count(*), avg(p_greater), avg(is_right::integer) from pair
        """,
        [confidence, gap],
    ).fetchone()
    total, roots = connection.execute(
        "select count(distinct cycle_id), count(distinct (cycle_id, tree_id)) from reply_evidence"
    ).fetchone()
    return nights / total, pairs / roots, stated, right


def older_first_later(sd, nights=240, seed=7):
    """`accepted` with the estimate of before, on a first night, and after seven earlier ones with the same true spread."""
    rows, before = simulated(sd, nights, seed=seed), simulated(sd, 7 * nights, seed=seed + 1)
    told = scored(before).execute(
        "select distinct cycle_id::integer, sibling_degrees, sibling_excess from reply_value order by 1"
    )
    excess = np.array(told.fetchall())[:, 2].reshape(nights, 7)
    # 40 comparisons a night, as many as count of each, and 20 imagined ones without a difference: 300
    priors = {str(night): (300.0, 40 * excess[night].sum() / 300, 0.25) for night in range(nights)}
    olders = {str(night): OLDER for night in range(nights)}
    return accepted(scored(rows, olders)), accepted(scored(rows)), accepted(scored(rows, priors))


@pytest.mark.slow
def test_small_nights_give_pairs_that_are_right_as_often_as_they_state():
    """Values that differ by 0.03, half of their noise, as the trees of deployments/comparison/ have it."""
    older, first, later = older_first_later(0.03)
    # 240 nights: one standard error of a share is at most 0.03
    assert first[0] > older[0] + 0.07 and later[0] > 0.95 > older[0] + 0.1
    # pairs: about 2400, one standard error 0.01; P knows the noise only from few rewards, and states a little too much either way
    assert older[2] - older[3] > first[2] - first[3]
    assert later[2] - later[3] < 0.04
    assert later[3] > older[3] - 0.01


@pytest.mark.slow
def test_equal_replies_give_fewer_pairs_once_earlier_nights_told_so():
    """There is no right answer: what is accepted is noise. A first night cannot know that, and takes hardly more than before."""
    older, first, later = older_first_later(0.0)
    assert later[1] < 0.7 * older[1]
    assert first[1] < older[1] + 0.06 < 0.3


def test_large_differences_are_judged_as_before():
    older, first, later = older_first_later(0.2, nights=60)
    for found in (first, later):
        assert found == pytest.approx(older, abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("sd", [0.0, 0.03, 0.1])
def test_with_many_siblings_the_estimate_is_that_of_before(sd):
    """The difference goes to 0 as their number grows: 40, 400 and 4000 search roots of one night, in units of the noise (0.0042)."""
    apart = []
    for roots in (40, 400, 4000):
        rows = simulated(sd, 1, roots, seed=3)
        both = [
            scored(rows, prior).execute("select any_value(between_variance) from reply_value").fetchone()[0]
            for prior in (None, {"0": OLDER})
        ]
        apart.append(abs(both[0] - both[1]) / (both[1] + 0.0042))
    assert apart[0] > apart[2] and apart[2] < 0.02


TRAIN = support_scenario("s1")
GROUND = {"prompts": {"emotional_support": "a"}, "models": {"m": "1"}, "dialogue": {"max_exchanges": 2}}


def tree(cycle_id):
    return hand_tree(TRAIN, {"A?": [[0.75], [0.875], [1.0]], "B?": [[0.25], [0.375], [0.5]]}, cycle_id=cycle_id)


def home(folder, cycles):
    """A store with a tree in each cycle; `cycles` maps a name to its identity, in the order in which they began."""
    store = filled(folder, [TRAIN], [tree(name) for name in cycles], cycle_ids=tuple(cycles))
    with duckdb.connect(str(store.path)) as connection:
        for name, identity in cycles.items():
            connection.execute("update cycle set config = ? where cycle_id = ?", [json.dumps(identity), name])
    return store


def counted(store, cycle_id):
    """The earlier cycles that a cycle was scored with."""
    return store.select(f"select cycles from earlier_spread where cycle_id = '{cycle_id}'")[1][0][0]


def figures(store, cycle_id):
    return store.select(f"select q_gap, p_greater from pair where cycle_id = '{cycle_id}'")[1]


@pytest.mark.slow
def test_earlier_cycles_of_the_same_prompts_models_and_settings_count_whoever_was_champion(tmp_path):
    other = {
        "prompts": {"prompts": {"emotional_support": "b"}},
        "models": {"models": {"m": "2"}},
        "dialogue": {"dialogue": {"max_exchanges": 3}},
        "method": {"method_version": 1},
    }
    store = home(
        tmp_path,
        {name: GROUND | part for name, part in other.items()}
        | {"c1": GROUND, "c2": GROUND | {"champion_version": "4"}, "c3": GROUND | {"search": {"num_simulations": 9}}}
        | {"c4": GROUND},
    )
    store.score_pairs("c3", PairConfig())
    assert counted(store, "c3") == ["c2", "c1"]
    # three user turns a reply, variance 0.125²: noise 0.0052083; deviations ±0.25, squared and doubled 0.125; excess 0.1197917
    # two earlier comparisons beside 20 imagined ones: 2·0.1197917/22
    ((degrees, excess, boundary),) = store.select("select degrees, excess, boundary from earlier_spread")[1]
    assert (degrees, excess, boundary) == (22, pytest.approx(2 * (0.125 - 0.125**2 / 3) / 22, abs=1e-9), 0.25)
    # 22.75·x² − b·x − 0.25·0.0052083² = 0 with b = 3·0.1197917 + 0.5·0.0052083 = 0.3619792:
    #   (0.3619792 + √(0.3619792² + 4·22.75·0.0000067817))/45.5 = 0.0159299
    ((between,),) = store.select("select distinct between_variance from reply_value where cycle_id = 'c3'")[1]
    assert between == pytest.approx(0.0159299, abs=1e-7)


@pytest.mark.slow
def test_no_more_than_seven_earlier_cycles_count_the_latest_ones(tmp_path):
    names = [f"c{number}" for number in range(9)]
    store = home(tmp_path, dict.fromkeys(names, GROUND))
    store.score_pairs("c8", PairConfig())
    assert counted(store, "c8") == names[7:0:-1]


@pytest.mark.slow
def test_a_cycle_scored_again_after_newer_ones_and_a_prune_has_the_same_scores(tmp_path):
    store = home(tmp_path, dict.fromkeys(("c1", "c2", "c3"), GROUND))
    store.score_pairs("c1", PairConfig())
    store.score_pairs("c2", PairConfig())
    before, alone = figures(store, "c2"), figures(store, "c1")
    assert before != alone  # c1 told c2 something
    store.score_pairs("c3", PairConfig())
    store.score_pairs("c1", PairConfig())
    delete_rows(store.path, "cycle_id", ["c1"], 10.0)
    store.score_pairs("c2", PairConfig())
    assert figures(store, "c2") == before
    assert store.select("select cycle_id from earlier_spread order by 1")[1] == [("c2",), ("c3",)]


@pytest.mark.slow
def test_a_changed_reward_takes_back_what_earlier_cycles_told_in_the_old_one(tmp_path):
    store = home(tmp_path, {"c1": GROUND, "c2": GROUND})
    store.score_pairs("c2", PairConfig())
    told = "select excess from earlier_spread where cycle_id = 'c2'"
    ((before,),) = store.select(told)[1]
    assert store.rescore("emotional_support", load_domain("emotional_support").reward) == 0
    assert store.select(told)[1] == [(before,)]
    assert store.rescore("emotional_support", lambda value: (5 - value) / 8) > 0  # half of what it was
    store.score_pairs("c2", PairConfig())
    assert store.select(told)[1] == [(pytest.approx(before / 4, abs=1e-9),)]  # a variance


def test_a_cycle_that_an_older_engage_scored_keeps_its_scores(tmp_path):
    store, _ = old_store(tmp_path)
    with duckdb.connect(str(store.path), read_only=True) as connection:
        ask = "select q_gap, p_greater from pair where cycle_id = 'done' order by tree_id, chosen_id, rejected_id"
        before = connection.execute(ask).fetchall()
    again = TrajectoryStore(store.path, wait_s=10.0)
    again.score_pairs("done", PairConfig())
    assert len(before) == 17
    assert np.array(again.select(ask)[1]) == pytest.approx(np.array(before), abs=1e-6)  # that version did not round
