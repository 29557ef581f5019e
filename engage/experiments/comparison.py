"""The comparison of policies: the policies, the figures of each, and how much of the search's headroom training recovers.

Statistics only: runs no dialogue and does not read the store. Scenarios are the unit of evidence, as in `engage.evaluation`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from engage.domains import Domain
from engage.evaluation import (
    ALL,
    ComparisonConfig,
    HeldOutDialogue,
    PolicyName,
    Replies,
    StratumRow,
    by_scenario,
    hacking_failures,
    hacking_rates,
    policy_label,
    text_metrics,
)
from engage.experiments.inference import Thinking
from engage.scenario import Scenario
from engage.stats import (
    Comparison,
    Estimate,
    Rewards,
    Spread,
    divided,
    interval,
    is_finite,
    mean,
    paired_comparison,
    scenarios_needed,
)

BASE: PolicyName = "base"
TRAINED: tuple[PolicyName, ...] = ("sft", "dpo_search", "dpo_human", "dpo_mixed", "iterated")
FROM_SEARCH: tuple[PolicyName, ...] = ("dpo_search", "dpo_human", "dpo_mixed", "iterated")
FROM_PEOPLE: tuple[PolicyName, ...] = ("sft", "dpo_human", "dpo_mixed")

DESCRIPTIONS: Mapping[PolicyName, str] = {
    "base": "what training starts from",
    "strategy": "the same, with the domain's strategies in its prompt",
    "sft": "fine-tuned on what people said in dialogues that went well",
    "best_of_4": "best of 4 replies, each rated by its own rollouts with the very user it talks to",
    "best_of_8": "best of 8 replies, each rated by its own rollouts with the very user it talks to",
    "search": "i×MCTS at every reply, with the very user it talks to: its gain is the headroom",
    "dpo_search": "DPO on pairs from i×MCTS",
    "dpo_human": "DPO on pairs from human dialogues",
    "dpo_mixed": "DPO on both",
    "iterated": "a second cycle of search and DPO, from the first one's policy",
}


def thinking_of(name: PolicyName, config: ComparisonConfig) -> Thinking:
    """How the policy of this name chooses its replies."""
    if name.startswith("best_of_"):
        return Thinking("best_of", int(name.removeprefix("best_of_")), config.rollouts)
    return Thinking(name) if name in ("strategy", "search") else Thinking()


@dataclass(frozen=True)
class TrainedPolicy:
    """One policy of a comparison. Its adapter is None if it uses the base's weights, or if there was nothing to train on."""

    name: PolicyName
    adapter: str | None = None

    def label(self, config: ComparisonConfig) -> str:
        """The name under which its dialogues are stored; it includes the number of rollouts per candidate reply, if that matters."""
        thinking = thinking_of(self.name, config)
        return policy_label(
            f"{self.name} x{thinking.rollouts}" if thinking.kind == "best_of" else self.name, self.adapter
        )


NO_PEOPLE = "no human dialogues are given (human.corpora)"
NO_PAIR = "no pair to train on (more scenarios, a lower pairs.min_q_gap or pairs.confidence give some)"


def wanted(config: ComparisonConfig, has_people: bool) -> tuple[list[PolicyName], dict[PolicyName, str]]:
    """The policies to compare, `base` first, and the reasons why others are left out."""
    asked: list[PolicyName] = [BASE, *(name for name in config.policies if name != BASE)]
    left = {name: NO_PEOPLE for name in asked if name in FROM_PEOPLE and not has_people}
    return [name for name in asked if name not in left], left


@dataclass(frozen=True)
class PolicyRow:
    """One policy in one domain with one simulator.

    `unreadable` dialogues have no reward. `reward` is the mean over scenarios; its interval resamples them. `measures` are the
    domain's, means over readable dialogues (`released`, `donation_usd`, …). `tokens` (decoded) and `calls` are per dialogue, both
    sides together. `distinct_2` covers the replies of the dialogues that all policies have. `comparison` is with the base; None for
    the base itself.
    """

    policy: PolicyName
    simulator: str
    domain: str
    dialogues: int
    unreadable: int
    reward: Estimate
    measures: Mapping[str, float]
    distinct_2: float | None
    exchanges: float
    calls: float | None
    tokens: float | None
    comparison: Comparison | None


@dataclass(frozen=True)
class PolicyChecks:
    """Checks of a policy's replies in one domain: text measures, hacking rates, and the rates that rose against the base.

    `provoked` are the hacking rates in dialogues with adversarial users, `adversarial` the failed checks there. `divergence` estimates
    KL(policy ‖ base) of a reply in nats (`engage.evaluation.divergence`); None if it is undefined.
    """

    policy: str
    domain: str
    text: Mapping[str, float]
    hacking: Mapping[str, float]
    failures: Sequence[str]
    adversarial: Sequence[str] = ()
    provoked: Mapping[str, float] = field(default_factory=dict)
    divergence: float | None = None


def dialogues_of(name: PolicyName, config: ComparisonConfig, dialogues: int) -> int:
    """Number of dialogues per scenario for the policy of this name, if other policies have `dialogues`."""
    return min(dialogues, config.thinking_dialogues) if thinking_of(name, config).looks_ahead else dialogues


