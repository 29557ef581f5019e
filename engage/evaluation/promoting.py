"""Makes an adapter champion: by the rule after a night, or by a person. The registry names the champion; the store records why."""

import getpass
from dataclasses import replace
from pathlib import Path

from engage.errors import ConfigError
from engage.evaluation.challenge import Fate
from engage.evaluation.champions import version_before
from engage.evaluation.cycle_record import retell_promotion
from engage.evaluation.held_out import policy_label
from engage.evaluation.promotion import Verdict
from engage.store import BASE, Challenge, Challenges, Cycle, State
from engage.tracking import Champion
from engage.training import latest_candidate
from engage.workspace import Workspace

RULE = "the rule"


def settle(workspace: Workspace, cycle: Cycle, fate: Fate) -> Fate:
    """Promote the challenge if it passed, and record what became of it; what was promoted once stays so in the record."""
    challenge = fate.standing.challenge
    version = workspace.tracker.version_of(workspace.home.find(str(challenge.adapter)))
    champion = workspace.tracker.champion()
    now = champion.version if champion else None
    if fate.state is not State.DROPPED and now not in (cycle.champion_version, version):
        fate = replace(fate, verdict=moved(now), state=State.DROPPED)
    if fate.verdict.promoted:
        _promote_by_rule(workspace, cycle, fate, version)
        fate = replace(fate, state=State.PROMOTED)
    elif fate.state is State.PASSED:
        waits = f"{fate.verdict.reason}: `engage promote {version} --why TEXT` (evaluation.promotion is manual)"
        fate = replace(fate, verdict=replace(fate.verdict, reason=waits))
    if challenge.state is not State.PROMOTED or fate.state is State.PROMOTED:
        passed = fate.verdict.passed or None
        Challenges(workspace.store).settle(challenge.number, fate.state, fate.verdict.reason, passed)
    return fate


def _promote_by_rule(workspace: Workspace, cycle: Cycle, fate: Fate, version: str) -> None:
    """Note in the store that it passed, move the registry's alias, note the promotion.

    A night that is killed in between leaves a state that the same night, run again, or the next one completes.
    """
    challenges, challenge, why = Challenges(workspace.store), fate.standing.challenge, fate.verdict.reason
    challenges.settle(challenge.number, State.PASSED, why, passed=True)
    workspace.tracker.promote(version, RULE, why)
    adapter, before = str(workspace.home.find(str(challenge.adapter))), cycle.champion_version
    challenges.record_promotion(version, adapter, RULE, why, before, cycle.cycle_id, challenge.number)


def finish_earlier(workspace: Workspace) -> None:
    """Settle challenges against champions of the past: one that is the champion itself was promoted, open ones are dropped.

    The first happens where a night was killed between the registry and the store, or a person's promotion before its end.
    """
    challenges, champion = Challenges(workspace.store), workspace.tracker.champion()
    label = policy_label("champion", str(champion.adapter)) if champion else "base"
    for one in challenges.all():
        if one.state not in (State.OPEN, State.PASSED) or one.incumbent == label:
            continue
        if champion and one.policy.partition("-")[2] == label.partition("-")[2]:
            _record(workspace, one, champion)
        elif one.state is State.OPEN:
            challenges.settle(one.number, State.DROPPED, f"the champion changed: it is {label} now")


def _record(workspace: Workspace, challenge: Challenge, champion: Champion) -> None:
    challenges = Challenges(workspace.store)
    reason, last = challenge.reason, next(reversed(challenges.promotions()), None)
    if last and last.version == champion.version and last.challenge is None:
        reason = _by_person(last.promoted_by, last.why)
    else:
        challenges.record_promotion(
            champion.version, str(champion.adapter), RULE, reason, None, challenge.cycle_id, challenge.number
        )
    retell_promotion(workspace, champion.adapter, challenge.policy, reason)
    challenges.settle(challenge.number, State.PROMOTED, reason)


def _by_person(by: str, why: str) -> str:
    return f"promoted by {by}: {why}"


def promote_by_person(workspace: Workspace, asked: str, why: str, unjudged: bool = False) -> str:
    """Make a cycle's candidate (`asked` is its id) or a version of the registry champion; returns what was done, in a sentence.

    ConfigError if there is no such candidate, if its folder is gone, or if no evaluation judged it and `unjudged` does not allow that.
    """
    _require_reason(why)
    adapter, version = adapter_and_version(workspace, asked)
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
    before = champion.version if champion else None
    # first the record: if it fails, or a kill comes in between, the same command does all of it again
    challenges.record_promotion(version, str(adapter), by, why, before, judged_in[-1] if judged_in else None, None)
    retell_promotion(workspace, adapter, label, _by_person(by, why))
    tracker.promote(version, by, why)
    for one in mine:
        if one.state in (State.OPEN, State.PASSED):
            challenges.settle(one.number, State.PROMOTED, _by_person(by, why))
    known = (
        mine[-1].reason
        if mine
        else "it was judged in no challenge (by scripted users, or without a held-out simulator)"
        if judged_in
        else "it was never judged"
    )
    instead = f"instead of version {before}" if before else "instead of the base model"
    return f"version {version} is now the champion, {instead} (by {by}: {why}); last verdict: {known}"


def roll_back(workspace: Workspace, why: str) -> str:
    """Make the version before the champion champion again, or the base model if there was none; returns what was done, in a sentence.

    Versions whose folder is gone are passed over, and named. ConfigError if there is no champion.
    """
    champion, challenges = workspace.tracker.champion(), Challenges(workspace.store)
    if champion is None:
        raise ConfigError("there is no champion: nights start from the configured policy already")
    promotions, gone = challenges.promotions(), list[str]()
    before = version_before(promotions, champion.version)
    while before is not None and not workspace.home.find(before.adapter).is_dir():
        gone.append(before.version)
        before = version_before(promotions, before.version)
    passed = f"; passed over, because its folder is gone: {', '.join(f'version {one}' for one in gone)}" if gone else ""
    if before is not None:
        return promote_by_person(workspace, before.version, why, unjudged=True) + passed
    _require_reason(why)
    challenges.record_promotion(BASE, "", by := _account(), why, champion.version, None, None)
    workspace.tracker.demote()
    return (
        f"nights start from the configured policy again, instead of version {champion.version} (by {by}: {why}){passed}"
    )


def _require_reason(why: str) -> None:
    if not why.strip():
        raise ConfigError("--why: write the reason, which is recorded with the promotion")


def adapter_and_version(workspace: Workspace, asked: str) -> tuple[Path, str]:
    """Folder and registry version of a cycle's candidate, or of a version; ConfigError if there is none."""
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
