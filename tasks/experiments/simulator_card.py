"""Makes the simulator card step by step: likelihoods, answers, then the page, its plots and one MLflow run."""

from collections.abc import Mapping
from pathlib import Path

from prefect import task
from prefect.artifacts import create_markdown_artifact

from engage import stopping
from engage.config import CycleConfig
from engage.engines import close_engines, model_names, shared_engine
from engage.experiments.simulator_card.asking import Answers, Asked, ask_simulator, request_count
from engage.experiments.simulator_card.card import Likelihoods
from engage.experiments.simulator_card.cards import CardPage, Setting, SimulatorCard, make_card, writing_into
from engage.experiments.simulator_card.perplexity import user_turn_likelihoods
from engage.experiments.simulator_card.plan import CardConfig, held_out_dialogues, simulator_alone, simulator_labels
from engage.files.digest import digest, flat, key_settings
from engage.models import resolve_model
from engage.progress import Bar
from engage.tracking import Tracker
from engage.workspace import Workspace
from tasks.cycle import worth_retrying


@task(name="check-card", retries=3, retry_delay_seconds=20, retry_condition_fn=worth_retrying)
def check_card(config: CycleConfig, card: CardConfig, out: str) -> dict[str, str]:
    """Simulators by label. All user input is checked here first, because the following steps take many minutes."""
    with writing_into(Path(out)):
        pass
    held_out_dialogues(card, config.human)
    base = resolve_model(config.engine.simulator_model) if model_names(config.engine) else None
    labels = simulator_labels(card.adapters, base)
    if card.split == "test":
        looked_at = flat(card.model_dump(mode="json"), "card.")
        Workspace.from_env().tracker.open_test_split(_name(config, card), looked_at)
    return labels


@task(name="measure-likelihoods", retries=1, retry_delay_seconds=10, retry_condition_fn=worth_retrying)
def measure_likelihoods(config: CycleConfig, card: CardConfig, label: str, adapter: str) -> Mapping[str, Likelihoods]:
    """Likelihoods of real user turns under one simulator, by domain; empty if its weights are not in this process."""
    if not model_names(config.engine):
        return {}
    close_engines()
    base, limit = resolve_model(config.engine.simulator_model), config.align.sft.max_length
    by_domain = held_out_dialogues(card, config.human).by_domain
    bar = Bar(f"{label}: likelihood of real user turns (dialogues)", sum(len(humans) for humans in by_domain.values()))
    found = {
        domain: user_turn_likelihoods(humans, base, adapter, limit, bar.advance) for domain, humans in by_domain.items()
    }
    bar.finish()
    return found


@task(name="ask-in-their-place", retries=1, retry_delay_seconds=10, retry_condition_fn=worth_retrying)
def ask_in_their_place(config: CycleConfig, card: CardConfig, label: str, adapter: str) -> dict[str, Answers]:
    """One simulator's survey answers and next turns in human dialogues, by domain."""
    by_domain = held_out_dialogues(card, config.human).by_domain
    asked = Asked(
        shared_engine(simulator_alone(config.engine)),
        config.dialogue.speech,
        adapter,
        card.places,
        card.answers,
        card.seed,
    )
    bar = Bar(f"{label}: surveys and turns (rounds of dialogues)", sum(map(request_count, by_domain.values())))
    found = {domain: stopping.run(ask_simulator(asked, humans, bar.advance)) for domain, humans in by_domain.items()}
    bar.finish()
    return found


@task(name="write-card", retries=3, retry_delay_seconds=20, retry_condition_fn=worth_retrying)
def write_card(
    config: CycleConfig,
    card: CardConfig,
    likelihoods: Mapping[str, Mapping[str, Likelihoods]],
    answers: Mapping[str, Mapping[str, Answers]],
    out: str,
) -> CardPage:
    """Write the page `OUT/card.md` and its plots, and log them to MLflow."""
    tracker, engine = Workspace.from_env().tracker, config.engine
    openings = tracker.openings() if card.split == "test" else 0
    setting = Setting(engine.simulator_model, engine.kind, config.dialogue.speech, openings)
    made = make_card(card, setting, held_out_dialogues(card, config.human), likelihoods, answers)
    saved = made.save(Path(out))
    _track(tracker, config, card, made)
    create_markdown_artifact(made.page, key="engage-simulator-card", description="simulator card")
    return saved


def _name(config: CycleConfig, card: CardConfig) -> str:
    depends_on = {"engine": key_settings(config.engine), "dialogue": key_settings(config.dialogue)}
    return f"simulator card {digest([key_settings(card), depends_on])[:8]}"


def _track(tracker: Tracker, config: CycleConfig, card: CardConfig, made: SimulatorCard) -> None:
    name, settings = _name(config, card), config.model_dump(mode="json", include={"engine", "dialogue"})
    with tracker.stage(name, "simulator-card") as run:
        run.params(flat(card.model_dump(mode="json"), "card.") | flat(settings))
        run.metrics(made.metrics())
        for plot_name, plot in made.plots.items():
            run.figure(plot, plot_name)
        run.page(made.page, "card.md")
    tracker.close_cycle(name)
