"""Compares simulated users with people's scores step by step: states, answers, then the page, its tables and one MLflow run."""

from collections.abc import Mapping
from pathlib import Path

from prefect import task
from prefect.artifacts import create_markdown_artifact

from engage import stopping
from engage.config import CycleConfig
from engage.engines import close_engines, model_names, shared_engine
from engage.experiments.feedback.page import feedback_page, figures_csv, summary, turns_csv
from engage.experiments.feedback.plan import FeedbackConfig, read_parts
from engage.experiments.feedback.readers import Answers, Asking, ask
from engage.experiments.feedback.result import judge, wanted_questions, wanted_states
from engage.experiments.feedback.states import States, read_states
from engage.experiments.simulator_card.cards import CardPage, writing_into
from engage.experiments.simulator_card.plan import simulator_alone, simulator_labels
from engage.files.digest import digest, flat, key_settings
from engage.models import AdapterCard, resolve_model
from engage.progress import Bar
from engage.workspace import Workspace
from tasks.cycle import worth_retrying


@task(name="check-feedback", retries=3, retry_delay_seconds=20, retry_condition_fn=worth_retrying)
def check_feedback(config: CycleConfig, feedback: FeedbackConfig, out: str) -> dict[str, str]:
    """Simulators by label. All user input is checked here first, because the following steps take many minutes."""
    with writing_into(Path(out)):
        pass
    feedback.check()
    read_parts(feedback, config.human)
    base = resolve_model(config.engine.simulator_model) if model_names(config.engine) else None
    labels = simulator_labels(feedback.adapters, base)
    if feedback.split == "test":
        looked_at = flat(feedback.model_dump(mode="json"), "feedback.")
        Workspace.from_env().tracker.open_test_split(_name(config, feedback), looked_at)
    return labels


@task(name="read-dialogue-states", retries=1, retry_delay_seconds=10, retry_condition_fn=worth_retrying)
def read_dialogue_states(config: CycleConfig, feedback: FeedbackConfig) -> States:
    """States of the prompted model for the regressions; empty if its weights are not in this process."""
    if not model_names(config.engine):
        return {}
    close_engines()
    wanted = wanted_states(feedback, read_parts(feedback, config.human))
    bar = Bar("reading for the regression on states (dialogues)", len(wanted))
    found = read_states(wanted, resolve_model(config.engine.simulator_model), bar.advance)
    bar.finish()
    return found


@task(name="ask-for-feedback", retries=1, retry_delay_seconds=10, retry_condition_fn=worth_retrying)
def ask_for_feedback(config: CycleConfig, feedback: FeedbackConfig, label: str, adapter: str) -> Answers:
    """One simulator's answers; one whose card names a corpus of these is not asked about the train split."""
    parts = read_parts(feedback, config.human)
    sources = {name.partition(":")[0] for name in feedback.corpora}
    seen = bool(adapter) and any(source.name in sources for source in AdapterCard.read(adapter).data)
    wanted = wanted_questions(feedback, parts, seen)
    asked = {question[0] for question in wanted}
    humans = {human.scenario_id: human for part in parts.values() for human in (*part.scored, *part.ended)}
    own = [human for name, human in humans.items() if name in asked]
    bar = Bar(f"{label}: questions (dialogues)", len(own))
    engine = shared_engine(simulator_alone(config.engine))
    found = stopping.run(ask(Asking(engine, adapter), own, wanted, bar.advance))
    bar.finish()
    return found


@task(name="write-feedback", retries=3, retry_delay_seconds=20, retry_condition_fn=worth_retrying)
def write_feedback(
    config: CycleConfig, feedback: FeedbackConfig, states: States, answers: Mapping[str, Answers], out: str
) -> CardPage:
    """Write `OUT/feedback.md`, `figures.csv` and `turns.csv`, and log them to MLflow."""
    tracker = Workspace.from_env().tracker
    result = judge(feedback, read_parts(feedback, config.human), states, answers)
    openings = tracker.openings() if feedback.split == "test" else 0
    page = feedback_page(result, config.engine.simulator_model, openings)
    with writing_into(Path(out)):
        for name, text in (
            ("feedback.md", page),
            ("figures.csv", figures_csv(result)),
            ("turns.csv", turns_csv(result)),
        ):
            (Path(out) / name).write_text(text, encoding="utf-8")
    name = _name(config, feedback)
    with tracker.stage(name, "simulator-feedback") as run:
        settings = config.model_dump(mode="json", include={"engine"})
        run.params(flat(feedback.model_dump(mode="json"), "feedback.") | flat(settings))
        run.metrics(result.metrics())
        run.page(page, "feedback.md")
    tracker.close_cycle(name)
    create_markdown_artifact(page, key="engage-simulator-feedback", description="simulated users and people's scores")
    return CardPage(Path(out) / "feedback.md", summary(result))


def _name(config: CycleConfig, feedback: FeedbackConfig) -> str:
    return f"simulator feedback {digest([key_settings(feedback), key_settings(config.engine)])[:8]}"
