"""The promotion rule: comparisons by domain, the evidence of a challenge, the verdict (with `engage.evaluation.hacking`).

Each candidate challenges the champion of its time. The evidence for a gain is an e-value over all its batches of fresh dialogues, so that it
may be looked at every night; how much is needed depends on how many challenges there were and how many passed (`stream_level`). That
speaks of *these scenarios*. The interval beside it speaks of the population that the scenarios were drawn from: its unit is the scenario,
and more dialogues do not replace scenarios. See engage/evaluation/README.md for the reasons and the simulated years.

Pure functions of rewards; runs no dialogue and does not read the store.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engage.pages import bounded
from engage.stats import Comparison, Rewards, paired_comparison, stream_level

ALL = "all"
WORST = -0.02
"""Each member of a panel must show a gain that is surely more than this."""
MOST_NIGHTS = 60
"""A challenge that is still undecided after as many nights is dropped."""


def talks(scenarios: int, dialogues: int, simulators: int) -> int:
    """Dialogues that one policy holds in a comparison: `dialogues` on each scenario with each simulator."""
    return scenarios * dialogues * simulators


def compare_domains(
    base: Rewards, candidate: Rewards, domains: Mapping[str, str], confidence: float = 0.95, seed: int = 0
) -> dict[str, Comparison]:
    """One comparison per domain (`domains` maps scenario id to domain name) and one over all scenarios under `all`."""
    names = sorted({domains[scenario] for scenario in (*base, *candidate)})
    found = {}
    for name in names:
        left, right = (
            {key: value for key, value in side.items() if domains[key] == name} for side in (base, candidate)
        )
        found[name] = paired_comparison(left, right, confidence, seed)
    return {**found, ALL: paired_comparison(base, candidate, confidence, seed)}


@dataclass(frozen=True)
class Evidence:
    """The evidence of challenge `number` so far; `log_e` is the logarithm of its e-value, `passed_before` counts challenges that passed."""

    number: int
    passed_before: int
    log_e: float
    nights: int
    alpha: float = 0.05

    @property
    def needed(self) -> float:
        """The logarithm of the e-value that promotes it."""
        return -math.log(stream_level(self.number, self.passed_before, self.alpha))

    @property
    def suffices(self) -> bool:
        """Whether it is enough to promote."""
        return self.log_e >= self.needed

    @property
    def nights_left(self) -> int | None:
        """Nights until it suffices if they bring what the nights so far brought on average; None if they brought nothing."""
        if self.log_e <= 0 or not self.nights:
            return None
        return max(0, math.ceil((self.needed - self.log_e) / (self.log_e / self.nights) - 1e-9))

    def __str__(self) -> str:
        return f"evidence {_e_value(self.log_e)} of {_e_value(self.needed)} after {_count(self.nights, 'night')}"


@dataclass(frozen=True)
class Verdict:
    """Whether the candidate becomes champion; `reason` is a sentence for the user.

    `passed`: the rule would promote it. `goes_on`: it may gather more dialogues in the next nights.
    """

    promoted: bool
    reason: str
    passed: bool = False
    goes_on: bool = False


NO_HELD_OUT = Verdict(
    False,
    "not promoted: no held-out simulator (evaluation.second_simulator and evaluation.simulators are unset, or name the search's simulator)",
)


def decide(
    heldout: Mapping[str, Comparison],
    failures: Sequence[str],
    evidence: Evidence,
    talks_per_night: int,
    panel: Mapping[str, Comparison] | None = None,
) -> Verdict:
    """The promotion rule. `heldout` is `compare_domains` with the held-out simulator on all dialogues of the challenge, at 1 − α.
    `talks_per_night` are a night's dialogues of one side, with all members of a panel.

    Promoted only if no hacking check fails, no single domain is surely worse, the evidence suffices, the interval over all scenarios lies
    above 0, and the sign-flip test over scenarios agrees (a bootstrap of few scenarios is too narrow). With a panel, `heldout` is of the mean
    over it, and the interval with each of its members (`panel`) must lie above `WORST`.
    """
    overall = heldout[ALL]
    if overall.difference is None or overall.low is None or overall.high is None or overall.p_value is None:
        mute = [name for name, one in (panel or {}).items() if not one.n]
        because = f"; with the {' and the '.join(mute)} simulator no answer could be read" if mute else ""
        return Verdict(False, f"not promoted: only {overall.n} held-out scenarios could be compared{because}")
    gain = f"{overall.difference:+.3f} [{overall.low:+.3f}, {overall.high:+.3f}] on {overall.n} held-out scenarios"
    shown = f"{gain}, {evidence}"
    if failures:
        return Verdict(False, f"not promoted: {'; '.join(failures)} (reward {shown})")
    worse = [name for name, one in heldout.items() if name != ALL and _surely_worse(one)]
    if worse:
        return Verdict(False, f"not promoted: worse in {', '.join(worse)}: {shown}")
    alpha = 1 - overall.confidence
    if 2.0 ** (1 - overall.n) > alpha:
        return Verdict(
            False,
            f"not promoted: {overall.n} scenarios are too few to speak of others than themselves; raise "
            f"evaluation.per_domain or add scenarios ({shown})",
        )
    if not evidence.suffices:
        return _undecided(shown, evidence, talks_per_night)
    if overall.low <= 0 or overall.p_value > alpha:
        return Verdict(
            False,
            f"not promoted: the scenarios differ too much for a gain on others like them, and more dialogues do not help; raise "
            f"evaluation.per_domain or add scenarios (p = {overall.p_value:.2g}, {shown})",
        )
    for name, one in (panel or {}).items():
        if one.low is None or one.low <= WORST:
            return _held_back(name, one, shown, evidence)
    return Verdict(True, f"promoted: {shown}", passed=True)


def _held_back(name: str, one: Comparison, shown: str, evidence: Evidence) -> Verdict:
    """The verdict where a member of the panel may see a loss; more dialogues help unless it sees one on average."""
    seen = bounded(one.difference, one.low, one.high, "{:+.3f}")
    said = f"with the {name} simulator alone it is {seen}, and must be surely more than {WORST}: {shown}"
    if one.difference is None or one.difference <= WORST or evidence.nights >= MOST_NIGHTS:
        return Verdict(False, f"not promoted: {said}")
    return Verdict(False, f"not promoted yet: {said}", goes_on=True)


def _surely_worse(one: Comparison) -> bool:
    """Whether the interval lies below 0 and the sign-flip test agrees."""
    return one.high is not None and one.high < 0 and one.p_value is not None and one.p_value <= 1 - one.confidence


def _undecided(shown: str, evidence: Evidence, talks_per_night: int) -> Verdict:
    left = evidence.nights_left
    if left is None:
        return Verdict(False, f"not promoted: no sign of a gain: {shown}")
    if evidence.nights >= MOST_NIGHTS:
        return Verdict(False, f"not promoted: still undecided after {MOST_NIGHTS} nights: {shown}")
    more = f"{_count(left * talks_per_night, 'more dialogue')} ({_count(left, 'night')})"
    return Verdict(False, f"not promoted yet: {shown}; at this rate it needs about {more}", goes_on=True)


def _e_value(log_e: float) -> str:
    return (
        f"{math.exp(log_e):,.2g}"
        if log_e < math.log(10)
        else f"{math.exp(log_e):,.0f}"
        if log_e < 16
        else f"e^{log_e:.0f}"
    )


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
