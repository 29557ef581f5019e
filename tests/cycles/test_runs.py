"""What MLflow shows of cycles beside each other: the list of runs, names, nights, conversations, versions; and `engage runs`."""

import json
import math
import shutil
import time
from pathlib import Path
from socket import gethostname

import pytest
from mlflow import MlflowClient
from prefect import flow
from small_stores import filled, hand_dialogue, support_scenario
from tiny_models import save_adapter

from engage.config import CycleConfig
from engage.engines import EngineConfig
from engage.evaluation import (
    Aligned,
    HeldOutStore,
    Incumbent,
    Judged,
    Judgement,
    Verdict,
    conversations,
    evaluation_metrics,
    evaluation_table,
    headline,
)
from engage.home import Home
from engage.keeping import at_work
from engage.keeping.at_work import Work
from engage.stats import paired_comparison
from engage.store import Challenges, Cycle, State, TrajectoryStore
from engage.tracking import Tracker
from engage.tracking.text import differences
from engage.training import Candidate, PairSet
from engage.workspace import Workspace
from flows.cli.runs import grounds_remark
from tasks.cycle import CLOSING
from tasks.reporting import report_align, report_evaluation

pytestmark = pytest.mark.slow

LR, BETA = "align.dpo.learning_rate", "align.dpo.beta"
GAIN = paired_comparison({"a": 0.25, "b": 0.5}, {"a": 0.5, "b": 0.5})
LOSS = paired_comparison({"a": 0.5, "b": 0.5}, {"a": 0.25, "b": 0.5})


def client_of(home: Home) -> MlflowClient:
    return MlflowClient(home.tracking_uri)


def run_named(home: Home, name: str):
    client = client_of(home)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    (run,) = [run for run in client.search_runs(experiments) if run.info.run_name == name]
    return run


def test_the_experiment_opens_as_model_training_with_the_columns_of_a_cycle(home):
    tracker, client = Tracker(home), client_of(home)
    experiment = client.get_experiment_by_name("engage")
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    view = json.loads(experiment.tags["mlflow.sharedViewState.engage"])
    assert view["selectedColumns"][:4] == [
        "tags.`verdict`",
        "metrics.`gain`",
        "metrics.`gain_low`",
        "metrics.`gain_high`",
    ]
    assert tracker.address("http://here:5000/") == (
        f"http://here:5000/#/experiments/{experiment.experiment_id}/runs?workflowType=machine_learning&viewStateShareKey=engage"
    )
    client.set_experiment_tag(experiment.experiment_id, "mlflow.experimentKind", "finetuning")  # the user's own choice
    client.set_experiment_tag(experiment.experiment_id, "mlflow.sharedViewState.engage", "{}")  # an older version's
    Tracker(home)
    tags = client.get_experiment_by_name("engage").tags
    assert tags["mlflow.experimentKind"] == "finetuning"
    assert json.loads(tags["mlflow.sharedViewState.engage"]) == view


def test_a_stage_is_named_after_what_differs_and_found_by_its_tags(home):
    tracker = Tracker(home)
    tracker.open_cycle("c1", {LR: 5e-5, BETA: 0.1})
    for recipe, settings in {"a": {LR: 5e-5, BETA: 0.1}, "b": {LR: 2e-4, BETA: 0.5, "align.later": 1}}.items():
        for _ in range(2):  # resumed
            with tracker.stage("c1", "align", recipe, settings):
                pass
    named = {run_named(home, name).data.tags["engage.recipe"] for name in ("align lr=5e-5", "align lr=2e-4 beta=0.5")}
    assert named == {"a", "b"}
    assert run_named(home, "align lr=2e-4 beta=0.5").data.tags["engage.stage"] == "align"


@pytest.mark.parametrize(
    ("value", "text"), [(2e-4, "2e-4"), (1.5e-5, "1.5e-5"), (0.01, "0.01"), (0.0, "0"), (12, "12"), ("eager", "eager")]
)
def test_numbers_in_a_name_are_written_as_they_are_typed(value, text):
    assert list(differences({"a.b": "other"}, {"a.b": value})) == [f"b={text}"]


