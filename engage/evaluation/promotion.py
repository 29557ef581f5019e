"""Statistics of an evaluation: paired comparisons, the error spent over the nights, promotion (with `engage.evaluation.hacking`).

Pure functions over rewards; holds no dialogue and reads no store. Scenarios are the unit of evidence: dialogues of
one scenario are averaged first, and intervals resample scenarios.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from engage.stats import is_finite

Rewards = Mapping[str, float | Sequence[float | None] | None]
"""Scenario id to the reward of its dialogue, or of its dialogues in seed order; None where the reaction could not be read."""

ALL = "all"
_RESAMPLES = 9_999
_MAX_RESAMPLES = 1_000_000


@dataclass(frozen=True)
class Comparison:
    """Candidate against base on the same scenarios with the same seeds; rewards in [0, 1].

    `n` scenarios count; `n_unreadable` dialogue pairs were left out because one of the two reactions could not be read or is
    missing. `low` and `high` bound the mean paired difference at `confidence` (None below two scenarios). `relative` is the
    difference over the base's mean (None where that is 0), `win_rate` the share of scenarios where the candidate is better,
    ties as half. `p_value` is two-sided, from flipping the signs of the differences.
    """

    n: int
    n_unreadable: int
    mean_base: float | None
    mean_candidate: float | None
    difference: float | None
    low: float | None
    high: float | None
    confidence: float
    relative: float | None
    win_rate: float | None
    p_value: float | None


def paired_comparison(base: Rewards, candidate: Rewards, confidence: float = 0.95, seed: int = 0) -> Comparison:
    """Compare by scenario; dialogues are paired by their place in the list, and only pairs that could both be read count.

    The interval is a BCa bootstrap over scenarios (Efron 1987; percentile where BCa is not defined), the point itself where all
    differences are equal. The same `seed` gives the same numbers.
    """
    pairs, unreadable = _paired_means(base, candidate)
    if not pairs:
        return Comparison(0, unreadable, None, None, None, None, None, confidence, None, None, None)
    left, right = np.array(pairs).T
    differences = right - left
    low, high = _interval(differences, confidence, seed)
    mean_base, difference = float(left.mean()), float(differences.mean())
    return Comparison(
        n=len(pairs),
        n_unreadable=unreadable,
        mean_base=mean_base,
        mean_candidate=float(right.mean()),
        difference=difference,
        low=low,
        high=high,
        confidence=confidence,
        relative=difference / mean_base if mean_base > 0 else None,
        win_rate=float(((differences > 0) + 0.5 * (differences == 0)).mean()),
        p_value=_sign_flip_p(differences, confidence, seed),
    )


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


def _paired_means(base: Rewards, candidate: Rewards) -> tuple[list[tuple[float, float]], int]:
    """Per scenario the mean reward of both sides over the dialogues readable on both; and the dialogue pairs left out."""
    means, unreadable = [], 0
    for scenario in sorted({*base, *candidate}):
        left, right = _as_list(base.get(scenario)), _as_list(candidate.get(scenario))
        size = max(len(left), len(right))
        rows = zip(left + [None] * (size - len(left)), right + [None] * (size - len(right)), strict=True)
        readable = [(one, other) for one, other in rows if is_finite(one) and is_finite(other)]
        unreadable += size - len(readable)
        if readable:
            means.append((fmean(one for one, _ in readable), fmean(other for _, other in readable)))
    return means, unreadable


def _as_list(rewards: float | Sequence[float | None] | None) -> list[float | None]:
    return list(rewards) if isinstance(rewards, Sequence) else [rewards]


def _interval(differences: NDArray[np.float64], confidence: float, seed: int) -> tuple[float | None, float | None]:
    from scipy.stats import bootstrap

    if len(differences) < 2:
        return None, None
    if np.ptp(differences) < 1e-12:
        return float(differences[0]), float(differences[0])
    options = {
        "confidence_level": confidence,
        "n_resamples": _resamples(confidence),
        "batch": 10_000,
        "vectorized": True,
    }
    for method in ("BCa", "percentile"):
        found = bootstrap((differences,), np.mean, method=method, rng=np.random.default_rng(seed), **options)
        low, high = (float(bound) for bound in found.confidence_interval)
        if math.isfinite(low) and math.isfinite(high):
            return low, high
    return None, None


def _sign_flip_p(differences: NDArray[np.float64], confidence: float, seed: int) -> float:
    """Share of sign patterns whose mean is at least as far from 0: all patterns if they are few, else a draw of them."""
    size = len(differences)
    observed = abs(differences.sum()) - 1e-9
    if 2**size <= _RESAMPLES + 1:
        patterns = (np.arange(2**size)[:, None] >> np.arange(size)) & 1
        return float((abs((2 * patterns - 1) @ differences) >= observed).mean())
    random, draws, hits = np.random.default_rng(seed), _resamples(confidence), 0
    for start in range(0, draws, 10_000):
        signs = random.choice((-1.0, 1.0), (min(10_000, draws - start), size))
        hits += int((abs(signs @ differences) >= observed).sum())
    return (hits + 1) / (draws + 1)


def _resamples(confidence: float) -> int:
    """Enough for about twenty draws beyond each bound."""
    return min(_MAX_RESAMPLES, max(_RESAMPLES, math.ceil(40 / (1 - confidence))))


def candidate_alpha(candidate: int, alpha: float = 0.05) -> float:
    """Error rate of the n-th look at a candidate (from 1) beside one incumbent: α · 6 / (π² n²), α for all that can ever come.

    The same candidate under other settings of the evaluation is another look. So an incumbent is replaced by one that is no better with a chance of α at most; the next one's candidates are counted anew.
    """
    if candidate < 1:
        raise ValueError(f"candidates are counted from 1, not {candidate}")
    return alpha * 6 / (math.pi * candidate) ** 2


@dataclass(frozen=True)
class Verdict:
    """Whether the candidate becomes champion; `reason` is for a person to read."""

    promoted: bool
    reason: str


def decide(heldout: Mapping[str, Comparison] | None, failures: Sequence[str], alpha: float) -> Verdict:
    """The promotion rule. `heldout` is `compare_domains` on the simulator that the search never saw, at confidence 1 − `alpha`.

    Promoted only if the interval over all scenarios lies above 0, the sign-flip test agrees (a bootstrap of few scenarios is
    too narrow), no single domain's interval lies below 0, and no hacking check fails.
    """
    if heldout is None:
        return Verdict(
            False, "not promoted: no held-out simulator (evaluation.second_simulator names none but the search's)"
        )
    overall = heldout[ALL]
    if not math.isclose(overall.confidence, 1 - alpha, abs_tol=1e-12):
        raise ValueError(f"the comparison has confidence {overall.confidence}, the candidate needs {1 - alpha}")
    if overall.difference is None or overall.low is None or overall.high is None or overall.p_value is None:
        return Verdict(False, f"not promoted: only {overall.n} held-out scenarios could be compared")
    gain = f"{overall.difference:+.3f} [{overall.low:+.3f}, {overall.high:+.3f}] on {overall.n} held-out scenarios"
    if failures:
        return Verdict(False, f"not promoted: {'; '.join(failures)} (reward {gain})")
    if alpha < 1 / (_MAX_RESAMPLES + 1):
        return Verdict(
            False,
            f"not promoted: the error rate against this incumbent is used up ({alpha:.2g} is left; reward {gain})",
        )
    if 2.0 ** (1 - overall.n) > alpha:
        return Verdict(
            False,
            f"not promoted: {overall.n} scenarios cannot show a gain at the error rate that is left ({alpha:.2g}); a larger "
            f"evaluation.per_domain can (reward {gain})",
        )
    if overall.low <= 0:
        return Verdict(False, f"not promoted: the gain is not distinguishable from 0: {gain}")
    if overall.p_value > alpha:
        return Verdict(
            False, f"not promoted: too few scenarios to tell (p = {overall.p_value:.2g} > {alpha:.2g}): {gain}"
        )
    worse = [name for name, one in heldout.items() if one.high is not None and one.high < 0]
    if worse:
        return Verdict(False, f"not promoted: worse in {', '.join(worse)}, though {gain} over all")
    return Verdict(True, f"promoted: {gain}")
