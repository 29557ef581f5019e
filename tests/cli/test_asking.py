"""`engage sql`: rows as a table, CSV and JSON; statements from files; the lists of queries and tables; notes; rows for pandas."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import own_domain  # noqa: F401  # what a process has imported, data files may name
import pytest
from small_stores import filled, hand_dialogue, hand_tree, support_scenario

import engage.store.database
from engage.errors import QueryError
from engage.scenario import load_scenarios
from engage.store import QUESTIONS, TrajectoryStore, describe, inspections
from engage.store.queries import statement

OWN_FILE = Path(__file__).parents[1] / "fixtures" / "own_scenarios.jsonl"
BAKER = support_scenario("baker")
TREE = hand_tree(BAKER, {"Tell me.": [[1.0], [0.5]]})

pytestmark = pytest.mark.usefixtures("own_home")


@pytest.fixture
def store(own_home):
    """A store with one cycle and the user's own scenarios."""
    return filled(own_home, load_scenarios([str(OWN_FILE)]))


@pytest.fixture
def talks(own_home):
    """A store of two cycles with a search and an evaluation."""
    held = [hand_dialogue(BAKER, 0.25, policy="base"), hand_dialogue(BAKER, 0.75, policy="candidate")]
    return filled(own_home, [BAKER], [TREE], held, ("c1",))


def squeezed(text):
    return " ".join(text.split())


ASKED = "select 'a,b' as name, 0.25 as half, null as nothing union all select 'c', 'nan'::double, null order by name"


@pytest.mark.slow
def test_rows_as_a_table(engage, store):
    code, out, _ = engage("sql", ASKED)
    assert code == 0
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines() if line.startswith("│")]
    assert rows == [["a,b", "0.250", ""], ["c", "nan", ""]]
    assert out.endswith("2 rows\n")


def test_rows_as_csv(engage, store):
    code, out, _ = engage("sql", ASKED, "--format", "csv")
    assert code == 0
    assert list(csv.reader(io.StringIO(out))) == [["name", "half", "nothing"], ["a,b", "0.25", ""], ["c", "nan", ""]]


def test_rows_as_json(engage, store):
    code, out, _ = engage("sql", ASKED, "--format", "json")
    assert code == 0

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    assert json.loads(out, parse_constant=refuse) == [
        {"name": "a,b", "half": 0.25, "nothing": None},
        {"name": "c", "half": None, "nothing": None},
    ]


def test_json_of_lists_structs_and_maps_is_json(engage, store):
    columns = "['nan'::double, 1] as list, {'a': [1 / 0]} as struct, map([date '2026-05-04'], ['inf'::double]) as map"
    code, out, _ = engage("sql", f"select {columns}", "--format", "json")
    assert code == 0 and "NaN" not in out and "Infinity" not in out
    assert json.loads(out) == [{"list": [None, 1], "struct": {"a": [None]}, "map": {"2026-05-04": None}}]


def test_json_loses_no_column_of_a_name_that_is_there_twice(engage, store):
    sql = "select 1 as n, 2 as n"
    code, out, err = engage("sql", sql, "--format", "json")
    assert (code, out, err) == (2, "", "two columns are named 'n': JSON would keep one; rename one with `as`\n")
    assert engage("sql", sql, "--format", "csv")[:2] == (0, "n,n\n1,2\n")


def test_rows_too_wide_for_the_terminal_are_shown_a_line_a_cell(engage, store):
    columns = ", ".join(f"'{'x' * 20}' as column_{index}" for index in range(6))
    code, out, _ = engage("sql", f"select {columns}")
    assert code == 0
    assert f"column_5: {'x' * 20}" in out and out.endswith("1 row\n")


def test_markup_in_a_cell_is_shown_as_it_is(engage, store):
    assert "[red]no[/red]" in engage("sql", "select '[red]no[/red]' as said")[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["drop table cycle"], "the store is read only here: drop is refused, use select"),
        (["delete from cycle"], "delete is refused"),
        (["select 1; select 2"], "write one statement"),
        (["select 'a"], "the statement cannot be read"),
        (["select nothing from cycle"], "the query fails"),
        (["select * from read_csv('/etc/passwd')"], "the query fails"),
        (["--name", "nope"], "there is no query 'nope'; use one of "),
        (["--name", "pairs", "--param", "cycle"], "--param 'cycle': write name=value"),
        (["--show", "nope"], "there is no query 'nope'; use one of "),
        (["--schema", "nope"], "there is no table or view 'nope'; use one of challenge, challenge_batch, cycle, "),
        (["--file", "nope.sql"], "nope.sql: cannot be read: No such file or directory"),
        (["--file", "."], ".: cannot be read: Is a directory"),
        (["--name", "pairs", "--param", "night=1"], "pairs takes no parameter 'night'; it takes cycle"),
        (["--name", "pairs", "--param", "cycle=c9"], "cycle 'c9' is not in the store"),
        (["select 1", "--param", "a=1"], "the statement takes no parameter 'a'; it takes none"),
    ],
)
def test_what_the_store_refuses_is_one_sentence_with_exit_code_2(engage, store, arguments, said):
    code, out, err = engage("sql", *arguments)
    assert (code, out) == (2, "")
    assert said in err and len(err.splitlines()) == 1
    assert store.cycle_ids() == ["c1"]


