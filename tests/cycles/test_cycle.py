"""Whole cycles through the real flows, in this process: scripted speakers, and a tiny model that is really trained."""

import json
import math
import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from zlib import crc32

import pytest
from mlflow import MlflowClient
from prefect.client.orchestration import get_client
from scripted_cycles import small
from scripted_engines import Counted, ask, played_by

import engage.engines
from engage.config import CycleConfig, load_cycle_scenarios
from engage.engines.base import Side
from engage.errors import ConfigError, NothingSearched, TooManyFlawed
from engage.evaluation import Places, Verdict, stage_text
from engage.home import Home
from engage.models import AdapterCard, adapter_fingerprint, resolve_model
from engage.pages import sentence
from engage.scenario import sample_scenarios
from engage.seeds import derive_seed
from engage.tracking import Tracker
from flows.align import align
from flows.collect import collect
from flows.evaluation import evaluation
from flows.nightly import nightly
from tasks.cycle import begin_cycle
from tasks.dialogues import ground_of
from tasks.training import chosen_candidate

HERE = Places(None, "sqlite:///mlflow.db")
pytestmark = pytest.mark.usefixtures("prefect_server")

OWN = Path(__file__).parents[1] / "fixtures" / "own_scenarios.jsonl"


@pytest.fixture
def counted() -> Iterator[Counted]:
    with played_by(Counted()) as engine:
        yield engine


@pytest.fixture(scope="module")
def tiny(tiny_model) -> Path:
    return tiny_model


@pytest.fixture(scope="module")
def home(tmp_path_factory, open_home):
    """One home for all cycles."""
    with open_home(tmp_path_factory.mktemp("cycles") / "my home") as opened:
        yield opened


@pytest.fixture(scope="module")
def night(home, tiny):
    """The summary of one nightly cycle, `night`; read only."""
    engage.engines.close_engines()
    return nightly(small(tiny), "night")


def runs_of(home: Home, cycle: str) -> dict[str, object]:
    client = MlflowClient(home.tracking_uri)
    experiment = client.get_experiment_by_name("engage")
    found = client.search_runs([experiment.experiment_id], f"tags.`engage.cycle_id` = '{cycle}'")
    assert len({run.data.tags["engage.stage"] for run in found}) == len(found)
    return {run.data.tags["engage.stage"]: run for run in found}


def artifacts(home: Home, run, folder: str) -> set[str]:
    return {file.path for file in MlflowClient(home.tracking_uri).list_artifacts(run.info.run_id, folder)}


def test_a_night_stores_its_trees_and_the_dialogues_of_its_evaluation(night, home):
    # 2 domains x 2 scenarios; 2 policies x 2 domains x 3 held-out scenarios
    assert ask(home, "select count(distinct scenario_id) from tree where cycle_id = $cycle", cycle="night") == [(4,)]
    assert dialogues(home, "night") == {"base": 6, "candidate": 6}
    splits = "select distinct purpose, split from trajectory join scenario using (scenario_id) where cycle_id = $cycle"
    assert set(ask(home, splits, cycle="night")) == {("search", "train"), ("evaluation", "validation")}
    accepted = ask(home, "select count(*) from pair where accepted and cycle_id = $cycle", cycle="night")
    assert accepted == [(night.aligned.pairs.accepted,)]
    assert list(home.outbox.glob("*")) == []


class Refusing(Counted):
    """Always refuses to play the user in every second dialogue."""

    def _answer(self, prompt, seed):
        refused = prompt.side is Side.SIMULATOR and crc32(prompt.key.encode()) % 2
        return "I'm sorry, but I can't assist with that." if refused else super()._answer(prompt, seed)


def test_a_night_that_refuses_to_talk_stops_and_keeps_what_it_has(home, tiny, monkeypatch):
    with played_by(Refusing()), pytest.raises(TooManyFlawed, match=r"the model gave no usable turn \(refusal \d+\)"):
        nightly(small(tiny), "refused")
    ended = "select end_reason = 'refusal', reader = 'unasked', reward is null, count(*) from outcome where cycle_id = $cycle group by all"
    found = {row[:3]: row[3] for row in ask(home, ended, cycle="refused")}
    assert set(found) == {(True, True, True), (False, False, False)}
    assert ask(home, "select count(*) from pair where cycle_id = $cycle", cycle="refused") == [(0,)]
    collected = collect(small(tiny, "collect.max_flawed_share=1"), "refused")
    assert collected.unspoken == {"refusal": found[True, True, True]}
    text = stage_text("refused", collected, HERE)
    assert "conversations ended because the model gave no usable turn (refusal" in text
    engage.engines.close_engines()


