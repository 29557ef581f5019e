"""The page of a comparison of policies as Markdown: the result in words, a table per simulator and domain, and the checks."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engage.evaluation import ALL, MIN_STRATUM
from engage.experiments.comparison import BASE, DESCRIPTIONS, ComparisonResult, PolicyChecks, PolicyRow
from engage.pages import bounded, difference, estimate, number, page, signed, spaced, table
from engage.stats import Comparison

_STRATA = (
    f"Differences to the base among users of one kind, if at least {MIN_STRATUM} scenarios could be compared. With so many "
    "intervals about one in twenty excludes 0 by chance, and more of those with few scenarios."
)
_MIDPOINT = (
    "The column before the last compares the policy with the midpoint of base and search, scenario by scenario. A value above 0 "
    "means that the policy recovers more than half of the headroom, provided that the search is above the base. The last column is "
    "the number of scenarios that would show a gain of half of the headroom with probability 0.8. It is computed from the spread of "
    "this policy's differences in the dialogues that the search has too."
)
_CHECKS = "Rates are shares of the policy's replies to all simulated users. Divergence is the estimated KL from the base, in nats per reply."


@dataclass(frozen=True)
class ComparisonPage:
    """The page of a comparison and its path."""

    page: str
    path: Path

    @property
    def text(self) -> str:
        """The text that the command prints."""
        return f"{self.page}\nThe page: {self.path}"


def comparison_page(result: ComparisonResult) -> str:
    """The whole page; numbers that do not exist are dashes. A gain with a failed check is shown as failed."""
    simulators = list(dict.fromkeys(row.simulator for row in result.rows))
    domains = [name for name in dict.fromkeys(row.domain for row in result.rows) if name != ALL]
    policies = list(dict.fromkeys(row.policy for row in result.rows))
    parts = [f"# Comparison of policies, {result.cycle_id}", _setting(result, simulators)]
    parts += ["## In words", "\n".join(_in_words(result, policies, simulators))]
    parts += ["## Policies", "\n".join(f"- `{name}`: {DESCRIPTIONS[name]}" for name in policies)]
    for simulator in simulators:
        for domain in [*domains, ALL] if len(domains) > 1 else domains:
            rows = [row for row in result.rows if (row.simulator, row.domain) == (simulator, domain)]
            parts += [f"## {_title(domain)}, {simulator} simulator", _table(result, rows)]
    if result.by_stratum:
        parts += ["## By kind of user", _STRATA, *_strata(result)]
    if result.recovery:
        parts += ["## Share of the search's headroom recovered", _MIDPOINT, _recovery(result)]
    parts += ["## Checks", _CHECKS, _checks(result.checks)]
    if any(check.provoked for check in result.checks):
        parts += ["### With adversarial users", _provoked(result.checks)]
    failures = [f"- `{c.policy}`: {sentence}." for c in result.checks for sentence in c.failures]
    failures += [f"- `{c.policy}`, adversarial users: {s}." for c in result.checks for s in c.adversarial]
    parts += ["### Failed", "\n".join(failures) if failures else "None."]
    return page(parts)


def _setting(result: ComparisonResult, simulators: Sequence[str]) -> str:
    scenarios = max((row.comparison.n for row in result.rows if row.comparison), default=0)
    lines = [
        f"{scenarios} scenarios of the {result.split} split, the same seeds for every policy. Intervals are at 95 % and resample "
        f"scenarios (difference: BCa bootstrap; reward: percentile bootstrap). A difference uses the dialogues that both policies "
        f"have, a reward all dialogues, distinct-2 the dialogues that all policies have. Simulators: {', '.join(simulators)}."
    ]
    if result.split == "test":
        lines.append(
            f"The test split has been opened {result.openings} time(s) in this home, by comparisons, cards and other experiments."
        )
    lines += [f"Left out, `{name}`: {reason}." for name, reason in result.left.items()]
    if result.failed:
        lines.append(f"{len(result.failed)} scenarios failed: {min(result.failed.items())[1]}")
    return "\n\n".join(lines)


def _in_words(result: ComparisonResult, policies: Sequence[str], simulators: Sequence[str]) -> list[str]:
    lines = []
    for policy in policies:
        if policy == BASE:
            continue
        for simulator in simulators:
            row = next(r for r in result.rows if (r.policy, r.simulator, r.domain) == (policy, simulator, ALL))
            if row.comparison is not None:
                verdict = result.verdict(policy, ALL, row.comparison)
                lines.append(
                    f"- `{policy}`, {simulator} simulator: **{verdict}**, {difference(row.comparison)}{_relative(row.comparison)}."
                )
    return lines or ["No policy was compared with the base."]


def _title(domain: str) -> str:
    return "All scenarios" if domain == ALL else spaced(domain).capitalize()


def _table(result: ComparisonResult, rows: Sequence[PolicyRow]) -> str:
    measures = list(dict.fromkeys(name for row in rows for name in row.measures))
    head = [
        "policy", "reward [95 %]", "difference [95 %]", "relative", "win rate", *(_label(name) for name in measures),
        "distinct-2", "dialogues", "unreadable", "exchanges", "calls", "tokens",
    ]  # fmt: skip
    return table(head, [_policy_cells(result, row, measures) for row in rows])


def _policy_cells(result: ComparisonResult, row: PolicyRow, measures: Sequence[str]) -> list[str]:
    comparison = row.comparison
    return [
        f"`{row.policy}`",
        estimate(row.reward),
        _difference_text(result, row.policy, row.domain, comparison),
        signed(comparison.relative if comparison else None, "{:.1%}"),
        number(comparison.win_rate if comparison else None, "{:.0%}"),
        *(number(row.measures.get(name), "{:+.2f}" if name == "relief" else "{:.2f}") for name in measures),
        number(row.distinct_2, "{:.2f}"),
        str(row.dialogues),
        str(row.unreadable),
        number(row.exchanges, "{:.1f}"),
        number(row.calls, "{:.0f}"),
        "unknown" if row.tokens is None else number(row.tokens, "{:.0f}"),
    ]


def _label(measure: str) -> str:
    return spaced(measure.replace("_usd", ", $"))


def _strata(result: ComparisonResult) -> list[str]:
    """A heading and a table per simulator and domain: one row per level, one column per policy."""
    tables: dict[tuple[str, str], dict[tuple[str, str], dict[str, Comparison]]] = {}
    for row in result.by_stratum:
        levels = tables.setdefault((row.simulator, row.domain), {})
        levels.setdefault((row.condition, row.level), {})[row.policy] = row.comparison
    parts = []
    for (simulator, domain), levels in tables.items():
        policies = list(dict.fromkeys(policy for by_policy in levels.values() for policy in by_policy))
        head = ["condition", "level", "scenarios", *(f"`{policy}`" for policy in policies)]
        rows = []
        for (condition, level), by_policy in levels.items():
            fewest = min(comparison.n for comparison in by_policy.values())
            differences = (_difference_text(result, policy, domain, by_policy.get(policy)) for policy in policies)
            rows.append([spaced(condition), spaced(level), str(fewest), *differences])
        parts += [f"### {_title(domain)}, {simulator} simulator, by kind of user", table(head, rows, words=2)]
    return parts


def _recovery(result: ComparisonResult) -> str:
    head = [
        "policy",
        "simulator",
        "scenarios",
        "share of (search − base) [95 %]",
        "gain − half of (search − base) [95 %]",
        "scenarios needed",
    ]
    rows = []
    for (policy, simulator, domain), recovery in result.recovery.items():
        over = _difference_text(result, policy, domain, recovery.over_midpoint)
        needed = number(recovery.scenarios_needed, "{:,}")
        share = bounded(recovery.share, recovery.low, recovery.high, "{:.0%}")
        note = " (the headroom is not significantly above 0)" if recovery.share is None else ""
        rows.append([f"`{policy}`", simulator, _title(domain).lower(), share + note, over, needed])
    return table(head, rows, words=3)


def _checks(checks: Sequence[PolicyChecks]) -> str:
    names = list(dict.fromkeys(name for check in checks for name in check.hacking))
    head = [
        "policy",
        "domain",
        "words",
        "repetition",
        "flawed",
        *(_label(n) for n in names),
        "divergence",
    ]
    rows = [
        [
            f"`{check.policy}`",
            spaced(check.domain),
            number(check.text.get("mean_words"), "{:.1f}"),
            *(number(check.text.get(name), "{:.1%}") for name in ("repetition", "flaw_rate")),
            *(number(check.hacking.get(name), "{:.1%}") for name in names),
            number(check.divergence, "{:.2f}"),
        ]
        for check in checks
    ]
    return table(head, rows, words=2)


def _provoked(checks: Sequence[PolicyChecks]) -> str:
    names = list(dict.fromkeys(name for check in checks for name in check.provoked))
    rows = [
        [f"`{check.policy}`", spaced(check.domain), *(number(check.provoked.get(name), "{:.1%}") for name in names)]
        for check in checks
    ]
    return table(["policy", "domain", *map(_label, names)], rows, words=2)


def _difference_text(result: ComparisonResult, policy: str, domain: str, comparison: Comparison | None) -> str:
    """A difference with its interval; a gain with a failed check is marked."""
    is_failed = comparison is not None and result.verdict(policy, domain, comparison) == "failed check"
    return difference(comparison) + (" (failed check)" if is_failed else "")


def _relative(comparison: Comparison) -> str:
    return (
        "" if comparison.relative is None else f" ({comparison.relative:+.1%} of the base's {comparison.mean_base:.3f})"
    )
