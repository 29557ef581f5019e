"""How large a paired comparison must be: the power of an interval over scenarios, from how differences vary. Numbers in, numbers out.

A difference is the scenario's gain plus the noise of one dialogue. The mean over S scenarios with D dialogues each has the variance
(between + within / D) / S: more dialogues do not replace scenarios. Power is that of Student's interval over scenarios, which the bootstrap's
approaches; with few scenarios, or with heavy tails, the bootstrap's is a little narrower.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from engage.stats.bootstrap import CONFIDENCE
from engage.stats.simultaneous import LEAST_SCENARIOS

POWER = 0.8
_MOST = 10_000_000
"""No comparison has as many scenarios."""


@dataclass(frozen=True)
class Spread:
    """Variances of paired differences: `between` scenarios, and `within` a scenario, between its dialogues.

    `within` is None if no scenario had two dialogues; `between` then contains both, and more dialogues are not counted on.
    """

    between: float
    within: float | None

    def per_scenario(self, dialogues: int) -> float:
        """The variance of one scenario's mean difference."""
        return self.between + (self.within or 0.0) / dialogues


def spread(comparisons: Sequence[Mapping[str, Sequence[float]]]) -> Spread | None:
    """Pooled over comparisons, each of which has a scenario's differences by its id; None if none has two scenarios.

    The analysis of variance: a scenario's mean varies by `between` + `within` / its dialogues. A negative `between` is 0.
    """
    known = [{name: each for name, each in one.items() if len(each)} for one in comparisons]
    known = [one for one in known if len(one) > 1]
    if not known:
        return None
    lists = [np.asarray(each, dtype=float) for one in known for each in one.values()]
    freedom = sum(len(each) - 1 for each in lists)
    within = sum(float(((each - each.mean()) ** 2).sum()) for each in lists) / freedom if freedom else None
    squares = 0.0
    for one in known:
        means = np.array([np.mean(each) for each in one.values()])
        noise = (within or 0.0) * float(np.mean([1 / len(each) for each in one.values()]))
        squares += float(((means - means.mean()) ** 2).sum()) - (len(one) - 1) * noise
    return Spread(max(0.0, squares / sum(len(one) - 1 for one in known)), within)


def power(gain: float, of: Spread, scenarios: int, dialogues: int = 1, confidence: float = CONFIDENCE) -> float:
    """The chance that the interval lies above 0 if the true mean difference is `gain`; 0 below two scenarios."""
    from scipy.stats import nct, t

    if scenarios < 2:
        return 0.0
    error = math.sqrt(of.per_scenario(dialogues) / scenarios)
    if error < 1e-12:
        return 1.0 if gain > 0 else 0.0
    limit = float(t.ppf((1 + confidence) / 2, scenarios - 1))
    return float(nct.sf(limit, scenarios - 1, gain / error))


def scenarios_needed(
    gain: float, of: Spread, dialogues: int = 1, wanted: float = POWER, confidence: float = CONFIDENCE
) -> int | None:
    """The fewest scenarios that show a gain with the wanted power, at least LEAST_SCENARIOS; None if no number does."""
    low, high = LEAST_SCENARIOS - 1, LEAST_SCENARIOS
    while power(gain, of, high, dialogues, confidence) < wanted:
        low, high = high, 2 * high
        if high > _MOST:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        enough = power(gain, of, middle, dialogues, confidence) >= wanted
        low, high = (low, middle) if enough else (middle, high)
    return high


def least_gain(
    of: Spread, scenarios: int, dialogues: int = 1, wanted: float = POWER, confidence: float = CONFIDENCE
) -> float | None:
    """The least gain that a comparison of this size shows with the wanted power; None if it is more than 1, the largest reward."""
    from scipy.optimize import brentq

    if power(1.0, of, scenarios, dialogues, confidence) < wanted:
        return None
    return float(brentq(lambda gain: power(gain, of, scenarios, dialogues, confidence) - wanted, 0.0, 1.0))
