"""The pairs of one training, saved in one file, with their sources and licences."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from engage.scenario import Scenario
from engage.training.human_pairs import HumanPairs, pair_licences
from engage.training.pairs import PreferencePair, save_pairs


@dataclass(frozen=True)
class PairSet:
    """`accepted` pairs in the file `path`, with `pair_set_hash` and licences by source.

    `counts` are the search's candidate pairs by fate (`accepted` or a reason for dropping), `human` the counts of `HumanPairs`.
    """

    path: Path
    hash: str
    accepted: int
    licences: Mapping[str, str]
    counts: Mapping[str, int] = field(default_factory=dict)
    human: Mapping[str, int] = field(default_factory=dict)

    def metrics(self) -> dict[str, float | None]:
        """The counts by MLflow metric name, without reasons that dropped nothing."""
        human = {f"pairs/human/{name}": count for name, count in self.human.items()}
        found = {f"pairs/{name}": count for name, count in self.counts.items()} | human
        return {name: count for name, count in found.items() if count or name.endswith("/accepted")}


def save_pair_set(
    pairs: Sequence[PreferencePair],
    path: Path,
    scenarios: Iterable[Scenario],
    human: HumanPairs,
    counts: Mapping[str, int] | None = None,
) -> PairSet:
    """Save the pairs; `scenarios` are the possible sources, in addition to those of the `human` dialogues."""
    licences = pair_licences(pairs, [*scenarios, *human.scenarios()])
    path.parent.mkdir(parents=True, exist_ok=True)
    return PairSet(path, save_pairs(pairs, path), len(pairs), licences, counts or {}, human.counts)
