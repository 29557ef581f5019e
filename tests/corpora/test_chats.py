"""A team's own conversations: their layouts, what is left out and why, hostile files, and the command that imports them."""

import io
import json

import pytest

from engage.corpora import CorpusOptions, dialogue_lines, files, read_chats, read_corpus, save_lines, turns_to_show
from engage.errors import ConfigError, CorpusError
from engage.scenario import parse_scenario, read_scenarios

DOMAIN = "emotional_support"
SAID = (
    ("user", "Hi, I'm Maria Lopez and I lost my job at the bakery."),
    ("assistant", "I'm sorry, Maria. What happened?"),
    ("user", "They said I was late."),
    ("assistant", "That sounds hard."),
)
HIDDEN = [
    "Hi, I'm [name 1] and I lost my job at the bakery.",
    "I'm sorry, [name 1]. What happened?",
    "They said I was late.",
    "That sounds hard.",
]


def openai(said=SAID):
    return json.dumps({"messages": [{"role": role, "content": text} for role, text in said]}) + "\n"


def sharegpt(said=SAID):
    names = {"user": "human", "assistant": "gpt"}
    return json.dumps({"conversations": [{"from": names[role], "value": text} for role, text in said]}) + "\n"


def other(number, last="I do not know what to do."):
    return [("user", f"Every evening I sit in the kitchen for {number} hours."), ("assistant", "Why?"), ("user", last)]


def written(tmp_path, text, name="chats.jsonl"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def read(tmp_path, text, name="chats.jsonl", domain=DOMAIN, **given):
    return read_chats(written(tmp_path, text, name), domain, given)


def table(head="conversation_id,created,role,text", mark=","):
    chats = (("b", SAID), ("a", other(3)))
    rows = [f'{key},2026,{role},"{text}"'.replace(",", mark, 3) for key, chat in chats for role, text in chat]
    return "\n".join([head.replace(",", mark), *rows]) + "\n"


CSV = table()


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (openai(), "chats.jsonl"),
        (sharegpt(), "chats.jsonl"),
        (f"[{sharegpt().strip()}]", "chats.json"),
        (CSV, "chats.csv"),
        (table("ID,created,Sender,Text", ";"), "chats.csv"),
        (CSV.replace("\n", "\r"), "chats.csv"),
        (b"\xef\xbb\xbf" + openai().encode(), "chats.jsonl"),
        (("\n\n" + openai()).encode("utf-16"), "chats.jsonl"),
        (openai().replace("\n", "\r\n"), "chats.jsonl"),
        (openai().replace('"content"', '"text"'), "chats.jsonl"),
        (sharegpt().replace('{"conv', '{"messages": [], "conv'), "chats.jsonl"),
    ],
    ids=[
        "openai",
        "sharegpt",
        "json list",
        "csv",
        "semicolons",
        "old Mac",
        "bom",
        "utf-16",
        "crlf",
        "text",
        "empty messages",
    ],
)
def test_every_layout_gives_the_same_conversation(text, name, tmp_path):
    human = read(tmp_path, text, name).corpus.dialogues[0]
    assert [turn.text for turn in human.dialogue.turns] == HIDDEN
    assert json.loads(human.scenario.as_json()) == {
        "id": human.scenario_id,
        "domain": DOMAIN,
        "user_condition": {
            "person": "a person who writes to a helper",
            "situation": "Hi, I'm [name 1] and I lost my job at the bakery. They said I was late.",
            "emotion": "troubled",
            "problem": "what happened",
            "initial_intensity": 3,
        },
        "opening": [{"role": "user", "text": HIDDEN[0]}],
        "source": "own",
    }


def test_rows_of_one_conversation_need_not_stand_together(tmp_path):
    rows = CSV.splitlines()
    mixed = "\n".join([rows[0], rows[1], rows[5], rows[2], rows[6], rows[3], rows[7], rows[4]])
    assert [len(human.dialogue.turns) for human in read(tmp_path, mixed, "chats.csv").corpus.dialogues] == [4, 3]


