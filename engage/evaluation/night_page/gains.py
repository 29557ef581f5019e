"""What a night's page says of its candidate: verdict, gains by domain and simulator, the last nights, reward by turn and by kind of user, training curves."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engage.errors import StoreError
from engage.evaluation.night_page.held_out_dialogues import Policies
from engage.evaluation.promotion import ALL, Verdict
from engage.evaluation.simulators import deciding
from engage.files.writing import write_whole
from engage.pages import bounded, counted, number, sentence, spaced
from engage.pages.charts import Bounded, Chart, Forest, forest, line_chart
from engage.store import TrajectoryStore

Row = Mapping[str, Any]
VERDICT_FILE = "verdict.json"
MANY_LEVELS = 8
"""A condition with more levels, such as the situation, says nothing by kind of user."""
FEW_DIALOGUES = 3
"""A level with fewer dialogues is left out where others have as many."""
CURVES = {
    "loss": ("loss",),
    "accuracy: share of pairs that prefer the chosen reply": ("rewards/accuracies",),
    "margin between chosen and rejected": ("rewards/margins",),
}


def keep_verdict(folder: Path, candidate: str | None, verdict: Verdict, failures: Sequence[str]) -> None:
    """Keep in the cycle's folder, for its page, what was decided about a candidate (its label; None: none was trained)."""
    kept = {**asdict(verdict), "failures": list(failures), "candidate": candidate}
    write_whole(folder / VERDICT_FILE, json.dumps(kept))


@dataclass(frozen=True)
class Decision:
    """The verdict in a sentence, and the checks that failed; `promoted` is None where none was kept."""

    text: str
    promoted: bool | None
    failures: tuple[str, ...] = ()


def decision(folder: Path, candidate: str | None, unfinished: str = "") -> Decision:
    """What was decided about the cycle's present candidate (its label), from the cycle's folder; StoreError for a damaged file.

    `unfinished` says how the cycle was cut off, and how to go on; it stands in front while nothing is decided.
    """
    path = folder / VERDICT_FILE
    if path.is_file():
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            if kept["candidate"] == candidate:
                return Decision(sentence(kept["reason"]), kept["promoted"], tuple(kept["failures"]))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StoreError(f"{path}: damaged; delete it, and `engage evaluate` writes it again") from error
    if candidate:
        return Decision(unfinished or "This candidate has not been judged yet: `engage evaluate` does it.", None)
    return Decision(unfinished or "No candidate has been judged in this cycle.", None)


@dataclass(frozen=True)
class Gains:
    """One row a simulator and domain, as (where, incumbent, candidate, difference with interval, scenarios), and the forest plot's marks.

    `words` says what the first row, that of the deciding simulator, means.
    """

    words: str
    rows: tuple[tuple[str, str, str, str, int], ...]
    plot: Forest
    tones: tuple[str, ...]


def gains(store: TrajectoryStore, cycle_id: str, policy: str | None) -> Gains | None:
    """The candidate's paired differences, from sql/inspect/page_figures.sql; None without any."""
    found: dict[tuple[str, str], dict[str, Row]] = {}
    for row in store.rows("page_figures", {"cycle": cycle_id}):
        if row["policy"] == policy:
            found.setdefault((row["simulator"], row["domain"]), {})[row["metric"]] = row
    shown = {place: metrics for place, metrics in found.items() if "difference" in metrics}
    if not shown:
        return None
    latest = max(shown.values(), key=_when)["difference"][
        "ground"
    ]  # an earlier judgement may have had other simulators
    first = deciding(name for (name, _), metrics in shown.items() if metrics["difference"]["ground"] == latest)
    order = sorted(shown, key=lambda place: (place[0] != first, place[0], place[1] != ALL, place[1]))
    values = [_bounded(shown[place]["difference"]) for place in order]
    rows = tuple(_gain(place, shown[place]) for place in order)
    return Gains(_in_words(values[0], rows[0][-1]), rows, forest(values), tuple(map(_tone, values)))


def _when(metrics: Mapping[str, Row]) -> str:
    return str(metrics["difference"]["stored_at"] or "")


def _in_words(gain: Bounded, scenarios: int) -> str:
    """What a difference and its interval mean, for a reader who knows neither."""
    where = f"In plain words: in conversations on {counted(scenarios, 'scenario')} that it was not trained on, the candidate"
    if gain.low is None or gain.high is None:
        return f"{where} was not measured often enough to say whether it does better or worse than the incumbent."
    scale = "on a scale from 0 (the worst end of a conversation) to 1 (the best)"
    if gain.low > 0:
        return f"{where} did better than the incumbent, by {gain.low:.3f} to {gain.high:.3f} {scale}."
    if gain.high < 0:
        return f"{where} did worse than the incumbent, by {-gain.high:.3f} to {-gain.low:.3f} {scale}."
    return f"{where} cannot be told from the incumbent: it may do up to {-gain.low:.3f} worse or up to {gain.high:.3f} better, {scale}."


