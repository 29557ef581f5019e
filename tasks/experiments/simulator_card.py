"""The simulator card, step by step: likelihoods, answers, then the page, its plots and one run of MLflow."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prefect import task
from prefect.artifacts import create_markdown_artifact

from engage.config import CycleConfig
from engage.corpora import licence_of
from engage.engines import EngineConfig, close_engines, model_names, shared_engine
from engage.errors import ConfigError
from engage.evaluation import reliability
from engage.experiments.simulator_card.asking import Answers, Asked, ask_simulator
from engage.experiments.simulator_card.card import Measured, SimulatorFigures, simulator_figures
from engage.experiments.simulator_card.page import Heading, card_page, card_summary, plot_name
from engage.experiments.simulator_card.perplexity import Likelihood, user_turn_likelihoods
from engage.experiments.simulator_card.plan import CardConfig, HeldOut, held_out_dialogues, simulator_labels
from engage.experiments.simulator_card.words import predicted_from_words
from engage.files.digest import digest, key_settings
from engage.home import Home
from engage.models import BARE, resolve_model
from tasks import stopping
from tasks.cycle import worth_retrying
from tasks.progress import Bar
from tasks.tracking import Tracker, flat

ROUNDS = 3
Likelihoods = Mapping[str, Mapping[str, Likelihood]]
"""By domain, then by scenario id."""


@task(name="check-card")
def check_card(config: CycleConfig, card: CardConfig, out: str) -> dict[str, str]:
    """Simulators by label, after everything that a user can get wrong was looked at: what follows takes many minutes."""
    with _written(Path(out)):
        Path(out).mkdir(parents=True, exist_ok=True)
    held_out_dialogues(card, config.human)
    base = resolve_model(config.engine.simulator_model) if model_names(config.engine) else None
    labels = simulator_labels(card.adapters, base)
    if card.split == "test":
        Tracker(Home.from_env()).open_test_split(_name(config, card), flat(card.model_dump(mode="json"), "card."))
    return labels


@task(name="measure-likelihoods", retries=1, retry_delay_seconds=10, retry_condition_fn=worth_retrying)
def measure_likelihoods(config: CycleConfig, card: CardConfig, label: str, adapter: str) -> Likelihoods:
    """Of real user turns under one simulator; nothing where its weights are not this process's."""
    if not model_names(config.engine):
        return {}
    close_engines()
    base = resolve_model(config.engine.simulator_model)
    by_domain = held_out_dialogues(card, config.human).by_domain
    bar = Bar(f"{label}: likelihood of real user turns (dialogues)", sum(len(humans) for humans in by_domain.values()))
    limit = config.align.sft.max_length
    found = {
        domain: user_turn_likelihoods(humans, base, adapter, limit, bar.advance) for domain, humans in by_domain.items()
    }
    bar.finish()
    return found


@task(name="ask-in-their-place", retries=1, retry_delay_seconds=10, retry_condition_fn=worth_retrying)
def ask_in_their_place(config: CycleConfig, card: CardConfig, label: str, adapter: str) -> dict[str, Answers]:
    """Surveys and next turns of one simulator in people's dialogues, by domain."""
    by_domain = held_out_dialogues(card, config.human).by_domain
    asked = Asked(shared_engine(_engine(config)), config.dialogue.speech, adapter, card.places, card.answers, card.seed)
    bar = Bar(f"{label}: surveys and turns (rounds of dialogues)", ROUNDS * sum(map(len, by_domain.values())))
    found = {domain: stopping.run(ask_simulator(asked, humans, bar.advance)) for domain, humans in by_domain.items()}
    bar.finish()
    return found


def _engine(config: CycleConfig) -> EngineConfig:
    """The simulator's model alone, without the adapters that both sides are configured with: each request names its own."""
    if not model_names(config.engine):
        return config.engine
    alone = {"policy_model": config.engine.simulator_model, "policy_adapter": BARE, "simulator_adapter": BARE}
    return config.engine.model_copy(update=alone)


