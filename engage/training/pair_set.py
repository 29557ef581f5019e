"""Pairs as a training takes them: saved in one file, with what they are from and under which terms."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from engage.scenario import Scenario
from engage.training.human_pairs import HumanPairs, pair_licences
from engage.training.pairs import PreferencePair, save_pairs


@dataclass(frozen=True)
class PairSet:
    """`accepted` pairs in the file `path`, with `pair_set_hash` and licences by source.

    `counts` are the search's candidate pairs by what became of them, `human` the counts of `HumanPairs`.
    """

    path: Path
    hash: str
    accepted: int
    licences: Mapping[str, str]
    counts: Mapping[str, int] = field(default_factory=dict)
    human: Mapping[str, int] = field(default_factory=dict)

    def metrics(self) -> dict[str, float | None]:
        """The counts by MLflow's names."""
        human = {f"pairs/human/{name}": count for name, count in self.human.items()}
        return {**{f"pairs/{name}": count for name, count in self.counts.items()}, **human}


def save_pair_set(
    pairs: Sequence[PreferencePair],
    path: Path,
    scenarios: Iterable[Scenario],
    human: HumanPairs,
    counts: Mapping[str, int] | None = None,
) -> PairSet:
    """Save the pairs; `scenarios` are those that may stand behind them, beside those of the `human` dialogues."""
    licences = pair_licences(pairs, [*scenarios, *human.scenarios()])
    path.parent.mkdir(parents=True, exist_ok=True)
    return PairSet(path, save_pairs(pairs, path), len(pairs), licences, counts or {}, human.counts)
