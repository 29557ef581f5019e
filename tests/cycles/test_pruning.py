"""`engage prune` through the real store and MLflow: what goes, what stays, and what a kill in the middle leaves."""

import json
import os
import shutil
import signal
from datetime import UTC, datetime
from pathlib import Path

import pytest
from kept_homes import add_cycle
from mlflow import MlflowClient
from scripted_cycles import small
from small_stores import counts

import engage.keeping.pruning
from engage.errors import ConfigError
from engage.evaluation.promoting import promote_by_person, roll_back
from engage.home import Home
from engage.keeping import at_work
from engage.keeping.pruning import plan_pruning, prune
from engage.store import Challenges, TrajectoryStore
from engage.tracking import Tracker
from engage.tracking.removal import experiments, find_traces
from engage.workspace import Workspace
from flows.collect import collect
from flows.nightly import nightly

pytestmark = pytest.mark.slow


def tracked(workspace: Workspace) -> dict[str, set[str]]:
    """The cycles of which MLflow has files, models and conversations."""
    client, ids = MlflowClient(workspace.home.tracking_uri), experiments(workspace.tracker)
    of = {run.info.run_id: run.data.tags["engage.cycle_id"] for run in client.search_runs(ids)}
    artifacts = {
        of[path.parent.name] for path in workspace.home.artifacts.glob("*/artifacts") if path.parent.name in of
    }
    models = {
        of[model.source_run_id]
        for model in client.search_logged_models(ids)
        if (workspace.home.artifacts / "models" / model.model_id / "artifacts").exists()
    }
    runs = {
        run: cycle for run, cycle in of.items() if find_traces(client, ids, f"metadata.`mlflow.sourceRun` = '{run}'")
    }
    return {"files": artifacts, "models": models, "conversations": set(runs.values())}


def test_what_a_process_works_on_stays(six):
    at_work.begin(six, "c2", "evaluation", "run")
    assert plan_pruning(six, 1).kept["c2"] == "a process works on it"
    at_work.end(six, "c2", "run", at_work.COMPLETED)
    assert "c2" not in plan_pruning(six, 1).kept


def folders(home: Home) -> set[str]:
    return {path.name for path in home.cycle("any").parent.iterdir()}


@pytest.fixture
def six(home) -> Workspace:
    """c3 trained the champion from c1's adapter, c4's candidate is judged in c5, c6 is the latest; c2 is of no use any more."""
    first = add_cycle(home, "c1")
    add_cycle(home, "c2")
    third = add_cycle(home, "c3", talk=False, champion_adapter=str(first))
    fourth = add_cycle(home, "c4", tracked=False, champion_adapter=str(third))
    for cycle in ("c5", "c6"):
        add_cycle(home, cycle, tracked=False, champion_adapter=str(third))
    tracker = Tracker(home)
    tracker.promote(tracker.version_of(third))
    challenges = Challenges(TrajectoryStore(home.database))
    one = challenges.begin("c4", "candidate-4", str(fourth), "champion-3", "held-out x", "g", ["s1"])
    challenges.add_batches(one.number, "c5", [1])
    return Workspace(home)


def test_what_the_latest_the_champion_and_a_challenger_need_stays(six):
    plan, before = plan_pruning(six, 1), disk(six.home)
    assert plan.kept == {
        "c6": "one of the latest 1",
        "c3": "the champion's",
        "c4": "challenger 1's",
        "c5": "challenger 1's",
        "c1": "cycle c3 starts from it or was judged with it",
    }
    # two trees of 4 simulations and one dialogue; an adapter of 100 kB and more, which lies on the disk once
    (going,) = plan.going
    assert (going.cycle_id, going.trees, going.dialogues) == ("c2", 2, 9)
    assert 100_000 < going.file_bytes < 110_000
    assert plan_pruning(six, 6).going == () and disk(six.home) == before

    figures = MlflowClient(six.home.tracking_uri).search_runs(experiments(six.tracker))
    freed = prune(six, plan, print)
    kept = {"c1", "c3", "c4", "c5", "c6"}
    assert freed > 100_000
    assert (set(six.store.cycle_ids()), folders(six.home)) == (kept, kept)
    assert counts(six.store)["tree"] == 10
    assert tracked(six) == {"files": {"c1", "c3"}, "models": {"c1", "c3"}, "conversations": {"c1"}}
    assert len(MlflowClient(six.home.tracking_uri).search_runs(experiments(six.tracker))) == len(figures)
    assert Tracker(six.home).champion().adapter.is_dir()
    assert plan_pruning(six, 1).going == ()


