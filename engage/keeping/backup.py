"""A home as one tar file, made while a night may run, and back. What is in it: database, outbox, MLflow's file, artifacts, cycles.

Order makes it consistent. The outbox is copied before the database, because a file leaves it only when its rows are in there, and what
is in both is stored once. MLflow's file is copied before the artifacts and folders that it names. Links are followed, because a restore takes none.
"""

import io
import json
import os
import shutil
import sqlite3
import tarfile
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from engage import __version__
from engage.errors import ConfigError, StoreError
from engage.home import ARTIFACTS, Home
from engage.keeping import at_work
from engage.store import newest_version, write_snapshot
from engage.tracking.client import told
from engage.workspace import Workspace

MANIFEST = "engage-backup.json"
FORMAT = 1
DATABASE, OUTBOX, CYCLES, TRACKING = "engage.duckdb", "outbox", "cycles", "mlflow.db"
CONTENT = (DATABASE, OUTBOX, CYCLES, TRACKING, ARTIFACTS)
UNFINISHED = ".restoring"
_HALF_MADE = ("checkpoints", "adapter.partial")
"""Folders of a training at work; a restored night trains again."""
_SMALL = 16_000_000
_NOTHING = ("lost+found", UNFINISHED)
"""What an empty home may hold."""


def back_up(workspace: Workspace, target: Path) -> int:
    """Write the home to a new tar file (gzip, if its name ends so), whole or not at all; returns its bytes.

    ConfigError if the file exists or lies in the home's own folders; StoreError for a database that is locked or cannot be read, or a full disk.
    """
    home, target = workspace.home, target.absolute()
    if target.exists():
        raise ConfigError(f"{target}: exists already; name another file")
    if any(target.is_relative_to(home.path / name) for name in (OUTBOX, CYCLES, ARTIFACTS)):
        raise ConfigError(f"{target}: lies in the home's own folders; name a file elsewhere")
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)  # it holds all conversations
        with os.fdopen(descriptor, "wb") as file:
            with tarfile.open(fileobj=file, mode="w:gz" if target.suffix in (".gz", ".tgz") else "w") as tar:
                _fill(tar, workspace, target.parent)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target)
    except OSError as error:
        raise StoreError(f"{target}: cannot be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
    return target.stat().st_size


def _fill(tar: tarfile.TarFile, workspace: Workspace, beside: Path) -> None:
    """Add all parts in the order that keeps them consistent; copies of databases lie in a folder beside the file for a moment."""
    home = workspace.home
    with tempfile.TemporaryDirectory(prefix=".engage-backup-", dir=beside) as folder:
        described = {
            "format": FORMAT,
            "engage": __version__,
            "schema": newest_version(),
            "made_at": str(datetime.now(UTC)),
        }
        manifest = Path(folder) / MANIFEST
        manifest.write_text(json.dumps(described, indent=1), encoding="utf-8")
        tar.add(manifest, MANIFEST)
        _add(tar, home.outbox, OUTBOX)
        copy = Path(folder) / DATABASE
        write_snapshot(home.database, copy, workspace.wait_s)
        tar.add(copy, DATABASE)
        copy.unlink()
        if home.own_tracking and home.mlflow_file.exists():
            copy = Path(folder) / TRACKING
            _copy_tracking(home, copy)
            tar.add(copy, TRACKING)
        _add(tar, home.artifacts, ARTIFACTS)
        _add(tar, home.cycle("any").parent, CYCLES)


def _copy_tracking(home: Home, copy: Path) -> None:
    """Copy MLflow's file, within one read transaction: Python's `backup` waits for another program's lock without end."""
    with (
        told(home),
        closing(sqlite3.connect(home.mlflow_file, timeout=60, isolation_level=None)) as source,
        closing(sqlite3.connect(copy)) as sink,
    ):
        source.execute("begin")
        source.execute("select count(*) from sqlite_master")
        source.backup(sink)


def _add(tar: tarfile.TarFile, folder: Path, name: str) -> None:
    """Add a folder without what is being written; a file that is gone meanwhile is left out."""
    for path in _files(folder):
        with suppress(FileNotFoundError):
            content_of = path.resolve() if path.is_symlink() else path
            member: tarfile.TarInfo | None = tar.gettarinfo(content_of, f"{name}/{path.relative_to(folder)}")
            if member is None or not (member.isfile() or member.isdir() or member.islnk()):
                continue  # a socket or a pipe, which nobody can restore
            if (
                member.isreg() and member.size <= _SMALL
            ):  # it may be written anew meanwhile, and then have another length
                content = content_of.read_bytes()
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
            else:
                tar.add(content_of, member.name, recursive=False)


def _files(folder: Path) -> Iterator[Path]:
    seen = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(place)) in seen:  # a link to a folder above it
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(one for one in folders if one not in _HALF_MADE and not one.startswith("."))
        yield from (Path(place) / one for one in folders)
        yield from (Path(place) / one for one in sorted(files) if not one.startswith(".") and not one.endswith(".lock"))


