"""The comparison of policies: its statistics by hand, and the whole flow with scripted speakers and a tiny model that is trained."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import duckdb
import pytest
from mlflow import MlflowClient
from tiny_models import save_tiny_model

from engage.domains import load_domain
from engage.errors import ModelError
from engage.evaluation import ComparisonConfig, HeldOutDialogue, StratumRow, by_scenario, check_adapters, paired
from engage.experiments import (
    ComparisonResult,
    PolicyChecks,
    PolicyRow,
    Recovery,
    comparison_page,
    dialogues_of,
    mean_measures,
    recovered,
    thinking_of,
    wanted,
)
from engage.experiments.inference import Thinking
from engage.models import adapter_folder
from engage.stats import LEAST_SCENARIOS, Estimate, paired_comparison
from flows.cli.profiles import load_config
from flows.comparison import comparison

ESCONV = Path(__file__).parents[1] / "fixtures" / "esconv"


def test_what_learns_from_people_is_left_out_without_people():
    config = ComparisonConfig(policies=("sft", "search", "dpo_mixed"))
    assert wanted(config, has_people=True) == (["base", "sft", "search", "dpo_mixed"], {})
    names, left = wanted(config, has_people=False)
    assert names == ["base", "search"]
    assert left == dict.fromkeys(("sft", "dpo_mixed"), "no human dialogues are given (human.corpora)")


def test_names_say_how_a_policy_comes_to_its_reply():
    config = ComparisonConfig(rollouts=3)
    assert thinking_of("best_of_8", config) == Thinking("best_of", 8, 3)
    assert thinking_of("search", config).kind == "search"
    assert thinking_of("dpo_mixed", config) == thinking_of("base", config) == Thinking()


def test_rewards_are_in_the_order_of_the_seeds():
    held = [
        HeldOutDialogue("a", 2, 1, 5.0, 0.0),
        HeldOutDialogue("a", 1, 1, 1.0, 1.0),
        HeldOutDialogue("b", 1, 1, None, None),
    ]
    assert by_scenario(held) == {"a": [1.0, 0.0], "b": [None]}


def test_measures_are_means_over_what_could_be_read():
    from scripted_scenarios import SUPPORT as scenario

    held = [
        HeldOutDialogue("s1", 1, 1, 1.0, 1.0),
        HeldOutDialogue("s1", 2, 1, 4.0, 0.25),
        HeldOutDialogue("s1", 3, 1, None, None),
    ]
    found = mean_measures(load_domain("emotional_support"), {"s1": scenario}, held)
    before = scenario.user_condition.initial_intensity
    assert found == {"relief": before - 2.5, "released": 0.5, "worsened": float(before < 4) / 2}


def test_half_of_the_headroom_is_a_share_of_one_half():
    base = {f"s{i}": 0.2 + 0.01 * i for i in range(10)}
    search = {name: value + 0.2 for name, value in base.items()}
    policy = {name: value + 0.1 for name, value in base.items()}
    found = recovered(base, search, policy)
    assert (found.share, found.low, found.high) == pytest.approx((0.5, 0.5, 0.5))
    assert found.over_midpoint.difference == pytest.approx(0.0, abs=1e-12)
    assert found.scenarios_needed is None  # the differences do not scatter


def test_a_headroom_that_may_be_nothing_has_no_share():
    base = {f"s{i}": 0.5 for i in range(10)}
    search = {f"s{i}": 0.5 + (0.1 if i % 2 else -0.1) for i in range(10)}
    policy = {name: value + 0.04 for name, value in base.items()}
    found = recovered(base, search, policy)
    assert (found.share, found.low, found.high) == (None, None, None)
    # Differences to the midpoint of -0.01 and +0.09, five each: mean 0.04, standard error 0.05/√10 = 0.016.
    over = found.over_midpoint
    assert (over.difference, over.low, over.high) == pytest.approx((0.04, 0.01, 0.07), abs=0.005)
    assert found.scenarios_needed is None  # search and base are equal on the mean: nothing to show half of
    assert recovered({"s1": 0.5}, {"s1": 0.6}, {"s1": 0.6}) == Recovery()


def test_draws_without_a_headroom_do_not_spoil_the_bounds_of_a_share():
    base = {f"s{i}": 0.5 for i in range(5)}
    search = {f"s{i}": 0.5 if i < 2 else 0.7 for i in range(5)}  # (2/5)^5, 1 % of the draws, take only the first two
    policy = {name: (base[name] + search[name]) / 2 for name in base}
    found = recovered(base, search, policy)
    assert (found.share, found.low, found.high) == pytest.approx((0.5, 0.5, 0.5))


def test_the_held_out_simulator_is_never_the_searchs():
    def known(*settings):
        return list(load_config("laptop", settings).simulators())

    alone, bare = ["search"], "engine.simulator_adapter=bare"
    assert known() == ["search", "held-out bare"]
    assert known(bare) == alone
    assert known(bare, "evaluation.second_simulator=embedded") == ["search", "held-out embedded"]
    assert known("evaluation.second_simulator=embedded") == alone
    assert known("evaluation.second_simulator=") == alone
    policy = "evaluation.second_simulator=policy"
    assert known(policy) == ["search", "held-out policy"]  # the same model, without the search's adapter
    assert known(bare, policy) == alone
    assert known(bare, policy, "engine.policy_model=other") == ["search", "held-out policy"]
    served = "engine.openai={policy={model='one'}, simulator={model='two'}}"
    assert known(bare, policy, "engine.kind=openai", served) == ["search", "held-out policy"]
    assert known(bare, policy, "engine.kind=openai", "engine.openai={policy={model='one'}}") == alone


def test_adapters_that_cannot_be_used_are_told_before_the_night(tmp_path):
    missing = load_config("laptop", [f"evaluation.second_simulator={tmp_path}/none"])
    with pytest.raises(ModelError, match=r"none/adapter_model\.safetensors: cannot be read"):
        check_adapters(missing.engine, missing.evaluation.held_out_simulators, None)
    other = load_config("laptop", [f"engine.policy_model={save_tiny_model(tmp_path / 'tiny')}"])
    champion = adapter_folder("embedded")  # trained on the embedded model
    here = load_config("laptop", []).engine
    check_adapters(here, (), champion)
    with pytest.raises(ModelError, match=r"the champion of this home: .*; another model needs another ENGAGE_HOME"):
        check_adapters(other.engine, (), champion)


def test_policies_that_look_ahead_hold_fewer_dialogues():
    config = ComparisonConfig(thinking_dialogues=2)
    assert [dialogues_of(name, config, 8) for name in ("base", "strategy", "best_of_4", "search")] == [8, 8, 2, 2]
    assert dialogues_of("search", config, 1) == 1


def test_the_scenarios_needed_are_never_too_few_for_an_interval():
    base = {f"s{i}": 0.2 for i in range(10)}
    search = {name: 0.6 for name in base}
    policy = {f"s{i}": 0.4 + 0.01 * (i % 2) for i in range(10)}  # half of the headroom is 38 standard deviations
    assert recovered(base, search, policy).scenarios_needed == LEAST_SCENARIOS


def test_a_share_pairs_dialogues_and_leaves_one_out_that_a_side_could_not_read():
    base, search = ({f"s{i}": [low, low + 0.5] for i in range(10)} for low in (0.1, 0.3))
    policy = {f"s{i}": [None, 0.7] for i in range(10)}
    # base 0.6, search 0.8, policy 0.7 in the dialogues that all have; over all of them base and search have 0.35 and 0.55
    assert recovered(base, search, policy).share == pytest.approx(0.5)


def test_a_measure_that_the_first_dialogue_lacks_counts_in_the_others():
    class Sometimes:
        def measures(self, condition, value):
            return {"glad": 1.0} if value > 1 else {}

    held = [HeldOutDialogue("s1", seed, 1, value, 1.0) for seed, value in enumerate((1.0, 2.0))]
    scenario = SimpleNamespace(user_condition=None)
    assert mean_measures(Sometimes(), {"s1": scenario}, held) == {"glad": 1.0}


def test_the_page_tells_differences_by_kind_of_user():
    found = paired_comparison({f"s{i}": 0.2 for i in range(12)}, {f"s{i}": 0.3 for i in range(12)})
    row = StratumRow("dpo_mixed", "search", "persuasion", "attitude", "short_of_money", found)
    page = comparison_page(replace(result(), by_stratum=[row]))
    assert "### Persuasion, search simulator, by kind of user" in page
    assert "| attitude | short of money | 12 | +0.100 [+0.100, +0.100] |" in page


def test_a_difference_counts_the_dialogues_that_both_policies_have():
    def side(*held):
        return {"search": {"persuasion": [HeldOutDialogue(name, seed, 1, 1.0, reward) for name, seed, reward in held]}}

    base = side(("a", 1, 0.1), ("a", 2, 0.2), ("b", 1, 0.3), ("b", 2, 0.4))
    sft = side(("a", 1, 0.5), ("a", 2, 0.6), ("b", 2, 0.7))  # the first dialogue of b failed
    assert paired([base, sft], "search") == [
        {"a": [0.1, 0.2], "b": [0.4]},
        {"a": [0.5, 0.6], "b": [0.7]},
    ]


def result(failures=()):
    base, policy = {f"s{i}": 0.2 for i in range(8)}, {f"s{i}": 0.3 for i in range(8)}
    found = paired_comparison(base, policy)
    rows = [
        PolicyRow(
            policy=name,
            simulator="search",
            domain=domain,
            dialogues=8,
            unreadable=1,
            reward=Estimate(0.3, 0.25, 0.35, 8),
            measures={"donated": 0.5},
            distinct_2=0.8,
            exchanges=2.0,
            calls=5.0,
            tokens=80.0,
            comparison=found if name != "base" else None,
        )
        for name in ("base", "dpo_mixed")
        for domain in ("persuasion", "all")
    ]
    checks = [
        PolicyChecks("base", "persuasion", {"mean_words": 9.0}, {"promise": 0.0}, ()),
        PolicyChecks("dpo_mixed", "persuasion", {"mean_words": 9.5}, {"promise": 0.2}, failures, divergence=1.25),
    ]
    return ComparisonResult("c1", "test", 2, rows, checks)


def test_a_gain_with_a_failed_check_is_shown_as_failed():
    found = next(row.comparison for row in result().rows if row.comparison)
    assert result().verdict("dpo_mixed", "all", found) == "gain"
    broken = result(("persuasion: promise rose from 0% to 20% of the replies",))
    assert [broken.verdict("dpo_mixed", domain, found) for domain in ("all", "persuasion")] == ["failed check"] * 2
    assert broken.verdict("dpo_mixed", "emotional_support", found) == "gain"
    row = StratumRow("dpo_mixed", "search", "persuasion", "attitude", "doubtful", found)
    page = comparison_page(replace(broken, by_stratum=[row]))
    assert "| attitude | doubtful | 8 | +0.100 [+0.100, +0.100] (failed check) |" in page
    assert "`dpo_mixed`, search simulator: **failed check**, +0.100" in page
    assert "- `dpo_mixed`: persuasion: promise rose from 0% to 20% of the replies." in page
    assert "The test split has been opened 2 time(s)" in page
    assert (
        "| `dpo_mixed` | 0.300 [0.250, 0.350] | +0.100 [+0.100, +0.100] (failed check) | +50.0% | 100% | 0.50 | 0.80 | 8 | 1 | 2.0 | 5 | 80 |"
        in page
    )


def dialogues_column(page: str) -> list[str]:
    """How many dialogues of the base each table counts."""
    rows = [line.split("|") for line in page.splitlines() if line.startswith("| `base` |")]
    return [cells[-6].strip() for cells in rows if cells[3].strip() == "–"]


@pytest.mark.usefixtures("prefect_server")
def test_a_comparison_trains_talks_and_tells(home, tiny_model):
    policies = ["base", "strategy", "sft", "best_of_4", "search", "dpo_search", "dpo_human", "dpo_mixed", "iterated"]
    settings = load_config(
        "laptop",
        [
            "engine.kind=scripted",
            f"engine.policy_model={tiny_model}",
            "engine.policy_adapter=bare",
            "engine.simulator_adapter=bare",
            "scenarios.per_domain=2",
            "search.num_simulations=8",
            "search.round_size=8",
            "align.dpo={max_length=4096, max_pairs=4, batch_size=2, gradient_accumulation=1}",
            "align.sft.max_length=4096",
            "evaluation={per_domain=2, dialogues=2, second_simulator='embedded'}",
            f"human.corpora=['esconv:{ESCONV}']",
            f"comparison={{policies={policies}, adversarial=1}}",
        ],
    )
    found = comparison(settings, "night")
    assert [name in found.page for name in policies] == [True] * len(policies)
    assert found.path.read_text() == found.page
    with duckdb.connect(str(home.database), read_only=True) as store:
        counted = store.sql(
            "select simulator, count(*) from trajectory where purpose = 'evaluation' and cycle_id = 'night' group by all"
        )
        held = dict(counted.fetchall())
        # 2 domains x 2 scenarios with each simulator: 7 policies twice, the 2 that look ahead once; 1 scenario with each adversary
        assert held == {"search": 64, "held-out embedded": 64} | {
            f"adversary {name}": 18 for name in ("never_moved", "always_moved", "contradicting")
        }
        assert store.sql("select count(distinct policy) from evaluation where metric = 'difference'").fetchall() == [
            (8,)
        ]
    client = MlflowClient(home.tracking_uri)
    (run,) = client.search_runs(["1"], "tags.`engage.stage` = 'comparison on validation'")
    assert run.data.metrics["reward_low/base/search/all"] <= run.data.metrics["reward/base/search/all"]
    assert 0.0 < run.data.metrics["distinct_2/search/search/all"] <= 1.0
    assert 0.0 <= run.data.metrics["reward/base/search/all"] <= 1.0
    assert run.data.metrics["divergence/dpo_search/persuasion"] == pytest.approx(0.0)  # canned answers have no adapter
    policies_trained = set(Path(home.cycle("night") / "policies").iterdir())
    again = comparison(settings, "night")
    assert again.page == found.page
    on_test = settings.model_copy(update={"evaluation": settings.evaluation.model_copy(update={"split": "test"})})
    opened = comparison(
        on_test, "night"
    )  # the same policies, other scenarios, none of their dialogues counted with the first
    assert "of the test split" in opened.page and "opened 1 time" in opened.page
    # by simulator: 2 scenarios x 2 dialogues in each domain, and both together
    assert dialogues_column(opened.page) == dialogues_column(found.page) == ["4", "4", "8"] * 2
    for domain in ("emotional support", "persuasion", "all scenarios"):
        assert f"| `dpo_search` | held-out embedded | {domain} |" in opened.page
    assert found.path.read_text() == found.page
    assert set(Path(home.cycle("night") / "policies").iterdir()) == policies_trained
