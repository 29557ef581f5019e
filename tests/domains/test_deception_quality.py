"""What the deception rules and the deception check find in replies that a language model labelled, recomputed: fixtures/README.md tells it."""

import re
from collections import Counter

import pytest
from deception_measured import (
    POPULATION,
    ROWS,
    UNSEEN,
    caught,
    deceives,
    kappa,
    matched,
    precision,
    read_replies,
    recall,
    replies_of,
    tables,
    unseen_table,
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


def test_no_two_sets_share_a_reply():
    sets = [
        {" ".join(reply["reply"].lower().split()) for reply in read_replies(name)}
        for name in ("labelled", "lives", "fresh", "second", "unseen")
    ]
    assert [len(one) for one in sets] == [100, 140, 501, 431, 369]
    assert len(set().union(*sets)) == 1_541


def test_the_unseen_replies_are_of_other_scenarios_than_those_that_were_drawn_with_them():
    assert not {(r["source"], r["dialogue"]) for r in read_replies("unseen")} & {
        (r["source"], r["dialogue"]) for r in read_replies("second")
    }


def test_with_the_check_most_of_what_deceives_in_unseen_replies_is_dropped():
    unseen = read_replies("unseen")
    there = [reply for reply in unseen if deceives(reply)]
    found = [reply for reply in unseen if caught(reply)]
    # measured when they were drawn: rules 9 of 35, with the check 24 of 35, and 30 honest replies with them
    assert len(there) == 35 and sum(map(matched, there)) >= 9
    assert sum(map(deceives, found)) >= 22 and len(found) <= 60


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

    told = without_intervals(UNSEEN.with_name("README.md").read_text(encoding="utf-8"))
    assert all(line in told for line in without_intervals(tables() + "\n" + unseen_table()))


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