def test_the_version_to_which_a_rollback_leads_stays(home):
    """c2's candidate replaced c1's and does not descend from it."""
    workspace = Workspace(home)
    for cycle in ("c1", "c2", "c3"):
        add_cycle(home, cycle, talk=False)
    for version in ("1", "2"):
        promote_by_person(workspace, version, "it is better", unjudged=True)
    plan = plan_pruning(workspace, 1)
    back = "version 1's, to which `engage rollback` leads"
    assert plan.kept == {"c1": back, "c2": "the champion's", "c3": "one of the latest 1"}
    prune(workspace, plan, print)
    assert roll_back(workspace, "worse").startswith("version 1 is now the champion, instead of version 2")
    assert {one.cycle_id for one in plan_pruning(workspace, 1).going} == {"c2"}


def disk(home: Home) -> list[tuple[str, int]]:
    return sorted((str(path), path.stat().st_size) for path in home.path.rglob("*") if path.is_file())


def test_an_adapter_lies_on_the_disk_once_and_mlflow_loads_it_still(home, tmp_path):
    adapter = add_cycle(home, "c1")
    (logged,) = home.artifacts.glob("models/*/artifacts")
    weights = "adapter_model.safetensors"
    assert (logged / weights).samefile(adapter / weights)
    client = MlflowClient(home.tracking_uri)
    (model,) = client.search_logged_models(experiments(Workspace(home).tracker))
    loaded = client.list_logged_model_artifacts(model.model_id)
    assert {file.path for file in loaded} == {weights, "adapter_config.json", "engage_card.json"}
    # a copied home has it twice, until it is pruned
    for file in logged.iterdir():
        shutil.copy(file, tmp_path / "copy")
        (tmp_path / "copy").replace(file)
    assert not (logged / weights).samefile(adapter / weights)
    workspace = Workspace(home)
    assert prune(workspace, plan_pruning(workspace, 1), print) >= 100_000
    assert (logged / weights).samefile(adapter / weights)
    shutil.rmtree(adapter)
    assert (logged / weights).read_bytes() == b"c1" * 50_000


MOMENTS = (
    "a folder half removed",
    "before MLflow's files",
    "before the rows",
    "before the compaction",
    "while compacting",
)


