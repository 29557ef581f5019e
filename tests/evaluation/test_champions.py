"""Who was champion when, with which gain, and whom a night starts from."""

from datetime import datetime
from pathlib import Path

import pytest
from tiny_models import save_adapter

from engage.evaluation import BASE, policy_label, reigns, start_line, version_before
from engage.store import Challenges, Promotion, State, TrajectoryStore

WHY = "promoted: +0.200 [+0.100, +0.300] on 9 held-out scenarios, evidence 50 of 41 after 2 nights"


def figures(gain: float) -> dict[str, dict[str, float]]:
    return {"all": {"n": 9, "difference": gain, "low": gain - 0.5, "high": gain + 0.5}}


@pytest.fixture
def promoted(tmp_path, tiny_model):
    """The rule has promoted version 1, then a person version 2, which was judged before and after that; version 1 was not."""
    store = TrajectoryStore(tmp_path / "engage.duckdb")
    store.begin_cycle("c1", {})
    challenges = Challenges(store)
    number = challenges.begin("c1", "candidate-1", "/gone", "base", "held-out bare", "g1", ["s1"]).number
    challenges.settle(number, State.OPEN, "not promoted yet")
    challenges.settle(number, State.PROMOTED, WHY, passed=True)
    challenges.record_promotion("1", "/gone", "the rule", WHY, None, "c1", number)
    adapter = save_adapter(str(tiny_model), tmp_path / "adapter")
    label = policy_label("candidate", str(adapter))
    store.add_evaluation("c1", "validation", label, "search", figures(0.9))
    store.add_evaluation("c1", "validation", label, "held-out bare", figures(0.25))
    challenges.record_promotion("2", "adapter", "ada", "users liked it", "1", "c1", None)
    return store, challenges, lambda kept: tmp_path / kept, label


@pytest.mark.slow
def test_a_reign_has_the_gain_of_its_promotion_and_the_one_measured_since(promoted):
    store, challenges, find, label = promoted
    second, first = reigns(challenges, find)
    assert (first.promotion.version, first.gain, first.judged_again) == ("1", "+0.200 [+0.100, +0.300]", None)
    assert first.verdicts == (WHY,) and first.until == second.promotion.promoted_at
    assert (second.promotion.version, second.until, second.judged_again) == ("2", None, None)
    assert second.gain == "+0.250 [-0.250, +0.750]"  # of the held-out simulator, not of the search's
    store.add_evaluation("c1", "validation", label, "held-out bare", figures(0.0))
    again = reigns(challenges, find)[0].judged_again
    assert (again.value, again.low, again.high) == (0.0, -0.5, 0.5)


@pytest.mark.slow
def test_a_night_says_whom_it_starts_from(promoted):
    _, challenges, find, _ = promoted
    found = reigns(challenges, find)
    day = f"{found[0].promotion.promoted_at:%Y-%m-%d}"
    assert start_line(found, "1", "embedded", None) == (
        f"version 1, promoted on {day} with +0.200 [+0.100, +0.300]; base embedded"
    )
    assert start_line(found, "2", "embedded", None) == (
        f"version 2, promoted on {day} by ada with +0.250 [-0.250, +0.750]; base embedded"
    )
    assert start_line(found, "3", "m", None) == "version 3; base m"
    assert start_line(found, None, "m", "bare") == "the base model m"
    assert start_line(found, None, "m", "embedded") == "the base model m with the adapter embedded"


@pytest.mark.parametrize(
    ("history", "champion", "before"),
    [
        ("1", "1", BASE),
        ("1 2", "2", "1"),
        ("1 2 3", "3", "2"),
        ("1 2 3 2", "2", "1"),  # gone back once
        ("1 2 3 2 1", "1", BASE),
        ("1 2 base 3", "3", BASE),
        ("1 2 1 3", "3", "1"),
        ("1 2", "7", "2"),  # the alias was set in MLflow's UI
    ],
)
def test_the_version_before_is_the_one_that_a_step_back_leads_to(history, champion, before):
    made = [Promotion(datetime(2026, 11, 20), v, f"/{v}", None, None, "ada", "x", None) for v in history.split()]
    found = version_before(made, champion)
    assert (found.version if found else BASE) == before
    assert found is None or Path(found.adapter) == Path(f"/{before}")
