"""Chooses among several candidates of one cycle: all are compared with its incumbent on the selection half of the validation split."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engage.evaluation.ground import compare_candidates
from engage.evaluation.held_out import HeldOutStore, policy_label
from engage.evaluation.judgement import Incumbent, failed_checks
from engage.evaluation.simulators import SEARCH_SIMULATOR, deciding, in_metrics, player, without_panels
from engage.models import AdapterCard
from engage.pages import bounded, number, page, sentence, table
from engage.stats import Simultaneous
from engage.store import Cycle, TrajectoryStore

PAGE = "compare.md"
"""The comparison's page in the cycle's folder."""
REWARD = "{:.3f}"
GAIN = "{:+.3f}"


@dataclass(frozen=True)
class Contender:
    """A policy that is compared: what tells it apart, the label of its dialogues, its adapter (None: the base model).

    `training` has figures of its training by name, such as `pairs` and `train/loss`; `settings` what it was trained with, by dotted name;
    `searched_with` names the simulator of the search that its pairs come from (empty: not known, or of no interest). `people` is what its
    card says about people's dialogues (empty: nothing).
    """

    name: str
    label: str
    adapter: str | None
    training: Mapping[str, float] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    searched_with: str = ""
    people: str = ""

    @staticmethod
    def incumbent(cycle: Cycle) -> "Contender":
        """What every combination is compared with: the champion at the cycle's beginning, or the base model."""
        held, adapter = Incumbent.of(cycle), cycle.champion_adapter
        return Contender(held.name, held.label, adapter, people=AdapterCard.read(adapter).people if adapter else "")

    @staticmethod
    def trained(
        name: str, adapter: Path, settings: Mapping[str, str] | None = None, searched_with: str = ""
    ) -> "Contender":
        """A policy with an adapter that engage trained."""
        card, label = AdapterCard.read(adapter), policy_label("candidate", str(adapter))
        return Contender(name, label, str(adapter), card.metrics, settings or {}, searched_with, card.people)

    @staticmethod
    def finished(name: str, adapter: Path, store: TrajectoryStore) -> "Contender":
        """A policy that a cycle of this store trained, with the simulator of the cycle's search."""
        above = [*adapter.parents][2:3]  # CYCLE/align/TRAINING/adapter, or a folder of the user's
        settings = store.cycle_settings(above[0].name) if above else None
        return Contender.trained(name, adapter, searched_with=player(settings["engine"]) if settings else "")


