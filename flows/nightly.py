"""One cycle: collect, align, evaluate; scheduled every night."""

from datetime import UTC, datetime

from prefect import flow
from prefect.runtime import flow_run

from engage.config import CycleConfig
from engage.evaluation import Night
from engage.keeping import at_work
from engage.progress import tell
from engage.workspace import Workspace
from flows.align import align
from flows.collect import collect
from flows.evaluation import evaluation
from tasks.judging import require_validation
from tasks.nights import at_night, earlier_nights, require_kept
from tasks.notifying import announce, announce_failure
from tasks.reporting import report_cycle
from tasks.run_log import add_tag, finished, night
from tasks.training import require_trainable


def _run_name() -> str:
    return str(flow_run.parameters.get("cycle_id") or new_cycle_id())


@flow(name="nightly", flow_run_name=_run_name, on_failure=[announce_failure], on_crashed=[announce_failure])
def nightly(config: CycleConfig, cycle_id: str | None = None) -> Night:
    """Returns the results of the stages; `text` is the summary in plain words.

    Before its own cycle it marks the runs of killed commands as ended, and finishes earlier nights if `nightly.finish_interrupted` says so.
    """
    require_validation(config)
    require_trainable(config)
    cycle_id = cycle_id or new_cycle_id()
    require_kept(cycle_id)
    with at_night(cycle_id):
        finish_earlier_nights(config, cycle_id)
        with night(cycle_id):
            collected = collect(config, cycle_id)
            aligned = align(config, cycle_id, alone=False)
            judged = evaluation(config, cycle_id, alone=False)
            done = report_cycle(config, cycle_id, collected, aligned, judged)
    add_tag(f"verdict:{'promoted' if judged.verdict.promoted else 'not promoted'}")
    announce(config, done)
    return finished(cycle_id, done)


def finish_earlier_nights(config: CycleConfig, cycle_id: str) -> None:
    """Finish the nights that were interrupted; whatever becomes of them, tonight's cycle follows."""
    for earlier, settings in earlier_nights(config, cycle_id):
        if not at_work.still_waits(Workspace.from_env(), earlier, cycle_id):
            tell(f"cycle {earlier} is no longer to be finished: another night works on it, or did")
            continue
        tell(f"first an earlier night is finished, cycle {earlier}")
        state = nightly(settings, earlier, return_state=True)
        if not state.is_completed():
            tell(f"cycle {earlier} could not be finished: {state.message}")


def new_cycle_id() -> str:
    """The id from the flow run, if there is one, so that a retried or rescheduled run continues its own cycle."""
    started = flow_run.scheduled_start_time or datetime.now(UTC)
    return f"{started:%Y-%m-%d-%H%M%S}-{str(flow_run.id)[:4]}"
