"""Candidates compared through the real flows: scripted speakers, and a tiny model that is really trained."""

from pathlib import Path

import pytest
from mlflow import MlflowClient
from scripted_engines import Counted, ask, played_by
from test_cycle import SMALL

from engage.config import CycleConfig, combinations
from engage.errors import ConfigError
from engage.evaluation import fixed_ground, validation_half
from engage.scenario import SHIPPED, load_scenarios
from flows.align import align
from flows.cli.comparing import run_compare
from flows.cli.options import console
from flows.cli.profiles import Asked, load_config
from flows.collect import collect
from flows.compare import compare_adapters, compare_trainings
from tasks.training import chosen_candidate

pytestmark = pytest.mark.usefixtures("prefect_server")

GRID = ("align.dpo.learning_rate=[1e-4, 1e-2]", "align.dpo.beta=[0.1]")


@pytest.fixture(scope="module")
def home(tmp_path_factory, open_home):
    with open_home(tmp_path_factory.mktemp("compare") / "home") as opened:
        yield opened


def small(tiny: Path, *more: str) -> CycleConfig:
    return load_config("laptop", [*SMALL, f"engine.policy_model={tiny}", *more])


@pytest.fixture(scope="module")
def trained(home, tiny_model):
    """Two trainings compared on one cycle: the result, and the number of dialogues that were held."""
    with played_by(Counted()):
        collect(small(tiny_model), "night")
        configs = {name: small(tiny_model, *overrides) for name, overrides in combinations(GRID).items()}
        return compare_trainings(small(tiny_model), "night", configs, ["align.dpo.learning_rate"])


def policies(home, cycle):
    sql = """
        select policy, simulator, count(*) from trajectory
        where cycle_id = $cycle and purpose = 'evaluation' and scenario_id = any($scenarios) group by all order by all
    """
    ground = [one.scenario_id for one in fixed_ground(load_scenarios(SHIPPED), "selection", 3).scenarios]
    return ask(home, sql, cycle=cycle, scenarios=ground)


def test_every_combination_talks_on_the_same_selection_half(trained, home):
    labels = [one.label for one in trained.contest.contenders]
    assert labels[0] == "base" and len(set(labels)) == 3
    # 2 domains x 3 scenarios each, with each of the two simulators
    assert policies(home, "night") == [(label, kind, 6) for label in sorted(labels) for kind in simulators(trained)]


def simulators(found):
    return sorted(found.contest.gains)


def test_the_best_is_the_cycles_candidate_and_is_judged_on_the_other_half(trained, home):
    contest = trained.contest
    assert (contest.best is None) == (trained.judged is None)
    rewards = {name: one.alone.difference for name, one in contest.gains[contest.deciding].items()}
    allowed = {name: gain for name, gain in rewards.items() if not contest.failures[name] and gain > 0}
    assert contest.best == max(allowed, key=allowed.get, default=None)
    held = ask(home, "select distinct scenario_id from trajectory where cycle_id = 'night' and purpose = 'evaluation'")
    halves = {one.scenario_id: validation_half(one) for one in load_scenarios(SHIPPED)}
    assert {halves[name] for (name,) in held} == ({"selection", "promotion"} if trained.judged else {"selection"})
