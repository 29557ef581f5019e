import io

import pytest

from engage.evaluation import gains, q_gap_histogram, reliability, reward_by_turn
from engage.experiments import stated_against_fresh
from engage.experiments.calibration import Bin
from engage.stats import paired_comparison

COMPARISONS = {
    "emotional_support": paired_comparison({"a": 0.25, "b": 0.5, "c": 0.5}, {"a": 0.5, "b": 0.5, "c": 0.75}),
    "persuasion": paired_comparison({"a": 0.5}, {"a": 0.25}),
}


def png_of(figure: object) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")  # type: ignore[attr-defined]
    return buffer.getvalue()


def test_histogram_counts_pairs_on_both_sides_of_the_threshold() -> None:
    axes = q_gap_histogram([0.05, 0.1, 0.2, 0.3], threshold=0.1).axes[0]
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["below (1)", "at or above (3)", "threshold 0.1"]
    assert "reward" in axes.get_xlabel()


def test_gains_are_points_and_intervals_around_a_line_at_zero() -> None:
    figure = gains({"search": COMPARISONS, "held-out bare": {"all": COMPARISONS["emotional_support"]}}, "base")
    axes = figure.axes[0]
    points = {
        (round(float(x), 3), y) for line in axes.lines if len(line.get_xdata()) == 1 for x, y in line.get_xydata()
    }
    # emotional support 0.25, 0 and 0.25 over three scenarios; persuasion -0.25 in one; each simulator's name has a row of its own
    assert points == {(0.167, 1), (-0.25, 2), (0.167, 4)}
    assert [text.get_text() for text in axes.get_yticklabels()] == [
        "search simulator",
        "emotional support (3)",
        "persuasion (1)",
        "held-out bare simulator",
        "all scenarios (3)",
    ]
    low, high = axes.get_xlim()
    assert low == -high and high > 0.25
    assert next(list(line.get_xdata()) for line in axes.lines) == [0, 0]
    assert axes.get_title().startswith("Gain of the candidate over the base")


def test_value_by_turn_draws_the_means() -> None:
    axes = reward_by_turn({"persuasion": {0: [0.2, 0.4], 1: [0.5], 2: []}}).axes[0]
    assert list(axes.lines[0].get_xdata()) == [1, 2]  # the first exchange is number 1
    assert list(axes.lines[0].get_ydata()) == pytest.approx([0.3, 0.5])


@pytest.mark.parametrize("figure", [q_gap_histogram([], 0.1), gains({}), reward_by_turn({})])
def test_nothing_to_show_is_said_in_the_figure(figure: object) -> None:
    assert figure.axes[0].texts[0].get_text()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "figure", [q_gap_histogram([0.0, 0.2], 0.1), gains({"search": COMPARISONS}), reward_by_turn({"a": {0: [0.5]}})]
)
def test_figures_render_without_a_display(figure: object) -> None:
    assert png_of(figure).startswith(b"\x89PNG")


def test_reliability_draws_the_bins_of_every_simulator_and_the_diagonal() -> None:
    axes = reliability({"embedded": [(0.5, 0.25, 0.0, 0.5), (1.0, 0.75, None, None)], "bare": []}, "dollars").axes[0]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["as predicted", "embedded"]
    assert list(axes.containers[0].lines[0].get_ydata()) == [0.25, 0.75]
    assert png_of(axes.figure).startswith(b"\x89PNG")
    assert reliability({"bare": []}, "dollars").axes[0].texts[0].get_text() == "too few dialogues"


def test_names_are_never_set_as_mathematics() -> None:
    odd, bins = r"$\nothing$", [(0.5, 0.25, 0.0, 0.5), (1.0, 0.75, None, None)]
    comparison = COMPARISONS["emotional_support"]
    figures = [
        gains({odd: {odd: comparison}}, odd),
        reward_by_turn({odd: {0: [0.5]}}),
        reliability({odd: bins, "_mine": bins}, odd),
    ]
    for figure in figures:
        assert png_of(figure).startswith(b"\x89PNG")  # mathematics with this command raises
    assert [text.get_text() for text in figures[2].axes[0].get_legend().get_texts()][-1] == " _mine"


def test_stated_p_is_drawn_against_the_share_that_agrees() -> None:
    outcomes = {"sign": 0.5, "posterior": 0.6, "posterior_stated": 0.7}
    axes = stated_against_fresh([Bin(0.6, 0.65, 4, 1.0, 0.62, outcomes)]).axes[0]
    shares = {(round(float(x), 3), round(float(y), 3)) for line in axes.lines for x, y in line.get_xydata()}
    assert {(0.62, 0.5), (0.62, 0.7)} <= shares
    assert [text.get_text() for text in axes.texts] == ["4"]
    assert stated_against_fresh([]).axes[0].texts[0].get_text() == "no pair was re-rolled"
