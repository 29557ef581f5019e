import asyncio
import dataclasses
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_scenarios import SUPPORT, searched
from small_stores import count, counts, filled, hand_dialogue, hand_tree, renamed, support_scenario

import engage.engines.scripted
import engage.store.database
import engage.store.drain
from engage.domains import load_domain
from engage.errors import ConfigError, QueryError, ScenarioError, StoreError
from engage.search import Search, SearchConfig, TreeRecord
from engage.search.tree import node_records
from engage.simulation import DialogueConfig, begin_episode
from engage.store import Outbox, PairConfig, TrajectoryStore
from engage.store.queries import check_select, statement
from engage.training import read_pairs

TRAIN = support_scenario("s1")


@pytest.mark.slow
@pytest.mark.parametrize("failing", ["tree", "node", "visit", "trajectory", "turn", "reaction", "engine_call"])
def test_a_tree_is_stored_whole_or_not_at_all(tmp_path, monkeypatch, failing):
    # The insert into one table fails after those before it are done; then all goes well.
    store, outbox = filled(tmp_path, [SUPPORT]), Outbox(tmp_path / "outbox")
    outbox.put_tree(searched())
    insert = engage.store.drain._insert

    def insert_some(connection, *names):
        for name in names:
            if name == failing:
                raise duckdb.OutOfMemoryException("no memory left")
            insert(connection, name)

    with monkeypatch.context() as patch:
        patch.setattr(engage.store.drain, "_insert", insert_some)
        with pytest.raises(StoreError, match=r"engage\.duckdb: no memory left"):
            store.drain(outbox)
    assert set(counts(store).values()) == {0}
    assert store.drain(outbox) == 1
    assert counts(store)["tree"] == 1 and min(counts(store).values()) > 0


@pytest.mark.slow
def test_storing_a_tree_twice_changes_nothing(tmp_path):
    store, outbox = filled(tmp_path, [SUPPORT], [searched()]), Outbox(tmp_path / "outbox")
    before = counts(store)
    outbox.put_tree(searched())
    outbox.put_tree(searched(seed=8))  # another search of the same scenario in the same cycle: the first one stays
    assert (store.drain(outbox), counts(store)) == (0, before)
    assert store.select("select seed from tree")[1] == [(7,)]


@pytest.mark.slow
def test_the_same_scenario_in_two_cycles_is_two_trees(tmp_path):
    second = dataclasses.replace(searched(), cycle_id="c2")
    store = filled(tmp_path, [SUPPORT], [searched(), second], cycle_ids=("c1", "c2"))
    assert (store.stored_tree_ids("c1"), store.stored_tree_ids("c2")) == ({"c1/s1"}, {"c2/s1"})


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(
    num_simulations=st.integers(1, 16),
    round_size=st.integers(1, 8),
    max_exchanges=st.integers(1, 3),
    reader=st.sampled_from(["expected", "pattern"]),
    seed=st.integers(0, 2**31),
)
def test_views_equal_the_live_tree(num_simulations, round_size, max_exchanges, reader, seed):
    dialogue = DialogueConfig(max_exchanges=max_exchanges, speech={"reader": reader})
    engine = _Talkative()
    live = Search(
        begin_episode(engine, SUPPORT, dialogue, seed, None, None),
        SearchConfig(num_simulations=num_simulations, round_size=round_size),
    )
    asyncio.run(live.run())
    record = TreeRecord("c1", "s1", seed, node_records(live.tree), tuple(live.simulations), (), live.withdrawn, 0.0)
    with tempfile.TemporaryDirectory() as folder:
        store = filled(Path(folder), [SUPPORT], [record])
        stored = store.select(
            "select node_id, visit_count, reward_count, reward_sum, q_value from node_value order by node_id"
        )[1]
        evidence = store.select("select reply_id, group_count, q_mean, group_variance from reply_evidence order by 1")[
            1
        ]
    assert [row[:3] for row in stored] == [(n.node_id, n.visit_count, n.reward_count) for n in live.tree.nodes]
    for row, node in zip(stored, live.tree.nodes, strict=True):
        assert row[3] == pytest.approx(node.reward_sum, abs=1e-12)
        assert row[4] == pytest.approx(node.q_value, abs=1e-12) if node.reward_count else row[4] is None
    assert evidence == _live_evidence(live)


