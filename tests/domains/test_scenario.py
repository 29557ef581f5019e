import json
from pathlib import Path

import pytest
from own_domain import NAME as OWN_NAME

from engage.config import ScenarioConfig, load_cycle_scenarios
from engage.dialogue import Role
from engage.domains import load_domain
from engage.errors import ScenarioError
from engage.scenario import MAX_LINE_BYTES, load_scenarios, parse_scenario, read_scenarios, sample_scenarios, split_of

GOOD = {
    "id": "a",
    "domain": "emotional_support",
    "user_condition": {
        "person": "a baker",
        "situation": "My dog died.",
        "emotion": "sadness",
        "problem": "bereavement",
        "initial_intensity": 4,
    },
    "opening": [{"role": "user", "text": "My dog died."}],
}
OWN_FILE = Path(__file__).parents[1] / "fixtures" / "own_scenarios.jsonl"


def changed(path="id", value="a", *, remove=False):
    """The good scenario with the value at a dotted path replaced, added or removed."""
    record = json.loads(json.dumps(GOOD))
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    part = record
    for name in parents:
        part = part[name]
    if remove:
        del part[last]
    else:
        part[last] = value
    return json.dumps(record)


def problems_of(tmp_path, content: bytes) -> list[str]:
    """The problems of a file with one good line before the content and one after it."""
    path = tmp_path / "s.jsonl"
    path.write_bytes(changed("id", "before").encode() + b"\n" + content + b"\n" + changed("id", "after").encode())
    loaded = read_scenarios(path)
    assert [scenario.scenario_id for scenario in loaded.scenarios] == ["before", "after"]
    return [problem.removeprefix(f"{path}:") for problem in loaded.problems]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"id": "a"', "2: not JSON at column 11: expecting ',' delimiter"),
        ('["a"]', "2: a scenario is an object, not a list"),
        ("null", "2: a scenario is an object, not a NoneType"),
        (changed("id", remove=True), "2: id: missing"),
        (changed("opening", remove=True), "2: opening: missing"),
        (changed("id", 7), "2: id: must be a non-empty text"),
        (changed("id", ""), "2: id: must be a non-empty text"),
        (changed("id", " "), "2: id: must be a line of 1 to 200 printable characters"),
        (changed("id", "a\nb"), "2: id: must be a line of 1 to 200 printable characters"),
        (changed("id", "a" * 201), "2: id: must be a line of 1 to 200 printable characters"),
        (changed("id", "before"), "2: id: 'before' was used on line 1"),
        (changed("source", 5), "2: source: must be a line of 1 to 200 printable characters"),
        (changed("weather", "fine"), "2: weather: unknown field"),
        (changed("we\nather\ud800", "fine"), "2: 'we\\nather\\ud800': unknown field"),
        (
            changed("domain", "weather"),
            "2: domain: 'weather' is not known; use emotional_support, persuasion or package.module:OBJECT",
        ),
        (
            changed("domain", "no_such_module:X"),
            "2: domain: 'no_such_module:X' would run the code of the Python module 'no_such_module', which a data file may not do by "
            'itself; if you trust it, add --domain-module no_such_module (in a profile scenarios.domain_modules = ["no_such_module"])',
        ),
        (changed("user_condition", "sad"), "2: user_condition: must be a non-empty object"),
        (changed("user_condition.emotion", remove=True), "2: user_condition.emotion: missing"),
        (changed("user_condition.mood", "sad"), "2: user_condition.mood: unknown field"),
        (
            changed("user_condition.initial_intensity", 7),
            "2: user_condition.initial_intensity: input should be less than or equal to 5 (got 7)",
        ),
        (changed("user_condition.initial_intensity", True), "2: user_condition.initial_intensity: true and false are no numbers"),
        (
            changed("user_condition.initial_intensity", "high"),
            "2: user_condition.initial_intensity: input should be a valid integer, "
            "unable to parse string as an integer (got 'high')",
        ),
        (
            changed("user_condition.attitude", "Doubtful"),
            "2: user_condition.attitude: input should be 'hopeful', 'unsure' or 'doubtful' (got 'Doubtful')",
        ),
        (
            changed("user_condition.person", "  "),
            "2: user_condition.person: string should have at least 1 character (got '  ')",
        ),
        (changed("opening", []), "2: opening: must be a non-empty list"),
        (changed("opening.0", "hello"), "2: opening[0].text: missing or empty"),
        (changed("opening.0.text", " "), "2: opening[0].text: missing or empty"),
        (changed("opening.0.name", "Ann"), "2: opening[0].name: unknown field"),
        (changed("opening.0.role", "assistant"), "2: opening[0].role: must be 'user' (got 'assistant')"),
        (
            changed("opening", [{"role": "user", "text": "Hi."}, {"role": "assistant", "text": "Hello."}]),
            "2: opening: must end with the user's turn, because the assistant speaks next",
        ),
        (
            changed("opening", [{"role": "user", "text": "Hi."}, {"role": "user", "text": "You there?"}]),
            "2: opening[1].role: must be 'assistant' (got 'user')",
        ),
        (changed("opening.0.text", "\ud83d"), "2: holds half a character (a lone \\ud800..\\udfff escape); write the whole one"),
        ('{"id": ' + "1" * 5_000 + "}", "2: holds a number that is too long to read"),
        ("[" * 50_000, "2: not JSON that can be read: nested too deeply"),
        ("x" * 100_001, "2: the line has 100001 bytes; at most 100000 are read"),
    ],
)  # fmt: skip
def test_a_malformed_line_gives_one_sentence_with_line_field_and_reason(tmp_path, line, problem):
    assert problems_of(tmp_path, line.encode()) == [problem]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (changed("opening.0.text", "Café").encode("utf-16-le"), "2: not JSON at column 2: expecting property name"),
        ('{"id": "Café"}'.encode("latin-1"), "2: not UTF-8 at byte 11; save the file as UTF-8"),
    ],
)
def test_a_line_in_another_encoding_is_named(tmp_path, content, problem):
    (found,) = problems_of(tmp_path, content)
    assert found.startswith(problem)