@pytest.mark.slow
def test_every_named_inspection_can_be_asked_of_a_store_without_trees(engage, store):
    for name in inspections():
        code, _, err = engage("sql", "--name", name)
        assert (code, err) == (0, "")


def test_the_list_has_every_public_query_below_its_question_with_its_parameters(engage):
    code, out, _ = engage("sql", "--list")
    assert code == 0
    assert [line for line in out.splitlines() if len(line.rstrip()) > 80] == []
    listed = squeezed(out)
    places = [listed.index(question) for question in QUESTIONS] + [len(listed)]
    assert places == sorted(places)
    for name, found in inspections().items():
        said = f" {name} {found.grain}"
        if found.question is None:
            assert said not in listed
            continue
        place = QUESTIONS.index(found.question)
        part = listed[places[place] : places[place + 1]]
        assert said in part
        assert all(f"--param {key}=… {meaning}" in part for key, meaning in found.own_parameters.items())


@pytest.mark.slow
def test_a_shown_query_can_be_run_from_a_file(engage, talks, tmp_path):
    code, out, _ = engage("sql", "--show", "reward_by_domain")
    assert (code, out) == (0, statement("inspect", "reward_by_domain"))
    path = tmp_path / "my.sql"
    path.write_text(out)
    by_name = engage("sql", "--name", "reward_by_domain", "--format", "csv")
    assert by_name[1].startswith("domain,trees,simulations") and "emotional_support,1,2,0,0.75" in by_name[1]
    assert engage("sql", "--file", str(path), "--format", "csv") == by_name
    other = engage("sql", "--file", str(path), "--format", "csv", "--param", "cycle=c1")
    assert other == by_name


@pytest.mark.parametrize("arguments", [["-"], ["--file", "-"]])
def test_a_statement_comes_from_standard_input(engage, store, monkeypatch, arguments):
    typed = io.BytesIO(b"select $n::integer + 1 as next -- a comment;\n")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(typed))
    code, out, err = engage("sql", *arguments, "--param", "n=41", "--format", "csv")
    assert (code, out, err) == (0, "next\n42\n", "")


def test_parameters_that_are_not_given_are_null(store):
    assert store.select("select coalesce($a::varchar, 'none'), $b::varchar", {"b": "x"})[1] == [("none", "x")]


def test_the_map_of_the_tables(engage):
    code, out, err = engage("sql", "--schema")
    assert (code, err) == (0, "")
    listed = squeezed(out)
    for one in describe():
        assert f"{one.name} {squeezed(one.meaning)}" in listed
    assert listed.index("Tables") < listed.index("Views") < listed.index("Macros")


def test_the_map_of_one_table(engage):
    code, out, _ = engage("sql", "--schema", "reaction")
    assert code == 0
    assert squeezed(out).startswith("table reaction One row per trajectory: the user's answer to the exit survey.")
    meaning = "value mapped by the domain to 0 (worst) to 1 (best); null where value is null"
    assert f"reward double {meaning}" in squeezed(out)
    rows = list(csv.DictReader(io.StringIO(engage("sql", "--schema", "reaction", "--format", "csv")[1])))
    assert {"column": "reward", "type": "DOUBLE", "meaning": meaning} in rows


def test_lists_structs_and_maps_in_csv_are_json(engage, store):
    columns = "['a', 'b'] as list, {'n': 1 / 0, 'day': date '2026-05-04'} as struct, map(['k'], [1.5::double]) as map, null::integer[] as no"
    code, out, _ = engage("sql", f"select {columns}", "--format", "csv")
    assert code == 0
    (row,) = csv.DictReader(io.StringIO(out))
    assert {name: cell and json.loads(cell) for name, cell in row.items()} == {
        "list": ["a", "b"], "struct": {"n": None, "day": "2026-05-04"}, "map": {"k": 1.5}, "no": "",
    }  # fmt: skip


def test_a_table_shows_the_first_thousand_rows_of_an_endless_answer(engage, store):
    code, out, _ = engage("sql", "select range as n from range(1_000_000_000_000)")
    assert code == 0
    assert out.endswith("1000 rows; there are more, --format csv prints all of them\n")
    assert engage("sql", "select range as n from range(1000)")[1].endswith("\n1000 rows\n")


@pytest.mark.slow
@pytest.mark.parametrize("form", ["csv", "json"])
def test_rows_are_written_while_they_come(store, form):
    # More rows than any memory holds: the reader takes the first lines and closes the pipe.
    sql = "select range as n from range(1_000_000_000_000)"
    command = [sys.executable, "-m", "flows.cli", "sql", sql, "--format", form]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        lines = [process.stdout.readline().strip() for _ in range(3)]
        process.stdout.close()
        assert process.wait(timeout=60) == 1
    assert lines == {"csv": ["n", "0", "1"], "json": ["[", "{", '"n": 0']}[form]


