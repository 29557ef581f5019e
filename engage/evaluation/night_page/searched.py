"""What a night's page says of its searches: how much, at what cost, which pairs came of it, and how well the simulator spoke."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engage.domains.rules.crisis import CRISIS
from engage.engines.prices import Prices, dollars
from engage.evaluation.collected import drawn_in_words, trees_by_simulator, usd_of, users_as_assistants
from engage.evaluation.night_page.speakers import FATES
from engage.pages import counted, estimate, spaced
from engage.stats import ratio
from engage.store import PairConfig, TrajectoryStore

Row = Mapping[str, Any]
Fact = tuple[str, str]


def happened(store: TrajectoryStore, cycle_id: str) -> list[Fact]:
    """Scenarios, simulations, tokens, minutes and the cost of a pair, each in a few words."""
    given = {"cycle": cycle_id}
    trees, costs = store.rows("tree_cost", given), store.rows("cycle_cost", given)
    domains, pairs = store.rows("reward_by_domain", given), store.rows("pair_counts", given)
    if not trees:
        return [("scenarios searched", "none")]
    unreadable = sum(row["unreadable"] for row in domains)
    accepted = sum(row["pairs"] for row in pairs if row["fate"] == "accepted")
    written = _sum([row["completion_tokens"] for row in trees])
    seconds = trees[0]["wall_s_sum"]
    facts = [
        ("scenarios searched", str(len(trees))),
        ("simulated dialogues", f"{sum(row['simulations'] for row in trees):,}" + (f" ({unreadable} without a readable answer)" if unreadable else "")),
        ("tokens of the search", _tokens([row for row in costs if row["purpose"] == "search"])),
        ("tokens of the evaluation", _tokens([row for row in costs if row["purpose"] == "evaluation"])),
        ("time of the search", f"{seconds / 60:.1f} min summed over trees (several run at once), the longest {trees[0]['wall_s'] / 60:.1f}"),
        ("pairs", f"{accepted} accepted of {sum(row['pairs'] for row in pairs)}" if pairs else "not judged yet"),
    ]  # fmt: skip
    if drawn := trees_by_simulator(store, cycle_id):
        facts.insert(1, ("users, drawn by each tree", drawn_in_words(drawn)))
    if accepted:
        tokens = "unknown tokens" if written is None else f"{written / accepted:,.0f} written tokens"
        facts.append(("cost of an accepted pair", f"{tokens}, {seconds / accepted:.0f} s of a tree's time"))
    prices = Prices.model_validate(((store.cycle_settings(cycle_id) or {}).get("engine") or {}).get("prices") or {})
    if prices.known:
        searched, whole = usd_of(store, cycle_id, prices, "search"), usd_of(store, cycle_id, prices)
        pair = f", {dollars(searched / accepted)} for each accepted pair" if accepted and searched is not None else ""
        facts.append(("cost in dollars", f"{dollars(whole)}, {dollars(searched)} of them for the searches{pair}"))
    return facts


def _sum(counts: Sequence[int | None]) -> int | None:
    return None if None in counts else sum(count for count in counts if count is not None)


def _tokens(rows: Sequence[Row]) -> str:
    if not rows:
        return "none"
    read, cached, written = (
        _sum([row[name] for row in rows]) for name in ("prompt_tokens", "cached_tokens", "completion_tokens")
    )
    if read is None or written is None:
        return "unknown: the server does not say"
    reused = f" ({cached / read:.0%} of them from a cache)" if cached and read else ""
    return f"{read:,} read{reused}, {written:,} written"


def thresholds(store: TrajectoryStore, cycle_id: str) -> str:
    """What a pair had to pass, in one sentence, from the cycle's settings; without numbers if the cycle's pairs contradict them.

    Pairs may be extracted again with other settings than the cycle's (`engage align --set`), which the store does not keep.
    """
    kept = (store.cycle_settings(cycle_id) or {}).get("pairs")
    evidence = store.rows("page_pair_evidence", {"cycle": cycle_id})
    if kept is None:
        return "The cycle's settings, and so the thresholds for its pairs, were not kept."
    needed = PairConfig.model_validate(kept)
    bounds = (("gap", needed.min_q_gap), ("p", needed.confidence))
    for row in evidence:
        for name, bound in bounds:
            least, most = row[f"accepted_{name}_min"], row[f"dropped_{name}_max"]
            if (least is not None and least < bound) or (most is not None and most >= bound > 0):
                return "These pairs were extracted with thresholds other than the cycle's settings (`engage align --set`); those were not kept."
    return (
        f"To be accepted, a pair needs a gap of at least {needed.min_q_gap:g} (in reward, 0 to 1), P of at least {needed.confidence:g}, and "
        f"{needed.min_groups} sampled user turns with a reward below each reply; at most {counted(needed.max_pairs_per_prefix, 'pair')} from one place in a dialogue."
    )


@dataclass(frozen=True)
class PairTable:
    """Pairs by fate (rows, in words) and domain (columns), and one sentence a domain."""

    domains: tuple[str, ...]
    rows: tuple[tuple[str, tuple[int, ...]], ...]
    sentences: tuple[str, ...]


def pair_table(store: TrajectoryStore, cycle_id: str) -> PairTable:
    """From sql/inspect/pair_counts.sql and page_pair_evidence.sql."""
    given = {"cycle": cycle_id}
    counts, evidence = store.rows("pair_counts", given), store.rows("page_pair_evidence", given)
    domains = sorted({row["domain"] for row in (*counts, *evidence) if row["domain"]})
    by_fate: dict[str, dict[str, int]] = {}
    for row in counts:
        by_fate.setdefault(row["fate"], {})[row["domain"]] = row["pairs"]
    known = sorted(by_fate, key=lambda fate: (fate != "accepted", -sum(by_fate[fate].values()), fate))
    rows = tuple((FATES.get(fate, fate), tuple(by_fate[fate].get(domain, 0) for domain in domains)) for fate in known)
    sentences = tuple(_evidence_sentence(row, bool(counts)) for row in evidence)
    return PairTable(tuple(spaced(name.rpartition(":")[2]) for name in domains), rows, sentences)


def _evidence_sentence(row: Row, judged: bool) -> str:
    """Whether replies could be told apart: a median gap below its standard error says no."""
    name = spaced(row["domain"].rpartition(":")[2])
    count = (
        f"{row['accepted'] or 'none'} of {counted(row['candidates'], 'candidate pair')} accepted"
        if judged
        else counted(row["candidates"], "candidate pair")
    )
    gap, error = row["q_gap_median"], row["gap_error_median"]
    could = "could" if gap > error else "could hardly" if gap > error / 2 else "could not"
    return f"{name}: {count}; the search {could} tell replies apart (median gap {_small(gap)}, standard error {_small(error)})."


def _small(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else "below 0.001"


def errors_in_words(errors: Sequence[Row]) -> str:
    """Whether users' errors helped or hindered the assistant, from rows of sql/inspect/simulator_errors.sql; the interval resamples trees."""
    kinds = Counter(spaced(row["flaw"]) for row in errors)
    effects = Counter(row["effect"] for row in errors)
    trees: dict[str, list[float]] = {}
    for row in errors:
        trees.setdefault(row["tree_id"], []).append(row["difference"])
    change = ratio([sum(one) for one in trees.values()], [len(one) for one in trees.values()])
    return (
        f"{counted(len(errors), 'user turn')} with an error ({', '.join(f'{kind} {count}' for kind, count in sorted(kinds.items()))}) "
        f"can be compared with clean ones after the same reply: {effects['helped']} helped the assistant, {effects['hindered']} hindered it; "
        f"their rewards differ by {estimate(change, '{:+.3f}')} on average."
    )


