"""`engage forget`: one person's text is nowhere in the home afterwards, and what cannot be undone is said."""

import json
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest
from all_texts import texts
from kept_homes import add_cycle
from small_stores import count, support_scenario

import engage.keeping.forgetting
from engage.errors import ConfigError, StoreError
from engage.home import Home
from engage.keeping.exports import export_to
from engage.keeping.forgetting import NOTE, forget, plan_forgetting
from engage.models import AdapterCard, adapter_fingerprint
from engage.store import TrajectoryStore, delete_rows
from engage.tracking import Tracker
from engage.training import PreferencePair, load_pairs, save_pairs
from engage.workspace import Workspace

pytestmark = pytest.mark.slow
ANNA = "anna-1"
SECRET = "My cat Muschi died at Ulm."
"""What only the scenario `anna-1` says, in its opening, and so in each of its dialogues."""


def pair(scenario_id: str, text: str) -> PreferencePair:
    prompt = ({"role": "user", "content": text},)
    return PreferencePair(prompt, "Tell me.", "No.", "emotional_support", scenario_id, "search", 0.1, 0.9)


@pytest.fixture
def told(home, monkeypatch) -> Home:
    """c1 searched s1 and anna-1 and trained on both, c2 searched s1 alone and begins with c1's adapter; c1 is exported and has pages."""
    person = support_scenario(ANNA, opening=SECRET)
    monkeypatch.setattr("kept_homes.support_scenario", lambda name: person if name == ANNA else support_scenario(name))
    first = add_cycle(home, "c1", (ANNA, "s1"))
    second = add_cycle(home, "c2", ("s1",))
    card = AdapterCard.read(second).model_copy(update={"parent": adapter_fingerprint(first)})
    card.write(second)
    folder, tracker = home.cycle("c1"), Tracker(home)
    save_pairs([pair(ANNA, SECRET), pair("s1", "I am sad.")], folder / "pairs.parquet")
    (folder / "report.html").write_text(f"<p>{SECRET}</p>", encoding="utf-8")
    (folder / "left.json").write_text(json.dumps({"failed": ANNA, "said": SECRET}), encoding="utf-8")
    for name, kept in (("pairs.parquet", "pairs"), ("report.html", "page")):
        tracker.cycle_run("c1").files(folder / name, kept)
    workspace = Workspace(home)
    export_to(workspace, "c1", home.path.parent / "export")
    workspace.snapshot()
    home.database.with_name("engage.duckdb.schema-9.wal").write_text(SECRET)  # beside a copy from before an upgrade
    return home


def tells(folder: Path) -> set[str]:
    """Files below the folder in which the person's words or id stand, in whatever form."""
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file()
        for text in texts(path)
        if SECRET.encode() in text or ANNA.encode() in text
    }


def test_a_folder_among_the_copies_stops_in_one_sentence_and_the_same_command_goes_on(told):
    workspace, folder = Workspace(told), told.database.with_name("engage.duckdb.schema-8")
    folder.mkdir()
    plan = plan_forgetting(workspace, None, ANNA)
    with pytest.raises(StoreError, match=r"schema-8: cannot be deleted: .*; remove it, and give the same command"):
        forget(workspace, plan)
    folder.rmdir()
    forget(workspace, plan_forgetting(workspace, None, ANNA))
    assert tells(told.path.parent) == set()


def test_a_forgotten_person_is_in_no_file_and_the_others_stay(told):
    workspace, around = Workspace(told), told.path.parent
    before, others = tells(around), count(TrajectoryStore(told.database), "tree where scenario_id = 's1'")
    assert {"my home/engage.duckdb", "my home/read.duckdb", "my home/mlflow.db", "export/turn.parquet"} < before
    plan = plan_forgetting(workspace, None, ANNA)
    assert (plan.scenario_ids, plan.cycles, plan.rows["tree"]) == ((ANNA,), ("c1",), 1)
    assert {file.name for file in plan.files} == {"pairs.parquet", "report.html", "left.json"} and len(plan.files) == 5
    assert plan.adapters == tuple(told.cycle(cycle) / "align" / "run" / "adapter" for cycle in ("c1", "c2"))
    assert tells(around) == before  # planning deletes nothing
    assert forget(workspace, plan) == 1
    assert tells(around) == set()
    assert count(workspace.store, "tree where scenario_id = 's1'") == others == 2
    assert [one.scenario_id for one in load_pairs(told.cycle("c1") / "pairs.parquet")] == ["s1"]
    assert (around / "export" / "turn.parquet").exists() and told.snapshot.exists()
    assert all(folder.is_dir() for folder in plan.adapters) and not (told.path / NOTE).exists()