def dialogues(home: Home, cycle: str) -> dict[str, int]:
    """Dialogues of the evaluation by policy, without the fingerprint in its name."""
    counted = "select policy, count(*) from trajectory where purpose = 'evaluation' and cycle_id = $cycle group by all"
    return {policy.partition("-")[0]: count for policy, count in ask(home, counted, cycle=cycle)}


def test_a_night_is_one_run_with_a_child_for_each_stage(night, home):
    runs = runs_of(home, "night")
    assert set(runs) == {"cycle", "collect", "pairs", "align", "evaluation"}
    parent = runs.pop("cycle")
    assert {run.data.tags["mlflow.parentRunId"] for run in runs.values()} == {parent.info.run_id}
    assert {run.info.status for run in (parent, *runs.values())} == {"FINISHED"}
    assert parent.data.params["search.num_simulations"] == "8"
    assert runs["pairs"].data.metrics["pairs/accepted"] == night.aligned.pairs.accepted
    assert runs["collect"].data.metrics["trees"] == 4


def test_training_has_a_curve_from_its_start_to_its_end(night, home):
    client, run_id = MlflowClient(home.tracking_uri), runs_of(home, "night")["align"].info.run_id
    measured = night.aligned.candidate.metrics
    for name, start in (("loss", math.log(2)), ("accuracy", 0.5), ("margin", 0.0)):
        history = client.get_metric_history(run_id, f"train/{name}")
        # 4 pairs in batches of 2: before the first step, before the second, and after it
        assert [point.step for point in history] == [0, 1, 2]
        assert (history[0].value, history[2].value) == (pytest.approx(start), measured[f"train/{name}"])
    kl = [(point.step, point.value) for point in client.get_metric_history(run_id, "train/kl")]
    assert kl == [(0, 0.0), (2, measured["train/kl"])]


def test_a_night_keeps_its_figures_its_pairs_and_its_report(night, home):
    runs = runs_of(home, "night")
    assert artifacts(home, runs["pairs"], "plots") == {"plots/q_gap.png"}
    assert artifacts(home, runs["evaluation"], "plots") == {"plots/gain.png"}
    assert artifacts(home, runs["collect"], "plots") == {"plots/reward_by_turn.png"}
    assert artifacts(home, runs["pairs"], "pairs") == {"pairs/pairs.parquet"}
    assert artifacts(home, runs["evaluation"], "") >= {"evaluation.json"}
    (used,) = runs["align"].inputs.dataset_inputs
    assert used.dataset.name == "preference-pairs"
    assert used.dataset.digest == night.aligned.pairs.hash[:16]
    page = (home.cycle("night") / "report.md").read_text()
    assert page.startswith(night.text)
    kept = MlflowClient(home.tracking_uri).download_artifacts(runs["cycle"].info.run_id, "report.md")
    assert Path(kept).read_text() == page


def test_a_night_writes_its_page_with_the_verdict_and_the_trees(night, home):
    page = (home.cycle("night") / "report.html").read_text(encoding="utf-8")
    assert sentence(night.judged.verdict.reason) in unescape(page) and night.judged.verdict.reason
    data = json.loads(re.search(r'id="evidence-data">(.*?)</script>', page, re.DOTALL)[1])
    searched = ask(home, "select scenario_id from tree where cycle_id = $cycle", cycle="night")
    assert {tree["scenario"] for tree in data["trees"]} == {scenario_id for (scenario_id,) in searched}
    assert "The worst held-out dialogue" in page and "<figcaption>loss</figcaption>" in page
    run = runs_of(home, "night")["cycle"].info.run_id
    kept = MlflowClient(home.tracking_uri).download_artifacts(run, "page/report.html")
    assert Path(kept).read_text(encoding="utf-8") == page