# the order of messages, and whose they are

DATED = [f"2026-01-01T10:0{minute}:00" for minute in range(4)]
OUT_OF_ORDER = "messages out of order: put into the order of {}"
UNREADABLE = "{} cannot be read as numbers, or as ISO dates of one kind: in the file's order"


def rows_of(order, head="created_at", values=DATED, said=SAID, key="c"):
    """A CSV file with the turns of one conversation in this order, and values in further columns."""
    lines = [f'{key},{said[turn][0]},"{said[turn][1]}",{values[turn]}' for turn in order]
    return "\n".join([f"conversation_id,role,text,{head}", *lines]) + "\n"


def heard(tmp_path, text, name="chats.csv"):
    """The turns of the only conversation, and the remarks on it that speak of an order."""
    corpus = read(tmp_path, text, name).corpus
    (human,) = corpus.dialogues
    return [turn.text for turn in human.dialogue.turns], [r for r in corpus.remarks if "order" in r]


@pytest.mark.parametrize(
    "order", [(3, 2, 1, 0), (0, 2, 1, 3), (1, 3, 0, 2)], ids=["newest first", "swapped", "by role"]
)
@pytest.mark.parametrize(
    ("head", "values"),
    [
        ("created_at", DATED),
        ("Created At", [f"{when.replace('T', ' ')} UTC" for when in DATED]),
        ("timestamp", [f"{when}+02:00" for when in DATED]),
        ("create_time", ["1767261600.5", "1767261601", "1767261601.5", "1767261610"]),
        ("turn", ["8", "9", "10", "11"]),  # as text, 10 would come first
        ("position", ["-1", "0", "1.0", "2"]),
        ("index", ["0", "1", "2", "3"]),
        ("date", DATED),
    ],
)
def test_rows_out_of_order_are_put_into_the_order_that_a_column_states(head, values, order, tmp_path):
    assert heard(tmp_path, rows_of(order, head, values)) == (HIDDEN, [OUT_OF_ORDER.format(head)])
    assert heard(tmp_path, rows_of((0, 1, 2, 3), head, values)) == (HIDDEN, [])


@pytest.mark.parametrize("name", ["created_at", "timestamp", "createdAt", "turn"])
@pytest.mark.parametrize("layout", [openai, sharegpt])
def test_messages_out_of_order_are_put_into_the_order_of_their_field(layout, name, tmp_path):
    record = json.loads(layout())
    (messages,) = record.values()
    for number, message in enumerate(messages):
        message[name] = number if name == "turn" else f"{DATED[number]}Z"
    messages.reverse()
    messages.insert(0, {"role": "system", "content": "Be nice."})  # of no time, and left out
    assert heard(tmp_path, json.dumps(record)) == (HIDDEN, [OUT_OF_ORDER.format(name)])
    messages.reverse()
    assert heard(tmp_path, json.dumps(record)) == (HIDDEN, [])


@pytest.mark.parametrize(
    ("head", "values"),
    [
        ("created_at", ["01/01/2026 10:00", "01/01/2026 10:01", "01/01/2026 10:02", "01/01/2026 10:03"]),
        ("created_at", [*DATED[:3], ""]),
        ("created_at", [*DATED[:3], "3"]),
        ("created_at", [*DATED[:3], f"{DATED[3]}Z"]),  # of another time zone, perhaps
        ("timestamp", ["1.71234E+12"] * 4),  # a spreadsheet rounded them
        ("turn", ["0", "1", "nan", "3"]),
        ("time", ["10:00", "10:01", "10:02", "10:03"]),
    ],
)
def test_an_order_that_cannot_be_read_is_not_followed_and_noted(head, values, tmp_path):
    said, remarks = heard(tmp_path, rows_of((2, 1, 0, 3), head, values))
    assert (said[0], remarks) == (HIDDEN[2], [UNREADABLE.format(head)])


