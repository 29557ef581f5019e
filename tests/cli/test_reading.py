"""`engage sql`, `show` and `tree` read the copy for readers and say of when it is; with --live, or without a copy, the store."""

import os
import re

import duckdb
import pytest
from scripted_scenarios import SUPPORT
from small_stores import filled, hand_tree

from engage.home import Home
from engage.store import write_snapshot

CYCLES = "select count(*) as cycles from cycle"
MINUTE = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"


@pytest.fixture
def store(own_home):
    """A store with one cycle and a copy of it."""
    made = filled(own_home, [SUPPORT], [hand_tree(SUPPORT, {"Tell me.": [[1.0]], "No.": [[0.0]]}, "c1")])
    home = Home.from_env()
    write_snapshot(home.database, home.snapshot, 1.0)
    return made


def cycles(out: str) -> int:
    (found,) = re.findall(r"│ +(\d+) │", out)
    return int(found)


@pytest.mark.slow
def test_the_copy_is_read_and_its_time_is_said(engage, store):
    code, out, said = engage("sql", CYCLES)
    assert (code, cycles(out)) == (0, 1)
    assert re.fullmatch(rf"read from read.duckdb of {MINUTE}\n", said)
    said = [engage(*command)[2] for command in (("show", "c1"), ("tree", SUPPORT.scenario_id))]
    assert all(one.startswith("read from read.duckdb of ") for one in said)


def test_a_copy_that_the_store_has_left_behind_is_said_to_be_old(engage, store):
    store.begin_cycle("c2", {})
    home = Home.from_env()
    os.utime(home.snapshot, (home.database.stat().st_mtime - 60,) * 2)
    code, out, said = engage("sql", CYCLES)
    assert (code, cycles(out)) == (0, 1)
    assert re.fullmatch(
        rf"read from read.duckdb of {MINUTE}; the store has changed since \({MINUTE}\), --live reads it\n", said
    )
    code, out, said = engage("sql", CYCLES, "--live")
    assert (code, cycles(out), said) == (0, 2, "")


def test_without_a_copy_the_store_is_read(engage, store):
    Home.from_env().snapshot.unlink()
    store.begin_cycle("c2", {})
    code, out, said = engage("sql", CYCLES)
    assert (code, cycles(out), said) == (0, 2, "")


@pytest.mark.parametrize("how", ["damaged", "open for writing"])
def test_a_copy_that_cannot_be_read_is_named_and_the_store_is_read(engage, store, how, request):
    copy = Home.from_env().snapshot
    if how == "damaged":
        copy.write_bytes(b"x" * 20_000)
    else:
        request.addfinalizer(duckdb.connect(str(copy)).close)
    store.begin_cycle("c2", {})
    code, out, said = engage("sql", CYCLES)
    assert (code, cycles(out)) == (0, 2)
    assert said.startswith(f"{copy}: ") and said.endswith("; reading the store instead\n")


def test_a_copy_of_an_older_version_is_written_anew(engage, store):
    copy = Home.from_env().snapshot
    with duckdb.connect(str(copy)) as connection:
        connection.execute("update schema_version set version = 1")
    store.begin_cycle("c2", {})
    code, out, said = engage("sql", CYCLES)
    assert (code, cycles(out)) == (0, 2) and said.startswith("read from read.duckdb of ")


def test_a_reader_of_the_copy_keeps_no_writer_waiting(engage, store):
    with duckdb.connect(str(Home.from_env().snapshot), read_only=True):
        assert engage("sql", CYCLES)[0] == 0
        store.begin_cycle("c2", {})