def dies(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def killed(workspace: Workspace, moment: str) -> int:
    """Prune in a process that is killed at that moment; returns its status."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    with pytest.MonkeyPatch.context() as patch:
        if moment == MOMENTS[0]:

            def half(folder: Path) -> None:
                os.unlink(folder / "align" / "run" / "adapter" / "adapter_config.json")
                dies()

            patch.setattr(shutil, "rmtree", half)
        elif moment == MOMENTS[1]:
            patch.setattr("engage.tracking.removal.TrackedCycle.remove", dies)
        elif moment == MOMENTS[2]:
            patch.setattr(engage.keeping.pruning, "delete_rows", dies)
        elif moment == MOMENTS[3]:
            patch.setattr(engage.keeping.pruning, "shrink", dies)
        else:
            patch.setattr(shutil, "copymode", dies)
            patch.setattr(engage.keeping.pruning, "_FREE_SHARE", -1.0)
        prune(workspace, plan_pruning(workspace, 1), print)
    os._exit(0)


def test_a_prune_that_is_killed_leaves_a_usable_home_and_the_next_one_finishes(home, monkeypatch):
    for cycle in ("c1", "c2", "c3"):
        add_cycle(home, cycle)
    for moment in MOMENTS:  # each goes on with what the kill before it left
        assert killed(Workspace(home), moment) == signal.SIGKILL, moment
        workspace = Workspace(home)
        assert workspace.store.cycle_ids()[0] == "c3" and counts(workspace.store)["tree"] in (2, 6)
        assert (home.cycle("c3") / "report.md").is_file() and "c3" in tracked(workspace)["models"]
        Challenges(workspace.store).all()
    monkeypatch.setattr(engage.keeping.pruning, "_FREE_SHARE", -1.0)
    prune(workspace, plan_pruning(workspace, 1), print)
    assert (workspace.store.cycle_ids(), folders(home)) == (["c3"], {"c3"})
    assert tracked(workspace) == {"files": {"c3"}, "models": {"c3"}, "conversations": {"c3"}}
    assert [path for path in home.path.iterdir() if path.name.startswith(".")] == []
    add_cycle(home, "c4")


def test_the_command_says_what_goes_and_deletes_nothing_when_asked_to_say_it_only(engage, home):
    code, _, err = engage("prune", "--keep", "1")
    assert code == 2 and err == f"{home.database}: no cycle has been run yet; run `engage nightly` first\n"
    for cycle in ("c1", "c2"):
        add_cycle(home, cycle, tracked=False)
    code, out, _ = engage("prune", "--keep", "1", "--dry-run")
    lines = out.splitlines()
    assert code == 0 and lines[0] == "stays: c2 (one of the latest 1)"
    assert lines[1].startswith("would go: c1: 2 trees, 9 dialogues, 0.1 MB of files")
    assert TrajectoryStore(home.database).cycle_ids() == ["c2", "c1"] and home.cycle("c1").is_dir()
    code, out, _ = engage("prune", "--keep", "1")
    assert code == 0 and "goes: c1: 2 trees" in out and " are free; the home has " in out
    assert TrajectoryStore(home.database).cycle_ids() == ["c2"] and not home.cycle("c1").exists()
    assert engage("prune", "--keep", "0")[0] == 2


@pytest.mark.usefixtures("prefect_server")
def test_a_pruned_cycle_is_listed_as_one_and_no_command_begins_it_again(engage, home, tiny_model):
    for cycle in ("c1", "c2"):
        add_cycle(home, cycle, talk=False)
        Tracker(home).open_cycle(cycle, {"cycle_id": cycle})
        Tracker(home).close_cycle(cycle)
    engage("prune", "--keep", "1")
    rows = json.loads(engage("nights", "--format", "json")[1])
    assert [(row["cycle"], row["state"], row["continue"]) for row in rows] == [
        ("c2", "completed", ""),
        ("c1", "pruned", ""),
    ]
    assert "(pruned)" in engage("runs")[1]
    gone = (
        f"cycle 'c1' was pruned on {datetime.now(UTC):%Y-%m-%d}: its trees, pairs and adapter are deleted; "
        "leave --cycle out, or give a new id"
    )
    code, _, err = engage("export", "--cycle", "c1", "--out", str(home.path / "out"))
    assert (code, err) == (2, f"{gone}\n")
    for begun in (nightly, collect):
        with pytest.raises(ConfigError) as refused:
            begun(small(tiny_model), "c1")
        assert str(refused.value) == gone
    assert folders(home) == {"c2"} and Workspace(home).store.cycle_ids() == ["c2"]


@pytest.mark.usefixtures("prefect_server")
def test_a_cycle_whose_prune_was_killed_is_not_continued(home, tiny_model):
    for cycle in ("c1", "c2"):
        add_cycle(home, cycle, talk=False)
    assert killed(Workspace(home), "a folder half removed") == signal.SIGKILL
    with pytest.raises(ConfigError, match="cycle 'c1' was pruned on "):
        collect(small(tiny_model), "c1")