@pytest.mark.parametrize(
    ("head", "values"),
    [
        ("created_at", ["", " ", "", ""]),
        ("updated_at", DATED),  # of a change, not of the message
    ],
)
def test_a_column_that_states_no_order_changes_nothing(head, values, tmp_path):
    assert heard(tmp_path, rows_of((0, 1, 3, 2), head, values))[1] == []


@pytest.mark.parametrize(
    ("head", "values", "by"),
    [
        ("index,created_at", [f"{3 - turn},{DATED[turn]}" for turn in range(4)], "created_at"),  # the index of the file
        ("created_at,turn", [f"{DATED[3 - turn]},{turn}" for turn in range(4)], "turn"),  # written newest first
        ("turn,created_at", [f"{turn // 2},{DATED[turn]}" for turn in range(4)], "turn"),
        ("created_at,turn", [f"yesterday,{turn}" for turn in range(4)], "turn"),
        ("date,time", ["2026-01-01,23:58", "2026-01-01,23:59", "2026-01-02,00:00", "2026-01-02,00:01"], "date and time"),
    ],
)  # fmt: skip
def test_of_several_columns_the_surest_counts_and_the_others_decide_between_equals(head, values, by, tmp_path):
    assert heard(tmp_path, rows_of((3, 2, 1, 0), head, values)) == (HIDDEN, [OUT_OF_ORDER.format(by)])


def test_a_newest_first_list_is_reversed_where_the_sides_then_alternate(tmp_path):
    minutes = [f"2026-01-01 10:0{minute}" for minute in (0, 1, 1, 2)]  # the answer and the next turn in one minute
    assert heard(tmp_path, rows_of((3, 2, 1, 0), values=minutes)) == (HIDDEN, [OUT_OF_ORDER.format("created_at")])


@pytest.mark.parametrize(
    ("order", "head", "values"),
    [
        ((3, 2, 1, 0), "turn", ["1", "1", "2", "2"]),  # who began turn 1?
        ((3, 1, 2, 0), "date", ["2026-01-01", "2026-01-02", "2026-01-02", "2026-01-03"]),
        ((1, 3, 0, 2), "turn", ["1", "1", "2", "2"]),
    ],
)
def test_a_conversation_out_of_order_whose_sides_share_their_times_is_left_out(order, head, values, tmp_path):
    more = [f'd,{role},"{text}",{turn}' for turn, (role, text) in enumerate(other(3))]
    chats = read(tmp_path, rows_of(order, head, values) + "\n".join(more) + "\n", "chats.csv")
    assert len(chats.corpus.dialogues) == 1
    reason = f"messages out of order, and two sides have one {head}; export exact times, or the oldest message first"
    assert chats.corpus.dropped == {reason: ("chats.csv:2",)}


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        *((key, "a row (each counts as one) without a conversation id") for key in ("", "  ", "NULL", "nan", "#N/A")),
        *(
            (key, "a row (each counts as one) whose conversation id a spreadsheet rounded, as 1.71234E+14; export ids as text")
            for key in ("1.71234E+14", "2e+15", '"1,71E+14"')
        ),
    ],
)  # fmt: skip
def test_rows_that_may_be_of_several_people_are_left_out_with_their_places(key, reason, tmp_path):
    lines = [f'{key},2026,{role},"{text}"' for role, text in (*SAID, *other(5))]
    chats = read(tmp_path, CSV + "\n".join(lines) + "\n", "chats.csv")
    assert len(chats.corpus.dialogues) == 2  # those of CSV, in lines 2 to 8
    assert chats.corpus.dropped == {reason: tuple(f"chats.csv:{line}" for line in range(9, 16))}


def test_spaces_around_a_conversations_id_make_no_second_conversation(tmp_path):
    mixed = CSV.replace("\nb,2026,assistant", "\n b ,2026,assistant")
    assert [len(human.dialogue.turns) for human in read(tmp_path, mixed, "chats.csv").corpus.dialogues] == [4, 3]


