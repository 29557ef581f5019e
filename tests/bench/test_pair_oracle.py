"""Pairs in SQL against the same rules in pandas, on stores of real searches with randomly changed replies, ends and rewards."""

import duckdb
import pytest
from pandas_pairs import extract_pairs

from engage.bench.store_filling import CYCLE_ID, copy_templates, insert_measured, search_templates
from engage.search import SearchConfig
from engage.simulation import DialogueConfig
from engage.store import PairConfig, TrajectoryStore

REASONS = {
    "accepted", "not_train", "min_groups", "gap", "confidence", "empty", "same_text", "flawed", "thought", "role_leak",
    "deceptive", "crisis", "per_prefix", "duplicate",
}  # fmt: skip
SPOILING = (
    """
    update node set text = case hash(tree_id, node_id, $seed) % 23
        when 0 then '...' when 1 then '❤️' when 2 then ' _ ' when 3 then 'Tell me MORE. ' when 4 then 'tell me more.'
        when 5 then '<think>He is sad.</think> Go on.' when 6 then 'Assistant: go on.' when 7 then 'I promise you it will pass.'
        else text end
    where role = 'assistant' and hash(tree_id, node_id, $seed + 1) % 3 = 0
    """,
    "update node set flaw = 'echo' where role = 'assistant' and hash(tree_id, node_id, $seed + 2) % 11 = 0",
    "update trajectory set end_reason = 'crisis' where hash(trajectory_id, $seed + 3) % 40 = 0",
    """
    update reaction set reward = case hash(trajectory_id, $seed + 4) % 5
        when 0 then 'nan'::double when 1 then 7.0 when 2 then -0.5 when 3 then null else reward end
    where hash(trajectory_id, $seed + 5) % 9 = 0
    """,
)


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """Eight searched trees, stored twice under two names, and 30 copies of each."""
    folder = tmp_path_factory.mktemp("oracle")
    store = TrajectoryStore(folder / "engage.duckdb")
    insert_measured(store, folder, search_templates(8, DialogueConfig(max_exchanges=2), SearchConfig()), 2)
    copy_templates(store.path, 8, 30, lambda what, share: None)
    return store


@pytest.mark.slow
def test_sql_judges_every_pair_as_the_oracle_does(searched, tmp_path):
    met = set()
    for seed, most, groups in ((1, 1, 2), (2, 2, 3), (3, 1, 4)):
        path = tmp_path / f"{seed}.duckdb"
        path.write_bytes(searched.path.read_bytes())
        with duckdb.connect(str(path)) as connection:
            for statement in SPOILING:
                connection.execute(statement, {"seed": seed * 10})
        store = TrajectoryStore(path)
        config = PairConfig(min_q_gap=0.005, confidence=0.7, max_pairs_per_prefix=most, min_groups=groups)
        store.score_pairs(CYCLE_ID, config)
        columns, rows = store.select(
            "select tree_id, decision_id, chosen_id, rejected_id, chosen_groups, rejected_groups, "
            "coalesce(drop_reason, '') as drop_reason, accepted, q_gap, q_gap_raw, p_greater from pair order by all"
        )
        names = [name for name in columns if name != "accepted"]
        expected = extract_pairs(store, CYCLE_ID, config).sort_values(names[:4])[names]
        counted = [row[:7] for row in rows]
        assert counted == [tuple(row) for row in expected[names[:7]].itertuples(index=False)]
        assert [row[7] for row in rows] == [row[6] == "" for row in rows]
        for place, name in enumerate(names[7:], 8):
            assert [row[place] for row in rows] == pytest.approx(expected[name].tolist(), abs=1e-9)
        met |= {row[6] or "accepted" for row in rows}
    assert met == REASONS
