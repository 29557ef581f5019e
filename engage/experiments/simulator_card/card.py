"""All figures of one simulator in one domain, by the names used on the page and in MLflow."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from engage.corpora import HumanDialogue
from engage.experiments.simulator_card.asking import Answers, SaidTwice, begun_dialogues
from engage.experiments.simulator_card.manner import manner_figures
from engage.experiments.simulator_card.perplexity import Likelihood, perplexity, perplexity_ratio
from engage.experiments.simulator_card.readers import cost_figures, favoured, reader_figures
from engage.experiments.simulator_card.survey import Bin, calibration, outcomes, reliability
from engage.experiments.simulator_card.turns import turn_figures
from engage.stats import Estimate

Likelihoods = Mapping[str, Likelihood]
EXAMPLES = 10


@dataclass(frozen=True)
class SimulatorFigures:
    """One simulator in one domain: figures by name, reliability bins, the verdict on the survey readers, a few example turns."""

    simulator: str
    domain: str
    dialogues: int
    figures: Mapping[str, Estimate]
    bins: Sequence[Bin] = ()
    reader_verdict: str = ""
    examples: Sequence[SaidTwice] = ()
    failed: int = 0

    def metrics(self) -> dict[str, float | None]:
        """`SIMULATOR/DOMAIN/figure`, and its bounds as `…_low` and `…_high`."""
        place = f"{self.simulator.replace('/', '_')}/{self.domain}"
        return {
            f"{place}/{name}{end}": value
            for name, one in self.figures.items()
            for end, value in (("", one.value), ("_low", one.low), ("_high", one.high))
        }


@dataclass(frozen=True)
class Measured:
    """A simulator's answers in one domain; no likelihoods if its weights are on a server or missing."""

    answers: Answers
    likelihoods: Likelihoods = field(default_factory=dict)


def simulator_figures(
    simulator: str,
    dialogues: Sequence[HumanDialogue],
    measured: Measured,
    bare: Likelihoods,
    seed: int = 0,
    from_words: Mapping[str, float] = MappingProxyType({}),
) -> SimulatorFigures:
    """`dialogues` are of one domain; `bare` are the likelihoods of the prompted base model, empty if it is not on the card.

    `from_words` are the outcomes predicted from the user's words alone (`engage.experiments.simulator_card.words`).
    """
    answers = measured.answers
    reading = reader_figures(dialogues, answers, seed)
    groups: dict[str, Mapping[str, Estimate]] = {
        "": {
            "perplexity": perplexity(measured.likelihoods, seed),
            "perplexity_to_bare": perplexity_ratio(measured.likelihoods, bare, seed),
        },
        "survey_": calibration(dialogues, answers.expected, seed, from_words),
        **{
            f"early_{exchanges}_": calibration(begun_dialogues(dialogues, exchanges), read, seed)
            for exchanges, read in answers.early.items()
            if read
        },
        "turns_": {**turn_figures(answers.turns, seed), **manner_figures(answers.turns, seed)},
        "readers_": reading,
        "cost_expected_": cost_figures(answers.expected_cost, len(dialogues)),
        "cost_pattern_": cost_figures(answers.pattern_cost, len(dialogues)),
    }
    return SimulatorFigures(
        simulator,
        dialogues[0].domain,
        len(dialogues),
        {f"{prefix}{name}": one for prefix, figures in groups.items() for name, one in figures.items()},
        reliability(*outcomes(dialogues, answers.expected), seed),
        favoured(reading),
        [place for name in sorted(answers.turns) for place in answers.turns[name][:1]][:EXAMPLES],
        answers.failed,
    )