def test_dialogues_are_read_again_as_a_corpus_of_the_same_scenarios(tmp_path):
    corpus = read(tmp_path, openai() + openai(other(3))).corpus
    save_lines(dialogue_lines(corpus), tmp_path / "dialogues.jsonl")
    again = read_corpus(f"own:{tmp_path / 'dialogues.jsonl'}")
    assert again.scenarios() == corpus.scenarios() and again.source == "own"
    assert [human.licence for human in again.dialogues] == ["not stated"] * 2


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("not json", "not one JSON object on one line"),
        ("[" * 100_000, "not one JSON object on one line"),
        ('{"messages": [], "messages": []}', "not one JSON object on one line"),
        ('{"text": "hello"}', "neither `messages` nor `conversations` in it"),
        (openai([]), "no messages"),
        ('{"messages": ["hello"]}', "a message is not an object"),
        ('{"messages": "My name is Eve"}', "the messages are one text; write them as a list of objects"),
        (openai([("agent 5", "Hi"), *SAID]), "the role of a message is not known; use user and assistant"),
        (openai([("system", "Be nice."), ("user", "")]), "no text"),
        (openai(SAID[:1]), "no reply after the opening"),
        (openai([("user", "a" * 10_000), *SAID]), "a turn has more than 4000 characters"),
        (openai([("user", "I am \x00 sad today."), *SAID]), "holds the control character \\x00; take it out"),
        (openai([("user", "I am \x1b[2J sad today."), *SAID]), "holds the control character \\x1b; take it out"),
        (openai([("user", "I am \ud800 sad today."), *SAID]), "holds half a character (a lone \\ud800..\\udfff escape); write the whole one"),
        (openai(other(2)), "the same conversation as another one"),
        (openai([("user", "I want to kill myself, it is too much."), *SAID[1:]]), "opening: speaks of self-harm, where a dialogue ends with a referral"),
        (openai([("user", "Ich kann nachts nicht mehr schlafen und weine."), *SAID[1:]]), "not in English"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_left_out_with_its_place_and_the_reason(line, reason, tmp_path):
    chats = read(tmp_path, openai(other(2)) + line.rstrip("\n") + "\n" + openai(other(4)))
    assert len(chats.corpus.dialogues) == 2
    ((told, places),) = chats.corpus.dropped.items()
    assert told.startswith(reason) and places == ("chats.jsonl:2",)


def test_a_long_field_of_a_csv_leaves_out_its_conversation_alone(tmp_path):
    long = "c,2026,user," + "x " * 100_000 + "\nc,2026,assistant,Why?\n"
    chats = read(tmp_path, CSV + long, "chats.csv")
    assert len(chats.corpus.dialogues) == 2
    assert [*chats.corpus.dropped] == ["a turn has more than 4000 characters"]


def test_what_is_left_out_of_a_conversation_is_counted(tmp_path):
    parts = [{"type": "text", "text": "I cannot sleep"}, {"type": "image_url", "image_url": {"url": "x"}}]
    messages = [
        {"role": "system", "content": "Be nice."},
        {"role": "user", "content": parts},
        {"role": "user", "content": "since my dog died."},
        {"role": "assistant", "content": None, "tool_calls": []},
        {"role": "tool", "content": "42"},
        {"role": "assistant", "content": "I'm sorry."},
    ]
    (human,) = read(tmp_path, json.dumps({"messages": messages})).corpus.dialogues
    assert [turn.text for turn in human.dialogue.turns] == ["I cannot sleep since my dog died.", "I'm sorry."]
    assert read(tmp_path, json.dumps({"messages": messages})).corpus.remarks == {
        "turns of one side that follow each other joined": 1,
        "messages of system and tools left out": 1,
        "pictures, calls and other parts that are no text left out": 1,
        "no outcome: a scenario, but never a pair": 1,
    }


@pytest.mark.parametrize(
    "text",
    ["write to mari&#97;&#64;x.com", "write to <b>maria</b>@x.com", "write to mar\u200bia@x.com", "write to maria&amp;#64;x.com"],
)  # fmt: skip
def test_nothing_personal_hides_behind_markup(text, tmp_path):
    chats = read(tmp_path, openai([("user", f"I cannot sleep, {text}"), *SAID[1:]]))
    assert "maria" not in chats.corpus.dialogues[0].scenario.as_json() and chats.replaced["email"] == 1


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "chats.jsonl: is empty; give a file with conversations"),
        (b"\xef\xbb\xbf\n \n", "chats.jsonl: is empty; give a file with conversations"),
        (b"conversation_id,role,text\n", "no dialogue that can be used: it holds none"),
        (b'conversation_id,role,text\n1,user,"Hi\n', "not CSV: unexpected end of data; correct the file, or"),
        (json.dumps({"messages": []}, indent=1).encode(), "one conversation a line, or all as one JSON list"),
        (json.dumps({"conversations": [json.loads(openai())]}).encode(), "conversations where messages are expected"),
        (openai().encode() + b'{"messages": "\xe9t\xe9"}\n', r"chats.jsonl:2: not UTF-8 \(byte 14\); save the file as UTF-8"),
        (b"{\x00\x00}", "holds the character NUL"),
        (openai().encode("utf-16-le"), "holds the character NUL"),
        (openai().encode("utf-32"), "holds the character NUL"),
        (b"\x1f\x8b\x08 packed", r"is compressed \(gzip\); unpack it first"),
        (b"when,who,what\n1,2,3\n", "chats.jsonl:1: is neither JSON Lines nor CSV with a column conversation_id or"),
        (CSV.encode() + b"b,2026,user\n", "3 fields, but 4 columns"),
        (b'{"messages": []}\n{"messages": 5}\n{"a": 1}\n', r"no dialogue that can be used: no messages \(2, first at chats.jsonl:1\); neither `m"),
    ],
)  # fmt: skip
def test_a_file_of_nothing_usable_is_refused_in_one_sentence(raw, reason, tmp_path):
    with pytest.raises(CorpusError, match=reason) as refused:
        read(tmp_path, raw)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("place", ["nowhere.jsonl", "."])
