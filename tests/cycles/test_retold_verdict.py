"""What a later night decides about a kept challenger is told by the cycle that trained it: its run, and its page."""

import pytest
from kept_homes import add_cycle

from engage.evaluation import Verdict, policy_label
from engage.evaluation.cycle_record import JUDGED_TAG, retell_verdict
from engage.evaluation.night_page import keep_verdict
from engage.evaluation.night_page.gains import decision
from engage.store import Challenges
from engage.workspace import Workspace

LATER = Verdict(True, "promoted: +0.1", passed=True)


@pytest.mark.slow
@pytest.mark.parametrize("told", ["its candidate", "another"])
def test_the_page_of_the_cycle_tells_what_a_later_night_decided(home, told):
    adapter, workspace = add_cycle(home, "c1", talk=False), Workspace(home)
    label, folder, run = policy_label("candidate", str(adapter)), home.cycle("c1"), workspace.tracker.cycle_run("c1")
    keep_verdict(folder, label, Verdict(False, "not promoted yet: +0.1", goes_on=True), [])
    run.tags({JUDGED_TAG: workspace.tracker.shown(adapter) if told == "its candidate" else "cycles/c1/align/other"})
    challenge = Challenges(workspace.store).begin("c1", label, str(adapter), "base", "held-out bare", "g", ["s1"])
    retell_verdict(workspace, challenge, LATER, [])
    found = decision(folder, label)
    expected = ("Promoted: +0.1.", True) if told == "its candidate" else ("Not promoted yet: +0.1.", False)
    assert (found.text, found.promoted) == expected
    assert (workspace.tracker.cycle_run("c1").tag("promoted") == "yes") is found.promoted
