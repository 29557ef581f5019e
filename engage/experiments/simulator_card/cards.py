"""Builds a whole card from the measurements: figures of every simulator in every domain, plots, and the page."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engage.corpora import licence_of
from engage.domains import load_domain
from engage.errors import ConfigError
from engage.evaluation import reliability
from engage.experiments.simulator_card.asking import Answers
from engage.experiments.simulator_card.card import Likelihoods, Measured, SimulatorFigures, simulator_figures
from engage.experiments.simulator_card.page import Heading, card_page, card_summary, plot_name
from engage.experiments.simulator_card.plan import CardConfig, HeldOut
from engage.experiments.simulator_card.words import predicted_from_words
from engage.models import BARE
from engage.simulation import SpeechConfig


@dataclass(frozen=True)
class CardPage:
    """The path of a card's page, and its short form."""

    page: Path
    text: str


@dataclass(frozen=True)
class SimulatorCard:
    """The card's figures by simulator and domain, the page in Markdown, its plots by name, and its short form."""

    cards: tuple[SimulatorFigures, ...]
    page: str
    plots: Mapping[str, Any]
    summary: str

    def metrics(self) -> dict[str, float | None]:
        """The figures by MLflow metric name."""
        return {name: value for one in self.cards for name, value in one.metrics().items()}

    def save(self, folder: Path) -> CardPage:
        """Write `card.md` and its plots into the folder; ConfigError if it cannot be written."""
        with writing_into(folder):
            (folder / "card.md").write_text(self.page, encoding="utf-8")
            for name, plot in self.plots.items():
                plot.savefig(folder / f"{name}.png")
        return CardPage(folder / "card.md", self.summary)


@contextmanager
def writing_into(folder: Path) -> Iterator[None]:
    """Make a card's folder; ConfigError if the folder or a file in it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be written ({error.strerror}); name another folder with --out") from error


@dataclass(frozen=True)
class Setting:
    """How a card was made, for its page: the simulator's `model`, its engine's kind, how users speak.

    `openings` counts how often the test split was opened.
    """

    model: str
    engine: str
    speech: SpeechConfig
    openings: int


def make_card(
    config: CardConfig,
    setting: Setting,
    held_out: HeldOut,
    likelihoods: Mapping[str, Mapping[str, Likelihoods]],
    answers: Mapping[str, Mapping[str, Answers]],
) -> SimulatorCard:
    """Build the card; `likelihoods` and `answers` are by simulator, then by domain."""
    cards = []
    for domain, humans in held_out.by_domain.items():
        from_words = predicted_from_words(held_out.train.get(domain, ()), humans)
        bare = likelihoods.get(BARE, {}).get(domain, {})
        for label in answers:
            measured = Measured(answers[label][domain], likelihoods[label].get(domain, {}))
            cards.append(simulator_figures(label, humans, measured, bare, config.seed, from_words))
    plots = {
        plot_name(domain): reliability(
            {
                one.simulator: [(b.predicted, b.actual.value or 0.0, b.actual.low, b.actual.high) for b in one.bins]
                for one in cards
                if one.domain == domain
            },
            load_domain(domain).survey_unit,
        )
        for domain in held_out.by_domain
    }
    page = card_page(_heading(config, setting, held_out, cards), cards)
    return SimulatorCard(tuple(cards), page, plots, card_summary(cards))


def _heading(config: CardConfig, setting: Setting, held_out: HeldOut, cards: Sequence[SimulatorFigures]) -> Heading:
    names, speech = [name.partition(":")[0] for name in config.corpora], setting.speech.user
    lines = {
        "simulators": ", ".join(dict.fromkeys(one.simulator for one in cards)),
        "model": f"{setting.model}, engine {setting.engine}",
        "dialogues of people": f"{', '.join(names)}, {config.split} split, those whose outcome is known; drawn by seed {config.seed}",
        "user turns": f"temperature {speech.temperature:g}, top-p {speech.top_p:g}, {speech.max_tokens} tokens at most",
        "licence of the human turns below": "; ".join(dict.fromkeys(licence_of(name) for name in names)),
    }
    remarks = []
    if config.split == "test":
        remarks.append(
            f"The test split has been opened {setting.openings} time(s) in this home, by comparisons, cards and other experiments."
        )
    if held_out.crises:
        remarks.append(f"{held_out.crises} dialogues were left out because the user speaks of harming themselves.")
    remarks += [
        f"{one.simulator} in {one.domain}: {one.failed} requests failed for good and are missing."
        for one in cards
        if one.failed
    ]
    return Heading(lines, remarks)
