from engage.pages import DASH, bounded, difference, escaped, estimate, number, sentence, signed, spaced, table
from engage.stats import Estimate, paired_comparison


def test_a_number_is_written_in_its_format_and_a_missing_one_is_a_dash():
    assert (number(0.25), number(0.25, "{:.1%}"), number(None)) == ("0.250", "25.0%", DASH)
    assert (signed(0.5), signed(-0.031, "{:.1%}"), signed(None)) == ("+0.500", "-3.1%", DASH)


def test_an_interval_stands_behind_its_number():
    assert bounded(0.5, 0.25, 0.75) == "0.500 [0.250, 0.750]"
    assert estimate(Estimate(0.5, 0.4, 0.6, 9), "{:.0%}") == "50% [40%, 60%]"
    assert (estimate(Estimate(0.5, n=1)), estimate(Estimate()), estimate(None)) == ("0.500", DASH, DASH)


def test_a_difference_without_an_interval_says_nothing():
    # one scenario has a difference of 0.5, and no interval
    assert difference(paired_comparison({"a": 0.25}, {"a": 0.75})) == DASH
    assert difference(paired_comparison({"a": 0.25, "b": 0.0}, {"a": 0.75, "b": 0.5})) == "+0.500 [+0.500, +0.500]"


def test_a_tables_first_columns_are_words():
    assert table(["", "n"], [["all", "3"]]) == "| | n |\n|---|---:|\n| all | 3 |"
    assert table(["a", "b", "n"], [], words=2) == "| a | b | n |\n|---|---|---:|"


def test_what_was_said_cannot_break_a_table():
    assert escaped("a|b \\ <i>") == "a\\|b \\\\ &lt;i>"
    assert (spaced("false_identity"), sentence("so it is"), sentence("So.")) == ("false identity", "So it is.", "So.")
