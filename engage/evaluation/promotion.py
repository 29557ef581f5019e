"""The promotion rule: comparisons by domain, the error rate spent over the nights, the verdict (with `engage.evaluation.hacking`).

Pure functions of rewards; runs no dialogue and does not read the store.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engage.stats import MAX_RESAMPLES, Comparison, Rewards, paired_comparison

ALL = "all"


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


def candidate_alpha(candidate: int, alpha: float = 0.05) -> float:
    """Error rate of the n-th test (from 1) against the same incumbent: α · 6 / (π² n²); the rates of all n add up to α.

    So the chance of replacing an incumbent with a candidate that is no better is at most α, however many are tested. Testing the same
    candidate with other evaluation settings counts as another test. A new incumbent starts the count again.
    """
    if candidate < 1:
        raise ValueError(f"candidates are counted from 1, not {candidate}")
    return alpha * 6 / (math.pi * candidate) ** 2


@dataclass(frozen=True)
class Verdict:
    """Whether the candidate becomes champion; `reason` is a sentence for the user."""

    promoted: bool
    reason: str


def decide(heldout: Mapping[str, Comparison] | None, failures: Sequence[str], alpha: float) -> Verdict:
    """The promotion rule. `heldout` is `compare_domains` on the simulator that the search never saw, at confidence 1 − `alpha`.

    Promoted only if the interval over all scenarios lies above 0, the sign-flip test agrees (a bootstrap of few scenarios is
    too narrow), no single domain's interval lies below 0, and no hacking check fails.
    """
    if heldout is None:
        return Verdict(
            False,
            "not promoted: no held-out simulator (evaluation.second_simulator is unset or names the search's simulator)",
        )
    overall = heldout[ALL]
    if not math.isclose(overall.confidence, 1 - alpha, abs_tol=1e-12):
        raise ValueError(f"the comparison has confidence {overall.confidence}, the candidate needs {1 - alpha}")
    if overall.difference is None or overall.low is None or overall.high is None or overall.p_value is None:
        return Verdict(False, f"not promoted: only {overall.n} held-out scenarios could be compared")
    gain = f"{overall.difference:+.3f} [{overall.low:+.3f}, {overall.high:+.3f}] on {overall.n} held-out scenarios"
    if failures:
        return Verdict(False, f"not promoted: {'; '.join(failures)} (reward {gain})")
    if alpha < 1 / (MAX_RESAMPLES + 1):
        return Verdict(
            False,
            f"not promoted: the error rate against this incumbent is used up ({alpha:.2g} left; reward {gain})",
        )
    if 2.0 ** (1 - overall.n) > alpha:
        return Verdict(
            False,
            f"not promoted: {overall.n} scenarios are too few for the remaining error rate ({alpha:.2g}); raise "
            f"evaluation.per_domain (reward {gain})",
        )
    if overall.low <= 0:
        return Verdict(False, f"not promoted: the gain is not significant: {gain}")
    if overall.p_value > alpha:
        return Verdict(
            False,
            f"not promoted: too few scenarios for a significant gain (p = {overall.p_value:.2g} > {alpha:.2g}): {gain}",
        )
    worse = [name for name, one in heldout.items() if one.high is not None and one.high < 0]
    if worse:
        return Verdict(False, f"not promoted: worse in {', '.join(worse)}, although {gain} overall")
    return Verdict(True, f"promoted: {gain}")