def test_the_candidate_is_registered_and_bound_to_its_base(night, home, tiny):
    candidate = night.aligned.candidate
    run_id = runs_of(home, "night")["align"].info.run_id
    (version,) = MlflowClient(home.tracking_uri).search_model_versions(f"run_id = '{run_id}'")
    assert version.name == "engage-policy"
    assert home.path / version.tags["engage.adapter"] == Path(candidate.adapter)
    assert Tracker(home).version_of(Path(candidate.adapter)) == str(version.version)
    kind, _, model = version.source.partition("/")
    assert kind == "models:"
    assert "adapter_model.safetensors" in {
        file.path for file in MlflowClient(home.tracking_uri).list_logged_model_artifacts(model)
    }
    card = AdapterCard.read(candidate.adapter)
    assert card.base_fingerprint == resolve_model(str(tiny)).fingerprint
    assert card.metrics["pairs"] == 4


def test_without_a_held_out_simulator_nothing_is_promoted(night, home):
    assert night.judged.verdict == Verdict(
        False,
        "not promoted: no held-out simulator (evaluation.second_simulator and evaluation.simulators are unset, or name the search's simulator)",
    )
    assert Tracker(home).champion() is None


def test_the_summary_says_what_happened_what_it_means_and_how_to_go_on(night):
    lines = [line for line in night.text.splitlines() if "set aside" not in line and "After training" not in line]
    accepted = night.aligned.pairs.accepted
    assert lines[0] == "# Cycle night"
    assert lines[2].startswith("- emotional_support: 2 trees, ") and ", mean reward 0." in lines[2]
    assert lines[4].startswith("- The simulated users spoke like an assistant in 0.0%")
    assert f", {accepted} accepted (" in lines[5]
    # max_pairs is 4, whatever was accepted
    assert lines[6] == "- DPO was trained on 4 pairs, fewer than 16: do not expect a measurable effect."
    # the scripted engine knows no adapters: both policies say the same
    assert sum(line.endswith(": no significant difference.") for line in lines) == 3
    assert lines[-9:-5] == [
        "Verdict: not promoted: no held-out simulator (evaluation.second_simulator and evaluation.simulators are unset, or name the search's simulator).",
        "",
        "To see more:",
        "",
    ]
    commands = [line.partition(".venv/bin/")[2].split(" --")[0] for line in lines[-5:]]
    assert commands == ["engage report", "engage sql", "engage sql", "engage runs", "mlflow ui"]
    assert lines[-5].endswith("engage report --cycle night --open")
    assert all("cycle=night" in line for line in lines[-4:-2])


def test_the_report_is_an_artifact_of_the_flow_run(night):
    with get_client(sync_client=True) as client:
        found = [a for a in client.read_artifacts() if a.key == "engage-cycle-report"]
    (shown,) = [a for a in found if a.description.startswith("cycle night,")]
    assert shown.data.startswith(night.text) and "`engage report --cycle night --open`" in shown.data
    assert shown.description.endswith("cycles/night/report.html")


def test_a_nights_runs_are_named_and_tagged_after_the_cycle_and_end_with_the_verdict(night):
    found = [run for run in get_client(sync_client=True).read_flow_runs() if "cycle:night" in run.tags]
    assert [run.name for run in found] == ["night"] * 4
    (whole,) = [run for run in found if run.parent_task_run_id is None]
    assert set(whole.tags) == {"cycle:night", "verdict:not promoted"}
    messages = {run.state.message.rpartition(", ")[0] for run in found}
    assert f"{night.judged.verdict.reason}, {night.aligned.pairs.accepted} pairs" in messages
    assert any(message.startswith("4 trees, mean reward emotional_support ") for message in messages)


def test_a_second_run_of_the_same_cycle_asks_the_engine_for_nothing(night, counted, home, tiny):
    def stored():
        return [
            ask(home, f"select count(*) from {t} where cycle_id = $cycle", cycle="night")
            for t in ("tree", "trajectory")
        ]

    before = stored()
    again = nightly(small(tiny), "night")
    assert counted.requests == 0
    assert stored() == before
    assert again.text == night.text
    assert again.aligned.candidate == night.aligned.candidate
    assert len(runs_of(home, "night")) == 5


