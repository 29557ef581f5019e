"""The card as a Markdown page, and as a few lines for the terminal. Numbers that do not exist are a dash."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from engage.domains import Domain, load_domain
from engage.experiments.simulator_card.asking import EARLY
from engage.experiments.simulator_card.card import SimulatorFigures
from engage.pages import DASH, escaped, estimate, page, spaced, table
from engage.stats import CONFIDENCE, Estimate

Row = tuple[str, str, str | None, str]
"""Label, name of the simulator's figure, name of the people's figure (None: there is none), number format."""

_SHARE, _NUMBER, _COUNT = "{:.1%}", "{:.2f}", "{:,.0f}"
_LIKELIHOOD: tuple[Row, ...] = (
    ("perplexity of a token", "perplexity", None, _NUMBER),
    ("divided by that of `bare`", "perplexity_to_bare", None, _NUMBER),
)
_SURVEY: tuple[Row, ...] = (
    ("mean answer", "survey_predicted", "survey_actual", _NUMBER),
    ("answer − real outcome", "survey_bias", None, "{:+.2f}"),
    ("Spearman with the real outcome", "survey_spearman", None, _NUMBER),
    ("Spearman of a model on the user's words alone", "survey_words_spearman", None, _NUMBER),
)


def _outcome_rows(domain: Domain) -> tuple[Row, ...]:
    rows: list[Row] = []
    for name, (words, _) in domain.outcomes.items():
        rows.append((f"AUC: {words}", f"survey_auc_{name}", None, _NUMBER))
        if domain.largest_sum is not None:
            rows.append(("AUC of the amount stated", f"survey_stated_auc_{name}", None, _NUMBER))
            rows.append(("difference of the two", f"survey_auc_gain_{name}", None, "{:+.2f}"))
        rows.append(("AUC of a model on the user's words alone", f"survey_words_auc_{name}", None, _NUMBER))
    if domain.largest_sum is not None:
        rows.append(("dialogues with an amount stated", "survey_stated", None, _SHARE))
    return tuple(rows)


def _early_rows(domain: Domain, card: SimulatorFigures) -> tuple[Row, ...]:
    rows: list[Row] = []
    for exchanges in EARLY:
        at = f"after {exchanges} exchanges: "
        rows.append((f"{at}Spearman with the real outcome", f"early_{exchanges}_spearman", None, _NUMBER))
        for name, (words, _) in domain.outcomes.items():
            rows.append((f"{at}AUC: {words}", f"early_{exchanges}_auc_{name}", None, _NUMBER))
    return tuple(row for row in rows if row[1] in card.figures)


_TURNS: tuple[Row, ...] = (
    ("words", "turns_simulated_words", "turns_human_words", "{:.1f}"),
    ("turns with a question", "turns_simulated_questions", "turns_human_questions", _SHARE),
    ("cooperative turns", "turns_simulated_cooperative", "turns_human_cooperative", _SHARE),
    ("turns after a question that answer it", "turns_simulated_answers", "turns_human_answers", _SHARE),
    ("turns of frustration", "turns_simulated_frustrated", "turns_human_frustrated", _SHARE),
    ("dialogues with such a turn", "turns_simulated_frustrated_dialogues", "turns_human_frustrated_dialogues", _SHARE),
    ("lexical gap to people, bits", "turns_simulated_lexical_gap", "turns_human_lexical_gap", "{:.3f}"),
    ("different words (type-token ratio)", "turns_simulated_distinct_1", "turns_human_distinct_1", "{:.3f}"),
    ("different word pairs (distinct-2)", "turns_simulated_distinct_2", "turns_human_distinct_2", "{:.3f}"),
    ("distinguished from people by words, AUC", "turns_told_apart_words", None, _NUMBER),
    ("distinguished from people by characters, AUC", "turns_told_apart_characters", None, _NUMBER),
    ("role flips", "turns_simulated_role_flips", "turns_human_role_flips", _SHARE),
    ("other flaws", "turns_simulated_other_flaws", "turns_human_other_flaws", _SHARE),
)
_READERS: tuple[Row, ...] = (
    ("sampled answers that `pattern` cannot read", "readers_unreadable", None, _SHARE),
    ("bias: `pattern` − `expected`", "readers_pattern_bias", None, "{:+.3f}"),
    ("variance of `pattern` within a dialogue", "readers_pattern_noise", None, "{:.3f}"),
    ("mean square of `pattern` − `expected`", "readers_pattern_distance", None, "{:.3f}"),
    ("Spearman with the outcome, `expected`", "readers_spearman_expected", None, _NUMBER),
    ("Spearman with the outcome, one answer by `pattern`", "readers_spearman_pattern", None, _NUMBER),
    ("difference of the two", "readers_spearman_gain", None, "{:+.2f}"),
)
_COST: tuple[Row, ...] = tuple(
    (f"{words} a dialogue, `{reader}`", f"cost_{reader}_{name}", None, shape)
    for name, words, shape in (
        ("calls", "calls in", "{:.1f}"),
        ("prompt_tokens", "prompt tokens of", _COUNT),
        ("reused_tokens", "prompt tokens reused in", _COUNT),
        ("completion_tokens", "tokens generated in", "{:.1f}"),
        ("seconds", "seconds for", "{:.2f}"),
    )
    for reader in ("expected", "pattern")
)


@dataclass(frozen=True)
class Heading:
    """The top of the page: title lines by name, and remarks of one sentence each."""

    lines: Mapping[str, str]
    remarks: Sequence[str] = field(default_factory=tuple)


def plot_name(domain: str) -> str:
    """File name of a domain's reliability plot, without its ending."""
    return f"reliability_{domain.replace(':', '_')}"