class _Talkative(engage.engines.scripted.ScriptedEngine):
    """Answers a free survey question with a number or, now and then, with none."""

    async def complete(self, prompt, sampling, seeds):
        if load_domain("emotional_support").survey.question in prompt.messages[-1].content:
            said = f"{seeds[0] % 5 + 1}" if seeds[0] % 3 else "I would rather not say"
            (completion,) = await super().complete(prompt, sampling, seeds)
            return [dataclasses.replace(completion, text=said)]
        return await super().complete(prompt, sampling, seeds)


def _live_evidence(live):
    """Per reply at a search root: user turns with a reward, the mean of their mean rewards and its sample variance."""
    rows = []
    for root in (node for node in live.tree.nodes if node.spine_index is not None):
        for reply in root.children:
            means = [turn.q_value for turn in reply.children if turn.reward_count]
            if means:
                mean = sum(means) / len(means)
                spread = sum((m - mean) ** 2 for m in means) / (len(means) - 1) if len(means) > 1 else None
                approx = None if spread is None else pytest.approx(spread, abs=1e-12)
                rows.append((reply.node_id, len(means), pytest.approx(mean, abs=1e-12), approx))
    return sorted(rows, key=lambda row: row[0])


def test_a_cycle_goes_on_under_the_configuration_it_was_begun_with(tmp_path):
    store = TrajectoryStore(tmp_path / "engage.duckdb")
    store.begin_cycle("c1", {"seed": 7, "search": {"c_puct": 1.0}})
    store.begin_cycle("c1", {"search": {"c_puct": 1.0}, "seed": 7})  # the order of keys is no difference
    assert store.cycle_config("c1") == {"seed": 7, "search": {"c_puct": 1.0}}


def test_a_cycle_refuses_another_configuration_and_names_the_key(tmp_path):
    store = TrajectoryStore(tmp_path / "engage.duckdb")
    store.begin_cycle("c1", {"seed": 7, "search": {"c_puct": 1.0, "num_simulations": 8}})
    with pytest.raises(ConfigError, match=r"^cycle 'c1' .*: search\.num_simulations was 8, is 16; use .*--cycle$"):
        store.begin_cycle("c1", {"seed": 7, "search": {"c_puct": 1.0, "num_simulations": 16}})
    with pytest.raises(ConfigError, match="engine was null, is"):
        store.begin_cycle("c1", {"seed": 7, "search": {"c_puct": 1.0, "num_simulations": 8}, "engine": {}})
    assert store.cycle_config("c1")["search"]["num_simulations"] == 8


def test_cycles_are_listed_latest_first_and_none_where_there_is_no_store(tmp_path):
    store = TrajectoryStore(tmp_path / "engage.duckdb")
    assert (store.cycle_ids(), store.cycle_config("c1")) == ([], None)
    for cycle_id in ("b", "a"):
        store.begin_cycle(cycle_id, {})
        time.sleep(0.001)
    assert (store.cycle_ids(), store.cycle_config("unknown")) == (["a", "b"], None)


@pytest.mark.slow
def test_the_latest_cycle_is_one_that_holds_something(tmp_path):
    store = TrajectoryStore(tmp_path / "engage.duckdb")
    assert store.latest_cycle() is None
    store.begin_cycle("failed-at-once", {})
    assert store.latest_cycle() == "failed-at-once"
    store = filled(tmp_path, [SUPPORT], [searched()])
    store.begin_cycle("failed-at-once-too", {})
    assert (store.latest_cycle(), store.cycle_ids()[0]) == ("c1", "failed-at-once-too")


def test_the_latest_cycle_is_the_last_to_arrive_though_the_clock_was_set_back(tmp_path):
    store = filled(tmp_path, [TRAIN], cycle_ids=("first", "second"))
    with duckdb.connect(str(store.path)) as connection:
        connection.execute("update cycle set started_at = started_at - interval 1 hour where cycle_id = 'second'")
    assert store.cycle_ids() == ["second", "first"]
    assert store.latest_cycle() == "second"


