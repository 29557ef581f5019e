"""The pairs of one training, saved in one file, with their sources and licences."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from engage.scenario import Scenario
from engage.training.human_pairs import HumanPairs, pair_licences
from engage.training.pairs import PreferencePair, SearchPairs, save_pairs


@dataclass(frozen=True)
class PairSet:
    """`accepted` pairs in the file `path`, with `pair_set_hash` and licences by source.

    `counts` are the search's candidate pairs by fate (`accepted` or a reason for dropping), `human` the counts of `HumanPairs`. `earlier` maps
    an earlier cycle to the number of its pairs among the accepted ones, `left` one to the reason why its pairs were left out.
    """

    path: Path
    hash: str
    accepted: int
    licences: Mapping[str, str]
    counts: Mapping[str, int] = field(default_factory=dict)
    human: Mapping[str, int] = field(default_factory=dict)
    earlier: Mapping[str, int] = field(default_factory=dict)
    left: Mapping[str, str] = field(default_factory=dict)

    def metrics(self) -> dict[str, float | None]:
        """The counts by MLflow metric name, without reasons that dropped nothing."""
        human = {f"pairs/human/{name}": count for name, count in self.human.items()}
        found = {f"pairs/{name}": count for name, count in self.counts.items()} | human
        found["pairs/earlier"] = sum(self.earlier.values())
        return {name: count for name, count in found.items() if count or name.endswith("/accepted")}


def save_pair_set(
    pairs: Sequence[PreferencePair],
    path: Path,
    scenarios: Iterable[Scenario],
    human: HumanPairs,
    counts: Mapping[str, int] | None = None,
    found: SearchPairs | None = None,
) -> PairSet:
    """Save the pairs; `scenarios` are the possible sources, in addition to those of the `human` dialogues and of the `found` pairs of searches."""
    licences = pair_licences(pairs, [*scenarios, *human.scenarios()], found.sources if found else {})
    path.parent.mkdir(parents=True, exist_ok=True)
    earlier = Counter(pair.earlier_cycle for pair in pairs if pair.earlier_cycle)
    return PairSet(
        path,
        save_pairs(pairs, path),
        len(pairs),
        licences,
        counts or {},
        human.counts,
        earlier,
        found.left if found else {},
    )