def card_page(heading: Heading, cards: Sequence[SimulatorFigures]) -> str:
    """The whole page; its plots are in the same folder under `plot_name`."""
    parts = ["# Simulator card", "\n".join(f"- {name}: {value}" for name, value in heading.lines.items())]
    parts.append(
        f"In brackets: {CONFIDENCE:.0%} interval, resampling dialogues. A dash: the number does not exist. "
        "A missing interval: too few dialogues. The rules for crises, deception and flaws work on English only."
    )
    parts += list(heading.remarks)
    for domain in dict.fromkeys(card.domain for card in cards):
        parts += _domain([card for card in cards if card.domain == domain])
    return page(parts)


def _domain(cards: Sequence[SimulatorFigures]) -> list[str]:
    domain, count = cards[0].domain, cards[0].dialogues
    what = load_domain(domain)
    name, readers = what.user_name, [f"{card.simulator}: {card.reader_verdict}" for card in cards]
    early = _early_rows(what, cards[0])
    return [
        f"## {spaced(domain)} ({count} dialogues)",
        f"### What the {name} really said",
        _table(_LIKELIHOOD, cards),
        f"### Exit survey ({what.survey_unit})",
        _table((*_SURVEY, *_outcome_rows(what)), cards),
        "\n".join(f"- {card.simulator}: {_believed(card)}" for card in cards),
        f"![Predicted against real outcomes]({plot_name(domain)}.png)",
        *([_STATED.format(most=what.largest_sum)] if what.largest_sum is not None else []),
        *([_BY_WORDS] if "survey_words_spearman" in cards[0].figures else []),
        *(["### The survey asked early", _table(early, cards), _EARLY] if early else []),
        f"### What the {name} says next, at the same places",
        _table(_TURNS, cards, "people"),
        _MANNER,
        _TOLD,
        "### Readers of the exit survey",
        _table((*_READERS, *_COST), cards),
        _COSTS,
        "\n".join(f"- {sentence}" for sentence in readers),
        "### Some turns",
        *(_examples(card) for card in cards),
    ]


def _believed(card: SimulatorFigures) -> str:
    """The meaning of the survey's rank correlation in words, also compared with the stated amount."""
    correlation = card.figures.get("survey_spearman", Estimate())
    if correlation.low is None or correlation.high is None:
        return "too few outcomes to say whether its answers predict them."
    words = "its answers rank the real outcomes better than chance"
    if correlation.high < 0:
        words = "its answers rank the real outcomes in the wrong order"
    elif correlation.low <= 0:
        words = "whether its answers predict the real outcomes is not known"
    gains = [one for name, one in card.figures.items() if name.startswith("survey_auc_gain_") and one.low is not None]
    if not gains:
        return f"{words}."
    ahead, behind = (all((one.low or 0) > 0 for one in gains), any((one.high or 0) < 0 for one in gains))
    return f"{words}; {'better than' if ahead else 'worse than' if behind else 'not significantly different from'} the amount stated."


