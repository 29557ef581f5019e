"""Where charts put their points, on numbers that can be checked by hand."""

import pytest

from engage.pages.charts import Bounded, forest, line_chart, ticks


@pytest.mark.parametrize(
    ("low", "high", "found"),
    [
        (0.0, 1.0, [0.0, 0.25, 0.5, 0.75, 1.0]),
        (-0.05, 0.32, [-0.1, 0.0, 0.1, 0.2, 0.3, 0.4]),
        (0.0, 0.0, [0.0, 0.25]),
        (3.0, 3.0, [3.0, 4.0]),
        (120.0, 480.0, [100.0, 200.0, 300.0, 400.0, 500.0]),
    ],
)
def test_ticks_are_round_and_hold_everything(low, high, found):
    assert ticks(low, high) == found


def test_a_forest_plot_has_0_in_the_middle_and_holds_every_interval():
    plot = forest([Bounded(0.1, -0.1, 0.5), Bounded(-0.25), Bounded(0.0, 0.0, 0.0)])
    assert (plot.zero, plot.high) == (50.0, pytest.approx(0.54))
    first, second, third = plot.marks
    # 0.54 is the axis's end: 0.1 lies at 50 + 50 · 0.1/0.54
    assert (first.at, first.low, first.high) == (59.26, 40.74, 96.3)
    assert (second.at, second.low, second.high) == (26.85, None, None)
    assert (third.at, third.low) == (50.0, 50.0)


def test_a_line_goes_from_the_left_to_the_right_and_up():
    chart = line_chart(
        {"a": [(0.0, Bounded(0.0)), (2.0, Bounded(1.0, 0.5, 1.0))], "none": []}, {0.0: "first", 2.0: "last"}
    )
    (line,) = chart.lines
    assert line.path == "46,176 330,8"  # within the room for labels: x 46 to 330, y 176 (0) to 8 (1)
    assert (line.points[1].low, line.points[1].high) == (92.0, 8.0)
    assert [(tick.at, tick.label) for tick in chart.x_ticks] == [(46.0, "first"), (330.0, "last")]
    assert [tick.label for tick in chart.y_ticks] == ["0", "0.25", "0.5", "0.75", "1"]
    assert chart.zero is None  # 0 is the lowest tick, which has its own line


def test_a_chart_without_a_point_is_none_and_one_point_is_in_the_middle():
    assert line_chart({"a": []}, {}) is None
    assert line_chart({"a": [(3.0, Bounded(0.5))]}, {3.0: "3"}).lines[0].points[0].x == 188.0


def test_at_most_six_places_are_named():
    chart = line_chart({"a": [(float(x), Bounded(x)) for x in range(30)]}, {float(x): str(x) for x in range(30)})
    assert [tick.label for tick in chart.x_ticks] == ["0", "5", "10", "15", "20", "25"]