def test_another_configuration_for_a_known_cycle_is_refused_by_the_name_of_the_key(night, counted, home, tiny):
    with pytest.raises(ConfigError, match=r"'night'.*search\.num_simulations was 8, is 4"):
        collect(small(tiny, "search.num_simulations=4"), "night")
    with pytest.raises(ConfigError, match=r"dialogue\.max_exchanges was 2, is 3"):
        nightly(small(tiny, "dialogue.max_exchanges=3"), "night")
    collect(small(tiny, "pairs.confidence=0.6", "collect.shard_size=1"), "night")  # decides nothing that is collected
    assert counted.requests == 0


def test_a_users_own_domain_goes_the_whole_way(counted, home, tiny):
    summary = nightly(
        small(tiny, f"scenarios.sources=['{OWN}']", "scenarios.domain_modules=['own_domain']", "pairs.confidence=0.55"),
        "own",
    )
    domains = "select distinct domain from tree join scenario using (scenario_id) where cycle_id = $cycle"
    assert ask(home, domains, cycle="own") == [("own_domain:STUDY_ADVICE",)]
    assert summary.aligned.candidate is not None
    assert dialogues(home, "own") == {"base": 3, "candidate": 3}
    assert set(summary.judged.comparisons["search"]) >= {"own_domain:STUDY_ADVICE"}
    assert "\n- own_domain:STUDY_ADVICE: 2 trees, " in summary.text


def test_a_night_without_an_accepted_pair_ends_with_advice(counted, home, tiny):
    summary = nightly(small(tiny, "pairs.min_q_gap=0.99"), "no-pairs")
    assert (summary.aligned.candidate, summary.aligned.pairs.accepted) == (None, 0)
    assert (
        "Nothing was trained, because no pair was accepted. Collect more trees, or lower the required gap (pairs.min_q_gap)"
        in summary.text
    )
    assert "Verdict: not promoted: no candidate was trained." in summary.text
    assert set(runs_of(home, "no-pairs")) == {"cycle", "collect", "pairs", "evaluation"}
    # the same trees under another threshold: no search is needed
    counted.requests = 0
    assert align(small(tiny), "no-pairs").pairs.accepted > 0
    assert counted.requests == 0
    # and under the first one again, nothing is judged that was not trained
    assert align(small(tiny, "pairs.min_q_gap=0.99"), "no-pairs").candidate is None
    assert evaluation(small(tiny), "no-pairs").verdict.reason == "not promoted: no candidate was trained"


def test_pairs_of_an_earlier_night_are_trained_on_too_if_asked_for(home, night, tiny):
    collect(small(tiny), "after")
    found = align(small(tiny, "pairs.cycles=last 99"), "after")
    earlier, own = sum(found.pairs.earlier.values()), found.pairs.counts["accepted"]
    assert found.pairs.earlier["night"] > 0 and found.pairs.accepted == own + earlier
    sources = {data.name for data in AdapterCard.read(found.candidate.adapter).data}
    assert "search:night (values under the policy before the first champion)" in sources
    assert f"{own + earlier} pairs from searches: {own} of tonight, {earlier} of " in stage_text("after", found, HERE)
    assert runs_of(home, "after")["pairs"].data.metrics["pairs/earlier"] == earlier


def test_failed_scenarios_are_reported_and_tried_again_by_the_next_run(counted, home, tiny):
    config = small(tiny)
    broken = drawn(config, "broken", 2)[1]
    counted.failing = {broken}
    failed = collect(config, "broken")
    assert set(failed.failed) == {broken}
    said = stage_text("broken", failed, HERE)
    assert f"1 scenario of the search failed; the reason for {broken}: the model is out of order" in said
    assert "To try again, run the same command with --cycle broken." in said
    trees = "select tree_id, wall_s from tree where cycle_id = $cycle"
    kept = ask(home, trees, cycle="broken")
    assert len(kept) == 3
    counted.failing = set()
    assert collect(config, "broken").failed == {}
    after = ask(home, trees, cycle="broken")
    assert len(after) == 4 and set(kept) < set(after)


def test_a_failed_dialogue_of_the_evaluation_is_reported_and_held_again(counted, home, tiny):
    config = small(tiny)
    collect(config, "mute")
    broken = ground_of(config).scenarios[0].scenario_id
    counted.failing = {broken}
    judged = evaluation(config, "mute")
    assert set(judged.failed) == {broken}
    assert f"1 scenario of the evaluation failed; the reason for {broken}: " in stage_text("mute", judged, HERE)
    assert dialogues(home, "mute") == {"base": 5}
    counted.failing, counted.scenarios = set(), set()
    assert evaluation(config, "mute").failed == {}
    assert dialogues(home, "mute") == {"base": 6}
    assert counted.scenarios == {broken}