def mean_reward(dialogues: Sequence[HeldOutDialogue]) -> Estimate:
    """Mean over scenarios of the mean reward of their readable dialogues."""
    return mean(_shared_means(by_scenario(dialogues))[0])


def mean_measures(
    domain: Domain, scenarios: Mapping[str, Scenario], dialogues: Sequence[HeldOutDialogue]
) -> dict[str, float]:
    """Means of the domain's measures over the dialogues with a readable reaction."""
    rows = [
        domain.measures(scenarios[held.scenario_id].user_condition, held.value)
        for held in dialogues
        if held.value is not None
    ]
    names = dict.fromkeys(name for row in rows for name in row)
    known = {name: [row[name] for row in rows if is_finite(row.get(name))] for name in names}
    return {name: fmean(values) for name, values in known.items() if values}


def check_policy(domain: Domain, policy: str, base: Replies, replies: Replies) -> PolicyChecks:
    """Text measures and hacking checks of one policy against the base."""
    failures = hacking_failures(domain, base, replies) if policy != BASE else []
    return PolicyChecks(policy, domain.name, text_metrics(replies), hacking_rates(domain, replies), failures)


@dataclass(frozen=True)
class Recovery:
    """How much of the search's headroom a policy recovers: (policy − base) / (search − base), with its bootstrap interval.

    The share is None if the headroom's interval includes 0, because the ratio would be meaningless. `over_midpoint` compares the
    policy with the midpoint of base and search, (base + search) / 2 per scenario. If it is a gain and the search is above the base,
    the policy recovers more than half. It is None with fewer than two scenarios. `scenarios_needed` is the number of scenarios that
    show a gain of half of the headroom with probability 0.8 (`engage.stats.scenarios_needed`), from the spread of this policy's
    differences on the dialogues that the search has too; None if the search is not above the base, or if the differences have no spread.
    """

    share: float | None = None
    low: float | None = None
    high: float | None = None
    over_midpoint: Comparison | None = None
    scenarios_needed: int | None = None


def recovered(base: Rewards, search: Rewards, policy: Rewards, confidence: float = 0.95, seed: int = 0) -> Recovery:
    """The recovery on the dialogues that all three have with a readable answer, paired by their place in the lists.

    The share's interval is bootstrapped over resamples with a headroom above 0.
    """
    low, top, own = _shared_means(base, search, policy)
    if len(low) < 2:
        return Recovery()
    middle, after = ({str(place): value for place, value in enumerate(side)} for side in ((low + top) / 2, own))
    over = paired_comparison(middle, after, confidence, seed)
    half, between = float((top - low).mean()) / 2, float((own - low).var(ddof=1))
    needed = (
        scenarios_needed(half, Spread(between, None), confidence=confidence) if half > 0 and between > 1e-18 else None
    )

    def share(counts: NDArray[np.float64]) -> NDArray[np.float64]:
        headroom = counts @ (top - low)
        return np.asarray(divided(counts @ (own - low), np.where(headroom > 0, headroom, 0.0)))

    least, _ = interval([len(low)], lambda counts: counts @ (top - low), confidence, seed)
    if least is None or least <= 0:
        return Recovery(over_midpoint=over, scenarios_needed=needed)
    bounds = interval([len(low)], share, confidence, seed)
    return Recovery(float((own - low).mean() / (top - low).mean()), *bounds, over, needed)


def _shared_means(*sides: Rewards) -> NDArray[np.float64]:
    """Mean rewards, shape (sides, scenarios), over the dialogues that are readable on all sides; scenarios without one are left out."""
    means = []
    for scenario in sorted(set.intersection(*map(set, sides))):
        lists = [one if isinstance(one, Sequence) else [one] for one in (side[scenario] for side in sides)]
        if readable := [row for row in zip(*lists, strict=True) if all(map(is_finite, row))]:
            means.append(np.mean(readable, axis=0))
    return np.array(means, dtype=float).reshape(-1, len(sides)).T


@dataclass(frozen=True)
class ComparisonResult:
    """All results of a comparison; `left` gives the reason why a policy is left out."""

    cycle_id: str
    split: str
    openings: int
    rows: Sequence[PolicyRow]
    checks: Sequence[PolicyChecks]
    by_stratum: Sequence[StratumRow] = ()
    recovery: Mapping[tuple[str, str, str], Recovery] = field(default_factory=dict)
    """By policy, simulator and domain (`all` for all scenarios)."""
    left: Mapping[str, str] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)

    def verdict(self, policy: str, domain: str, comparison: Comparison | None) -> str:
        """`gain`, `loss` or `no difference` of a policy in one domain or in all, by interval and sign-flip test; `failed check` for a
        gain with a failed check there."""
        if comparison is None or comparison.low is None or comparison.high is None or comparison.p_value is None:
            return "–"
        if comparison.p_value > 1 - comparison.confidence:  # a bootstrap of few scenarios is too narrow
            return "no difference"
        if comparison.low > 0:
            checks = (check for check in self.checks if check.policy == policy and domain in (ALL, check.domain))
            return "failed check" if any(check.failures or check.adversarial for check in checks) else "gain"
        return "loss" if comparison.high < 0 else "no difference"