@task(name="write-card")
def write_card(
    config: CycleConfig,
    card: CardConfig,
    likelihoods: Mapping[str, Likelihoods],
    answers: Mapping[str, Mapping[str, Answers]],
    out: str,
) -> dict[str, str]:
    """The page `OUT/card.md` with its plots beside it, all of it in MLflow too; returns the page's path and its short form."""
    held_out = held_out_dialogues(card, config.human)
    from_words = {
        domain: predicted_from_words(held_out.train.get(domain, ()), humans)
        for domain, humans in held_out.by_domain.items()
    }
    cards = [
        simulator_figures(
            label,
            humans,
            Measured(answers[label][domain], likelihoods[label].get(domain, {})),
            likelihoods.get(BARE, {}).get(domain, {}),
            card.seed,
            from_words[domain],
        )
        for domain, humans in held_out.by_domain.items()
        for label in answers
    ]
    page, folder = card_page(_heading(config, card, held_out, cards), cards), Path(out)
    figures = {
        domain: reliability(
            {
                one.simulator: [(b.predicted, b.actual.value or 0.0, b.actual.low, b.actual.high) for b in one.bins]
                for one in cards
                if one.domain == domain
            },
            _unit(domain),
        )
        for domain in held_out.by_domain
    }
    _save(folder, page, figures)
    _track(config, card, cards, page, figures)
    create_markdown_artifact(page, key="engage-simulator-card", description="simulator card")
    return {"page": str(folder / "card.md"), "text": card_summary(cards)}


def _save(folder: Path, page: str, figures: Mapping[str, Any]) -> None:
    with _written(folder):
        (folder / "card.md").write_text(page, encoding="utf-8")
        for domain, figure in figures.items():
            figure.savefig(folder / f"{plot_name(domain)}.png")


@contextmanager
def _written(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be written ({error.strerror}); name another folder with --out") from error


def _unit(domain: str) -> str:
    return {"persuasion": "dollars", "emotional_support": "final intensity"}.get(domain, "the survey's unit")


def _heading(config: CycleConfig, card: CardConfig, held_out: HeldOut, cards: list[SimulatorFigures]) -> Heading:
    names = [name.partition(":")[0] for name in card.corpora]
    speech = config.dialogue.speech.user
    lines = {
        "simulators": ", ".join(dict.fromkeys(one.simulator for one in cards)),
        "model": f"{config.engine.simulator_model}, engine {config.engine.kind}",
        "dialogues of people": f"{', '.join(names)}, {card.split} split, those whose outcome is known; drawn by seed {card.seed}",
        "user turns": f"temperature {speech.temperature:g}, top-p {speech.top_p:g}, {speech.max_tokens} tokens at most",
        "licence of the human turns below": "; ".join(dict.fromkeys(licence_of(name) for name in names)),
    }
    remarks = []
    if card.split == "test":
        openings = Tracker(Home.from_env()).openings()
        remarks.append(f"The test split has been opened {openings} time(s), by comparisons and cards of this home.")
    if held_out.crises:
        remarks.append(f"{held_out.crises} dialogues were left out because the user speaks of harming themselves.")
    remarks += [
        f"{one.simulator} in {one.domain}: {one.failed} requests failed for good and are missing."
        for one in cards
        if one.failed
    ]
    return Heading(lines, remarks)


def _settings(config: CycleConfig) -> dict[str, Any]:
    """What of a configuration a card depends on."""
    return config.model_dump(mode="json", include={"engine", "dialogue"})


def _name(config: CycleConfig, card: CardConfig) -> str:
    depends_on = {"engine": key_settings(config.engine), "dialogue": key_settings(config.dialogue)}
    return f"simulator card {digest([key_settings(card), depends_on])[:8]}"


def _track(
    config: CycleConfig, card: CardConfig, cards: list[SimulatorFigures], page: str, figures: Mapping[str, Any]
) -> None:
    tracker, name = Tracker(Home.from_env()), _name(config, card)
    with tracker.stage(name, "simulator-card") as run:
        run.params(flat(card.model_dump(mode="json"), "card.") | flat(_settings(config)))
        for one in cards:
            run.metrics(one.metrics())
        for domain, figure in figures.items():
            run.figure(figure, plot_name(domain))
        run.page(page, "card.md")
    tracker.close_cycle(name)
