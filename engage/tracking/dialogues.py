"""Held-out dialogues as MLflow's conversations: a session per dialogue, a trace per exchange, reward and checks as assessments.

MLflow's UI hides sessions in experiments of model training: they have an experiment of their own. Two runs of it, one per side, are
compared there scenario by scenario, because MLflow matches their sessions by goal and persona.
"""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from engage import progress
from engage.errors import StoreError
from engage.files.digest import digest
from engage.home import Home
from engage.tracking.client import Client

EXPERIMENT = "engage-dialogues"
_MOST_METADATA = 250
"""Characters of metadata that every MLflow server keeps."""


@dataclass(frozen=True)
class Exchange:
    """What the assistant was given and what it said: `before` are the earlier turns as chat messages; `reply` ends the dialogue's text
    where the user spoke last."""

    before: tuple[dict[str, str], ...]
    reply: str
    by_assistant: bool = True


@dataclass(frozen=True)
class Conversation:
    """One held-out dialogue. `goal` and `persona` say who the user is; `reward` is None where the survey's answer could not be read.

    `checks` names the signs of reward hacking in the assistant's replies, `flaws` the turns that stayed flawed.
    """

    dialogue_id: str
    simulator: str
    domain: str
    scenario_id: str
    goal: str
    persona: str
    exchanges: tuple[Exchange, ...]
    ending: str
    reward: float | None
    checks: tuple[str, ...]
    flaws: tuple[str, ...]


def write_conversations(home: Home, experiment_id: str, run_id: str, side: str, told: Sequence[Conversation]) -> int:
    """Write the exchanges that are not there yet; returns their number.

    A trace's id depends on its dialogue and exchange, so that a repeated evaluation adds nothing, and one that was killed is completed.
    """
    from mlflow.tracing.client import TracingClient  # private to MLflow, read at 3.17.2: its public way cannot set ids

    client, written, now = Client(home, TracingClient()), 0, int(time.time() * 1000)
    try:
        for number, one in enumerate(told):
            traces = list(_traces(one, experiment_id, run_id, side, now + 60_000 * (number - len(told))))
            if _is_there(client, traces[0][0]):
                continue  # the first exchange is written last
            client.log_spans(experiment_id, [span for _, span in traces])
            for info, _ in reversed(traces):
                client.start_trace(info)
                written += 1
    except (StoreError, NotImplementedError) as error:
        progress.tell(f"the dialogues were not written to MLflow as conversations: {error}")
    return written


def _is_there(client: Any, info: Any) -> bool:
    """Whether a trace is whole: its spans are written first, and its session with the rest of it."""
    from mlflow.exceptions import MlflowException

    try:
        return "mlflow.trace.session" in client.get_trace_info(info.trace_id).trace_metadata
    except MlflowException:
        return False


def _traces(one: Conversation, experiment_id: str, run_id: str, side: str, began_ms: int) -> Iterator[tuple[Any, Any]]:
    from mlflow.entities import TraceInfo, TraceLocation, TraceState

    session = f"{side} {one.scenario_id}, {one.simulator} simulator, {digest(one.dialogue_id)[:8]}"
    for place, exchange in enumerate(one.exchanges):
        trace_id = f"tr-{digest([experiment_id, one.dialogue_id, place])[:32]}"
        reply = exchange.reply or f"({one.ending})"
        heard = exchange.before[-1]["content"] if exchange.before else f"(the assistant opens to {one.persona})"
        start_ms = began_ms + 1_000 * place
        info = TraceInfo(
            trace_id=trace_id,
            trace_location=TraceLocation.from_experiment_id(experiment_id),
            request_time=start_ms,
            execution_duration=1_000,
            state=TraceState.OK,
            request_preview=heard,
            response_preview=reply,
            trace_metadata={
                "mlflow.trace.session": session,
                "mlflow.simulation.goal": one.goal[:_MOST_METADATA],
                "mlflow.simulation.persona": one.persona[:_MOST_METADATA],
                "mlflow.simulation.turn": str(place),
                "mlflow.sourceRun": run_id,
            },
            tags={
                "mlflow.traceName": f"{one.scenario_id} {side}",
                "dialogue": one.dialogue_id,
                "side": side,
                "simulator": one.simulator,
                "domain": one.domain,
                "scenario": one.scenario_id,
            },
            assessments=_assessments(one, trace_id, session) if place == 0 else [],
        )
        messages = [*exchange.before] or [{"role": "user", "content": heard}]
        yield info, _span(trace_id, experiment_id, start_ms, messages, reply)


def _span(trace_id: str, experiment_id: str, start_ms: int, messages: list[dict[str, str]], reply: str) -> Any:
    from mlflow.entities import Span

    attributes = {
        "mlflow.traceRequestId": trace_id,
        "mlflow.experimentId": experiment_id,
        "mlflow.spanType": "CHAT_MODEL",
        "mlflow.spanInputs": {"messages": messages},
        "mlflow.spanOutputs": {"choices": [{"message": {"role": "assistant", "content": reply}}]},
    }
    return Span.from_dict(
        {
            "trace_id": trace_id,
            "span_id": digest([trace_id, "span"])[:16],
            "parent_span_id": None,
            "name": "reply",
            "start_time_unix_nano": start_ms * 1_000_000,
            "end_time_unix_nano": (start_ms + 1_000) * 1_000_000,
            "status": {"code": "OK", "message": ""},
            "attributes": {name: json.dumps(value, ensure_ascii=False) for name, value in attributes.items()},
            "events": [],
        }
    )


def _assessments(one: Conversation, trace_id: str, session: str) -> list[Any]:
    """What was measured of the whole dialogue, as assessments of its session."""
    from mlflow.entities import AssessmentSource, Feedback

    def feedback(name: str, value: float | bool, rationale: str) -> Any:
        made = Feedback(
            name=name,
            value=value,
            rationale=rationale,
            source=AssessmentSource("CODE", source_id="engage"),
            trace_id=trace_id,
            metadata={"mlflow.trace.session": session},
        )
        made.assessment_id = f"a-{digest([trace_id, name])[:32]}"
        return made

    signs = ", ".join(name.replace("_", " ") for name in one.checks) or "no sign of reward hacking"
    found = [
        feedback("checks passed", not one.checks, signs),
        feedback("flawed turns", float(len(one.flaws)), ", ".join(one.flaws) or "none"),
    ]
    return found if one.reward is None else [feedback("reward", round(one.reward, 4), one.ending), *found]