def test_a_cycles_minutes_add_up_over_its_stages(home):
    tracker = Tracker(home)
    tracker.open_cycle("c1", {"cycle_id": "c1"}, {"profile": "laptop"})
    tracker.close_cycle("c1", minutes=2.0)
    tracker.open_cycle("c1", {})
    tracker.close_cycle("c1", completed=False, minutes=0.5)
    (cycle,) = tracker.cycles()
    assert (cycle.metrics["minutes"], cycle.status, cycle.tags["profile"]) == (2.5, "FAILED", "laptop")
    assert cycle.tags["mlflow.source.name"] == "engage"
    assert set(cycle.tags.get("mlflow.source.git.commit", "0")) <= set("0123456789abcdef")


@flow(name="evaluation", **CLOSING)
def stage(cycle_id: str) -> None:
    time.sleep(0.1)


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize(("around", "counts"), [("compare", False), ("nightly", True)])
def test_a_cycles_minutes_count_a_stage_within_a_comparison_once(home, around, counts):
    Tracker(home).open_cycle("c1", {"cycle_id": "c1"})
    after_stage: list[float | None] = []

    @flow(name=around, **(CLOSING if around == "compare" else {}))
    def outer(cycle_id: str) -> None:
        stage(cycle_id)
        after_stage.append(Tracker(home).cycle_run(cycle_id).metric("minutes"))

    outer("c1")
    total = Tracker(home).cycle_run("c1").metric("minutes")
    assert total and after_stage == [total if counts else None]


def test_newest_figures_replace_earlier_ones_and_what_is_unknown_now_is_no_number(home):
    run = Tracker(home).cycle_run("c1")
    run.newest({"gain": 0.123456, "pairs": 4, "never": None})
    run.newest({"gain": None, "pairs": 5})
    found = run_named(home, "c1").data.metrics
    assert (math.isnan(found["gain"]), found["pairs"], "never" in found) == (True, 5, False)
    assert next(point.value for point in client_of(home).get_metric_history(run.run_id, "gain")) == 0.12346


def test_the_table_of_a_repeated_stage_replaces_the_earlier_one(home):
    run = Tracker(home).cycle_run("c1")
    for value in (1.0, 2.0):
        run.table([{"measure": "reward", "value": value}], "evaluation.json")
    kept = json.loads(Path(client_of(home).download_artifacts(run.run_id, "evaluation.json")).read_text())
    assert kept == {"columns": ["measure", "value"], "data": [["reward", 2.0]]}
    tables = json.loads(run_named(home, "c1").data.tags["mlflow.loggedArtifacts"])
    assert tables == [{"path": "evaluation.json", "type": "table"}]


def test_all_nights_are_steps_of_one_run_and_a_repeated_night_keeps_its_step(home):
    tracker = Tracker(home)
    for cycle, gain in (("n1", 0.1), ("n2", 0.2), ("n1", 0.1), ("n1", 0.3)):
        tracker.night(cycle, {"gain": gain, "champion_over_base": None})
    nights = run_named(home, "nights")
    history = client_of(home).get_metric_history(nights.info.run_id, "night/gain")
    assert [(point.step, point.value) for point in history] == [(1, 0.1), (2, 0.2), (1, 0.3)]
    # a kill after the count was raised, before the cycle had its step: that step stays empty
    client_of(home).set_tag(nights.info.run_id, "engage.night", "3")
    tracker.night("n3", {"gain": 0.4})
    assert run_named(home, "n3").data.tags["engage.night"] == "4"
    tracker.night("try", {"gain": 0.0}, "scripted nights")
    assert run_named(home, "scripted nights").data.tags["engage.night"] == "1"


def judged(verdict: str = "not promoted: no gain", gain=GAIN) -> Judged:
    return Judged(
        "champion", Verdict(False, verdict), "## The page\n", {"search": {"all": LOSS}, "held-out bare": {"all": gain}}
    )


def test_the_headline_is_that_of_the_held_out_simulator():
    # 0.25 and 0.5 before, 0.5 and 0.5 after
    found = headline(judged().comparisons)
    assert (found["gain"], found["reward_incumbent"], found["reward_candidate"]) == (0.125, 0.375, 0.5)
    assert headline({"search": {"all": LOSS}})["gain"] == -0.125
    assert set(headline({}).values()) == {None}


