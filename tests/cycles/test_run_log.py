"""What an operator sees of a run on Prefect's page: the logs, the tags, the bars, the message of its final state."""

import logging
from pathlib import Path
from types import SimpleNamespace
from uuid import UUID

import pytest
from prefect import flow, task
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterTaskRunId
from prefect.context import FlowRunContext, TaskRunContext
from prefect_logs import logged

from engage.errors import ConfigError
from engage.evaluation import Aligned, Collected, Judged, Night, Verdict, outcome_line
from engage.evaluation.collected import DomainRewards
from engage.progress import Bar
from engage.training import PairSet
from tasks import run_log

pytestmark = pytest.mark.usefixtures("prefect_server")
TOO_SMALL = "--set seed: -1 is too small; write 0 or more"


@task
def search() -> UUID:
    Bar("searching", 4).finish()
    bar = Bar("searching", 4)
    bar.advance(3)
    bar.finish()
    return TaskRunContext.get().task_run.id


@flow
def stage() -> tuple[UUID, UUID]:
    run_log.log("17 of 60 pairs accepted", logging.WARNING)
    return FlowRunContext.get().flow_run.id, search()


@flow
def whole() -> tuple[UUID, UUID, UUID]:
    with run_log.night("c1"):
        own, task_run = stage()
    run_log.log("after the night")
    return FlowRunContext.get().flow_run.id, own, task_run


@task
def wrong(error: Exception) -> None:
    raise error


@flow
def failing(error: Exception) -> None:
    wrong(error)


def test_the_log_of_a_night_has_the_lines_of_its_stages_once():
    night, own, _ = whole()
    lines = [(logging.WARNING, "17 of 60 pairs accepted"), (logging.INFO, "searching: 3/3 in 0 s, ")]
    for run_id in (night, own):
        found = [
            (level, text.partition("s, ")[0] + "s, " if "searching" in text else text) for level, text in logged(run_id)
        ]
        assert found == [*lines, *([(logging.INFO, "after the night")] if run_id == night else [])]
    client = get_client(sync_client=True)
    assert client.read_flow_run(night).tags == client.read_flow_run(own).tags == ["cycle:c1"]


def test_work_that_ends_is_a_full_bar_on_the_page_of_its_run():
    _, _, task_run = whole()
    wanted = ArtifactFilter(task_run_id=ArtifactFilterTaskRunId(any_=[task_run]))
    (bar,) = get_client(sync_client=True).read_artifacts(artifact_filter=wanted)
    assert (bar.type, float(bar.data)) == ("progress", 100.0)
    assert bar.description.startswith("searching: 3/3 in 0 s")


@pytest.mark.parametrize(
    ("error", "tracebacks"), [(ConfigError(TOO_SMALL), 0), (ValueError("a mistake of the program"), 2)]
)
def test_a_mistake_of_the_user_is_one_sentence_in_the_log_and_one_of_the_program_a_traceback(error, tracebacks):
    state = failing(error, return_state=True)
    texts = [text for level, text in logged(state.state_details.flow_run_id) if level >= logging.ERROR]
    assert sum("Traceback" in text for text in texts) == tracebacks
    if not tracebacks:
        assert texts == [TOO_SMALL, TOO_SMALL]  # of the task and of the flow


def test_the_command_line_sends_the_log_to_the_server_and_not_to_the_terminal(capfd):
    prefect = logging.getLogger("prefect")
    before = prefect.level
    prefect.setLevel(logging.CRITICAL)
    try:
        with run_log.sent_only():
            night, _, _ = whole()
        found = logged(night)
        silent, _, _ = whole()
        assert (len(found), logged(silent)) == (3, [])
    finally:
        prefect.setLevel(before)
    assert "pairs accepted" not in "".join(capfd.readouterr())


def test_what_the_method_warns_of_is_in_the_log_of_the_run(capfd):
    @flow
    def warned() -> None:
        logging.getLogger("engage.store.drain").warning("%d outbox files set aside", 2)

    state = warned(return_state=True)
    assert logged(state.state_details.flow_run_id) == [(logging.WARNING, "2 outbox files set aside")]


def test_a_server_that_takes_no_tag_ends_no_night(monkeypatch):
    def refuse(**_):
        raise OSError("no route to host")

    @flow
    def tagged() -> str:
        monkeypatch.setattr("prefect.client.orchestration.get_client", refuse)
        run_log.add_tag("verdict:promoted")
        monkeypatch.undo()
        return "done"

    assert tagged() == "done"


def test_outside_of_a_run_nothing_is_said():
    run_log.log("nobody listens")
    run_log.add_tag("cycle:c1")
    run_log.ProgressBar().show(0.5, "half", last=True)
    assert run_log.loggers() == []


def pairs(accepted: int) -> PairSet:
    return PairSet(Path(), "", accepted, {}, {"candidates": 60, "accepted": accepted, "gap": 60 - accepted})


def test_a_stage_and_a_night_are_told_in_one_line():
    rows = [
        DomainRewards(**{**dict.fromkeys(DomainRewards.__dataclass_fields__, 0), **row})
        for row in (
            {"domain": "persuasion", "trees": 4, "reward_mean": 0.5125},
            {"domain": "emotional_support", "trees": 2, "reward_mean": None},
        )
    ]
    collected = Collected(tuple(rows), failed={"s1": "too long"})
    candidate = SimpleNamespace(metrics={"pairs": 14.0})
    aligned = Aligned(pairs(14), candidate)
    judged = Judged(
        "base", Verdict(False, "not promoted: the gain is not significant: +0.011 [-0.015, +0.039]"), "page"
    )
    assert outcome_line(collected, 90) == "6 trees, 1 scenario failed, mean reward persuasion 0.512, 1.5 min"
    assert outcome_line(aligned, 12) == "14 of 60 candidate pairs accepted, trained on 14 pairs, 0.2 min"
    assert outcome_line(Aligned(pairs(0), None), 12) == "0 of 60 candidate pairs accepted, nothing trained, 0.2 min"
    night = Night("c1", collected, aligned, judged, "")
    assert outcome_line(night, 354) == f"{judged.verdict.reason}, 14 pairs, 5.9 min"