@pytest.mark.slow
def test_scenarios_are_added_once(tmp_path):
    store = TrajectoryStore(tmp_path / "engage.duckdb")
    store.add_scenarios([TRAIN])
    store.add_scenarios([TRAIN, support_scenario("s2", "test")])
    store.add_scenarios([])
    assert store.select("select scenario_id, split from scenario order by 1")[1] == [("s1", "train"), ("s2", "test")]


def test_a_scenario_whose_content_changed_is_refused_and_nothing_is_added(tmp_path):
    store = TrajectoryStore(tmp_path / "engage.duckdb")
    store.add_scenarios([TRAIN])
    with pytest.raises(ScenarioError, match=r"scenario 's1': stored before with other content .*new id"):
        store.add_scenarios([support_scenario("s2"), support_scenario("s1", initial_intensity=5)])
    assert count(store, "scenario") == 1


HOLD = "import duckdb, sys; held = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.read()"


def holder(path):
    """Another real process that keeps the database open until its standard input ends."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"held\n"
    return process


@pytest.mark.slow
def test_a_locked_database_is_a_store_error_in_one_sentence_and_the_outbox_keeps_the_tree(tmp_path, capfd):
    filled(tmp_path, [SUPPORT])
    store, outbox = TrajectoryStore(tmp_path / "engage.duckdb", wait_s=0.3), Outbox(tmp_path / "outbox")
    outbox.put_tree(searched())
    process = holder(store.path)
    said = (
        f"{store.path}: the database is open in another program (process {process.pid}); close its SQL session; "
        "what was collected waits in the outbox"
    )
    for call in (lambda: store.drain(outbox), lambda: store.select("select 1"), lambda: store.begin_cycle("c2", {})):
        with pytest.raises(StoreError) as refused:
            call()
        assert str(refused.value) == said
    assert outbox.has_tree("c1/s1")
    process.communicate(timeout=30)
    assert (store.drain(outbox), outbox.has_tree("c1/s1")) == (1, False)
    assert capfd.readouterr().err == ""


@pytest.mark.slow
def test_the_store_waits_for_a_database_that_is_freed_in_time(tmp_path):
    store, outbox = filled(tmp_path, [SUPPORT]), Outbox(tmp_path / "outbox")
    outbox.put_tree(searched())
    process = holder(store.path)
    release = threading.Timer(0.3, lambda: process.communicate(timeout=30))
    release.start()
    assert TrajectoryStore(store.path, wait_s=30.0).drain(outbox) == 1
    release.join()


@pytest.mark.slow
def test_threads_take_turns(tmp_path):
    # Readers and writers of one process at once: DuckDB would refuse the second kind of connection.
    store = filled(tmp_path, [SUPPORT], [searched()])
    problems = []

    def ask(number):
        try:
            store.begin_cycle(f"t{number}", {}) if number % 2 else store.named("spine_values", {"cycle": "c1"})
        except Exception as error:
            problems.append(error)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert len(store.cycle_ids()) == 5


@pytest.mark.parametrize("content", [b"hello, I am no database", b"\0" * 20_000], ids=["text", "zeros"])
def test_a_file_that_is_no_database_is_one_sentence_that_names_it_and_what_to_do(tmp_path, content):
    store, outbox = TrajectoryStore(tmp_path / "engage.duckdb"), Outbox(tmp_path / "outbox")
    store.path.write_bytes(content)
    outbox.put_tree(searched())
    for call in (lambda: store.select("select 1"), lambda: store.drain(outbox), store.cycle_ids):
        with pytest.raises(StoreError) as refused:
            call()
        assert str(refused.value).startswith(f"{store.path}: not a DuckDB database, or damaged; move it away and run ")
        assert "\n" not in str(refused.value)
        assert "copy of read.duckdb" in str(refused.value)
    assert outbox.has_tree("c1/s1")
    assert store.path.read_bytes() == content
    copy = TrajectoryStore(tmp_path / "read.duckdb")
    copy.path.write_bytes(content)
    with pytest.raises(StoreError, match="or damaged; the next night writes this copy anew"):
        copy.select("select 1")


@pytest.mark.slow
def test_damage_that_shows_only_while_reading_is_the_same_sentence(tmp_path):
    # The header is whole, all behind the first 12 KiB + 256 KiB block is gone: opening works, reading does not.
    trees = [renamed(searched(), f"s{number}") for number in range(20)]
    store, outbox = filled(tmp_path, [SUPPORT], trees), Outbox(tmp_path / "outbox")
    whole = store.path.read_bytes()
    store.path.write_bytes(whole[:12_288] + bytes(byte ^ 0xFF for byte in whole[12_288:]))
    outbox.put_tree(renamed(searched(), "new"))
    asked = "select count(*), sum(length(text)), sum(length(trajectory_id)) from turn"
    for call in (lambda: store.select(asked), lambda: store.drain(outbox)):
        with pytest.raises(
            StoreError, match=r"engage\.duckdb: not a DuckDB database, or damaged; move it away and run"
        ):
            call()
    assert outbox.has_tree("c1/new")


@pytest.mark.slow
def test_a_file_cut_short_is_reported_as_damaged_when_a_query_meets_the_hole(tmp_path):
    trees = [renamed(searched(), f"s{number}") for number in range(20)]
    store = filled(tmp_path, [SUPPORT], trees)
    whole = store.path.read_bytes()
    store.path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StoreError, match=r"engage\.duckdb: not a DuckDB database, or damaged; move it away and run"):
        for table in ("turn", "trajectory", "node", "visit", "reaction", "engine_call"):
            store.select(f"summarize {table}")


def test_a_database_of_another_program_is_refused_and_left_alone(tmp_path):
    store = TrajectoryStore(tmp_path / "engage.duckdb")
    with duckdb.connect(str(store.path)) as other:
        other.execute("create table booking (id integer)")
    with pytest.raises(StoreError, match=r"a DuckDB database of another program; name another file"):
        store.begin_cycle("c1", {})
    with pytest.raises(StoreError, match=r"a DuckDB database of another program; name another file"):
        store.select("select 1")
    with duckdb.connect(str(store.path)) as other:
        assert other.execute("select table_name from duckdb_tables()").fetchall() == [("booking",)]


def test_reading_before_the_first_cycle_says_what_to_run(tmp_path):
    with pytest.raises(ConfigError, match=r"no cycle has been run yet; run `make run` or `engage nightly`"):
        TrajectoryStore(tmp_path / "engage.duckdb").select("select 1")
    assert list(tmp_path.iterdir()) == []


# Two replies with two user turns each: "Tell me." ends at intensity 1 and 2, "Oh." at 4 and 5.
GOOD_AND_BAD = {"Tell me.": [[1.0], [0.75]], "Oh.": [[0.25], [0.0]]}


@pytest.mark.slow
def test_rescore_changes_rewards_and_the_pairs_follow(tmp_path):
    store = filled(tmp_path, [TRAIN], [hand_tree(TRAIN, GOOD_AND_BAD)])
    config = PairConfig(confidence=0.5)
    assert store.score_pairs("c1", config)["accepted"] == 1
    assert [(pair.chosen, pair.rejected) for pair in read_pairs(store, "c1")] == [("Tell me.", "Oh.")]
    assert store.rescore("emotional_support", lambda value: (value - 1) / 4) == 4  # upside down: all four change
    assert store.select("select value, reward from reaction order by value")[1] == [
        (1.0, 0.0), (2.0, 0.25), (4.0, 0.75), (5.0, 1.0),
    ]  # fmt: skip
    store.score_pairs("c1", config)
    assert [(pair.chosen, pair.rejected) for pair in read_pairs(store, "c1")] == [("Oh.", "Tell me.")]


@pytest.mark.slow
def test_rescore_counts_what_changed_and_leaves_the_unreadable_and_other_domains(tmp_path):
    tree = hand_tree(TRAIN, {"Tell me.": [[1.0], [None]], "Oh.": [[0.0], [0.0]]})
    store = filled(tmp_path, [TRAIN], [tree])
    assert store.rescore("emotional_support", lambda value: (5 - value) / 4) == 0  # as before
    assert store.rescore("persuasion", lambda value: 0.5) == 0  # no such reaction here
    # Released or not: value 1 stays 1.0, both values of 5 stay 0.0
    assert store.rescore("emotional_support", lambda value: float(value <= 2)) == 0
    assert store.rescore("emotional_support", lambda value: 0.5) == 3
    assert store.select("select count(*) from reaction where reward is null")[1] == [(1,)]


def test_rescore_refuses_a_reward_outside_the_unit_interval_and_changes_nothing(tmp_path):
    store = filled(tmp_path, [TRAIN], [hand_tree(TRAIN, GOOD_AND_BAD)])
    with pytest.raises(ConfigError, match=r"the reward of \d is \d, not in 0\.\.1"):
        store.rescore("emotional_support", lambda value: value)
    assert store.select("select min(reward), max(reward) from reaction")[1] == [(0.0, 1.0)]


def test_rescore_leaves_a_value_unreadable_that_had_no_reward_when_it_was_collected(tmp_path):
    # The domain fails between its choices: 4.5 counted as unreadable.
    def reward(value):
        if value != int(value):
            raise ConfigError("no reward between the choices")
        return (5 - value) / 8

    tree = hand_tree(TRAIN, GOOD_AND_BAD | {"Hm.": [[0.125]]})
    last = tree.simulations[-1]
    unread = dataclasses.replace(last, trajectory=dataclasses.replace(last.trajectory, reward=None))
    store = filled(tmp_path, [TRAIN], [dataclasses.replace(tree, simulations=(*tree.simulations[:-1], unread))])
    assert store.rescore("emotional_support", reward) == 3  # 5 has reward 0, as before
    assert store.select("select value from reaction where reward is null")[1] == [(4.5,)]
    assert store.rescore("emotional_support", lambda value: (5 - value) / 8) == 1  # a mended domain


def test_figures_of_a_comparison_are_replaced_under_the_same_labels(tmp_path):
    store = filled(tmp_path, [TRAIN])
    figures = {"difference": 0.2, "low": 0.1, "high": 0.3, "n": 12, "mean": 0.6, "verdict": "better"}
    store.add_evaluation("c1", "validation", "candidate", "held_out", {"persuasion": {"mean": 0.1}})
    store.add_evaluation("c1", "test", "candidate", "held_out", {"persuasion": {"mean": 0.2}})
    store.add_evaluation("c1", "validation", "candidate", "held_out", {"emotional_support": figures})
    # The interval is that of the difference; the verdict is no number.
    kept = "select domain, metric, value, low, high, n from evaluation where split = 'validation' order by metric"
    assert store.select(kept)[1] == [
        ("emotional_support", "difference", 0.2, 0.1, 0.3, 12),
        ("emotional_support", "mean", 0.6, None, None, 12),
    ]
    assert store.select("select domain, value from evaluation where split = 'test'")[1] == [("persuasion", 0.2)]


def test_dialogues_are_found_by_their_labels_and_seed(tmp_path):
    held = [hand_dialogue(TRAIN, 0.5), hand_dialogue(SUPPORT, 0.5, policy="base")]
    store = filled(tmp_path, [], dialogues=held)
    assert store.stored_dialogues("c1", "evaluation", "champion", "held_out", 1) == {"s1"}
    assert store.stored_dialogues("c1", "evaluation", "champion", "held_out", 2) == set()


WRITES = (
    "insert into cycle values ('x', 'x', '{}', now())",
    "update reaction set reward = 1",
    "delete from tree",
    "drop table tree",
    "create table t (i integer)",
    "create temp table t as select 1",
    "create macro m() as 1",
    "copy tree to 'tree.csv'",
    "copy (select 1) to 'one.csv'",
    "export database 'folder'",
    "import database 'folder'",
    "attach 'other.duckdb'",
    "detach engage",
    "use memory",
    "pragma enable_profiling",
    "pragma table_info('tree')",
    "set enable_external_access = true",
    "reset enable_external_access",
    "install httpfs",
    "load httpfs",
    "call pragma_version()",
    "checkpoint",
    "vacuum",
    "begin",
    "prepare p as select 1",
    "execute p",
    "truncate tree",
    "alter table tree add column x integer",
    "merge into tree using tree as t on false when not matched then insert *",
)


@pytest.mark.parametrize("sql", WRITES)
def test_check_select_refuses_all_but_reading(sql):
    with pytest.raises(QueryError, match=r"the store is read only here: .* is refused, use select|cannot be read"):
        check_select(sql)


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("select 1; select 2", r"one statement.*\(got 2\)"),
        ("select 1; drop table tree", r"one statement.*\(got 2\)"),
        ("", r"\(got 0\)"),
        ("-- nothing", r"\(got 0\)"),
        ("selekt 1", r"cannot be read: Parser Error"),
        ("select $1", r"values in place of parameters"),
        ("select * from tree where tree_id = ?", r"values in place of parameters"),
    ],
)
def test_check_select_says_what_is_wrong(sql, reason):
    with pytest.raises(QueryError, match=reason) as refused:
        check_select(sql)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "sql",
    [
        "select count(*) from tree",
        "from tree;",
        "with one as (select 1 as n) select n from one",
        "values (1)",
        "describe tree",
        "show tables",
        "summarize visit",
        "explain select 1",
        "select ';' as semicolon -- ; and a comment",
    ],
)
def test_reading_statements_are_answered(tmp_path, sql):
    assert filled(tmp_path, [SUPPORT], [searched()]).select(sql)[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    "sql",
    [
        "select * from read_csv('{file}')",
        "select * from '{file}'",
        "select * from read_text('{file}')",
        "select * from read_blob('{file}')",
        "select * from read_json('{file}')",
        "select * from read_parquet('{file}')",
        "select * from sniff_csv('{file}')",
        "select * from glob('{folder}/*')",
        "select * from query('copy (select 1) to ''{folder}/out.csv''')",
        "select * from query_table('{file}')",
        "select getenv('HOME')",
        "from duckdb_secrets()",
        "explain analyze copy (select 1) to '{folder}/out.csv'",
        "explain analyze delete from tree",
        "with gone as (delete from tree returning tree_id) select * from gone",
        "select * from outside",
    ],
)
def test_a_query_reaches_nothing_beside_the_store(tmp_path, sql):
    store = filled(tmp_path / "store", [SUPPORT], [searched()])
    secret = tmp_path / "secret.csv"
    secret.write_text("name,word\nadmin,hunter2\n")
    outside = [1]  # a Python variable that DuckDB could take for a table  # noqa: F841
    with pytest.raises(QueryError) as refused:
        store.select(sql.format(file=secret, folder=tmp_path))
    assert "hunter2" not in str(refused.value)
    assert not (tmp_path / "out.csv").exists()
    assert count(store, "tree") == 1


def test_a_named_inspection_refuses_unknown_names_parameters_and_cycles(tmp_path):
    store = filled(tmp_path, [SUPPORT], [searched()])
    for call, said in (
        (lambda: store.named("nothing"), r"there is no query 'nothing'; use one of .*transcript"),
        (lambda: store.named("pairs", {"cycel": "c1"}), r"pairs takes no parameter 'cycel'; it takes cycle"),
        (lambda: store.named("pairs", {"cycle": "c9"}), r"cycle 'c9' is not in the store"),
        (lambda: store.named("transcript", {"id": "nobody"}), r"id 'nobody' is not in the store"),
        (lambda: statement("inspect", "../pairs/pair"), r"there is no query"),
    ):
        with pytest.raises(QueryError, match=said):
            call()


def test_an_id_in_a_statement_of_ones_own_may_be_that_of_anything(tmp_path):
    store = filled(tmp_path, [SUPPORT], [searched()])
    sql = "select scenario_id from scenario where scenario_id = $id"
    for name, found in ((SUPPORT.scenario_id, [(SUPPORT.scenario_id,)]), ("nobody", [])):
        assert store.select(sql, {"id": name})[1] == found


def test_a_value_given_to_a_named_inspection_is_a_value_and_no_sql(tmp_path):
    store = filled(tmp_path, [SUPPORT], [searched()])
    with pytest.raises(QueryError, match="is not in the store"):
        store.named("pairs", {"cycle": "c1' or '1' = '1"})


def test_a_folder_in_which_nobody_may_write_is_one_sentence():
    with pytest.raises(StoreError, match=r"permission denied|cannot be (created|opened)"):
        TrajectoryStore(Path("/sys/engage.duckdb")).begin_cycle("c1", {})  # not even root


FRESH = 12_288  # bytes of a DuckDB file without a table: three headers of 4,096


@pytest.mark.slow
@pytest.mark.parametrize("left", [0, 100, 4_096, 10_000, FRESH])
def test_what_a_killed_first_start_left_of_the_file_is_made_whole(tmp_path, left):
    path = tmp_path / "engage.duckdb"
    duckdb.connect(str(path)).close()
    assert path.stat().st_size == FRESH
    os.truncate(path, left)
    store = TrajectoryStore(path, wait_s=5.0)
    assert (store.cycle_config("c1"), store.cycle_ids(), store.latest_cycle()) == (None, [], None)
    store.begin_cycle("c1", {"seed": 1})
    assert store.cycle_config("c1") == {"seed": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["engage.duckdb"]


@pytest.mark.parametrize("left", [None, 100])
def test_two_first_starts_at_one_time_make_one_store(tmp_path, monkeypatch, left):
    path, faster = tmp_path / "engage.duckdb", filled(tmp_path / "other", [SUPPORT], [searched()])
    if left is not None:
        path.write_bytes(faster.path.read_bytes()[:left])
    found_none = engage.store.database.uuid.uuid4

    def uuid4():  # the first step after the look for a store
        if faster.path.exists():
            faster.path.replace(path)
        return found_none()

    monkeypatch.setattr(engage.store.database.uuid, "uuid4", uuid4)
    store = TrajectoryStore(path, wait_s=5.0)
    store.begin_cycle("c2", {"seed": 1})
    assert (store.cycle_ids(), count(store, "tree")) == (["c2", "c1"], 1)


def test_ctrl_c_in_the_first_transaction_leaves_a_store_that_can_be_read(tmp_path):
    path = tmp_path / "engage.duckdb"
    with pytest.raises(KeyboardInterrupt), engage.store.database.writing(path, 5.0):
        raise KeyboardInterrupt
    assert TrajectoryStore(path).cycle_config("c1") is None


def test_a_new_file_has_its_name_only_when_its_tables_are_there(tmp_path, monkeypatch):
    # what a kill after DuckDB made the file, and before the commit, leaves in the folder
    path = tmp_path / "engage.duckdb"

    def killed(*_):
        raise SystemExit("killed")

    with monkeypatch.context() as patch:
        patch.setattr(engage.store.database, "bring_up_to_date", killed)
        with pytest.raises(SystemExit), engage.store.database.writing(path, 5.0):
            pass
    assert not path.exists()


def test_what_a_killed_first_start_was_making_is_swept_when_it_is_old(tmp_path):
    for name, age_s in {".engage.duckdb.a.partial": 600, ".engage.duckdb.b.partial": 10}.items():
        (tmp_path / name).write_bytes(b"half")
        os.utime(tmp_path / name, (time.time() - age_s,) * 2)
    TrajectoryStore(tmp_path / "engage.duckdb").begin_cycle("c1", {})
    assert sorted(file.name for file in tmp_path.iterdir()) == [".engage.duckdb.b.partial", "engage.duckdb"]


@pytest.mark.slow
def test_whatever_a_signal_raises_the_running_statement_ends_first():
    program = (
        "import signal, duckdb\n"
        "from engage.store.database import interruptible\n"
        "class Terminated(BaseException): ...\n"
        "def stop(*_): raise Terminated\n"
        "signal.signal(signal.SIGALRM, stop)\n"
        "connection = duckdb.connect()\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.5)\n"
        "try:\n"
        "    interruptible(connection, lambda: connection.execute('select count(*) from range(10000000) a, range(10000000) b'))\n"
        "except Terminated:\n"
        "    print(connection.execute('select 1').fetchall())\n"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100)
    assert (shown.stdout, shown.returncode) == ("[(1,)]\n", 0), shown.stderr
