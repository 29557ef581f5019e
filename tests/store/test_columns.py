"""Records, the outbox's Arrow schema, sql/unpack and sql/schema name the same columns with the same types."""

import dataclasses
import types
import typing
from datetime import datetime
from enum import Enum

import duckdb
import pyarrow as pa
import pytest

from engage.search import DialogueRecord, TreeRecord
from engage.store import JudgementRecord, TrajectoryStore
from engage.store.measures import measured
from engage.store.outbox import OUTBOX_VERSION, Kind, _schema
from engage.store.queries import statement

RECORDS = {
    Kind.TREE: (TreeRecord, "tree_id"),
    Kind.DIALOGUES: (DialogueRecord, "trajectory_id"),
    Kind.JUDGEMENT: (JudgementRecord, "judgement_id"),
}
COUNTED = {"visit": "depth", "turn": "turn_index"}
UNPACKED = ("tree", "node", "visit", "trajectory", "turn", "reaction", "engine_call")


def of_annotation(kind):
    """A record's type as names, lists and plain types."""
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return {field.name: of_annotation(hints[field.name]) for field in dataclasses.fields(kind)}
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        (kind,) = (part for part in typing.get_args(kind) if part is not type(None))
        return of_annotation(kind)
    if typing.get_origin(kind) in (tuple, list):
        return [of_annotation(typing.get_args(kind)[0])]
    if typing.get_origin(kind) is typing.Literal or issubclass(kind, Enum):
        return str
    return kind


def of_arrow(kind):
    """The same of an Arrow type."""
    if pa.types.is_struct(kind):
        return {field.name: of_arrow(field.type) for field in kind}
    if pa.types.is_list(kind):
        return [of_arrow(kind.value_type)]
    return {"string": str, "int32": int, "int64": int, "double": float, "timestamp[us]": datetime}[str(kind)]


@pytest.mark.parametrize("kind", Kind)
def test_a_record_is_what_its_outbox_file_holds(kind):
    record, key = RECORDS[kind]
    schema = of_arrow(pa.struct(list(_schema(kind, OUTBOX_VERSION))))
    assert schema == {key: str, **of_annotation(record)}


def test_unpacked_columns_are_those_of_the_tables(tmp_path):
    path = tmp_path / "engage.duckdb"
    TrajectoryStore(path).begin_cycle("c1", {})
    with duckdb.connect(str(path)) as connection:
        connection.register("incoming_tree", _schema(Kind.TREE, OUTBOX_VERSION).empty_table())
        connection.register("incoming_dialogue", _schema(Kind.DIALOGUES, OUTBOX_VERSION).empty_table())
        connection.register("incoming_judgement", _schema(Kind.JUDGEMENT, OUTBOX_VERSION).empty_table())
        connection.register("incoming_measure", measured([]))

        def columns(what):
            return dict(row[:2] for row in connection.execute(f"describe {what}").fetchall())

        for source in ("tree", "dialogue"):
            connection.execute(
                f"create or replace temp table incoming_trajectory as {statement('unpack', f'{source}_trajectory')}"
            )
            connection.execute(f"create or replace temp view incoming_call as {statement('unpack', f'{source}_call')}")
            for table in UNPACKED if source == "tree" else UNPACKED[3:]:
                unpacked = columns(statement("unpack", table))
                if table in COUNTED:  # by range(), which counts in BIGINT; the table takes an INTEGER
                    assert unpacked.pop(COUNTED[table]) == "BIGINT"
                    unpacked[COUNTED[table]] = "INTEGER"
                assert (table, unpacked) == (table, columns(table))
        assert columns(statement("unpack", "judgement")) == columns("judgement")