def test_an_evaluation_of_which_every_dialogue_failed_fails_itself(counted, home, tiny):
    config = small(tiny)
    collect(config, "silent")
    counted.failing = {scenario.scenario_id for scenario in ground_of(config).scenarios}
    with pytest.raises(
        NothingSearched, match=r"no dialogue of base with the search simulator could be held; .*out of order"
    ):
        evaluation(config, "silent")
    counted.failing = set()
    assert evaluation(config, "silent").failed == {}
    assert dialogues(home, "silent") == {"base": 6}


def test_an_evaluation_without_a_readable_reaction_fails_itself(counted, home, tiny):
    config = small(tiny)
    collect(config, "mumble")
    counted._reply = lambda prompt, seed: "I would rather not say."
    counted._choose = lambda prompt, choices: [float("nan") for _ in choices]
    with pytest.raises(NothingSearched, match="no dialogue of base has a reward: no answer to the exit survey"):
        evaluation(config, "mumble")


def drawn(config: CycleConfig, cycle_id: str, per_domain: int) -> list[str]:
    """Ids of the training scenarios that a cycle with this id samples."""
    seed = derive_seed("cycle", cycle_id) % 2**32
    return [s.scenario_id for s in sample_scenarios(load_cycle_scenarios(config.scenarios), "train", per_domain, seed)]


def test_evaluation_compares_the_candidate_trained_last(night, counted, home, tiny):
    collect(small(tiny), "twice")
    first = align(small(tiny), "twice").candidate
    second = align(small(tiny, "align.dpo.learning_rate=1e-4"), "twice").candidate
    judged = evaluation(small(tiny), "twice")
    policies = "select distinct policy from trajectory where purpose = 'evaluation' and cycle_id = $cycle"
    label = f"candidate-{adapter_fingerprint(second.adapter)[:8]}"
    assert set(ask(home, policies, cycle="twice")) == {("base",), (label,)}
    assert judged.comparisons["search"]["all"].n == 6
    versions = {
        str(home.path / version.tags["engage.adapter"]): version.run_id
        for version in MlflowClient(home.tracking_uri).search_model_versions()
    }
    assert set(versions) >= {found.adapter for found in (first, second)}
    runs = {versions[found.adapter] for found in (first, second)}
    rates = {MlflowClient(home.tracking_uri).get_run(run).data.params["dpo.learning_rate"] for run in runs}
    assert rates == {"0.0001", str(small(tiny).align.dpo.learning_rate)}
    align(small(tiny), "twice")  # nothing is trained, and the first is the candidate again
    assert chosen_candidate(begin_cycle.fn(small(tiny), "twice")) == first


def test_an_adapter_that_could_not_be_registered_is_no_candidate(night, home, tiny, monkeypatch):
    def full(*_):
        raise ConfigError("the registry takes no more")

    before = chosen_candidate(begin_cycle.fn(small(tiny), "night"))
    monkeypatch.setattr(Tracker, "register", full)
    with pytest.raises(ConfigError, match="takes no more"):
        align(small(tiny, "align.dpo.learning_rate=2e-4"), "night")
    # it is trained, and lies in its folder; what is judged and promoted must be in the registry
    assert before is not None and chosen_candidate(begin_cycle.fn(small(tiny), "night")) == before


def test_the_promoted_adapter_is_the_next_cycles_policy(night, counted, home, tiny):
    tracker = Tracker(home)
    tracker.promote(tracker.version_of(Path(night.aligned.candidate.adapter)))
    try:
        assert str(tracker.champion().adapter) == night.aligned.candidate.adapter
        collect(small(tiny), "next")
        assert counted.adapters == {night.aligned.candidate.adapter}
        judged = evaluation(small(tiny), "next")
        assert judged.incumbent == "champion"
        assert dialogues(home, "next") == {"base": 6, "champion": 6}
    finally:
        MlflowClient(home.tracking_uri).delete_registered_model_alias("engage-policy", "champion")