def restore(home: Home, source: Path) -> dict[str, Any]:
    """Unpack a backup into an empty home, which is made if it is missing; returns the backup's description.

    The database gets its place last, so that a restore that was killed can be repeated. ConfigError if the home is not empty, or if the
    file is no backup or one of a newer engage.
    """
    unfinished = home.path / UNFINISHED
    killed = unfinished.is_dir() and not home.database.exists()
    there = [path.name for path in home.path.iterdir()] if home.path.exists() else []
    if not killed and set(there) - set(_NOTHING):
        raise ConfigError(f"{home.path}: is not empty; set ENGAGE_HOME to a new folder")
    described = _described(source)
    home.make_folder()
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        with tarfile.open(source) as tar:
            tar.extractall(unfinished, members=_known(tar, source), filter="data")
        at_work.adopt(Home(unfinished))
        for name in (*(one for one in CONTENT if one != DATABASE), DATABASE):
            place = home.path / name
            if (unfinished / name).exists():
                if place.is_dir():  # of a restore that was killed
                    shutil.rmtree(place)
                (unfinished / name).replace(place)
        shutil.rmtree(unfinished)
    except (OSError, tarfile.TarError, EOFError) as error:
        raise StoreError(
            f"{source}: cannot be restored into {home.path}: {getattr(error, 'strerror', None) or error}"
        ) from error
    return described


def _described(source: Path) -> dict[str, Any]:
    """The description at the start of a backup."""
    try:
        with tarfile.open(source) as tar:
            first = tar.next()
            file = tar.extractfile(first) if first and first.name == MANIFEST else None
            found: dict[str, Any] = json.loads(file.read()) if file else {}
    except OSError as error:
        raise ConfigError(f"{source}: cannot be read: {error.strerror or error}") from error
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise ConfigError(f"{source}: is no backup of engage, or damaged ({error})") from error
    if not isinstance(found, dict) or "format" not in found:
        raise ConfigError(f"{source}: is no backup of engage; name a file that `engage backup` wrote")
    numbers = (found["format"], found.get("schema", 0))
    if not all(type(one) is int for one in numbers) or not isinstance(found.get("made_at", ""), str):
        raise ConfigError(f"{source}: is no backup of engage, or damaged (its description is none)")
    if numbers[0] > FORMAT or numbers[1] > newest_version():
        raise ConfigError(f"{source}: written by a newer version of engage ({found.get('engage')}); use that version")
    return found


def _known(tar: tarfile.TarFile, source: Path) -> Iterator[tarfile.TarInfo]:
    """The members that belong into a home; ConfigError for any other, ReadError if the file ends before its end mark."""
    names = set()
    for member in tar:
        names.add(member.name)
        if member.name == MANIFEST:
            continue
        if member.name.partition("/")[0] not in CONTENT or not (member.isfile() or member.isdir() or member.islnk()):
            raise ConfigError(
                f"{source}: {member.name[:80]!a} does not belong into a home; this is no backup of engage"
            )
        yield member
    # tarfile takes a cut or damaged header for the end, and would leave out what follows it
    file = tar.fileobj
    if file is None or file.seek(tar.offset) != tar.offset or file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("the file is cut off or damaged; take another copy of it")
    if DATABASE not in names:
        raise tarfile.ReadError(f"it has no {DATABASE}")
