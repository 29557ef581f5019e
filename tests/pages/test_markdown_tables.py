"""How tables are written in Markdown."""

from engage.pages import escaped, table


def test_a_name_with_a_pipe_or_a_line_end_stays_in_its_cell():
    said = table(["", "runs/a|b"], [["two\nlines", "1"], [escaped("a | <b> \\"), ""]])
    assert said.splitlines() == ["| | runs/a\\|b |", "|---|---:|", "| two lines | 1 |", "| a \\| &lt;b> \\\\ | |"]
