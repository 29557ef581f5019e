import pytest

from engage.experiments.simulator_card.asking import SaidTwice
from engage.experiments.simulator_card.card import SimulatorFigures
from engage.experiments.simulator_card.page import Heading, card_page, card_summary
from engage.stats import Estimate

FIGURES = {
    "perplexity": Estimate(12.345, 11.0, 14.0, 9),
    "turns_human_words": Estimate(9.0, 8.0, 10.0, 9),
    "turns_simulated_words": Estimate(7.0, n=9),
    "turns_simulated_role_flips": Estimate(0.05, 0.01, 0.125, 9),
    "survey_auc_donated": Estimate(0.61, 0.5, 0.72, 9),
    "survey_stated_auc_donated": Estimate(0.7, 0.6, 0.8, 9),
}
TURN = SaidTwice(3, "I | you", None, "No.", "greeting", "Who?")
CARD = SimulatorFigures("run/adapter", "persuasion", 9, FIGURES, (), "Nothing favours one.", (TURN,))
HEADING = Heading({"model": "tiny"}, ["One was left out."])


def test_numbers_stand_with_their_intervals_and_what_is_missing_is_a_dash():
    page = card_page(HEADING, [CARD])
    assert "| perplexity of a token | 12.35 [11.00, 14.00] |" in page or "12.34 [11.00, 14.00]" in page
    assert "| words | 9.0 [8.0, 10.0] | 7.0 |" in page
    assert "| role flips | – | 5.0% [1.0%, 12.5%] |" in page
    assert "| divided by that of `bare` | – |" in page
    assert "- model: tiny" in page and "One was left out." in page


def test_turns_are_shown_without_breaking_the_table():
    assert "| Who? | I \\| you | No. | greeting |" in card_page(HEADING, [CARD])


def test_simulators_stand_side_by_side_and_domains_below_each_other():
    other = SimulatorFigures("bare", "persuasion", 9, {"perplexity": Estimate(30.0, n=9)})
    support = SimulatorFigures("bare", "emotional_support", 5, {})
    page = card_page(HEADING, [CARD, other, support])
    assert "| | run/adapter | bare |" in page and "[11.00, 14.00] | 30.00 |" in page
    assert page.index("## persuasion (9 dialogues)") < page.index("## emotional support (5 dialogues)")
    assert "AUC: released" in page


def test_the_short_form_names_the_main_figures():
    text = card_summary([CARD])
    assert text.startswith("persuasion, run/adapter, 9 dialogues:")
    assert "AUC: donated anything 0.61 [0.50, 0.72]; of the amount stated 0.70 [0.60, 0.80]" in text
    assert "role flips 5.0% [1.0%, 12.5%]" in text and text.endswith("Nothing favours one.")


@pytest.mark.parametrize(
    ("spearman", "gain", "sentence"),
    [
        (Estimate(0.3, 0.1, 0.5, 9), Estimate(0.2, 0.1, 0.3, 9), "better than chance; better than the amount stated."),
        (
            Estimate(0.3, 0.1, 0.5, 9),
            Estimate(0.0, -0.1, 0.1, 9),
            "better than chance; not significantly different from the amount stated.",
        ),
        (Estimate(-0.3, -0.5, -0.1, 9), Estimate(-0.2, -0.3, -0.1, 9), "in the wrong order; worse than the amount"),
        (Estimate(0.1, -0.1, 0.3, 9), Estimate(), "is not known."),
        (Estimate(0.5, n=2), Estimate(), "too few outcomes"),
    ],
)
def test_what_the_survey_is_worth_is_said_in_words(spearman, gain, sentence):
    figures = {"survey_spearman": spearman, "survey_auc_gain_donated": gain}
    assert sentence in card_page(HEADING, [SimulatorFigures("bare", "persuasion", 9, figures)])


def test_metrics_are_named_by_simulator_and_domain():
    found = CARD.metrics()
    assert found["run_adapter/persuasion/perplexity"] == 12.345
    assert found["run_adapter/persuasion/perplexity_low"] == 11.0
    assert found["run_adapter/persuasion/turns_simulated_words_high"] is None


def test_the_survey_asked_early_has_a_table_of_its_own():
    early = {"early_2_auc_donated": Estimate(0.51, 0.4, 0.6, 9), "early_8_auc_donated": Estimate(0.71, 0.6, 0.8, 9)}
    card = SimulatorFigures("bare", "persuasion", 9, early)
    text = card_page(HEADING, [card])
    assert "| after 2 exchanges: AUC: donated anything | 0.51 [0.40, 0.60] |" in text
    assert "### The survey asked early" in text and "after 4 exchanges" not in text
    assert "after 8 exchanges: AUC: donated anything 0.71 [0.60, 0.80]" in card_summary([card])
    assert "asked early" not in card_page(HEADING, [CARD])
