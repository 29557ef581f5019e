"""The outbox: finished trees and dialogues as Parquet files that wait for the database.

There is one file per tree, batch of dialogues or judgement, written atomically (temporary file, fsync, rename), so that a locked database, a
killed process or a worker on another machine loses nothing. Putting the same record again replaces the file by an equal one.

A file records the version of its columns; a file without a version has version 1. Missing columns of an older file are read as null
(sql/unpack/ defines the meaning of null). A newer file waits for a newer engage. To add a column: see `engage.store.schema`.
"""

import hashlib
import io
import os
import re
import stat
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

from engage.errors import StoreError
from engage.files.writing import write_whole
from engage.search import DialogueRecord, ForkRecord, TreeRecord
from engage.store.judgements import JudgementRecord
from engage.store.soundness import contradiction, odd_judgement

OUTBOX_VERSION = 4
"""Version of the written columns; raised with every added column."""
_VERSION_KEY = b"engage.outbox_version"
LONGEST_NAME = 200
"""Maximum bytes in the name of a damaged file; most file systems allow 255 with the ending."""


class NewerFile(Exception):
    """A file with columns of a newer engage."""


class Kind(StrEnum):
    """The kind of a file's records; the second last part of its name."""

    TREE = "tree"
    DIALOGUES = "dialogues"
    JUDGEMENT = "judgement"


class Outbox:
    """The outbox folder; created at the first put. Any number of processes may put and drain at the same time."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)

    def put_tree(self, record: TreeRecord) -> None:
        """Keep a finished tree until it is stored; StoreError if the folder cannot be written."""
        row = {"tree_id": record.tree_id, **asdict(record)}
        self._put(self._tree_path(record.tree_id), Kind.TREE, [row])

    def put_dialogues(self, records: Sequence[DialogueRecord]) -> None:
        """Keep a batch of dialogues in one file until it is stored; StoreError if the folder cannot be written."""
        if records:
            rows = [{"trajectory_id": trajectory_id(record), **asdict(record)} for record in records]
            ids = sorted(str(row["trajectory_id"]) for row in rows)
            self._put(self.folder / _file_name(ids[0], "\n".join(ids), Kind.DIALOGUES), Kind.DIALOGUES, rows)

    def put_judgement(self, record: JudgementRecord) -> None:
        """Keep a person's judgement until it is stored; StoreError if the folder cannot be written."""
        label = f"{record.cycle_id}-{record.reviewer}"
        path = self.folder / _file_name(label, record.judgement_id, Kind.JUDGEMENT)
        self._put(path, Kind.JUDGEMENT, [{"judgement_id": record.judgement_id, **asdict(record)}])

    def judgements(self) -> list[dict[str, Any]]:
        """The rows of judgements that wait here; without those that cannot be read, which the next drain reports."""
        rows: list[dict[str, Any]] = []
        for path in self.pending():
            if kind_of(path) is Kind.JUDGEMENT:
                with suppress(NewerFile, ValueError):
                    table = self.read(path)
                    rows += table.to_pylist() if table is not None else []
        return rows

    def has_tree(self, tree_id: str) -> bool:
        """Whether the tree waits here; a stored tree is no longer here."""
        return self._tree_path(tree_id).exists()

    def pending(self) -> list[Path]:
        """The waiting files, by name."""
        return sorted(p for kind in Kind for p in self.folder.glob(f"[!.]*.{kind}.parquet"))

    def read(self, path: Path) -> Any | None:
        """The rows of a file as a pyarrow Table with the present columns; None if another process has stored it meanwhile.

        Raises NewerFile for a file of a newer engage, ValueError for an unreadable one (not a file, empty, no permission), for a tree
        that contradicts itself and for a judgement that SQL cannot read, StoreError if the disk does not answer.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            if not stat.S_ISREG(path.lstat().st_mode):  # a pipe would be waited for without end
                raise ValueError("not a plain file")
            raw = path.read_bytes()
        except FileNotFoundError:
            return None
        except PermissionError as error:
            raise ValueError("this user may not read it") from error
        except OSError as error:
            raise StoreError(f"{path}: cannot be read: {error.strerror}") from error
        try:
            table = pq.read_table(pa.BufferReader(raw), page_checksum_verification=True)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise ValueError(f"not a whole Parquet file: {error}") from error
        version = _version_of(table)
        if version > OUTBOX_VERSION:
            raise NewerFile(f"{path}: columns of version {version}, this engage knows {OUTBOX_VERSION}")
        if not table.schema.equals(_schema(kind_of(path), version)):
            raise ValueError(f"not the columns of version {version}")
        if not table.num_rows:
            raise ValueError("no rows")
        if kind_of(path) is Kind.TREE and table.num_rows > 1:
            raise ValueError("more than one tree")
        wrong = {Kind.TREE: contradiction, Kind.JUDGEMENT: odd_judgement}.get(kind_of(path))
        if wrong and (reason := wrong(table)):
            raise ValueError(reason)
        if version < OUTBOX_VERSION:
            return pa.Table.from_pylist(table.to_pylist(), schema=_schema(kind_of(path), OUTBOX_VERSION))
        return table

    def set_aside(self, path: Path) -> None:
        """Rename a file that cannot be stored to `*.damaged`, without overwriting earlier ones; StoreError if that fails."""
        name, number = path.name, 1
        while len(os.fsencode(name)) > LONGEST_NAME:
            name = name[:-1]
        target = path.with_name(f"{name}.damaged")
        while os.path.lexists(target):
            number += 1
            target = path.with_name(f"{name}.{number}.damaged")
        try:
            path.rename(target)
        except FileNotFoundError:  # another process has set it aside meanwhile
            return
        except OSError as error:
            raise StoreError(f"{path}: cannot be stored, and cannot be set aside: {error.strerror}") from error

    def sweep(self) -> None:
        """Remove unfinished files of killed processes: those older than a day, because no file takes so long to write."""
        for left in self.folder.glob(".*.tmp"):
            with suppress(OSError):
                if time.time() - left.lstat().st_mtime > 86_400:
                    left.unlink()

    def _tree_path(self, tree_id: str) -> Path:
        return self.folder / _file_name(tree_id, tree_id, Kind.TREE)

    def _put(self, path: Path, kind: Kind, rows: Sequence[Mapping[str, Any]]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        buffer = io.BytesIO()
        pq.write_table(
            pa.Table.from_pylist(list(rows), schema=_schema(kind, OUTBOX_VERSION)),
            buffer,
            compression="zstd",
            write_page_checksum=True,
        )
        try:
            write_whole(path, buffer.getvalue())
        except OSError as error:
            raise StoreError(f"{path}: cannot be written: {error.strerror}") from error


def trajectory_id(record: DialogueRecord) -> str:
    """A plain dialogue's key in the store, from its scenario, labels and seed; a fork's begins with the forked dialogue's."""
    if isinstance(record, ForkRecord):
        return f"{record.forked}/{record.seed}"
    scenario_id = record.trajectory.scenario_id
    return f"{record.cycle_id}/{record.purpose}/{record.policy}/{record.simulator}/{scenario_id}/{record.seed}"


