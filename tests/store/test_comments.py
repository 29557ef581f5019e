"""Every table, view, macro and column of the store says what it is, in DuckDB itself."""

import re

import duckdb
import pytest
from small_stores import filled

from engage.store import TrajectoryStore
from engage.store.comments import heading
from engage.store.queries import statements

UNITS = r"\b(rewards?|seconds|log|scale|unit|probabilit\w*|number|0 \(worst\) to 1)\b"
FILLER = {"a", "an", "the", "of", "its", "this", "one", "row", "per", "is", "in", "id", "s"}


@pytest.fixture(scope="module")
def described(tmp_path_factory):
    """(table or view, column or None, type, whether a table's column may be null, comment) of a new store."""
    store = filled(tmp_path_factory.mktemp("commented"), [])
    tables = "select {0}_name, null, null, false, comment from duckdb_{0}s() where not internal"
    columns = (
        "select table_name, column_name, data_type, is_nullable and table_name in (select table_name from duckdb_tables()), comment "
        "from duckdb_columns() where not internal"
    )
    return store.select(" union all ".join([tables.format("table"), tables.format("view"), columns]))[1]


def words(text):
    return set(re.findall(r"[a-z]+", text.lower()))


def test_nothing_is_without_a_comment_or_has_its_name_for_one(described):
    assert len(described) > 200
    missing = [(table, column) for table, column, *_, comment in described if not comment]
    repeated = [
        (table, column)
        for table, column, *_, comment in described
        if comment and words(comment) - FILLER <= words(f"{table} {column or ''}")
    ]
    assert (missing, repeated) == ([], [])


def test_a_comment_that_only_repeats_its_name_is_seen():
    assert words("The cycle's id.") - FILLER <= words("tree cycle_id")
    assert not words("the run that this belongs to") - FILLER <= words("tree cycle_id")


def test_a_column_that_may_be_null_says_what_null_means(described):
    columns = [(table, column, comment) for table, column, _, may_be_null, comment in described if may_be_null]
    assert len(columns) > 25
    assert [(table, column) for table, column, comment in columns if not re.search(r"\bnull\b", comment)] == []


def test_a_figure_says_its_unit(described):
    figures = [(table, column, comment) for table, column, kind, _, comment in described if kind and "DOUBLE" in kind]
    assert len(figures) > 20
    assert [(table, column) for table, column, comment in figures if not re.search(UNITS, comment)] == []


def test_a_table_and_a_view_begin_with_their_grain(described):
    grains = {table: comment for table, column, *_, comment in described if column is None}
    assert len(grains) >= 20
    assert [name for name, text in grains.items() if not re.match(r"(One|At most one) row", text)] == []


def test_comments_come_back_with_a_view_that_is_replaced(tmp_path):
    store = filled(tmp_path, [])
    with duckdb.connect(str(store.path)) as connection:
        connection.execute("create or replace view outcome as select 1 as nothing")
        connection.execute("update schema_version set definitions = 'of another text'")
    said = "select comment from duckdb_columns() where table_name = 'outcome' and column_name = 'reward'"
    assert store.select(said)[1] == [("value mapped by the domain to 0 (worst) to 1 (best); null where value is null",)]


def test_macros_say_what_they_give(tmp_path):
    path = tmp_path / "engage.duckdb"
    TrajectoryStore(path).begin_cycle("c1", {})
    with duckdb.connect(str(path)) as connection:
        macros = connection.execute(
            "select function_name, comment from duckdb_functions() where not internal and function_type = 'macro'"
        ).fetchall()
    made = {name: sql for name, sql in statements("schema").items() if "replace macro" in sql}
    assert dict(macros) == {name: " ".join(heading(sql)) for name, sql in made.items()}