def test_a_value_nested_within_reading_is_one_short_sentence(tmp_path):
    line = changed("user_condition.initial_intensity", "DEEP").replace('"DEEP"', "[" * 500 + "]" * 500)
    (found,) = problems_of(tmp_path, line.encode())
    assert found.startswith("2: user_condition.initial_intensity: input should be a valid integer (got [[[")
    assert len(found) < 150


@pytest.mark.slow
def test_the_longest_line_that_is_allowed_is_read(tmp_path):
    path = tmp_path / "s.jsonl"
    line = changed("opening.0.text", "x")
    path.write_text(line + " " * (MAX_LINE_BYTES - len(line)))
    assert path.stat().st_size == MAX_LINE_BYTES
    assert len(read_scenarios(path).scenarios) == 1


@pytest.mark.parametrize("content", [b"", b"\n \n\r\n", b"\xef\xbb\xbf"])
def test_a_file_without_a_scenario_is_refused(tmp_path, content):
    path = tmp_path / "empty.jsonl"
    path.write_bytes(content)
    with pytest.raises(ScenarioError, match=r"empty\.jsonl: holds no scenario; write one JSON object a line"):
        load_scenarios([str(path)])


def test_a_byte_order_mark_windows_line_ends_and_blank_lines_do_not_matter(tmp_path):
    plain, windows = tmp_path / "plain.jsonl", tmp_path / "windows.jsonl"
    lines = [changed("id", "a"), changed("id", "b")]
    plain.write_bytes("\n".join(lines).encode())
    windows.write_bytes(b"\xef\xbb\xbf" + "\r\n\r\n".join(lines).encode() + b"\r\n")
    assert read_scenarios(windows).problems == []
    assert [s.content_hash for s in read_scenarios(windows).scenarios] == [
        s.content_hash for s in read_scenarios(plain).scenarios
    ]


@pytest.mark.parametrize(
    ("name", "reason"), [("none.jsonl", "No such file"), ("", "Is a directory"), ("\0", "embedded null")]
)
def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path, name, reason):
    with pytest.raises(ScenarioError, match=f"cannot be read: {reason}"):
        load_scenarios([str(tmp_path / name)])


@pytest.fixture
def one_in_seven(tmp_path):
    """A file of seven lines; only the last is good."""
    path = tmp_path / "s.jsonl"
    path.write_text("nope\n" * 6 + changed())
    return path


def test_nothing_of_a_file_with_a_bad_line_is_taken_and_the_first_five_are_named(one_in_seven):
    with pytest.raises(ScenarioError) as caught:
        load_scenarios([str(one_in_seven)])
    lines = str(caught.value).splitlines()
    assert [line.split(": ")[0] for line in lines] == [f"{one_in_seven}:{number}" for number in range(1, 6)]
    assert lines[-1].endswith("(and 1 more)")


