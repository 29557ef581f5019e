"""A cycle's pairs as a training takes them: those of the search and those from people, mixed and saved with their licences."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from engage.scenario import Scenario
from engage.store import Cycle, TrajectoryStore
from engage.training.human_pairs import HumanPairs, pair_licences
from engage.training.pairs import mix, read_pairs, save_pairs


@dataclass(frozen=True)
class PairSet:
    """`accepted` pairs in the file `path`, with `pair_set_hash` and licences by source.

    `counts` are the search's candidate pairs by what became of them, `human` the counts of `HumanPairs`.
    """

    counts: Mapping[str, int]
    human: Mapping[str, int]
    accepted: int
    path: Path
    hash: str
    licences: Mapping[str, str]

    def metrics(self) -> dict[str, float | None]:
        """The counts by MLflow's names."""
        human = {f"pairs/human/{name}": count for name, count in self.human.items()}
        return {**{f"pairs/{name}": count for name, count in self.counts.items()}, **human}


def save_pair_set(
    store: TrajectoryStore,
    cycle: Cycle,
    counts: Mapping[str, int],
    human: HumanPairs,
    ratio: float,
    scenarios: Iterable[Scenario],
    path: Path,
) -> PairSet:
    """Save the cycle's accepted pairs and `ratio` times as many from people; `scenarios` are those that may stand behind them."""
    pairs = mix(read_pairs(store, cycle.cycle_id), human.pairs, ratio, cycle.seed)
    licences = pair_licences(pairs, [*scenarios, *human.scenarios()])
    path.parent.mkdir(parents=True, exist_ok=True)
    return PairSet(counts, human.counts, len(pairs), path, save_pairs(pairs, path), licences)
