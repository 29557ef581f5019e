"""Candidates compared through the real flows: scripted speakers, and a tiny model that is really trained."""

from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient
from scripted_cycles import small
from scripted_engines import Counted, Thankful, ask, played_by

from engage.errors import ConfigError
from engage.evaluation import Contender, fixed_ground, validation_half
from engage.grid import combinations
from engage.scenario import SHIPPED, load_scenarios
from engage.training import load_pairs, save_pairs
from engage.workspace import Workspace
from flows.align import align
from flows.cli.comparing import run_compare
from flows.cli.options import console
from flows.cli.profiles import Asked
from flows.collect import collect
from flows.compare import compare_adapters, compare_trainings
from tasks.cycle import begin_cycle
from tasks.training import chosen_candidate, make_pairs, train_candidate

pytestmark = pytest.mark.usefixtures("prefect_server")

GRID = ("align.dpo.learning_rate=[1e-4, 1e-2]", "align.dpo.beta=[0.1]")


@pytest.fixture(scope="module")
def home(tmp_path_factory, open_home):
    with open_home(tmp_path_factory.mktemp("compare") / "home") as opened:
        yield opened


class Kinder(Thankful):
    """Users who were thanked are better off."""

    def _weigh(self, prompt, choices):
        thanked = sum(message.content.endswith(" Thank you.") for message in prompt.messages)
        good = 0 if len(choices) == 5 else len(choices) - 1  # distress from 1 to 5, quarters of the payment
        return [1 + 5 * thanked * (place == good) for place in range(len(choices))]


@pytest.fixture(scope="module")
def trained(home, tiny_model):
    """Two trainings compared on one cycle: the result, and the number of dialogues that were held."""
    with played_by(Counted()):
        collect(small(tiny_model), "night")
    with played_by(Kinder()):
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


def test_the_best_is_the_cycles_candidate_and_is_judged_on_the_other_half(trained, home, tiny_model):
    contest = trained.contest
    rewards = {name: one.alone.difference for name, one in contest.gains[contest.deciding].items()}
    allowed = {name: gain for name, gain in rewards.items() if not contest.failures[name] and gain > 0}
    assert contest.best == max(allowed, key=allowed.get)
    assert trained.judged.verdict.reason in trained.text
    assert (home.cycle("night") / "compare.md").read_text() == trained.text
    cycle = begin_cycle(small(tiny_model), "night")
    assert chosen_candidate(cycle).adapter == contest.winner.adapter
    held = ask(home, "select distinct scenario_id from trajectory where cycle_id = 'night' and purpose = 'evaluation'")
    halves = {one.scenario_id: validation_half(one) for one in load_scenarios(SHIPPED)}
    assert {halves[name] for (name,) in held} == {"selection", "promotion"}


def test_each_contender_is_a_run_with_what_differs_and_its_gain(trained, home):
    client = MlflowClient(home.tracking_uri)
    experiment = client.get_experiment_by_name("engage")
    runs = client.search_runs([experiment.experiment_id], "tags.`engage.stage` = 'compare'")
    found = {run.data.params["policy"]: run for run in runs}
    assert set(found) == {"base", "learning_rate=0.0001 beta=0.1", "learning_rate=0.01 beta=0.1"}
    fast = found["learning_rate=0.01 beta=0.1"]
    assert fast.data.params["align.dpo.learning_rate"] == "0.01"
    gains = trained.contest.gains[trained.contest.deciding]
    assert fast.data.metrics["gain"] == pytest.approx(gains["learning_rate=0.01 beta=0.1"].alone.difference, abs=1e-5)
    assert "gain" not in found["base"].data.metrics


def test_the_same_comparison_again_holds_no_dialogue_and_trains_nothing(trained, home, tiny_model):
    configs = {name: small(tiny_model, *overrides) for name, overrides in combinations(GRID).items()}
    with played_by(Kinder()) as engine:
        again = compare_trainings(small(tiny_model), "night", configs, ["align.dpo.learning_rate"])
        assert engine.requests == 0
    assert again.contest.best == trained.contest.best
    assert again.contest.page("") == trained.contest.page("")


def test_candidates_of_two_cycles_are_compared_on_the_ground_of_the_first(trained, home, tiny_model):
    with played_by(Counted()):
        collect(small(tiny_model, "seed=9"), "other")
        align(small(tiny_model, "seed=9"), "other")
    adapters = {
        name: chosen_candidate(begin_cycle(small(tiny_model, *seed), name)).adapter
        for name, seed in (("night", ()), ("other", ("seed=9",)))
    }
    with played_by(Kinder()) as engine:
        found = compare_adapters(small(tiny_model), "night", adapters)
        assert engine.requests
    assert [one.name for one in found.contest.contenders] == ["night", "other"]
    labels = {label for label, _, _ in policies(home, "night")}
    assert {one.label for one in found.contest.contenders} <= labels
    assert found.judged is None and "gain over night" in found.text


def test_a_comparison_without_a_winner_leaves_the_cycles_own_pairs(home, tiny_model):
    config = small(tiny_model)
    with played_by(Counted()):  # what was trained answers as before, so no gain can be found
        collect(config, "even")
        own = make_pairs(config, begin_cycle(config, "even")).accepted
        configs = {name: small(tiny_model, f"pairs.min_q_gap={name}") for name in ("0.0", "0.9")}
        found = compare_trainings(config, "even", configs, ["pairs.min_q_gap"])
    assert found.contest.winner is None and found.judged is None
    assert (home.cycle("even") / "compare.md").read_text() == found.text
    [(kept,)] = ask(home, "select count(*) from pair where cycle_id = 'even' and accepted")
    assert kept == own > 0


@pytest.mark.parametrize(
    ("names", "grid", "reason"),
    [
        ([], [], "name two or more cycles or adapters"),
        (["a"], ["align.dpo.beta=[1, 2]"], "name two or more cycles or adapters"),
        (["night", "night"], [], "nothing to compare one with itself"),
        (["night", "nobody"], [], "'nobody' is neither a cycle of this home"),
        (["night", "99"], [], "'99' is neither a cycle of this home"),
        (["night", "../night"], [], "'../night' is neither a cycle of this home"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_sentence(trained, names, grid, reason):
    with pytest.raises(ConfigError, match=reason):
        run_compare(console, names, grid, Asked.by(None, []), None, False)


def test_soft_labels_of_another_probability_train_another_adapter(home, tiny_model):
    config = small(tiny_model, "align.dpo.labels='conservative'", "seed=3")
    with played_by(Counted()):
        collect(config, "soft")
    cycle = begin_cycle(config, "soft")
    pairs = make_pairs(config, cycle)
    first = train_candidate(config, cycle, pairs)
    assert train_candidate(config, cycle, pairs) == first
    save_pairs([replace(pair, p_greater=0.7) for pair in load_pairs(pairs.path)], pairs.path)  # as after a new reward
    assert train_candidate(config, cycle, pairs) != first


def test_an_adapter_near_the_root_of_a_disk_can_be_compared(home, tmp_path, monkeypatch):
    monkeypatch.setattr("engage.evaluation.selection.AdapterCard.read", lambda _: Namespace(metrics={}, people=""))
    monkeypatch.setattr("engage.evaluation.selection.policy_label", lambda name, _: name)
    assert Contender.finished("mine", Path("/mine"), Workspace(home).store).searched_with == ""
