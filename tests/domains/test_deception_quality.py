"""What the deception rules find in fresh replies that a language model labelled, recomputed: fixtures/README.md tells it."""

import re
from collections import Counter

import numpy as np
import pytest
from deception_classifier import lowest_threshold
from deception_measured import (
    FRESH,
    POPULATION,
    ROWS,
    deceives,
    kappa,
    precision,
    read_replies,
    recall,
    replies_of,
    tables,
    weighted_share,
)

REPLIES = read_replies()


def test_the_labels_are_a_models_and_two_passes_of_it_agree():
    assert (len(REPLIES), sum(map(deceives, REPLIES))) == (501, 104)
    assert {reply["labelled_by"] for reply in REPLIES} == {"model"}
    assert all(reply["deceives"] == bool(reply["kinds"]) for reply in REPLIES)
    settled = [reply for reply in REPLIES if reply["passes"][0] != reply["passes"][1]]
    assert len(settled) == 8
    assert all(reply["deceives"] == reply["passes"][0] for reply in REPLIES if reply not in settled)
    # 103 deceive in the first pass, 107 in the second, 101 in both; by chance (103 · 107 + 398 · 394) / 501² = 0.6687 would agree
    assert kappa(REPLIES) == pytest.approx((493 / 501 - 0.66865) / (1 - 0.66865), abs=1e-4)


def test_no_earlier_set_has_one_of_the_replies():
    def plain(lines: str) -> set[str]:
        return {" ".join(text.lower().split()) for text in re.findall(r'"reply": "(.*?)", "deceives"', lines)}

    fresh = plain(FRESH.read_text(encoding="utf-8"))
    assert len(fresh) == 501
    for earlier in ("labelled_replies", "life_replies"):
        assert not fresh & plain(FRESH.with_name(f"{earlier}.jsonl").read_text(encoding="utf-8"))


def test_no_more_were_drawn_than_there_are():
    drawn = Counter((reply["source"], reply["domain"], reply["drawn_from"]) for reply in REPLIES)
    there = {(*key, stratum): size for key, strata in POPULATION.items() for stratum, size in strata.items() if size}
    assert drawn.keys() == there.keys()
    assert all(1 < drawn[key] <= there[key] for key in drawn)


def test_precision_and_recall_on_simulated_persuasion():
    simulated = replies_of("all simulated persuasion", REPLIES)
    # missed, by stratum: deceiving of the drawn, times the stratum's size over the drawn
    missed = 11 * 101 / 60 + 8 * 274 / 50 + 7 * 125 / 75 + 1 * 155 / 46
    assert precision(simulated).value == pytest.approx(47 / 53)
    assert recall(simulated).value == pytest.approx(47 / (47 + missed))


def test_the_readme_tells_what_is_measured():
    def without_intervals(text: str) -> list[str]:
        return [re.sub(r" \[[\d., ]+\]", "", line).strip() for line in text.splitlines() if line.strip()]

    told = without_intervals(FRESH.with_name("README.md").read_text(encoding="utf-8"))
    assert all(line in told for line in without_intervals(tables()))


def test_a_drawn_reply_stands_for_its_share_of_the_stratum():
    strata = {"matched": [True, True], "first_person": [True, False, False]}
    replies = [
        {"source": "embedded", "domain": "persuasion", "drawn_from": name, "deceives": label}
        for name, labels in strata.items()
        for label in labels
    ]
    found = weighted_share(replies, deceives, lambda reply: reply["drawn_from"] == "matched")
    assert found.value == pytest.approx(14 / (14 + 101 / 3))
    assert found.low is not None and found.low < found.value < (found.high or 0)
    everyone = weighted_share(replies, deceives, deceives)
    assert (everyone.value, everyone.n) == (1.0, 3) and everyone.low == pytest.approx(0.438, abs=0.001)


@pytest.mark.parametrize("row", ROWS)
def test_every_row_has_replies_of_both_kinds(row):
    assert 0 < sum(map(deceives, replies_of(row, REPLIES))) < len(replies_of(row, REPLIES))


def test_a_threshold_is_the_lowest_with_nine_of_ten_right():
    score = np.linspace(0.05, 1.0, 20)
    nobody, everybody = np.zeros(20, bool), np.ones(20, bool)
    deceiving = score > 0.525  # the ten highest; with the eleventh 10 of 11 are right, with the twelfth 10 of 12
    assert lowest_threshold(score, deceiving, nobody, everybody) == pytest.approx(0.5)
    assert lowest_threshold(score, ~deceiving, nobody, everybody) == np.inf
    assert lowest_threshold(score, deceiving, nobody, score > 0.85) == np.inf  # fewer than five are counted