def kind_of(path: Path) -> Kind:
    """The kind of a waiting file's records, from its name."""
    return Kind(path.name.split(".")[-2])


def _file_name(label: str, identity: str, kind: Kind) -> str:
    """A readable file name that is safe on every file system; the hash of `identity` distinguishes equal labels."""
    readable = re.sub(r"[^A-Za-z0-9_-]+", "-", label)[:80].strip("-")
    return f"{readable}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}.{kind}.parquet"


def _version_of(table: Any) -> int:
    noted = (table.schema.metadata or {}).get(_VERSION_KEY, b"1")
    if not noted.isdigit() or int(noted) < 1:
        raise ValueError(f"its columns are of no known version ({noted[:20]!r})")
    return int(noted)


@cache
def _schema(kind: Kind, version: int) -> Any:
    """Columns of a file of that version: the fields of TreeRecord, DialogueRecord or JudgementRecord, nested as they are, and the record's id.

    A column added later is written `since(2, text)`: the first version that has it, and its type.
    """
    import pyarrow as pa

    def since(first: int, kind: Any) -> Any:
        return kind if version >= first else None

    def struct(**fields: Any) -> Any:
        return pa.struct([pa.field(name, kind) for name, kind in fields.items() if kind is not None])

    text, integer, long, real = pa.string(), pa.int32(), pa.int64(), pa.float64()
    texts = pa.list_(text)
    turn = struct(role=text, text=text, attempts=integer, flaw=text, first_flaw=since(2, text), redrawn=since(3, texts))
    reaction = struct(reader=text, text=text, value=real, probabilities=pa.list_(real))
    trajectory = struct(
        scenario_id=text,
        dialogue=struct(turns=pa.list_(turn)),
        reaction=reaction,
        reward=real,
        exchanges=integer,
        end_reason=text,
    )
    call = struct(
        key=text,
        side=text,
        kind=text,
        samples=integer,
        prompt_tokens=long,
        cached_tokens=long,
        completion_tokens=long,
        latency_s=real,
    )
    node = struct(
        node_id=integer,
        parent_id=integer,
        kind=text,
        depth=integer,
        spine_index=integer,
        role=text,
        text=text,
        attempts=integer,
        flaw=text,
        sample_count=integer,
        mean_logprob=real,
        end_reason=text,
        first_flaw=since(2, text),
        redrawn=since(3, texts),
    )
    simulation = struct(simulation=integer, root_id=integer, node_ids=pa.list_(integer), trajectory=trajectory)
    columns = {
        Kind.TREE: struct(
            tree_id=text,
            cycle_id=text,
            scenario_id=text,
            seed=long,
            nodes=pa.list_(node),
            simulations=pa.list_(simulation),
            calls=pa.list_(call),
            withdrawn=integer,
            wall_s=real,
            simulator=since(4, text),
        ),
        Kind.DIALOGUES: struct(
            trajectory_id=text,
            cycle_id=text,
            purpose=text,
            policy=text,
            simulator=text,
            seed=long,
            trajectory=trajectory,
            calls=pa.list_(call),
        ),
        Kind.JUDGEMENT: struct(
            judgement_id=text,
            cycle_id=text,
            kind=text,
            item_id=text,
            scenario_id=text,
            tree_id=text,
            left_id=text,
            right_id=text,
            verdict=text,
            reviewer=text,
            judged_at=pa.timestamp("us"),
            seconds=real,
            sample=text,
            sample_size=integer,
            sample_seed=long,
            population=integer,
        ),
    }
    return pa.schema(list(columns[kind]), metadata={_VERSION_KEY: str(version)})