def _gain(place: tuple[str, str], metrics: Mapping[str, Row]) -> tuple[str, str, str, str, int]:
    simulator, domain = place
    name = "all domains" if domain == ALL else spaced(domain.rpartition(":")[2])
    one = metrics["difference"]
    before, after = (
        number(metrics[side]["value"]) if side in metrics else number(None) for side in ("mean_base", "mean_candidate")
    )
    return (
        f"{name}, {simulator} simulator",
        before,
        after,
        bounded(one["value"], one["low"], one["high"], "{:+.3f}"),
        one["n"],
    )


def _bounded(row: Row, name: str = "value") -> Bounded:
    return Bounded(row[name], row["low"], row["high"])


def _tone(value: Bounded) -> str:
    if value.low is None or value.high is None:
        return "unsure"
    return "good" if value.low > 0 else "bad" if value.high < 0 else "unsure"


@dataclass(frozen=True)
class Nights:
    """The last nights: a chart of the gains, a chart of the searches' rewards, and the rows of sql/inspect/page_nights.sql."""

    gain: Chart | None
    reward: Chart | None
    rows: tuple[Row, ...]


def nights(store: TrajectoryStore, cycle_id: str) -> Nights:
    """One place on the axis a cycle."""
    rows = store.rows("page_nights", {"cycle": cycle_id})
    places = {name: float(place) for place, name in enumerate(dict.fromkeys(row["cycle_id"] for row in rows))}
    labels = {places[row["cycle_id"]]: f"{row['started_at']:%d %b}" for row in rows}
    series: dict[str, list[tuple[float, Bounded]]] = {}
    for row in rows:
        if row["gain"] is not None:
            series.setdefault(f"{row['simulator']} simulator", []).append(
                (places[row["cycle_id"]], _bounded(row, "gain"))
            )
    rewards = {places[row["cycle_id"]]: row["reward_mean"] for row in rows if row["reward_mean"] is not None}
    reward = {"mean reward": [(place, Bounded(value)) for place, value in rewards.items()]}
    if len(places) < 2:
        return Nights(None, None, tuple(rows))
    return Nights(line_chart(series, labels, low=0.0), line_chart(reward, labels, 0.0, 1.0), tuple(rows))


def reward_by_turn(store: TrajectoryStore, cycle_id: str) -> Chart | None:
    """Mean Q of the prefixes searched from, by domain and exchange (from 1); bars span the lowest and the highest."""
    series: dict[str, list[tuple[float, Bounded]]] = {}
    for row in store.rows("reward_by_turn", {"cycle": cycle_id}):
        if row["q_mean"] is not None:
            value = Bounded(row["q_mean"], row["q_lowest"], row["q_highest"])
            series.setdefault(spaced(str(row["domain"]).rpartition(":")[2]), []).append((row["exchange"] + 1.0, value))
    places = {x for points in series.values() for x, _ in points}
    return line_chart(series, {x: f"{x:g}" for x in places}, 0.0, 1.0)


UserRow = tuple[str, str, int, list[str]]


def by_kind_of_user(
    store: TrajectoryStore, cycle_id: str, policies: Policies, scenarios: Sequence[str]
) -> tuple[list[str], list[UserRow]]:
    """Mean rewards by level of a user condition: the heads of the columns, and rows of (domain and condition, level, dialogues, rewards).

    Of the held-out dialogues on these scenarios, or of the search where none were held; levels with few dialogues are left out if others
    have more.
    """
    given: dict[str, object] = {"scenarios": list(scenarios)} if policies.named else {"together": True}
    every = store.rows("engagement_by_condition", {"cycle": cycle_id, **given})
    sides = policies.named or {"search": ""}
    of = ("evaluation", policies.simulator or "") if policies.named else ("search", "")
    rows = [row for row in every if (row["purpose"], row["simulator"]) == of and row["policy"] in sides.values()]
    levels = Counter((row["domain"], row["condition"]) for row in rows if row["policy"] == next(iter(sides.values())))
    found: dict[tuple[str, str, str], dict[str, Row]] = {}
    for row in rows:
        if 1 < levels[row["domain"], row["condition"]] <= MANY_LEVELS:
            found.setdefault((row["domain"], row["condition"], str(row["level"])), {})[row["policy"]] = row
    shown = [
        (
            f"{spaced(domain.rpartition(':')[2])}, {spaced(condition)}",
            spaced(level),
            max(row["dialogues"] for row in by_policy.values()),
            [number(by_policy[label]["reward"]) if label in by_policy else number(None) for label in sides.values()],
        )
        for (domain, condition, level), by_policy in found.items()
    ]
    enough = [row for row in shown if row[2] >= FEW_DIALOGUES]
    return list(sides), enough or shown


def training_curves(adapter: Path | None) -> list[tuple[str, Chart]]:
    """The curves of the candidate's training by optimiser step, from its folder; empty without one."""
    path = adapter / "history.json" if adapter else None
    if path is None or not path.is_file():
        return []
    history = json.loads(path.read_text(encoding="utf-8"))
    found: list[tuple[str, Chart]] = []
    if len(history) < 2:  # one step is no curve
        return found
    for title, names in CURVES.items():
        series = {
            name: [
                (float(entry["step"]), Bounded(entry[name]))
                for entry in history
                if isinstance(entry.get(name), int | float)
            ]
            for name in names
        }
        steps = [float(entry["step"]) for entry in history]
        if chart := line_chart(series, {step: f"{step:g}" for step in steps}):
            found.append((title, chart))
    return found
