"""Whether pairs hold for another user: the figures, by hand."""

import subprocess
import sys

import pytest

from engage.errors import StoreError
from engage.experiments.pair_transfer import SEARCH, Conversation, Transfer, kept_answers, reading, transfer_page
from engage.files.kept import Kept

SAID = tuple(
    Conversation(pair, "persuasion", scenario, side, trajectory, reward)
    for pair, scenario, side, trajectory, reward in (
        ("a", "s1", "chosen", "t1", 0.8),
        ("a", "s1", "chosen", "t2", 0.6),
        ("a", "s1", "rejected", "t3", 0.2),
        ("b", "s1", "chosen", "t2", 0.6),
        ("b", "s1", "rejected", "t3", 0.2),
        ("c", "s2", "chosen", "t4", 0.9),
        ("c", "s2", "rejected", "t5", 0.4),
    )
)
OTHER = {"t1": 0.5, "t2": 0.3, "t3": 0.1, "t4": 0.2, "t5": 0.6}


def test_a_difference_is_that_of_the_means_and_a_pair_counts_once():
    own = reading(SAID, {one.trajectory_id: one.reward for one in SAID})
    assert (own.pairs, own.confirmed.value) == (3, 1.0)
    assert own.difference.value == pytest.approx((0.5 + 0.4 + 0.5) / 3)
    other = reading(SAID, OTHER)  # a: 0.4 - 0.1, b: 0.3 - 0.1, c: 0.2 - 0.6
    assert other.difference.value == pytest.approx((0.3 + 0.2 - 0.4) / 3)
    assert other.confirmed.value == pytest.approx(2 / 3) and other.difference.n == 2
    # two scenarios are resampled: both s2, or both s1
    assert (other.difference.low, other.difference.high) == pytest.approx((-0.4, 0.25))


def test_a_pair_without_a_readable_answer_on_one_side_does_not_count():
    partly = reading(SAID, OTHER | {"t2": None, "t5": None})
    assert partly.pairs == 1 and partly.difference.value == pytest.approx(0.5 - 0.1)
    nothing = reading(SAID, {})
    assert (nothing.pairs, nothing.difference.value, nothing.confirmed.value) == (0, None, None)


def test_lines_page_and_metrics_tell_the_same():
    found = Transfer(SAID, {"held-out bare": OTHER})
    assert found.lines[0].startswith(f"{SEARCH}: chosen − rejected +0.467 [") and found.lines[0].endswith("of 3 pairs")
    assert found.lines[1].startswith("held-out bare: chosen − rejected +0.033 [-0.400, +0.250], above 0 in 0.67 [")
    whole = transfer_page("c1", found)
    assert "# Do the pairs of c1 transfer?" in whole
    assert "| persuasion | held-out bare | 3 | +0.033 [-0.400, +0.250] | 0.67 [" in whole
    metrics = found.metrics()
    assert metrics["transfer/search/difference"] == pytest.approx(1.4 / 3)
    assert metrics["transfer/held-out_bare/confirmed"] == pytest.approx(2 / 3)


def test_a_kept_answer_may_hold_any_character(tmp_path):
    kept = Kept(tmp_path / "answers.jsonl", "name", "reply", "it is asked again")
    said = {"one": "a\u2028b\u0085c\x1dd\n", "two": "plain"}
    kept.add(said)
    assert kept.read() == said


def test_two_commands_that_keep_answers_at_one_time_lose_none(tmp_path):
    each = (
        "import sys\nfrom pathlib import Path\nfrom engage.files.kept import Kept\n"
        "kept = Kept(Path(sys.argv[1]), 'name', 'reply', 'it is asked again')\n"
        "for number in range(50): kept.add({f'{sys.argv[2]}-{number}': number})"
    )
    path = tmp_path / "answers.jsonl"
    running = [subprocess.Popen([sys.executable, "-c", each, str(path), name]) for name in ("a", "b")]
    assert [process.wait() for process in running] == [0, 0]
    assert len(Kept(path, "name", "reply", "it is asked again").read()) == 100


def test_what_is_no_file_of_answers_is_one_sentence(tmp_path):
    kept = Kept(tmp_path, "name", "reply", "it is asked again")
    with pytest.raises(StoreError, match="cannot be read: Is a directory"):
        kept.read()
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"answers\.jsonl: cannot be written: "):
        Kept(tmp_path / "file" / "answers.jsonl", "name", "reply", "it is asked again").add({"a": 1})


def test_a_damaged_file_of_answers_is_named(tmp_path):
    path = tmp_path / "answers.jsonl"
    assert kept_answers(path).read() == {}
    path.write_text('{"trajectory_id": "t1"}\n', encoding="utf-8")
    with pytest.raises(StoreError, match="is damaged; delete it, and the simulator is asked again"):
        kept_answers(path).read()