def test_a_later_night_that_trained_on_the_persons_earlier_pairs_forgets_them_too(told):
    later = told.cycle("c2") / "pairs.parquet"
    save_pairs([replace(pair(ANNA, SECRET), earlier_cycle="c1"), pair("s1", "I am sad.")], later)
    Tracker(told).cycle_run("c2").files(later, "pairs")
    card = AdapterCard.read(told.cycle("c2") / "align" / "run" / "adapter").model_copy(update={"parent": None})
    card.write(told.cycle("c2") / "align" / "run" / "adapter")
    plan = plan_forgetting(Workspace(told), None, ANNA)
    assert plan.cycles == ("c1", "c2")
    assert plan.adapters == tuple(told.cycle(cycle) / "align" / "run" / "adapter" for cycle in ("c1", "c2"))
    forget(Workspace(told), plan)
    assert tells(told.path.parent) == set()
    assert [one.scenario_id for one in load_pairs(later)] == ["s1"]


def test_tables_of_experiments_that_read_the_person_in_a_corpus_are_forgotten(told):
    people, feedback = told.cycle("c2") / "people", told.path / "feedback" / "2026-11-27-100000"
    rows = {one: f"scenario_id,outcome\n{one},0.5\n" for one in (ANNA, "s1")}
    for path, text in (
        (people / "abc" / "people-p4g-validation.csv", rows[ANNA]),
        (people / "scores" / "1.jsonl", json.dumps([ANNA, [[1, 2.5, 7]]]) + "\n"),
        (feedback / "turns.csv", rows[ANNA]),
        (feedback / "figures.csv", rows["s1"]),
        (told.cycle("c2") / "report.html", "another night's page"),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    Tracker(told).cycle_run("c2").files(people / "abc" / "people-p4g-validation.csv", "people")
    plan = plan_forgetting(Workspace(told), None, ANNA)
    assert plan.cycles == ("c1",) and len(plan.files) == 5 + 4
    forget(Workspace(told), plan)
    assert tells(told.path.parent) == set()
    assert (feedback / "figures.csv").exists() and (told.cycle("c2") / "report.html").exists()


def test_a_person_who_stands_in_files_alone_is_forgotten(told):
    person, table = "p4g-0a1b2c", told.path / "feedback" / "2026-11-27-100000" / "turns.csv"
    table.parent.mkdir(parents=True)
    table.write_text(f"scenario_id,outcome\n{person},0.5\n", encoding="utf-8")
    learnt = told.cycle("c2") / "pairs.parquet"
    save_pairs([pair(person, "I give a lot."), pair("s1", "I am sad.")], learnt)
    with pytest.raises(ConfigError, match="no such scenario"):  # a part of an id is nobody's
        plan_forgetting(Workspace(told), None, "p4g-0a1b")
    plan = plan_forgetting(Workspace(told), None, person)
    assert plan.cycles == ("c2",) and sum(plan.rows.values()) == 0
    forget(Workspace(told), plan)
    assert [one.scenario_id for one in load_pairs(learnt)] == ["s1"] and not table.exists()
    assert count(Workspace(told).store, "scenario") == 2


def test_a_word_in_a_file_is_nobodys_id(told):
    table = told.path / "feedback" / "2026-11-27-100000" / "turns.csv"
    table.parent.mkdir(parents=True)
    table.write_text("scenario_id,reader\np4g-1,base\n", encoding="utf-8")
    scores = told.cycle("c2") / "people" / "scores" / "1.jsonl"
    scores.parent.mkdir(parents=True)
    scores.write_text('["p4g-\\u00e9", [[1, 2.5, 7]]]\n', encoding="utf-8")
    (told.cycle("c2") / "report.md").write_text("The search asked (twice): **base**.", encoding="utf-8")
    for word in ("base", "reader", "scenario_id", "search", "(", ".*"):
        with pytest.raises(ConfigError, match="no such scenario"):
            plan_forgetting(Workspace(told), None, word)
    for person, file in (("p4g-1", table), ("p4g-é", scores)):
        assert plan_forgetting(Workspace(told), None, person).files == (file,)


def test_what_is_left_of_a_killed_command_the_same_command_takes_away(told):
    for moment in ("save_pairs", "forget_traces", "delete_rows", "export_to", "compact"):
        child = os.fork()
        if not child:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(engage.keeping.forgetting, moment, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
                forget(Workspace(told), plan_forgetting(Workspace(told), None, ANNA))
            os._exit(0)
        assert os.waitpid(child, 0)[1] == signal.SIGKILL, moment
        assert len(TrajectoryStore(told.database).cycle_ids()) == 2
    workspace = Workspace(told)
    forget(workspace, plan_forgetting(workspace, None, ANNA))
    assert tells(told.path.parent) == set()


def test_a_short_id_takes_no_figures_along_and_a_person_is_found_behind_escapes(home):
    add_cycle(home, "c1", ("7", "Zo\u00eb"))
    folder = home.cycle("c1")
    kept = {"work.json": {"cycle_id": "c1"}, "verdict.json": {"reason": "on 7 held-out scenarios"}, "history.json": [7]}
    told = {"seven.json": {"failed": ["7"]}, "seven.jsonl": {"7": 1}, "zoe.json": {"failed": "Zo\u00eb"}}
    for name, content in {**kept, **told}.items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    (folder / "cut.json").write_text('{"failed": "7', encoding="utf-8")
    workspace = Workspace(home)
    found = {one: {file.name for file in plan_forgetting(workspace, None, one).files} for one in ("7", "Zo\u00eb")}
    assert found == {"7": {"seven.json", "seven.jsonl", "cut.json"}, "Zo\u00eb": {"zoe.json"}}


def test_an_export_that_was_away_for_a_while_is_written_anew(told, tmp_path):
    workspace, folder = Workspace(told), told.path.parent / "export"
    folder.rename(tmp_path / "away")  # its disk is not mounted
    export_to(workspace, "c2", tmp_path / "other")
    (tmp_path / "away").rename(folder)
    assert plan_forgetting(workspace, None, ANNA).exports == {str(folder): "c1"}


def test_an_export_of_a_pruned_cycle_is_named(told, engage, monkeypatch):
    monkeypatch.setenv("ENGAGE_HOME", str(told.path))
    delete_rows(told.database, "cycle_id", ["c1"], 1.0)
    code, out, _ = engage("forget", "--scenario", ANNA)
    named = f"- the export of a cycle that was pruned: {told.path.parent / 'export'}; delete it"
    assert code == 0 and named in out.replace("\n", " ")


def test_files_of_ones_own_beside_an_export_stay(told):
    own = told.path.parent / "export" / "my labels.parquet"
    shutil.copy(own.parent / "cycle.parquet", own)
    mine = own.read_bytes()
    workspace = Workspace(told)
    forget(workspace, plan_forgetting(workspace, None, ANNA))
    assert own.read_bytes() == mine and tells(told.path.parent) == set()


@pytest.mark.parametrize("name", ["o'brien", """'"`""", 'say "hi"', "100%_\\", "s 1`"])
def test_an_id_with_signs_of_query_languages_is_forgotten(home, name):
    add_cycle(home, "c1", (name, "s1"))
    workspace = Workspace(home)
    assert forget(workspace, plan_forgetting(workspace, None, name)) == 1
    assert count(workspace.store, "tree") == 1 == count(workspace.store, "tree where scenario_id = 's1'")


def test_the_command_names_what_it_deletes_and_what_it_cannot_undo(told, engage, monkeypatch):
    monkeypatch.setenv("ENGAGE_HOME", str(told.path))
    before = tells(told.path)
    code, out, _ = engage("forget", "--scenario", ANNA, "--dry-run")
    assert code == 0 and tells(told.path) == before
    assert f"1 scenarios in 1 cycles: {ANNA}" in out and f"file: {told.cycle('c1') / 'report.html'}" in out
    assert f"- trained on it, or begun with what was: {told.cycle('c2')}/align/run/adapter; train again" in out
    assert "- data sets that `engage pairs export` wrote: delete them, and export again;" in out
    for arguments, said in (
        ((), "name what to forget: --scenario ID or --scenario-source TEXT"),
        (("--scenario", "nobody"), "'nobody': no such scenario in this home"),
        (("--scenario-source", "x"), "'x': no such scenario source in this home; the sources are "),
    ):
        code, _, err = engage("forget", *arguments)
        assert code == 2 and err.startswith(said)
    source = TrajectoryStore(told.database).select("select distinct source from scenario")[1][0][0]
    code, out, _ = engage("forget", "--scenario-source", source)
    assert code == 0 and "2 scenarios in 2 cycles" in out and "all of this is deleted" in out
    assert count(TrajectoryStore(told.database), "scenario") == 0 and count(TrajectoryStore(told.database), "turn") == 0
    with pytest.raises(ConfigError):
        plan_forgetting(Workspace(told), source, None)