def test_what_is_no_file_is_refused(place, tmp_path):
    with pytest.raises(CorpusError, match="give a file with conversations"):
        read_chats(tmp_path / place, DOMAIN, {})


def test_lines_are_read_one_at_a_time_and_no_longer_than_allowed(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MAX_LINE", 100)
    path = written(tmp_path, b"short\n" + b"x" * 250 + b"\n" + b"y" * 99 + b"\nlast\n\xff\n" + b"z" * 9000)
    lines = files.text_lines(path)
    assert [next(lines) for _ in range(4)] == [(1, "short\n"), (2, None), (3, "y" * 99 + "\n"), (4, "last\n")]
    with pytest.raises(CorpusError, match=":5: not UTF-8"):  # met only now
        next(lines)


def test_ten_turns_are_shown_half_of_them_with_placeholders(tmp_path):
    named = "".join(openai(other(number, f"My sister Maria {number} called.")) for number in range(2, 22))
    shown = turns_to_show(read(tmp_path, named))
    assert len(shown) == 10 and sum("[name 1]" in turn.text for _, turn in shown) == 5
    assert len({place for place, _ in shown}) == 5  # spread over the file
    assert len(turns_to_show(read(tmp_path, openai()))) == 4


def test_a_long_story_is_cut_to_the_situation_that_a_simulator_can_play(tmp_path):
    long = " ".join(["word"] * 300)
    condition = read(tmp_path, openai([("user", long), *SAID[1:]])).corpus.dialogues[0].user_condition
    assert condition.situation == " ".join(["word"] * 120)[:599] + " …"  # 120 words and their spaces are 599 characters


def test_values_for_all_users_can_be_given_and_an_own_domain_says_what_it_needs(tmp_path):
    from engage.domains import allow_modules

    chats = read(tmp_path, openai(), emotion="shame", initial_intensity="5")
    assert chats.corpus.dialogues[0].user_condition.initial_intensity == 5
    with pytest.raises(
        ConfigError, match=r"user_condition.initial_intensity: .* less than or equal to 5; give it as --condition"
    ):
        read(tmp_path, openai(), initial_intensity="7")
    with pytest.raises(ConfigError, match=r"user_condition\.mood: unknown field"):
        read(tmp_path, openai(), mood="blue")
    allow_modules(["own_domain"])
    with pytest.raises(ConfigError, match=r"user_condition\.subject: missing; give it as --condition NAME=VALUE"):
        read(tmp_path, openai(), domain="own_domain:STUDY_ADVICE")
    own = read(tmp_path, openai(), domain="own_domain:STUDY_ADVICE", subject="baking", days_left="3")
    assert parse_scenario(json.loads(own.corpus.dialogues[0].scenario.as_json())).user_condition.days_left == 3


def test_another_language_is_taken_if_asked_for(tmp_path):
    path = written(tmp_path, openai([("user", "Ich kann nachts nicht mehr schlafen."), ("assistant", "Warum?")]))
    assert len(read_chats(path, DOMAIN, {}, CorpusOptions(any_language=True)).corpus.dialogues) == 1


# the command


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return written(tmp_path, openai() + openai(other(2)) + "broken\n", "mine.jsonl")


def files_of(folder):
    return sorted(path.name for path in folder.iterdir() if path.is_file())


def test_without_a_terminal_and_without_yes_nothing_is_written(source, engage, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    code, said, error = engage("scenarios", "import", "chats", "mine.jsonl")
    assert code == 2 and "repeat the command with --yes" in error
    assert "3 dialogues found, 2 taken, 1 left out" in said and "seeker: Hi, I'm [name 1]" in said
    assert "Maria" not in said and "anonym" not in said
    assert files_of(tmp_path) == ["mine.jsonl"]


class Keyboard(io.StringIO):
    """Standard input at a terminal."""

    def isatty(self):
        return True


@pytest.mark.parametrize(("answer", "code", "written_"), [("y\n", 0, True), ("n\n", 1, False), ("\n", 1, False)])
def test_at_a_terminal_one_is_asked(answer, code, written_, source, engage, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stdin", Keyboard(answer))
    assert engage("scenarios", "import", "chats", "mine.jsonl")[0] == code
    new = ["chats.dialogues.jsonl", "chats.jsonl"] if written_ else []
    assert files_of(tmp_path) == [*new, "mine.jsonl"]


def test_with_yes_both_files_are_written_and_the_scenarios_are_valid(source, engage, tmp_path):
    code, said, _ = engage("scenarios", "import", "chats", "mine.jsonl", "--yes", "--out", "new.jsonl")
    assert code == 0 and "Replaced by placeholders: 2 name." in said
    assert engage("scenarios", "validate", "new.jsonl")[:2] == (0, "good scenarios: 2, problems: 0\n")
    assert len(read_scenarios(tmp_path / "new.jsonl").scenarios) == 2
    assert len(read_corpus(f"own:{tmp_path / 'new.dialogues.jsonl'}").dialogues) == 2


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("chats", "mine.jsonl", "--out", "mine.jsonl"), "would overwrite the conversations themselves"),
        (("chats", "mine.jsonl", "--yes", "--condition", "emotion"), "--condition 'emotion': write name=value"),
        (("chats", "mine.jsonl", "--domain", "nowhere"), "domain 'nowhere'"),
        (("chats", "mine.jsonl", "--donation-unit", "cents"), "--donation-unit is for p4g"),
        (("esconv", "mine.jsonl", "--yes"), "--domain, --condition and --yes are for chats, not for esconv"),
    ],
)
def test_a_wrong_import_is_one_sentence_and_writes_nothing(more, told, source, engage, tmp_path):
    before = source.read_bytes()
    code, _, error = engage("scenarios", "import", *more)
    assert code == 2 and told in error
    assert files_of(tmp_path) == ["mine.jsonl"] and source.read_bytes() == before