@dataclass(frozen=True)
class Contest:
    """Results of comparing `contenders`, the first of which the others are compared with.

    `gains` and `behind` are by simulator, then by contender: against the first, and against the best. `failures` are failed hacking
    checks, `tokens` the mean tokens written in one dialogue (None: the server does not say). `best` is the name of the contender with
    the highest mean reward among those that fail no check; None if none has a reward above the first's.
    """

    contenders: tuple[Contender, ...]
    gains: Mapping[str, Mapping[str, Simultaneous]]
    behind: Mapping[str, Mapping[str, Simultaneous]]
    failures: Mapping[str, Sequence[str]]
    tokens: Mapping[str, float | None]
    best: str | None
    scenarios: int
    digest: str
    remarks: tuple[str, ...] = ()

    @property
    def deciding(self) -> str:
        """The simulator that decides: the held-out one if there is one."""
        return deciding(self.gains) or SEARCH_SIMULATOR

    @property
    def winner(self) -> Contender | None:
        """The best contender."""
        return next((one for one in self.contenders if one.name == self.best), None)

    def metrics(self, name: str) -> dict[str, float | None]:
        """One contender's figures by metric name, for the compare view: its training, reward and gain."""
        found: dict[str, float | None] = dict(self._contender(name).training)
        for simulator, gains in self.gains.items():
            end = self._end(simulator)
            if name in gains:
                one = gains[name]
                found |= {f"reward{end}": one.alone.mean_candidate, f"gain{end}": one.alone.difference}
                found |= {f"gain_low{end}": one.low, f"gain_high{end}": one.high}
            else:
                first = next(iter(gains.values()), None)
                found[f"reward{end}"] = first.alone.mean_base if first else None
        return found | {
            "dialogue_tokens": self.tokens.get(name),
            "failed_checks": float(len(self.failures.get(name, ()))),
        }

    def _end(self, simulator: str) -> str:
        """What the names of a simulator's metrics end with; those of the deciding one have plain names."""
        return "" if simulator == self.deciding else f"_{in_metrics(simulator)}"

    def page(self, title: str) -> str:
        """The page: the answer in one sentence, a table per simulator, and how it was made."""
        return page([f"# {title}", f"**{self.answer()}**", *self._tables(), *self._matrix(), *self._notes()])

    def answer(self) -> str:
        """Which contender is the best, and how sure that is, in one or two sentences."""
        first = self.contenders[0].name
        if self.best is None:
            return sentence(f"none is better than {first} on these {self.scenarios} scenarios")
        gain = self.gains[self.deciding][self.best]
        sure = "" if gain.low is not None and gain.low > 0 else "; this may be chance"
        found = f"the best is {self.best}: reward {_gain(gain)} against {first}{sure}"
        others = [name for name, one in self.behind[self.deciding].items() if name != first and not _below(one)]
        if not others:
            return sentence(found)
        told = ", ".join(others) if len(others) < 4 else f"{len(others)} others"
        return f"{sentence(found)} It cannot be told apart from {told}."

    def _tables(self) -> list[str]:
        parts = []
        for simulator in sorted(self.gains, key=lambda name: name != self.deciding):
            rows = [self._row(one, simulator) for one in self.contenders]
            head = [
                "",
                "reward",
                f"gain over {self.contenders[0].name}",
                "against the best",
                "wins",
                "pairs",
                "loss after",
            ]
            parts += [
                f"## {sentence(f'{simulator} simulator')[:-1]}",
                table([*head, "tokens written a dialogue", "failed checks"], rows),
            ]
        return parts

    def _row(self, one: Contender, simulator: str) -> list[str]:
        gain, behind = self.gains[simulator].get(one.name), self.behind.get(simulator, {}).get(one.name)
        alone = gain.alone if gain else None
        reward = self.metrics(one.name)[f"reward{self._end(simulator)}"]
        return [
            f"**{one.name}**" if one.name == self.best else one.name,
            number(reward, REWARD),
            _gain(gain),
            "best" if one.name == self.best else _gain(behind),
            number(alone.win_rate if alone else None, "{:.0%}"),
            number(one.training.get("pairs"), "{:.0f}"),
            number(one.training.get("train/loss")),
            number(self.tokens.get(one.name), "{:.0f}"),
            str(len(self.failures.get(one.name, ()))),
        ]

    def _matrix(self) -> list[str]:
        """The transfer matrix: does a gain that was searched with one simulator show with others?"""
        if not any(one.searched_with for one in self.contenders) or len(self.gains) == 1:
            return []
        first = self.contenders[0]
        rows = [
            [
                one.name,
                one.searched_with or "not known",
                *(_gain(self.gains[name].get(one.name)) for name in self.gains),
            ]
            for one in self.contenders[1:]
        ]
        head = ["", "searched with", *(f"judged with {name}" for name in self.gains)]
        return ["## Transfer between simulators", f"Gains over {first.name}.", table(head, rows)]

    def _notes(self) -> list[str]:
        unreadable = max((one.alone.n_unreadable for one in self.gains[self.deciding].values()), default=0)
        notes = [
            f"{self.scenarios} scenarios of the selection half of the validation split (ground {self.digest}), which promotion never "
            f"looks at. All policies had the same scenarios and seeds. The intervals of one column hold together with 95 % confidence "
            "(max-t, scenarios resampled); the best was chosen by the data, so what it gains is somewhat overstated.",
            *self.remarks,
        ]
        if unreadable:
            notes.append(f"Up to {unreadable} dialogue pairs of one comparison had no readable survey answer.")
        notes += [f"{one.name}, people: {one.people}." for one in self.contenders if one.people]
        failed = [f"{name}: {sentence(text)}" for name, found in self.failures.items() for text in found]
        return [*notes, *(["## Failed checks", *failed] if failed else [])]

    def _contender(self, name: str) -> Contender:
        return next(one for one in self.contenders if one.name == name)


def hold_contest(
    held: HeldOutStore,
    contenders: Sequence[Contender],
    simulators: Sequence[str],
    digest: str,
    remarks: Sequence[str] = (),
) -> Contest:
    """Compare the contenders' stored dialogues on the scenarios of `held`: the first one is what the others are compared with."""
    first = contenders[0]
    dialogues = {one.name: held.dialogues(one.label) for one in contenders}
    gains = {name: compare_candidates(dialogues, name, first.name) for name in simulators}
    users = without_panels(simulators)
    said = {one.name: held.replies(one.label, users) for one in contenders}
    failures = {one.name: failed_checks(said[first.name], said[one.name]) for one in contenders[1:]}
    better = {
        name: one.alone.difference
        for name, one in gains[deciding(simulators) or SEARCH_SIMULATOR].items()
        if not failures[name] and one.alone.difference is not None and one.alone.difference > 0
    }
    best = max(better, key=lambda name: better[name], default=None)
    behind = {name: compare_candidates(dialogues, name, best) for name in simulators} if best else {}
    costs = held.store.rows("evaluation_cost", {"cycle": held.cycle.cycle_id, "scenarios": list(held.scenarios)})
    return Contest(
        tuple(contenders),
        gains,
        behind,
        failures,
        {one.name: _tokens([row for row in costs if row["simulator"] in users], one.label) for one in contenders},
        best,
        len(held.scenarios),
        digest,
        tuple(remarks),
    )


def _tokens(rows: Sequence[Mapping[str, Any]], label: str) -> float | None:
    """Mean tokens that both speakers wrote in one of a policy's dialogues; those read depend on what the engine still had in its cache."""
    costs = [(row["dialogues"], row["completion_tokens"]) for row in rows if row["policy"] == label]
    if not costs or any(written is None for _, written in costs):
        return None
    return float(sum(count * written for count, written in costs) / sum(count for count, _ in costs))


def _gain(found: Simultaneous | None) -> str:
    return number(None) if found is None else bounded(found.alone.difference, found.low, found.high, GAIN)


def _below(found: Simultaneous) -> bool:
    return found.high is not None and found.high < 0