_STATED = (
    "The amount stated is the last amount of at most ${most:g} that a regular expression matches in the user's turns, 0 if there is none. "
    "A simulator that ranks no better than this has understood no more than the amount."
)
_BY_WORDS = (
    "By words alone: a ridge regression on the words and word pairs of the user's turns (and on the last sum named, if the survey asks for dollars), "
    "fitted to the outcomes of the corpus's train split. If it ranks better than a simulator, the simulator misses information in the "
    "words. If it ranks poorly, the words contain little information, or there are too few outcomes to learn from."
)
_EARLY = (
    "The same survey, asked of dialogues that are cut off; exchanges are counted after the opening, as `dialogue.max_exchanges` counts them. "
    "A simulated dialogue ends there: if the survey cannot tell the outcomes so early, let dialogues be longer."
)
_MANNER = """\
- Words: the mean number of words in a turn.
- Cooperative: the turn answers the question before it, agrees, or says something of the user unasked. Turns that decline or evade are not.
- Frustration: the turn has words of annoyance with the conversation, or declines ("no thanks", "I won't donate", "stop asking").
- Lexical gap: Jensen–Shannon divergence between the word frequencies of people in one half of the dialogues and the other half's turns, mean of 10
  halvings; 0: the same words as often, 1: no word in common. The column for people is the floor: people against other people.
- Different words: among each side's first n words, with n those of the side with fewer words, because the share falls with n.

Cooperation and frustration are rules on words (`engage/experiments/simulator_card/manner.py`), the same for both sides: compare the columns."""
_TOLD = (
    "Distinguished from people: AUC of a classifier trained on other dialogues; 0.5: simulated and human turns look alike, 1: they are "
    "always distinguished. By words: lower-case words and punctuation marks; by characters: triples with their case, so that typing "
    "habits count. Flaws are those of first draws, by rules on the text; the rate on people's own turns is the rules' false alarm rate. "
    "A simulated turn is cut at the configured token limit, a real one is not. Whether errors of its users helped or hindered the assistant "
    "shows after a night: `engage sql --name simulator_errors`."
)
_COSTS = (
    "`pattern` samples all its answers to a dialogue in one request; tokens generated and variance cover all of them. Seconds are "
    "the time of a round over all dialogues, divided by their number. `expected` ran first, so part of the cached prompt tokens of "
    "`pattern` were computed by it."
)


def _table(rows: Sequence[Row], cards: Sequence[SimulatorFigures], people: str | None = None) -> str:
    shows_people = people or any(row[2] for row in rows)
    names = [*(["people"] if shows_people else []), *(card.simulator for card in cards)]
    cells = []
    for label, key, human, shape in rows:
        of_people = [estimate(cards[0].figures.get(human), shape) if human else ""] if shows_people else []
        cells.append([label, *of_people, *(estimate(card.figures.get(key), shape) for card in cards)])
    return table(["", *names], cells)


def _examples(card: SimulatorFigures) -> str:
    if not card.examples:
        return f"No turn of {card.simulator}."
    rows = [
        [escaped(one.before), escaped(one.human), escaped(one.simulated), one.simulated_flaw or ""]
        for one in card.examples
    ]
    return table(["they answer", "a person", card.simulator, "flaw"], rows, words=4)


def card_summary(cards: Sequence[SimulatorFigures]) -> str:
    """A few lines per simulator and domain."""
    return "\n".join(line for card in cards for line in _summary(card))


def _summary(card: SimulatorFigures) -> list[str]:
    def figure(name: str, shape: str = _NUMBER) -> str:
        return estimate(card.figures.get(name), shape)

    lines = [
        f"{card.domain}, {card.simulator}, {card.dialogues} dialogues:",
        f"  perplexity of real user turns {figure('perplexity')}; divided by that of bare {figure('perplexity_to_bare')}",
        f"  survey against real outcomes: Spearman {figure('survey_spearman')}; {_believed(card)}",
    ]
    for label, key, _, _ in _outcome_rows(load_domain(card.domain)):
        if key.startswith("survey_auc_") and "gain" not in key:
            stated = figure(key.replace("survey_auc_", "survey_stated_auc_"))
            lines.append(f"  {label} {figure(key)}" + (f"; of the amount stated {stated}" if stated != DASH else ""))
    lines += [f"  {label} {figure(key)}" for label, key, _, _ in _early_rows(load_domain(card.domain), card)]
    return [
        *lines,
        f"  turns distinguished from people's by words, AUC {figure('turns_told_apart_words')}; role flips "
        f"{figure('turns_simulated_role_flips', _SHARE)}; unreadable answers {figure('readers_unreadable', _SHARE)}",
        f"  {card.reader_verdict}",
    ]