def test_a_mean_over_purposes_says_so_on_standard_error(engage, talks):
    sql = "select domain, avg(reward) as reward from outcome group by domain"
    code, out, err = engage("sql", sql, "--format", "csv")
    assert (code, out) == (0, "domain,reward\nemotional_support,0.625\n")
    assert err == (
        "note: these figures mix rows: outcome holds more than one purpose (evaluation, search); group by it, name one, or use "
        "search_outcome or evaluation_outcome\n"
    )


@pytest.mark.parametrize(
    ("sql", "mixed"),
    [
        ("select avg(reward) from reaction", "reaction holds more than one purpose"),
        ("with a as (select * from outcome) select max(reward) from a", "outcome holds more than one purpose"),
        (
            "select avg(reward) from evaluation_outcome",
            "evaluation_outcome holds more than one policy (base, candidate)",
        ),
        (
            "select avg(reward) from reaction join trajectory using (trajectory_id)",
            "trajectory holds more than one purpose",
        ),
        ("select policy, avg(reward) from evaluation_outcome group by policy", None),
        ("select avg(reward) from search_outcome", None),
        ("select avg(reward) from outcome where purpose = 'search'", None),
        ("select reward from outcome", None),
        ("select count(*) from outcome", None),
        ("select avg(wall_s) from tree", None),
    ],
)
def test_what_is_mixed(talks, sql, mixed):
    note = talks.mixed(sql)
    assert (note is None) if mixed is None else (mixed in note)


def test_cycles_are_not_mixed_unnoticed(tmp_path):
    trees = [TREE, hand_tree(BAKER, {"Hm.": [[0.0]]}, cycle_id="c2")]
    store = filled(tmp_path / "two", [BAKER], trees, [], ("c1", "c2"))
    assert "search_outcome holds more than one cycle_id (c1, c2)" in store.mixed(
        "select avg(reward) from search_outcome"
    )
    latest = "select avg(reward) from search_outcome where cycle_id = (from latest_cycle)"
    assert store.mixed(latest) is None and store.select(latest)[1] == [(0.0,)]


def test_scenarios_that_not_all_policies_talked_in_are_told_of_the_cycle_that_is_read(tmp_path):
    # night-1 compared its policies on other scenarios; night-10 and the latest, night-2, on the same one.
    talks = [("night-1", BAKER, "base"), ("night-1", support_scenario("nurse"), "candidate")]
    talks += [(cycle, BAKER, policy) for cycle in ("night-10", "night-2") for policy in ("base", "candidate")]
    held = [hand_dialogue(scenario, 0.5, cycle_id=cycle, policy=policy) for cycle, scenario, policy in talks]
    cycles = ("night-1", "night-10", "night-2")
    store = filled(tmp_path / "three", [BAKER, support_scenario("nurse")], [], held, cycles)
    sql = "select policy, avg(reward) from evaluation_outcome where simulator = 'held_out' and cycle_id {} group by policy"
    notes = {cycle: store.mixed(sql.format(f"= '{cycle}'")) for cycle in cycles}
    assert (notes["night-10"], notes["night-2"], store.mixed(sql.format("= (from latest_cycle)"))) == (None, None, None)
    for note in (notes["night-1"], store.mixed(sql.format("is not null"))):
        assert note.startswith("note: the policies of cycle night-1 did not all talk in the same scenarios")


def test_rows_for_pandas(talks):
    frame = talks.frame("evaluation_rewards", {"policy": "candidate"})
    assert frame[["policy", "scenario_id", "reward"]].to_dict("records") == [
        {"policy": "candidate", "scenario_id": "baker", "reward": 0.75}
    ]
    with pytest.warns(UserWarning, match="mix rows: outcome holds more than one purpose"):
        assert talks.frame("select avg(reward) as reward from outcome").reward.tolist() == [0.625]
    with pytest.raises(QueryError, match="there is no query 'evaluations'"):
        talks.frame("evaluations")


def test_a_read_that_waits_says_who_has_the_file_and_goes_on(store, monkeypatch):
    monkeypatch.setattr(engage.store.database, "_TELL_AFTER_S", 0.0)
    hold = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print(1, flush=True); sys.stdin.read()"
    holder = subprocess.Popen(
        [sys.executable, "-c", hold, str(store.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout.readline()
    said = []

    def release(sentence):
        said.append(sentence)
        holder.communicate(timeout=30)

    assert TrajectoryStore(store.path, wait_s=30.0, on_wait=release).cycle_ids() == ["c1"]
    assert said == [
        f"{store.path}: the database is open in another program (process {holder.pid}); waiting for up to 30 s, Ctrl-C ends"
    ]


def test_standard_input_that_is_no_text_is_refused(engage, store, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"select '\xff' as a"), encoding="utf-8"))
    assert engage("sql", "-") == (2, "", "standard input: is not UTF-8 text\n")