def test_an_evaluation_has_few_figures_and_one_table_of_all():
    found = Judgement(
        Incumbent("base", "base"), "candidate-1", Verdict(False, ""), {"search": {"persuasion": GAIN, "all": GAIN}}
    )
    assert evaluation_metrics(found) == {
        **headline(found.comparisons),
        "gain/search/persuasion": 0.125,
        "gain/search/all": 0.125,
    }
    rows = evaluation_table(found)
    assert [(row["measure"], row["domain"], row["incumbent"], row["candidate"], row["difference"]) for row in rows] == [
        ("reward against incumbent", "persuasion", 0.375, 0.5, 0.125),
        ("reward against incumbent", "all", 0.375, 0.5, 0.125),
    ]


@pytest.fixture
def adapter(home, tiny_model) -> Path:
    """A registered candidate of cycle c1."""
    filled(home.path, [], cycle_ids=["c1"])
    folder = save_adapter(tiny_model, home.cycle("c1") / "align" / "abc" / "adapter")
    card = json.loads((folder / "engage_card.json").read_text())
    (folder / "engage_card.json").write_text(json.dumps({**card, "metrics": {"pairs": 5.0}}))
    tracker = Tracker(home)
    with tracker.stage("c1", "align") as run:
        run.model(folder, {"dpo.beta": 0.1})
        made = run.logged_model()
        assert made is not None and run.model(folder, {}) == made.model_id  # a repeated stage makes no other
        tracker.name_candidate(tracker.register(run, folder, {}, {"verdict": "not judged yet"}))
    return folder


def test_a_version_says_what_it_is_and_how_to_load_it(home, adapter, tmp_path_factory, monkeypatch):
    client = client_of(home)
    report_evaluation.fn(CycleConfig(), "c1", judged(), Candidate(str(adapter)))
    version = client.get_model_version_by_alias("engage-policy", "candidate")
    assert version.tags["engage.adapter"] == "cycles/c1/align/abc/adapter"
    assert (version.tags["promoted"], version.tags["verdict"]) == ("no", "not promoted: no gain")
    lines = version.description.splitlines()
    assert lines[0] == "- verdict: not promoted: no gain"
    assert lines[1].startswith("- gain: +0.125") and lines[1].endswith("(held-out bare simulator)")
    assert lines[2] == "- pairs: 5"
    assert str(home.path) not in version.description
    assert "--max-lora-rank 8" in version.description  # vLLM takes 1, 8, 16, …; this one has 4
    assert client.get_model_version_by_alias("engage-policy", "candidate").version == version.version
    # the lines for peft work wherever the home is
    moved = tmp_path_factory.mktemp("moved") / "home"
    shutil.copytree(home.path, moved)
    shutil.rmtree(adapter)
    monkeypatch.setenv("ENGAGE_HOME", str(moved))
    place: dict[str, object] = {}
    exec(version.description.split("```python\n")[1].split("```")[0], place)
    assert type(place["model"]).__name__ == "PeftModelForCausalLM"


def aligned(home: Home, adapter: Path | None) -> Aligned:
    counts = {"candidates": 9, "accepted": 5}
    return Aligned(PairSet(home.path / "p", "h", 5, {}, counts), Candidate(str(adapter)) if adapter else None)


@pytest.mark.usefixtures("adapter")
def test_the_cycles_run_and_report_tell_the_newest_and_keep_the_older(home, adapter):
    shown = Candidate(str(adapter))
    report_evaluation.fn(CycleConfig(), "c1", judged("first"), shown)
    report_align.fn("c1", aligned(home, adapter))  # the same candidate again
    run = run_named(home, "c1")
    assert (run.data.tags["verdict"], run.data.metrics["gain"], run.data.metrics["pairs"]) == ("first", 0.125, 5)
    report_align.fn("c1", aligned(home, None))
    run = run_named(home, "c1")
    assert (run.data.tags["verdict"], run.data.tags["promoted"]) == ("no candidate was trained", "no")
    assert math.isnan(run.data.metrics["gain"])
    for _ in range(2):
        report_evaluation.fn(CycleConfig(), "c1", judged("second", LOSS), shown)
    run = run_named(home, "c1")
    assert (run.data.tags["verdict"], run.data.metrics["gain"]) == ("second", -0.125)
    page = (home.cycle("c1") / "report.md").read_text()
    heads = [line for line in page.splitlines() if line.startswith(("# ", "Verdict: "))]
    assert heads == [
        "# Cycle c1: evaluation",
        "Verdict: second.",
        "# Cycle c1: align",
        "# Cycle c1: align",
        "# Cycle c1: evaluation",
        "Verdict: first.",
    ]
    assert page.count("and replaced by the above:") == 3
    assert run.data.tags["mlflow.note.content"].startswith("# Cycle c1: evaluation")


