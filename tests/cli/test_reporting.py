"""`engage report` as a user meets it: where the page is written, and one sentence for every mistake."""

import shutil

import pytest
from small_nights import three_nights


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A home with three nights, to copy."""
    home = tmp_path_factory.mktemp("nights")
    three_nights(home)
    return home


@pytest.fixture
def night(made, own_home):
    shutil.copytree(made, own_home)


@pytest.mark.slow
def test_the_page_of_the_latest_night_is_written_beside_its_files(engage, night, own_home):
    code, out, _ = engage("report")
    path = own_home / "cycles" / "n3" / "report.html"
    assert (code, out) == (0, f"written to {path}\n")
    assert "Promoted: +0.167" in path.read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_page_of_a_scenario_is_written_where_it_is_asked_for(engage, night, tmp_path):
    code, _, _ = engage("report", "--cycle", "n2", "--scenario", "s1", "--out", str(tmp_path / "there" / "s1.html"))
    assert code == 0 and "Scenario s1 in cycle n2" in (tmp_path / "there" / "s1.html").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--cycle", "nowhere"], "cycle 'nowhere' is not in the store"),
        (["--scenario", "nobody"], "scenario 'nobody' has no tree in cycle 'n3'; `engage sql --name tree_cost"),
        (["--out", "."], "--out . is a folder; name a file in it"),
        (["--out", "/dev/null/page.html"], "/dev/null/page.html: cannot be written: "),
    ],
)
def test_a_mistake_is_one_sentence(engage, night, words, sentence):
    code, out, err = engage("report", *words)
    assert (code, out) == (2, "") and sentence in " ".join(err.split()) and "Traceback" not in err


def test_before_the_first_cycle_there_is_nothing_to_report(engage, own_home):
    code, _, err = engage("report")
    assert code == 2 and "no cycle has been run yet" in " ".join(err.split())


@pytest.mark.slow
def test_a_scenarios_name_that_is_no_file_name_is_written_all_the_same(engage, own_home):
    from small_stores import filled, hand_tree, support_scenario

    names = ("a/b", "a:b")
    scenarios = [support_scenario(name) for name in names]
    filled(own_home, scenarios, [hand_tree(one, {"Hm.": [[0.5]]}) for one in scenarios])
    for name in names:
        assert engage("report", "--scenario", name)[0] == 0
    assert len(list((own_home / "cycles" / "c1").glob("scenario-a_b-*.html"))) == 2
