"""Promotions by a person that are cut off between the store and MLflow's registry: the same command completes them."""

import pytest
from kept_homes import add_cycle
from mlflow import MlflowClient

from engage.errors import StoreError
from engage.evaluation import Verdict, finish_earlier, policy_label
from engage.evaluation.night_page import keep_verdict
from engage.evaluation.night_page.gains import decision
from engage.evaluation.promoting import promote_by_person, roll_back
from engage.store import Challenges, State
from engage.tracking import Tracker
from engage.training import name_candidate
from engage.workspace import Workspace

pytestmark = pytest.mark.slow


@pytest.fixture
def workspace(home, monkeypatch) -> Workspace:
    """Versions 1 and 2, of which a person promoted the first."""
    monkeypatch.setenv("LOGNAME", "ada")
    for cycle in ("c1", "c2"):
        add_cycle(home, cycle, talk=False)
    found = Workspace(home)
    promote_by_person(found, "1", "a start", unjudged=True)
    return found


def cut_off(*_, **__):
    raise StoreError("cut off")


def recorded(workspace):
    return [(one.version, one.promoted_by) for one in Challenges(workspace.store).promotions()]


def champion(workspace):
    found = workspace.tracker.champion()
    return found and found.version


@pytest.mark.parametrize("failing", [(Tracker, "promote"), (Challenges, "record_promotion")])
def test_a_promotion_that_was_cut_off_is_completed_by_the_same_command(workspace, monkeypatch, failing):
    with monkeypatch.context() as patch, pytest.raises(StoreError):
        patch.setattr(*failing, cut_off)
        promote_by_person(workspace, "2", "it is better", unjudged=True)
    assert champion(workspace) == "1"
    promote_by_person(workspace, "2", "it is better", unjudged=True)
    assert (champion(workspace), recorded(workspace)) == ("2", [("1", "ada"), ("2", "ada")])


@pytest.mark.parametrize("failing", [(Tracker, "promote"), (Challenges, "record_promotion")])
def test_a_rollback_that_was_cut_off_goes_one_step_back_when_it_runs_again(workspace, monkeypatch, failing):
    promote_by_person(workspace, "2", "it is better", unjudged=True)
    with monkeypatch.context() as patch, pytest.raises(StoreError):
        patch.setattr(*failing, cut_off)
        roll_back(workspace, "worse")
    roll_back(workspace, "worse")
    assert champion(workspace) == "1"
    assert [version for version, _ in recorded(workspace)] == ["1", "2", "1"]
    with monkeypatch.context() as patch, pytest.raises(StoreError):
        patch.setattr(Tracker, "demote", cut_off)
        roll_back(workspace, "worse still")
    roll_back(workspace, "worse still")
    assert champion(workspace) is None
    assert [version for version, _ in recorded(workspace)] == ["1", "2", "1", "base"]


@pytest.mark.parametrize("killed", [False, True])
def test_the_cycles_run_version_and_page_say_what_a_person_did(workspace, monkeypatch, killed):
    home, tracker = workspace.home, workspace.tracker
    adapter, folder = home.cycle("c2") / "align" / "run" / "adapter", home.cycle("c2")
    label, rule = policy_label("candidate", str(adapter)), Verdict(False, "not promoted: flattery rose")
    name_candidate(folder, adapter)
    keep_verdict(folder, label, rule, ["flattery rose"])
    tracker.cycle_run("c2").tags({"verdict": rule.reason, "promoted": "no"})
    if killed:  # the same command does all of it again
        with monkeypatch.context() as patch, pytest.raises(StoreError):
            patch.setattr(Tracker, "promote", cut_off)
            promote_by_person(workspace, "2", "it is better", unjudged=True)
    promote_by_person(workspace, "2", "it is better", unjudged=True)
    roll_back(workspace, "worse")
    promote_by_person(workspace, "2", "once more", unjudged=True)
    run, page = tracker.cycle_run("c2"), decision(folder, label)
    assert (run.tag("promoted"), run.tag("verdict")) == ("yes", "promoted by ada: it is better")
    assert (page.promoted, page.text, page.failures) == (True, "Promoted by ada: it is better.", ("flattery rose",))
    assert MlflowClient(home.tracking_uri).get_model_version("engage-policy", "2").tags["promoted"] == "yes"


def test_another_candidates_run_is_left_alone(workspace):
    name_candidate(workspace.home.cycle("c2"), workspace.home.cycle("c2") / "align" / "other" / "adapter")
    promote_by_person(workspace, "2", "it is better", unjudged=True)
    assert workspace.tracker.cycle_run("c2").tag("promoted") is None


def test_a_night_does_not_take_a_persons_promotion_for_the_rules(workspace, monkeypatch):
    adapter = workspace.home.cycle("c2") / "align" / "run" / "adapter"
    challenges, label = Challenges(workspace.store), policy_label("candidate", str(adapter))
    number = challenges.begin("c2", label, str(adapter), "champion-1", "held-out bare", "g", ["s1"]).number
    with monkeypatch.context() as patch, pytest.raises(StoreError):
        patch.setattr(Challenges, "settle", cut_off)
        promote_by_person(workspace, "2", "it is better", unjudged=True)
    name_candidate(workspace.home.cycle("c2"), adapter)
    finish_earlier(workspace)
    assert recorded(workspace) == [("1", "ada"), ("2", "ada")]
    assert workspace.tracker.cycle_run("c2").tag("verdict") == "promoted by ada: it is better"
    (one,) = challenges.all()
    assert (one.number, one.state, one.reason) == (number, State.PROMOTED, "promoted by ada: it is better")