def test_skipping_takes_the_good_lines_and_lists_all_that_it_left(one_in_seven):
    left = []
    config = ScenarioConfig(sources=(str(one_in_seven),), skip_invalid=True)
    assert [s.scenario_id for s in load_cycle_scenarios(config, left.extend)] == ["a"]
    assert left == [f"{one_in_seven}:{number}: not JSON at column 1: expecting value" for number in range(1, 7)]


def test_a_file_without_one_good_line_is_refused_even_when_bad_lines_may_be_skipped(tmp_path):
    path = tmp_path / "s.jsonl"
    path.write_text("nope\n")
    with pytest.raises(ScenarioError, match="not JSON"):
        load_scenarios([str(path)], skip_invalid=True)


def test_an_id_in_two_files_is_refused(tmp_path):
    for name in ("one.jsonl", "two.jsonl"):
        (tmp_path / name).write_text(changed())
    with pytest.raises(ScenarioError, match="scenario id 'a' is in two of the files"):
        load_scenarios([str(tmp_path / "one.jsonl"), str(tmp_path / "two.jsonl")])


def test_a_scenario_written_and_read_again_is_the_same():
    scenario = parse_scenario(GOOD)
    assert parse_scenario(json.loads(scenario.as_json())) == scenario


def test_id_and_source_are_not_content_and_every_other_field_is():
    def content_hash(line):
        return parse_scenario(json.loads(line)).content_hash

    assert content_hash(changed("id", "z")) == content_hash(changed("source", "me")) == content_hash(changed())
    others = [
        changed("opening.0.text", "My cat died."),
        changed("user_condition.initial_intensity", 3),
        changed("user_condition.difficulty", "terse"),
    ]
    assert len({content_hash(line) for line in [changed(), *others]}) == 4


@pytest.mark.parametrize(
    ("first_digits", "split"),
    # 0x80000000 / 2^32 = 0.5; 0.65 · 2^32 = 0xa6666666.4
    [
        ("00000000", "train"),
        ("7fffffff", "train"),
        ("80000000", "validation"),
        ("a6666666", "validation"),
        ("a6666667", "test"),
        ("ffffffff", "test"),
    ],
)
def test_the_split_is_half_train_then_15_percent_validation_then_test(first_digits, split):
    assert split_of(first_digits + "0" * 56) == split


def test_the_split_of_shipped_scenarios_never_moves():
    splits = {s.scenario_id: s.split for s in load_scenarios(["emotional_support", "persuasion"])}
    pinned = {
        "support-0001": "validation",
        "support-0002": "train",
        "support-0003": "train",
        "support-0120": "train",
        "support-0240": "train",
        "support-0360": "train",
        "persuasion-0001": "train",
        "persuasion-0002": "validation",
        "persuasion-0003": "test",
        "persuasion-0120": "train",
        "persuasion-0240": "train",
        "persuasion-0360": "train",
    }
    assert {scenario_id: splits[scenario_id] for scenario_id in pinned} == pinned


def test_sampling_takes_the_domains_in_turn_and_only_the_split():
    drawn = sample_scenarios(load_scenarios(["emotional_support", "persuasion"]), "validation", 3, seed=1)
    assert [s.domain for s in drawn] == ["emotional_support", "persuasion"] * 3
    assert {s.split for s in drawn} == {"validation"}


def test_sampling_depends_on_the_seed_and_not_on_the_order_of_the_file():
    scenarios = load_scenarios(["persuasion"])

    def drawn(pool, seed):
        return [s.scenario_id for s in sample_scenarios(pool, "train", 10, seed)]

    assert drawn(scenarios, 1) == drawn(scenarios[::-1], 1)
    assert drawn(scenarios, 1) != drawn(scenarios, 2)


def test_few_scenarios_are_of_many_kinds():
    def kinds(count: int) -> list[tuple[str, ...]]:
        drawn = sample_scenarios(load_scenarios(["persuasion"]), "train", count, seed=5)
        return [tuple(load_domain(s.domain).strata(s.user_condition).values()) for s in drawn]

    every = set(kinds(1_000))
    assert len(set(kinds(len(every)))) == len(every)  # one of each before there are two of any
    assert kinds(12) == kinds(40)[:12]  # more scenarios go on from fewer


def test_sampling_more_than_there_are_takes_all():
    scenarios = load_scenarios([str(OWN_FILE)])
    assert len(sample_scenarios(scenarios, "train", 1_000, seed=1)) == sum(s.split == "train" for s in scenarios)


def test_scenarios_of_a_users_own_domain_are_read_under_its_name():
    scenarios = load_scenarios([str(OWN_FILE)])
    assert {s.domain for s in scenarios} == {OWN_NAME}
    assert {s.opening.turns[0].role for s in scenarios} == {Role.USER}