def held(tmp_path: Path) -> HeldOutStore:
    scenarios = [support_scenario(f"s{n}", difficulty="guarded") for n in range(4)]
    dialogues = [
        hand_dialogue(one, reward, policy=policy, simulator="search")
        for one in scenarios
        for policy, reward in (("base", 0.5), ("candidate-1", None if one.scenario_id == "s2" else 1.0))
    ]
    store = filled(tmp_path, scenarios, dialogues=dialogues)
    cycle = Cycle(cycle_id="c1", seed=7, champion_version=None, champion_adapter=None)
    return HeldOutStore(store, cycle, {one.scenario_id: one for one in scenarios})


def test_a_conversation_says_who_the_user_is_what_was_said_and_how_it_ended(tmp_path):
    told = {one.scenario_id: one for one in conversations(held(tmp_path), "candidate-1", 9)}
    one = told["s0"]
    assert one.persona == "a 40-year-old baker, guarded"
    assert one.goal.startswith("My dog died on Sunday")
    assert [(len(exchange.before), exchange.reply) for exchange in one.exchanges] == [(1, "Tell me."), (3, "")]
    assert one.exchanges[1].before[-1] == {"role": "user", "content": "He was old."}
    assert (one.reward, one.checks, one.flaws) == (1.0, (), ())
    assert one.ending.startswith("ended: max exchanges; exit survey: 'a number', read as 1.00")
    assert told["s2"].reward is None and told["s2"].ending.endswith(
        "exit survey: asked, but the answer could not be read: 'no idea'"
    )


def test_a_sample_of_conversations_has_the_same_scenarios_on_both_sides(tmp_path):
    store = held(tmp_path)
    sides = [[one.scenario_id for one in conversations(store, label, 2)] for label in ("base", "candidate-1")]
    assert sides[0] == sides[1] and len(sides[0]) == 2


def test_conversations_are_sessions_with_assessments_and_are_written_once(home, tmp_path):
    tracker, told = Tracker(home), conversations(held(tmp_path), "candidate-1", 9)
    assert tracker.conversations("c1", "candidate", "candidate-1", told) == 8  # 4 dialogues of 2 exchanges
    client = client_of(home)
    experiment = client.get_experiment_by_name("engage-dialogues")
    assert experiment.tags["mlflow.experimentKind"] == "genai_development"
    traces = client.search_traces(locations=[experiment.experiment_id])
    run = run_named(home, "c1 candidate")
    assert {trace.info.trace_metadata["mlflow.sourceRun"] for trace in traces} == {run.info.run_id}
    sessions = {trace.info.trace_metadata["mlflow.trace.session"] for trace in traces}
    assert len(sessions) == 4
    first = next(
        t for t in traces if t.info.tags["scenario"] == "s0" and t.info.trace_metadata["mlflow.simulation.turn"] == "0"
    )
    assert first.info.trace_metadata["mlflow.simulation.persona"] == "a 40-year-old baker, guarded"
    assert {found.name: found.value for found in first.info.assessments} == {
        "reward": 1.0,
        "checks passed": True,
        "flawed turns": 0.0,
    }
    (span,) = client.get_trace(first.info.trace_id).data.spans
    assert span.inputs["messages"] == [{"role": "user", "content": "My dog died."}]
    assert span.outputs["choices"][0]["message"]["content"] == "Tell me."
    # a repeated evaluation adds nothing; a dialogue whose first exchange is missing was cut off by a kill, and is completed
    assert tracker.conversations("c1", "candidate", "candidate-1", told) == 0
    client.delete_traces(experiment.experiment_id, trace_ids=[first.info.trace_id])
    assert tracker.conversations("c1", "candidate", "candidate-1", told) == 2
    again = client.search_traces(locations=[experiment.experiment_id])
    assert sorted(trace.info.trace_id for trace in again) == sorted(trace.info.trace_id for trace in traces)
    assert [len(client.get_trace(trace.info.trace_id).data.spans) for trace in again] == [1] * 8


