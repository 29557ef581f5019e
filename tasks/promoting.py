"""Makes an adapter champion: by the rule after a night, or by a person. The registry names the champion; the store records why."""

from dataclasses import replace
from pathlib import Path

from engage.evaluation import Fate, Verdict, policy_label
from engage.store import Challenge, Challenges, Cycle, State
from tasks.tracking import Champion
from tasks.workspace import Workspace

RULE = "the rule"


def promote_by_rule(workspace: Workspace, cycle: Cycle, fate: Fate) -> Fate:
    """Promote a challenge that passed, if the champion is still the one that it was compared with.

    First the store notes that it passed, then the registry's alias moves, then the store notes the promotion. A night that is killed in
    between leaves a state that the same night, run again, or the next one completes.
    """
    tracker, challenges, challenge = workspace.tracker, Challenges(workspace.store), fate.standing.challenge
    adapter = Path(str(challenge.adapter))
    version, champion = tracker.version_of(adapter), tracker.champion()
    now = champion.version if champion else None
    if now not in (cycle.champion_version, version):
        return replace(fate, verdict=moved(now), state=State.DROPPED)
    challenges.settle(challenge.number, State.PASSED, fate.verdict.reason, passed=True)
    tracker.promote(version, {"by": RULE, "why": fate.verdict.reason})
    challenges.record_promotion(
        version, str(adapter), RULE, fate.verdict.reason, cycle.champion_version, cycle.cycle_id, challenge.number
    )
    return replace(fate, state=State.PROMOTED)


def finish_earlier(workspace: Workspace) -> None:
    """Settle challenges against champions of the past: one that is the champion itself was promoted, open ones are dropped.

    The first happens where a night was killed between the registry and the store.
    """
    challenges, champion = Challenges(workspace.store), workspace.tracker.champion()
    label = policy_label("champion", str(champion.adapter)) if champion else "base"
    for one in challenges.all():
        if one.state not in (State.OPEN, State.PASSED) or one.incumbent == label:
            continue
        if champion and one.policy.partition("-")[2] == label.partition("-")[2]:
            _record(challenges, one, champion)
        elif one.state is State.OPEN:
            challenges.settle(one.number, State.DROPPED, f"the champion changed: it is {label} now")


def _record(challenges: Challenges, challenge: Challenge, champion: Champion) -> None:
    challenges.record_promotion(
        champion.version, str(champion.adapter), RULE, challenge.reason, None, challenge.cycle_id, challenge.number
    )
    challenges.settle(challenge.number, State.PROMOTED, challenge.reason)


def moved(now: str | None) -> Verdict:
    """The verdict on a candidate whose incumbent is no longer the champion."""
    return Verdict(
        False, f"not promoted: the champion is version {now} by now, this cycle knew another; begin a new cycle"
    )
