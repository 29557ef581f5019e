"""Makes an adapter champion: by the rule after a night, or by a person. The registry names the champion; the store records why."""

import getpass
from dataclasses import replace
from pathlib import Path

from engage.errors import ConfigError
from engage.evaluation import Fate, Verdict, policy_label
from engage.store import Challenge, Challenges, Cycle, State
from engage.training import latest_candidate
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


def promote_by_person(workspace: Workspace, asked: str, why: str, unjudged: bool = False) -> str:
    """Make a cycle's candidate (`asked` is its id) or a version of the registry champion; returns what was done, in a sentence.

    ConfigError if there is no such candidate, if its folder is gone, or if no evaluation judged it and `unjudged` does not allow that.
    """
    if not why.strip():
        raise ConfigError("--why: write the reason, which is recorded with the promotion")
    adapter, version = _asked(workspace, asked)
    if not adapter.is_dir():
        raise ConfigError(f"{adapter}, the folder of version {version}, is gone; train it again with `engage align`")
    tracker, challenges = workspace.tracker, Challenges(workspace.store)
    champion, label = tracker.champion(), policy_label("candidate", str(adapter))
    if champion and champion.version == version:
        return f"version {version} is the champion already; nothing was changed"
    judged_in = challenges.cycles_that_judged(label)
    if not judged_in and not unjudged:
        raise ConfigError(
            f"version {version} was never judged; run `engage evaluate --cycle` with its cycle first, or add --unjudged to promote it "
            "all the same"
        )
    by, mine = _account(), [one for one in challenges.all() if one.policy == label]
    tracker.promote(version, {"by": by, "why": why})
    before = champion.version if champion else None
    challenges.record_promotion(version, str(adapter), by, why, before, judged_in[-1] if judged_in else None, None)
    for one in mine:
        if one.state in (State.OPEN, State.PASSED):
            challenges.settle(one.number, State.PROMOTED, f"promoted by {by}: {why}")
    known = (
        mine[-1].reason
        if mine
        else "it was judged without a held-out simulator"
        if judged_in
        else "it was never judged"
    )
    instead = f"instead of version {before}" if before else "instead of the base model"
    return f"version {version} is now the champion, {instead} (by {by}: {why}); last verdict: {known}"


def _asked(workspace: Workspace, asked: str) -> tuple[Path, str]:
    """Folder and registry version of a cycle's candidate, or of a version."""
    home = workspace.home
    if asked in workspace.store.cycle_ids():
        candidate = latest_candidate(home.cycle(asked), home.find)
        if candidate is None:
            raise ConfigError(
                f"cycle {asked!r} has no candidate: nothing was trained in it; run `engage align --cycle {asked}`"
            )
        return Path(candidate.adapter), workspace.tracker.version_of(Path(candidate.adapter))
    if asked.isascii() and asked.isdigit() and (adapter := workspace.tracker.adapter_of(asked)):
        return adapter, asked
    raise ConfigError(f"{asked!r} is neither a cycle of this home nor a version in its registry")


def _account() -> str:
    """The account of whoever runs the command, from the environment."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "an unknown account"


def moved(now: str | None) -> Verdict:
    """The verdict on a candidate whose incumbent is no longer the champion."""
    return Verdict(
        False, f"not promoted: the champion is version {now} by now, this cycle knew another; begin a new cycle"
    )
