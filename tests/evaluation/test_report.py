from dataclasses import replace

import pytest

from engage.evaluation import DomainReport, Verdict, report
from engage.stats import Comparison

BETTER = Comparison(
    n=40,
    n_unreadable=3,
    mean_base=0.5,
    mean_candidate=0.6,
    difference=0.1,
    low=0.02,
    high=0.18,
    confidence=0.95,
    relative=0.2,
    win_rate=0.65,
    p_value=0.01,
)
NOTHING = Comparison(
    n=1,
    n_unreadable=0,
    mean_base=None,
    mean_candidate=None,
    difference=None,
    low=None,
    high=None,
    confidence=0.95,
    relative=None,
    win_rate=None,
    p_value=None,
)


def test_the_whole_page():
    support = DomainReport(
        "emotional_support",
        {"held-out": BETTER},
        text_base={"mean_words": 12.0, "flaw_rate": 0.25},
        text_candidate={"mean_words": 15.5, "flaw_rate": 0.2},
        hacking_base={"false_identity": 0.0},
        hacking_candidate={"false_identity": 0.015},
    )
    page = report(
        "Night 1",
        Verdict(True, "promoted: better on the held-out simulator"),
        [support],
        {"accepted": 20, "gap": 7, "role_leak": 1},
    )
    assert page == (
        "# Night 1\n\n"
        "**Promoted: better on the held-out simulator.**\n\n"
        "## emotional_support\n\n"
        "| | champion | candidate | difference |\n"
        "|---|---:|---:|---:|\n"
        "| reward, held-out simulator | 0.500 | 0.600 | +0.100 [+0.020, +0.180] |\n"
        "| words per reply | 12.0 | 15.5 | +3.5 |\n"
        "| distinct words | – | – | – |\n"
        "| distinct word pairs | – | – | – |\n"
        "| replies that repeat an earlier one | – | – | – |\n"
        "| flawed replies | 25.0% | 20.0% | -5.0% |\n"
        "| replies with false identity | 0.0% | 1.5% | +1.5% |\n\n"
        "Held-out simulator: the candidate is better at 95.00% confidence; reward +0.100 (+20.0%), "
        "it wins 65% of 40 scenarios; 3 dialogue pairs had no readable survey answer.\n\n"
        "## Pairs\n\n"
        "| | pairs |\n|---|---:|\n| accepted | 20 |\n| gap | 7 |\n| role leak | 1 |\n"
    )


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.01, 0.1, "is better"),
        (-0.1, -0.01, "is worse"),
        (-0.1, 0.1, "is not significantly different"),
        (0.0, 0.1, "is not"),
    ],
)
def test_the_interval_decides_what_is_said(low, high, said):
    page = report("T", None, [DomainReport("d", {"training": replace(BETTER, low=low, high=high)})], {})
    assert f"Training simulator: the candidate {said}" in page


def test_what_could_not_be_compared_is_said_and_shown_as_dashes():
    page = report("T", None, [DomainReport("d", {"training": NOTHING})], {})
    assert "| reward, training simulator | – | – | – |" in page
    assert "Training simulator: only 1 scenarios could be compared, too few for a result." in page
    assert "None" not in page and "nan" not in page


def test_a_check_that_only_one_side_has_is_shown():
    page = report("T", None, [DomainReport("d", {}, hacking_candidate={"promise": 0.1})], {})
    assert "| replies with promise | – | 10.0% | – |" in page


def test_a_base_of_zero_has_no_relative_gain():
    page = report("T", None, [DomainReport("d", {"training": replace(BETTER, relative=None)})], {})
    assert "reward +0.100, it wins" in page


def test_without_a_candidate_and_pairs_the_page_says_so():
    assert report("T", None, [], {}) == "# T\n\nNo candidate was judged.\n\n## Pairs\n\nNo pair was built.\n"


def test_what_the_candidate_is_compared_with_heads_the_table():
    assert "| | base model | candidate |" in report("T", None, [DomainReport("d", {})], {}, base_name="base model")
