"""Compares candidates on the same held-out scenarios: several trainings on one cycle's trees, or those of finished cycles."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from prefect import flow

from engage.config import CycleConfig
from engage.errors import NothingSearched
from engage.evaluation import Contender, Contest, Judged
from engage.store import Cycle
from engage.workspace import Workspace
from flows.evaluation import evaluation
from tasks.collecting import check_talk
from tasks.comparing import choose, hold_all, trained, write_page
from tasks.cycle import CLOSING, begin_cycle
from tasks.judging import require_validation
from tasks.training import choose_candidate, make_pairs


@dataclass(frozen=True)
class Compared:
    """Result of a comparison; `judged` is the promotion's verdict on the best, None if there was no challenge."""

    contest: Contest
    judged: Judged | None
    page: str

    @property
    def text(self) -> str:
        """The page."""
        return self.page


@flow(name="compare", flow_run_name="{cycle_id}", **CLOSING)
def compare_trainings(
    config: CycleConfig, cycle_id: str, combinations: dict[str, CycleConfig], differs: list[str]
) -> Compared:
    """Train every combination on the cycle's trees and compare all with the incumbent; the best becomes the cycle's candidate and is judged."""
    require_validation(config)
    cycle = begin_cycle(config, cycle_id)
    contenders = [Contender.incumbent(cycle)]
    for name, combination in combinations.items():
        contenders += [one for one in [trained(combination, cycle, name, differs)] if one]
    if len(contenders) == 1:
        make_pairs(config, cycle)  # not those of the last combination
        raise NothingSearched(f"no combination accepts a pair of cycle {cycle_id}: nothing was trained")
    contest = _contest(config, cycle, contenders)
    winner = contest.winner
    chosen = combinations[winner.name] if winner else config
    make_pairs(chosen, cycle)  # each combination may have extracted its own: leave those of the cycle's candidate
    if winner is None or winner.adapter is None:
        return Compared(contest, None, write_page(cycle, contest))
    choose_candidate(cycle, Path(winner.adapter))
    judged = evaluation(chosen, cycle_id)
    return Compared(contest, judged, write_page(cycle, contest, judged))


@flow(name="compare-adapters", flow_run_name="{cycle_id}", **CLOSING)
def compare_adapters(config: CycleConfig, cycle_id: str, adapters: dict[str, str]) -> Compared:
    """Compare trained adapters, by name, with the first of them, on the ground of this cycle; nothing is promoted."""
    require_validation(config)
    cycle = begin_cycle(config, cycle_id)
    store = Workspace.from_env().store
    contest = _contest(
        config, cycle, [Contender.finished(name, Path(adapter), store) for name, adapter in adapters.items()]
    )
    return Compared(contest, None, write_page(cycle, contest))


def _contest(config: CycleConfig, cycle: Cycle, contenders: Sequence[Contender]) -> Contest:
    contest = choose(config, cycle, contenders, hold_all(config, cycle, contenders))
    check_talk(config, cycle, "evaluation")
    return contest
