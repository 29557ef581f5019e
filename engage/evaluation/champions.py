"""Who was champion, since when, and with which gain: read from the store's promotions, evaluations and challenges."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from itertools import zip_longest
from pathlib import Path

from engage.errors import ModelError
from engage.evaluation.held_out import policy_label
from engage.evaluation.simulators import SEARCH_SIMULATOR
from engage.pages import bounded
from engage.store import Challenges, Gain, Promotion, champion_line

_GAIN = re.compile(r"[+-]\d+\.\d+ \[[^\]]+\]")


@dataclass(frozen=True)
class Reign:
    """One promotion, until the next one (None: still champion).

    `gain` is the gain that it was promoted for, `judged_again` the latest one that was measured since (None: none was); both in reward,
    over the incumbent of the cycle that measured them, with its 95 % interval. `verdicts` are those of its challenges, in their order.
    """

    promotion: Promotion
    until: datetime | None
    gain: str
    judged_again: Gain | None
    verdicts: tuple[str, ...]


def reigns(challenges: Challenges, find: Callable[[str], Path]) -> list[Reign]:
    """All promotions, the latest first; `find` maps an adapter's folder in the store to its place today."""
    promotions = challenges.promotions()
    pairs = zip_longest(promotions, promotions[1:])
    return [_reign(challenges, one, later.promoted_at if later else None, find) for one, later in pairs][::-1]


def _reign(challenges: Challenges, one: Promotion, until: datetime | None, find: Callable[[str], Path]) -> Reign:
    all_of_them = challenges.all()
    policy = next((known.policy for known in all_of_them if known.number == one.challenge), None) or _label(one, find)
    gains = [gain for gain in challenges.gains(policy or "") if gain.simulator != SEARCH_SIMULATOR]
    later = [gain for gain in gains if gain.stored_at and gain.stored_at > one.promoted_at]
    before = [gain for gain in gains if gain not in later]
    said = _GAIN.search(one.why) if one.challenge is not None else None
    gain = said[0] if said else shown(before[-1]) if before else ""
    verdicts = tuple(known.reason for known in all_of_them if known.policy == policy)
    return Reign(one, until, gain, later[-1] if later else None, verdicts)


def start_line(found: list[Reign], version: str | None, model: str, adapter: str | None) -> str:
    """Whom a night starts from: the champion of this version with its gain, or, for None, the base model with the configured adapter."""
    if version is None:
        return f"the base model {model}" + (f" with the adapter {adapter}" if adapter not in (None, "", "bare") else "")
    reign = next((one for one in found if one.promotion.version == version), None)
    if reign is None:
        return f"version {version}; base {model}"
    by = "" if reign.promotion.challenge is not None else f" by {reign.promotion.promoted_by}"
    gain = f" with {reign.gain}" if reign.gain else ""
    return f"version {version}, promoted on {reign.promotion.promoted_at:%Y-%m-%d}{by}{gain}; base {model}"


def shown(gain: Gain) -> str:
    """A gain with its interval: `+0.021 [-0.004, +0.046]`."""
    return bounded(gain.value, gain.low, gain.high, "{:+.3f}")


def _label(one: Promotion, find: Callable[[str], Path]) -> str | None:
    """The label of the version's dialogues as a candidate; None if its weights are gone, or for the base model."""
    try:
        return policy_label("candidate", str(find(one.adapter))) if one.adapter else None
    except ModelError:
        return None


def version_before(promotions: list[Promotion], champion: str) -> Promotion | None:
    """The promotion of the version that was champion before `champion`, going back one step each time; None: the base model.

    A return to an earlier champion undoes what came after it: of 1, 2, 1 the version before is the base model, not 2.
    """
    line = champion_line(promotions)
    place = next((place for place, one in enumerate(line) if one.version == champion), len(line))
    return line[place - 1] if place else None