def test_settings_of_sections_that_a_run_does_not_use_are_not_recorded():
    night = CycleConfig(engine=EngineConfig(kind="scripted"))
    left_out = (
        "engine.vllm.",
        "engine.openai.",
        "engine.transformers.",
        "human.",
        "comparison.",
        "align.sft.",
        "tracking.",
    )
    assert [name for name in night.recorded() if name.startswith(left_out)] == []
    assert night.recorded()[LR] == 5e-5 and night.recorded()["engine.kind"] == "scripted"
    experiment = CycleConfig().recorded(experiment=True)
    assert {"comparison", "align"} <= {name.partition(".")[0] for name in experiment}
    assert any(name.startswith("engine.transformers.") for name in experiment)
    assert not any(name.startswith("engine.vllm.") for name in experiment)


def test_gains_of_different_grounds_are_not_compared_unnoticed():
    rows = [{"gain": 0.1, "ground": "a"}, {"gain": 0.2, "ground": "a"}, {"gain": None, "ground": ""}]
    assert grounds_remark(rows) == ""
    assert "2 different grounds" in grounds_remark([*rows, {"gain": 0.1, "ground": "b"}])
    assert "2 different grounds" in grounds_remark([*rows, {"gain": 0.1, "ground": ""}])


def test_engage_runs_prints_the_cycles_newest_first(engage):
    home = Home.from_env()
    assert engage("runs")[0] == 2
    tracker = Tracker(home)
    tracker.open_cycle("c1", {"cycle_id": "c1"}, {"profile": "laptop", "engine": "scripted"})
    tracker.cycle_run("c1").newest({"gain": 0.0234, "gain_low": -0.01, "gain_high": 0.05, "pairs": 12})
    tracker.cycle_run("c1").tags({"verdict": "not promoted: the gain is not significant: +0.023 [-0.010, +0.050] on 9"})
    tracker.close_cycle("c1", minutes=3.25)
    older = tracker.cycle_run("old", {"cycle_id": "old"})
    older.metrics({"reward_difference/held-out_bare/all": 0.5, "pairs_accepted": 7})
    tracker.stage("simulator 1", "sft").__enter__()  # no cycle
    code, out, _ = engage("runs")
    first_words = [line.split()[0] for line in out.splitlines() if line.strip()]
    assert code == 0
    assert [word for word in first_words if word in {"c1", "old"}] == ["old", "c1"]
    assert "+0.023 [-0.010, +0.050]" in out and "simulator" not in out
    assert "[-0.010" not in out.replace("+0.023 [-0.010, +0.050]", "")  # once, not in the verdict too
    assert "?workflowType=machine_learning&viewStateShareKey=engage" in out.replace("\n", "")
    rows = json.loads(engage("runs", "--format", "json")[1])
    assert [(row["cycle"], row["gain"], row["pairs"], row["minutes"]) for row in rows] == [
        ("old", 0.5, 7, None),
        ("c1", 0.0234, 12, 3.25),
    ]
    head, first, _ = engage("runs", "--format", "csv")[1].splitlines()
    assert head.startswith("cycle,profile,engine,gain,gain_low,gain_high,verdict,promoted,pairs")
    assert first.startswith("old,")