@dataclass(frozen=True)
class Health:
    """How the simulator and the policy spoke: sentences, and flaws as (side, flaw, turns, share)."""

    sentences: tuple[str, ...]
    flaws: tuple[tuple[str, str, int, float], ...]


def simulator_health(store: TrajectoryStore, cycle_id: str) -> Health:
    """Flaws by kind, unreadable answers, dialogues that ended early, users who spoke as assistants; without what people forked later."""
    given = {"cycle": cycle_id}
    ends = [row for row in store.rows("dialogue_ends", given) if row["purpose"] != "fork"]
    every = sum(row["dialogues"] for row in ends)
    crises = sum(row["dialogues"] for row in ends if row["end_reason"] == CRISIS)
    unreadable = sum(row["purpose"] != "fork" for row in store.rows("unreadable_reactions", given))
    sentences = [
        f"The exit survey could not be read after {unreadable} of {every:,} dialogues"
        + (f" ({unreadable / every:.1%})." if every else "."),
        f"In {crises} dialogues the user spoke of self-harm; each ended with a referral and is not used for training.",
    ]
    if spoke := users_as_assistants(store, cycle_id):
        sentences.append(
            f"The users spoke like an assistant in {spoke} of {spoke.turns} first draws; such turns were drawn again."
        )
    if errors := store.rows("simulator_errors", given):
        sentences.append(errors_in_words(errors))
    sides = {"assistant": "assistant", "user": "simulated user"}
    flaws = tuple(
        (sides[row["role"]], spaced(row["flaw"]), row["turns"], row["share"])
        for row in store.rows("flaws", given)
        if row["flaw"]
    )
    return Health(tuple(sentences), flaws)
