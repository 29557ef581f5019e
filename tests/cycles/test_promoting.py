"""Promotions by a person that are cut off between the store and MLflow's registry: the same command completes them."""

import pytest
from kept_homes import add_cycle

from engage.errors import StoreError
from engage.evaluation import finish_earlier, policy_label
from engage.evaluation.promoting import promote_by_person, roll_back
from engage.store import Challenges, State
from engage.tracking import Tracker
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


def test_a_night_does_not_take_a_persons_promotion_for_the_rules(workspace, monkeypatch):
    adapter = workspace.home.cycle("c2") / "align" / "run" / "adapter"
    challenges, label = Challenges(workspace.store), policy_label("candidate", str(adapter))
    number = challenges.begin("c2", label, str(adapter), "champion-1", "held-out bare", "g", ["s1"]).number
    with monkeypatch.context() as patch, pytest.raises(StoreError):
        patch.setattr(Challenges, "settle", cut_off)
        promote_by_person(workspace, "2", "it is better", unjudged=True)
    finish_earlier(workspace)
    assert recorded(workspace) == [("1", "ada"), ("2", "ada")]
    (one,) = challenges.all()
    assert (one.number, one.state, one.reason) == (number, State.PROMOTED, "promoted by ada: it is better")
