from p4g_tables import p4g, p4g_rows

from engage.corpora import READERS, report


def test_a_participant_without_a_dialogue_is_counted_as_left_out(tmp_path):
    people = [(dialogue, f"{dialogue}u1", 1, 0.5, 30, "Male") for dialogue in ("d1", "d2", "d3")]
    corpus = READERS["p4g"](p4g(tmp_path, p4g_rows("d2"), people))
    assert corpus.dropped == {"a participant without a dialogue": ("full_info.csv d1", "full_info.csv d3")}
    assert "left out, 2: a participant without a dialogue" in report(corpus)
