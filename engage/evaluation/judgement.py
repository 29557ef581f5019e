"""Judges a candidate against the incumbent and the base: comparisons by simulator and domain, hacking checks, verdict."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from engage.domains import load_domain
from engage.evaluation.hacking import Replies, hacking_failures, hacking_rates, text_metrics
from engage.evaluation.held_out import HeldOutStore, paired, policy_label
from engage.evaluation.promotion import NO_HELD_OUT, Verdict, compare_domains
from engage.evaluation.report import DomainReport, report
from engage.evaluation.reviewed import reviewed
from engage.evaluation.simulators import without_panels
from engage.stats import Comparison
from engage.store import Cycle, TrajectoryStore

Comparisons = Mapping[str, Mapping[str, Comparison]]
"""By simulator, then by domain (`all` for all scenarios)."""
NO_CANDIDATE = Verdict(False, "not promoted: no candidate was trained")
SCRIPTED = Verdict(
    False, "not promoted: the scripted engine has prepared answers, which do not show what a candidate does"
)


@dataclass(frozen=True)
class Incumbent:
    """What a candidate is judged against: `name` is `champion` or `base`; its dialogues are stored under `label`."""

    name: str
    label: str

    @staticmethod
    def of(cycle: Cycle) -> "Incumbent":
        """The champion at the start of the cycle, or the base if there was none."""
        name = "champion" if cycle.champion_adapter else "base"
        return Incumbent(name, policy_label(name, cycle.champion_adapter))


@dataclass(frozen=True)
class Judgement:
    """The results of judging a candidate. `label` is None if none was trained; then nothing is compared. `to_base` is filled if there is a champion.

    `notes` are sentences about challengers of earlier nights and about the scenarios.
    """

    incumbent: Incumbent
    label: str | None
    verdict: Verdict
    comparisons: Comparisons = field(default_factory=dict)
    to_base: Comparisons = field(default_factory=dict)
    reports: tuple[DomainReport, ...] = ()
    failures: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def page(self, store: TrajectoryStore, cycle: Cycle) -> str:
        """The report of the evaluation, with the counts of the cycle's stored pairs, and what people said of them."""
        pairs: Counter[str] = Counter()
        for row in store.rows("pair_counts", {"cycle": cycle.cycle_id}):
            pairs[row["fate"]] += row["pairs"]
        verdict = self.verdict if self.label else None
        title = f"Evaluation of cycle {cycle.cycle_id}"
        people = [text for found in reviewed(store, cycle.cycle_id, self.label) for text in found.sentences()]
        return report(title, verdict, self.reports, pairs, self.incumbent.name, self.to_base, self.notes, people)


def judge_candidate(held: HeldOutStore, candidate: str | None, simulators: Iterable[str], alpha: float) -> Judgement:
    """Compare the candidate (its dialogues' label) with the incumbent and the base on this cycle's dialogues, at confidence 1 − `alpha`.

    Its verdict is NO_CANDIDATE or NO_HELD_OUT; with a candidate and a held-out simulator its challenge decides (`engage.evaluation.challenge`).
    """
    incumbent, known = Incumbent.of(held.cycle), list(simulators)
    labels = {incumbent.name: incumbent.label, **({"candidate": candidate} if candidate else {})}
    users = without_panels(known)
    replies = {name: held.replies(label, users) for name, label in labels.items()}
    before, after = replies[incumbent.name], replies.get("candidate", {})
    compared = _compare(held, incumbent.label, candidate, known, 1 - alpha) if candidate else {}
    reports = tuple(
        _domain_report(domain, before.get(domain, {}), after.get(domain, {}), compared)
        for domain in sorted(set(held.domains.values()))
    )
    if candidate is None:
        return Judgement(incumbent, None, NO_CANDIDATE, reports=reports)
    to_base = _compare(held, "base", candidate, known, 1 - alpha) if held.cycle.champion_adapter else {}
    failures = failed_checks(before, after)
    return Judgement(incumbent, candidate, NO_HELD_OUT, compared, to_base, reports, failures)


def failed_checks(before: Mapping[str, Replies], after: Mapping[str, Replies]) -> tuple[str, ...]:
    """The hacking checks that the replies of `after` fail against those of `before`, in words; both by domain."""
    return tuple(
        sentence
        for domain, said in before.items()
        for sentence in hacking_failures(load_domain(domain), said, after.get(domain, {}))
    )


def _compare(
    held: HeldOutStore, before: str, after: str, simulators: Iterable[str], confidence: float
) -> dict[str, dict[str, Comparison]]:
    sides = [held.dialogues(label) for label in (before, after)]
    found = {}
    for simulator in simulators:
        base, candidate = paired(sides, simulator)
        found[simulator] = compare_domains(base, candidate, held.domains, confidence=confidence)
    return found


def _domain_report(domain: str, before: Replies, after: Replies, comparisons: Comparisons) -> DomainReport:
    kind = load_domain(domain)
    return DomainReport(
        domain,
        {simulator: found[domain] for simulator, found in comparisons.items() if domain in found},
        text_metrics(before),
        text_metrics(after),
        hacking_rates(kind, before),
        hacking_rates(kind, after),
    )