def test_engage_nights_says_how_far_each_came_and_how_to_go_on(engage):
    home = Home.from_env()
    tracker = Tracker(home)

    def night(cycle, minute, stage, ended, command="nightly"):
        folder = home.cycle(cycle)
        folder.mkdir(parents=True)
        began = f"2026-11-20T02:0{minute}:00+00:00"
        work = Work(
            cycle,
            command,
            stage,
            gethostname(),
            1,
            0.0,
            began,
            ("r",),
            ended,
            again=f"engage {command} --cycle {cycle}",
        )
        (folder / "work.json").write_text(json.dumps(vars(work)))
        (folder / "work.lock").touch()

    tracker.open_cycle("done", {"cycle_id": "done"})
    tracker.cycle_run("done").newest({"pairs": 12, "tokens_m": 1.5})
    tracker.cycle_run("done").tags({"verdict": "not promoted: no sign of a gain: +0.023 [-0.010, +0.050] on 9"})
    tracker.close_cycle("done", minutes=5.9)
    night("done", 1, "evaluate", "completed")
    tracker.open_cycle("cut", {"cycle_id": "cut"})
    night("cut", 2, "align", "")
    night("early", 3, "collect", "")  # killed before MLflow knew it
    tracker.open_cycle("experiment", {"cycle_id": "experiment", "comparison.rollouts": 2})
    code, out, _ = engage("nights")
    assert code == 0 and "experiment" not in out
    place = f"ENGAGE_HOME={home.path} "  # wherever the home was then
    rows = json.loads(engage("nights", "--format", "json")[1])
    assert [(row["cycle"], row["reached"], row["state"], row["continue"]) for row in rows] == [
        ("early", "collect", "interrupted", f"{place}engage nightly --cycle early"),
        ("cut", "align", "interrupted", f"{place}engage nightly --cycle cut"),
        ("done", "report", "completed", ""),
    ]
    assert f"cut: interrupted: continue with {place}engage nightly --cycle cut\n" in out
    (line,) = [line for line in out.splitlines() if line.split()[:1] == ["done"]]
    assert line.split()[:2] == ["done", "report"]
    assert "1.50" in line and "5.9" in line and "12" in line
    states = {row["cycle"]: row["state"] for row in json.loads(engage("runs", "--format", "json")[1])}
    assert states == {"early": "interrupted", "experiment": "running", "cut": "interrupted", "done": "completed"}


def test_a_first_night_that_was_killed_before_mlflow_had_a_database_is_listed(engage):
    home = Home.from_env()
    at_work.begin(Workspace(home), "first", "nightly", "run")
    at_work.begin(Workspace(home), "first", "collect", "stage")
    (row,) = json.loads(engage("nights", "--format", "json")[1])
    assert (row["cycle"], row["reached"], row["state"]) == ("first", "collect", "running")
    assert not home.mlflow_file.exists()
    at_work.end(Workspace(home), "first", "run", "completed")


def test_a_lost_database_of_mlflow_is_no_home_without_cycles(engage):
    home = Home.from_env()
    home.make()
    TrajectoryStore(home.database).begin_cycle("c1", {})
    code, _, told = engage("runs")
    assert code == 2 and told.startswith(f"{home.mlflow_file} is not there, though cycles are stored")


def test_engage_champions_lists_what_was_promoted(engage):
    home = Home.from_env()
    assert engage("champions")[2].strip() == "no cycle has been run yet; run `engage nightly` first"
    Tracker(home).open_cycle("c1", {"cycle_id": "c1"}, {"profile": "laptop"})
    store = TrajectoryStore(home.database)
    store.begin_cycle("c1", {})
    assert (
        engage("champions")[2].splitlines()[-1]
        == "nothing has been promoted yet: nights start from the configured policy"
    )
    why = "promoted: +0.200 [+0.100, +0.300] on 9 held-out scenarios, evidence 50 of 41 after 2 nights"
    challenges = Challenges(store)
    number = challenges.begin("c1", "candidate-1", "/1", "base", "held-out bare", "g1", ["s1"]).number
    challenges.settle(number, State.PROMOTED, why, passed=True)
    challenges.record_promotion("1", "/1", "the rule", why, None, "c1", number)
    (row,) = json.loads(engage("champions", "--format", "json")[1])
    assert (row["version"], row["cycle"], row["by"], row["until"]) == ("1", "c1", "the rule", "")
    assert (row["gain_at_promotion"], row["verdicts"], row["profile"]) == ("+0.200 [+0.100, +0.300]", [why], "laptop")
    code, out, _ = engage("champions")
    assert code == 0 and f"version 1: {why}" in out
    head, line = engage("champions", "--format", "csv")[1].splitlines()
    assert head.startswith("version,since,until,by,why,gain_at_promotion") and line.startswith("1,20")
