"""Damaged corpora: sorted as text, exported twice, merged, compressed, in cents. Each is read correctly or refused in one sentence."""

import codecs
import gzip
import json
import os
from pathlib import Path

import pytest
from own_domain import NAME as STUDY
from p4g_tables import HEADER, gifts, p4g, p4g_rows

from engage.corpora import CorpusOptions, read_corpora, read_esconv, read_own, read_p4g, save_scenarios
from engage.errors import CorpusError
from engage.scenario import read_scenarios

CORPORA = Path(os.environ.get("ENGAGE_CORPORA", Path(__file__).parents[3] / "shared" / "data"))
SAID = (
    "Hi, is anybody there tonight?",
    "Hello, I'm here. What brings you?",
    "My landlord gave me notice and I cannot sleep any more.",
    "That is a heavy thing to carry. When did it happen?",
    "Two weeks ago, I keep counting days.",
)
TEXT, INITIAL, FINAL = ("dialog", 2, "content"), "initial_emotion_intensity", "final_emotion_intensity"


def record(number=0, said=SAID, **intensities):
    speakers = ("seeker", "supporter")
    seeker = {INITIAL: "4", FINAL: "2", **intensities}
    return {
        "emotion_type": "anxiety",
        "problem_type": "job crisis",
        "situation": f"I lose my flat, case {number}.",
        "survey_score": {"seeker": seeker},
        "dialog": [{"speaker": speakers[i % 2], "content": text} for i, text in enumerate(said)],
    }


def esconv(folder, *records, name="ESConv.json", form=json.dumps) -> Path:
    path = folder / name
    raw = form(list(records))
    path.write_bytes(raw if isinstance(raw, bytes) else raw.encode())
    return path


def lines_of(human) -> list[str]:
    return [turn.text for turn in human.dialogue.turns]


# intensities


@pytest.mark.parametrize("value", [2, 2.0, "2", "2.0", " 2 ", "2.00"])
def test_an_intensity_may_be_written_as_a_decimal(value, tmp_path):
    (human,) = read_esconv(esconv(tmp_path, record(**{INITIAL: value, FINAL: value}))).dialogues
    assert (human.user_condition.initial_intensity, human.outcome) == (2, 2.0)


@pytest.mark.parametrize("value", [2.5, "2,0", True, 0, 6, "1e999", [2]])
def test_a_final_intensity_between_or_beyond_the_five_is_no_outcome_and_counted(value, tmp_path):
    corpus = read_esconv(esconv(tmp_path, record(**{FINAL: value})))
    assert corpus.dialogues[0].outcome is None
    assert corpus.remarks["a final intensity that is not 1, 2, 3, 4 or 5"] == 1
    with pytest.raises(CorpusError, match=r"no initial intensity of 1 to 5 \(1, first at"):
        read_esconv(esconv(tmp_path, record(**{INITIAL: value})))


# what an export wrote around the words


@pytest.mark.parametrize(
    ("written", "kind"),
    [
        ("My landlord gave me notice<br>and I cannot sleep any more.", "HTML removed"),
        ("<p>My landlord gave me notice and</p> <b>I</b> cannot&nbsp;sleep any more.", "HTML removed"),
        ("My landlord gave me notice &lt;br/&gt; and I cannot sleep any more.", "HTML removed"),
        ("My landlord gave me notice &amp;lt;br&amp;gt; and I cannot sleep any more.", "HTML removed"),
        ("User: My landlord gave me notice and I cannot sleep any more.", "the speakers' labels removed, such as `User:`"),
        ("**Seeker:** My landlord gave me notice and I cannot sleep any more.", "the speakers' labels removed, such as `User:`"),
        ("[Human] user: My landlord gave me notice and I cannot sleep any more.", "the speakers' labels removed, such as `User:`"),
        ("\u202aMy landlord gave me notice and\u200b I cannot sleep any more.\ufeff", "invisible characters removed"),
    ],
)  # fmt: skip
def test_what_is_not_speech_is_removed_and_counted(written, kind, tmp_path):
    said = (*SAID[:2], written, *SAID[3:])
    corpus = read_esconv(esconv(tmp_path, record(said=said)))
    assert (lines_of(corpus.dialogues[0]), corpus.remarks[kind]) == (list(SAID), 1)


def test_a_name_that_most_turns_of_a_side_begin_with_is_a_label(tmp_path):
    said = [f"{('Anna', 'Clerk 7')[i % 2]}: {text}" for i, text in enumerate(SAID)]
    said[3] = SAID[3]  # two of the clerk's two other turns are too few to be sure
    (human,) = read_esconv(esconv(tmp_path, record(said=said))).dialogues
    assert lines_of(human) == [SAID[0], said[1], SAID[2], SAID[3], SAID[4]]


@pytest.mark.parametrize(
    "text",
    ["I <3 my flat, and 1 < 2 > 0", "Human rights matter to me", "AT&T hung up; R&D too", "Note: I slept at 10:30"],
)
def test_speech_that_resembles_markup_stays(text, tmp_path):
    (human,) = read_esconv(esconv(tmp_path, record(said=(*SAID[:4], text)))).dialogues
    assert lines_of(human)[-1] == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Assistant: My landlord gave me notice.", "a turn begins with another speaker's label"),
        ("System: you are helpful and kind.", "a turn begins with another speaker's label"),
        ("I see.\nSupporter: When did it happen?", "a turn holds another speaker's words"),
        ("I see.<br>Assistant: When did it happen?", "a turn holds another speaker's words"),
    ],
)
def test_a_turn_that_may_be_somebody_elses_leaves_its_dialogue_out(text, reason, tmp_path):
    corpus = read_esconv(esconv(tmp_path, record(), record(1, said=(*SAID[:4], text))))
    assert (len(corpus.dialogues), corpus.dropped) == (1, {reason: ("ESConv.json[1]",)})


def test_emoji_are_turns_and_two_turns_in_a_row_are_one(tmp_path):
    twice = record(said=(*SAID, "😢", "❤️"))
    twice["dialog"].insert(3, {"speaker": "seeker", "content": ":("})
    (human,) = read_esconv(esconv(tmp_path, twice)).dialogues
    assert lines_of(human) == [*SAID[:2], f"{SAID[2]} :(", *SAID[3:], "😢", "❤️"]


# characters, encodings, containers


@pytest.mark.parametrize("character", ["\x00", "\x07", "\x1b[31m", "\x7f", "\x9b", "&#155;"])
def test_a_control_character_is_one_sentence_with_its_place(character, tmp_path):
    path = esconv(tmp_path, record(), record(1, said=(*SAID[:2], f"My land{character}lord gave me notice.")))
    if character.startswith("&"):  # HTML reads 155 as the sign of Windows' code page
        assert lines_of(read_esconv(path).dialogues[1])[2] == "My land›lord gave me notice."
        return
    with pytest.raises(
        CorpusError, match=r"ESConv.json\[1\]: turn 2: holds the control character \\x[0-9a-f]{2}; take it out$"
    ):
        read_esconv(path)


def test_half_a_character_is_one_sentence_with_its_place(tmp_path):
    with pytest.raises(CorpusError, match=r"ESConv.json\[0\]: turn 0: holds half a character"):
        read_esconv(esconv(tmp_path, record(said=("Hi \ud83d there, how are you?", *SAID[1:]))))
    with pytest.raises(CorpusError, match=r"ESConv.json\[0\]: situation: holds half a character"):
        read_esconv(esconv(tmp_path, record("\ud83d")))


@pytest.mark.parametrize("speaker", [["seeker"], None, {"a": 1}, 7, "bot"])
def test_an_invalid_speaker_is_refused_with_its_place(speaker, tmp_path):
    wrong = record()
    wrong["dialog"][1]["speaker"] = speaker
    with pytest.raises(CorpusError, match=r"ESConv.json\[0\]: dialog\[1\].speaker: "):
        read_esconv(esconv(tmp_path, wrong))


@pytest.mark.parametrize(
    "form",
    [
        lambda found: codecs.BOM_UTF8 + json.dumps(found).encode(),
        lambda found: json.dumps(found, ensure_ascii=False).encode("utf-16"),
        lambda found: json.dumps(found, indent=1).replace("\n", "\r\n"),
        lambda found: "\r\n\r\n".join(map(json.dumps, found)),
        lambda found: "\r".join(map(json.dumps, found)),
        lambda found: json.dumps({"train": found[:1], "valid": found[1:], "test": []}, indent=2),
        lambda found: json.dumps({"train": found[:1], "test": found[1:]}),
    ],
    ids=["BOM", "UTF-16", "CRLF", "blank lines", "old Mac", "by split", "by split in a line"],
)
def test_every_layout_gives_the_same_dialogues(form, tmp_path):
    found = read_esconv(esconv(tmp_path, record(0), record(1), form=form)).dialogues
    assert [human.user_condition.situation for human in found] == [f"I lose my flat, case {n}." for n in (0, 1)]


@pytest.mark.parametrize(
    ("form", "reason"),
    [
        (lambda found: gzip.compress(json.dumps(found).encode()), r"is compressed \(gzip\); unpack it first"),
        (lambda found: b"PK\x03\x04rest", "is a zip archive or an Excel workbook"),
        (lambda found: json.dumps(found).encode("utf-16-le"), "holds the character NUL"),
        (lambda found: json.dumps(found).replace('"content"', '"content": "x", "content"', 1), "the key 'content' is there twice"),
        (lambda found: json.dumps(found[0]).replace('"4"', "NaN"), r"ESConv.json:1: .*is nan, not a finite number"),
        (lambda found: json.dumps(found[0]).replace('"4"', "-Infinity"), "is -inf, not a finite number"),
        (lambda found: "[" + "1" * 5000 + "]", "holds a number that is too long to read"),
        (lambda found: json.dumps({"train": found, "test": found[:1]}), r"ESConv.json\['test'\]\[0\]: the same dialogue as .*ESConv.json\['train'\]\[0\]"),
        (lambda found: json.dumps({"train": found, "test": 3}), "survey_score is missing"),
        (lambda found: json.dumps({"train": [], "test": []}), "it holds none"),
        (lambda found: json.dumps("text"), "a dialogue is an object, not a str"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_in_one_sentence(form, reason, tmp_path):
    with pytest.raises(CorpusError, match=reason) as caught:
        read_esconv(esconv(tmp_path, record(), form=form))
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


# the same dialogue twice


def test_a_dialogue_in_two_files_is_refused_with_both_places(tmp_path):
    esconv(tmp_path, record(0), record(1))
    esconv(tmp_path, record(2), record(1), name="train.txt", form=lambda found: "\n".join(map(json.dumps, found)))
    with pytest.raises(
        CorpusError, match=r"train.txt:2: the same dialogue as .*ESConv.json\[1\]; take one of the two out"
    ):
        read_esconv(tmp_path)
    names = [f"esconv:{tmp_path / name}" for name in ("ESConv.json", "train.txt")]
    with pytest.raises(
        CorpusError, match=r"train.txt:2 of esconv:.*: the same dialogue as ESConv.json\[1\] of esconv:"
    ):
        read_corpora(names)


def test_the_same_words_of_two_people_are_two_dialogues(tmp_path):
    assert len(read_esconv(esconv(tmp_path, record(0), record(1))).dialogues) == 2


# PersuasionForGood


RIGHT = [row[1] for row in p4g_rows()]


@pytest.mark.parametrize(
    "order",
    [
        lambda row: str(row[2]),  # sorted as text: 0, 1, 10, 11, 2
        lambda row: (row[3], row[2]),  # one speaker after the other
        lambda row: row[1],
        lambda row: -row[0],
    ],
    ids=["as text", "by role", "by words", "backwards"],
)
@pytest.mark.parametrize("number", [str, lambda turn: f"{turn}.0", lambda turn: f" {turn}"], ids=["1", "1.0", "space"])
def test_turn_orders_the_rows_and_disorder_is_reported(order, number, tmp_path):
    rows = [(i, text, number(turn), role, d) for i, text, turn, role, d in sorted(p4g_rows(), key=order)]
    corpus = read_p4g(p4g(tmp_path, rows))
    assert lines_of(corpus.dialogues[0]) == RIGHT
    assert corpus.remarks == {"rows out of order: put into the order of Turn": 1}


def test_a_turn_whose_two_rows_changed_places_is_put_right(tmp_path):
    rows = p4g_rows()
    rows[4:6] = rows[5:3:-1]
    corpus = read_p4g(p4g(tmp_path, rows))
    assert lines_of(corpus.dialogues[0]) == RIGHT
    assert corpus.remarks == {"rows out of order: put into the order of Turn": 1}


@pytest.mark.parametrize(
    ("rows", "header", "remark"),
    [
        ([(row[0], row[1], *row[3:]) for row in p4g_rows()], ("", "Unit", "B4", "B2"), "no column Turn: in the file's order"),
        ([row for row in p4g_rows() if row[2] != 5], HEADER, "numbers of turns are left out"),
        (
            [*p4g_rows(turns=3), (9, "And one more of the persuader, at the end.", 2, 0, "d1")],
            HEADER,
            "a speaker has one turn's number in two places: in the file's order",
        ),
    ],
    ids=["no column", "gap", "twice"],
)  # fmt: skip
def test_without_a_clear_order_the_files_order_counts_and_is_noted(rows, header, remark, tmp_path):
    corpus = read_p4g(p4g(tmp_path, rows, header=header))
    assert (lines_of(corpus.dialogues[0]), corpus.remarks) == ([row[1] for row in rows], {remark: 1})


def test_a_dialogue_that_is_there_twice_is_refused_with_both_lines(tmp_path):
    with pytest.raises(
        CorpusError, match=r"full_dialog.csv:26: dialogue d1 has turn 0 of this speaker on line 2 already"
    ):
        read_p4g(p4g(tmp_path, p4g_rows() + p4g_rows()))
    two = [*p4g_rows("d1"), *p4g_rows("d2")]
    same = [("d1", "a", 1, 0.5, 30, "Male"), ("d2", "b", 1, 0.5, 30, "Male")]
    with pytest.raises(CorpusError, match=r"full_dialog.csv d2: the same dialogue as .*full_dialog.csv d1"):
        read_p4g(p4g(tmp_path, two, same))


def test_rows_without_a_dialogues_id_are_no_dialogue(tmp_path):
    lost = [(*row[:4], " ") for row in p4g_rows() if row[2] < 4]  # of several dialogues, perhaps
    people = [("d1", "a", 1, 0.5, 30, "Male"), ("", "b", 1, 0.5, 31, "Male")]
    corpus = read_p4g(p4g(tmp_path, [*p4g_rows(), *lost], people))
    assert [lines_of(human) for human in corpus.dialogues] == [RIGHT]
    # the header is line 1, and the 24 rows of d1 follow
    places = tuple(f"full_dialog.csv:{line}" for line in range(26, 34))
    assert corpus.dropped == {"a row (each counts as one) without a dialogue's id (B2)": places}


def test_a_repeated_person_is_refused_with_both_lines(tmp_path):
    people = [("d1", "a", 0, 0, 30, "Male"), ("d1", "b", 1, 0.5, 30, "Male"), ("d1", "b", 1, 0.0, 31, "Male")]
    with pytest.raises(CorpusError, match=r"full_info.csv:4: the persuadee of d1 is on line 3 already"):
        read_p4g(p4g(tmp_path, p4g_rows(), people))


@pytest.mark.parametrize(
    "given", [(50, 100, 0, 200, 5), ("50.0", "25.0", "0.0", "200.0"), (1, 2, 50), (0, 0, 0, 30.5, 45.5)]
)
def test_a_table_that_may_be_in_cents_is_refused_with_a_question(given, tmp_path):
    folder = p4g(tmp_path, *gifts(*given))
    with pytest.raises(CorpusError, match=r"the table may be in cents\. State the unit: --donation-unit cents"):
        read_p4g(folder)
    in_cents = read_p4g(folder, CorpusOptions(donation_unit="cents")).dialogues
    assert [human.outcome for human in in_cents] == [float(gift) / 100 for gift in given]
    dollars = [float(gift) for gift in given if float(gift) <= 2]
    if dollars:
        as_dollars = read_p4g(folder, CorpusOptions(donation_unit="dollars"))
        assert [human.outcome for human in as_dollars.dialogues] == dollars


def test_a_few_slips_among_dollars_are_left_out_without_a_question(tmp_path):
    corpus = read_p4g(p4g(tmp_path, *gifts(0.5, 0, 0.25, 1.0, 50.0, 2.0)))
    assert [human.outcome for human in corpus.dialogues] == [0.5, 0, 0.25, 1.0, 2.0]
    assert len(corpus.dropped["a donation over 2 dollars"]) == 1


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        (2, "first", "full_dialog.csv:3: Turn is 'first', not a number"),
        (2, "inf", "Turn is 'inf', not a number"),
        (2, "", "Turn is '', not a number"),
        (3, "0.5", "B4 is '0.5', not 0"),
    ],
)
def test_an_invalid_number_is_refused_by_line(column, value, reason, tmp_path):
    rows = [list(row) for row in p4g_rows()]
    rows[1][column] = value
    with pytest.raises(CorpusError, match=reason):
        read_p4g(p4g(tmp_path, rows))


@pytest.mark.parametrize("gift", ["0,5", "half", "inf", "1e999", "$1"])
def test_a_donation_that_is_not_a_number_is_refused_by_line(gift, tmp_path):
    people = [("d1", "b", 1, gift, 30, "Male")]
    with pytest.raises(CorpusError, match=r"full_info.csv:2: B6 is .*, not a number"):
        read_p4g(p4g(tmp_path, p4g_rows(), people))


@pytest.mark.parametrize("gift", ["", " ", "nan", "NaN"])
def test_a_missing_donation_is_no_outcome(gift, tmp_path):
    (human,) = read_p4g(p4g(tmp_path, p4g_rows(), [("d1", "b", 1, gift, 30, "Male")])).dialogues
    assert human.outcome is None


@pytest.mark.parametrize(
    ("delimiter", "encoding"),
    [(";", "utf-8"), ("\t", "utf-8"), (",", "utf-8-sig"), ("\t", "utf-16"), (";", "utf-8-sig")],
)
def test_a_spreadsheets_export_is_read(delimiter, encoding, tmp_path):
    folder = p4g(tmp_path, p4g_rows(), delimiter=delimiter, encoding=encoding)
    (human,) = read_p4g(folder).dialogues
    assert (lines_of(human), human.outcome) == (RIGHT, 0.5)


def test_a_spreadsheets_first_line_and_its_empty_rows_are_left_out(tmp_path):
    p4g(tmp_path, p4g_rows(), delimiter=";")
    path = tmp_path / "full_dialog.csv"
    path.write_text("sep=;\r\n" + path.read_text() + ";;;;\r\n\r\n")
    assert lines_of(read_p4g(tmp_path).dialogues[0]) == RIGHT


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (("", "Unit", "Turn", "B4", "B4"), "column B2 is missing"),
        (("B2", "Unit", "Turn", "B4", "B2"), "column B2 is there twice"),
    ],
)
def test_a_header_that_lacks_or_repeats_a_column_is_refused(header, reason, tmp_path):
    with pytest.raises(CorpusError, match=f"full_dialog.csv:1: {reason}"):
        read_p4g(p4g(tmp_path, p4g_rows(), header=header))


def test_two_tables_of_one_name_in_a_folder_are_refused(tmp_path):
    for name in ("one", "two"):
        p4g(tmp_path / name, p4g_rows())
    with pytest.raises(CorpusError, match="holds two tables of one name"):
        read_p4g(tmp_path)


# own conversations


def own(folder, *records) -> Path:
    path = folder / "own.jsonl"
    path.write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    return path


def study(number=1, **changed):
    condition = {"person": "a nurse", "situation": f"Case {number}.", "subject": "statistics", "days_left": 3}
    turns = [
        {"role": "user", "text": "Is there any way to learn this when tired?"},
        {"role": "assistant", "text": "Read one page tonight."},
    ]
    return {"id": f"s{number}", "domain": STUDY, "user_condition": condition, "turns": turns, "value": 4} | changed


def test_conversations_of_an_own_domain_are_read_and_keep_its_name(tmp_path):
    corpus = read_own(own(tmp_path, study(1), study(2)))
    assert [(human.domain, human.reward) for human in corpus.dialogues] == [(STUDY, 1.0)] * 2
    save_scenarios(corpus, tmp_path / "out.jsonl")
    assert read_scenarios(tmp_path / "out.jsonl").problems == []


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"id": "s1"}, "own.jsonl:2: the same dialogue as .*own.jsonl:1"),
        ({"value": True}, "own.jsonl:2: value True is not on the survey's scale"),
        ({"turns": [{"role": "user", "text": None}]}, "own.jsonl:2: turns: text is a NoneType"),
        ({"turns": [{"role": "bot", "text": "x"}]}, "own.jsonl:2: turns: 'bot' is not a valid Role"),
        ({"domain": "persuasion"}, "own.jsonl:2: domain 'persuasion' in a file of"),
        ({"outcome": 4}, "own.jsonl:2: outcome is no field; there are domain, id, turns, user_condition, value"),
        ({"turns": [{"role": "user", "text": "x", "name": "Ann"}]}, "own.jsonl:2: turns: name is no field"),
    ],
)
def test_a_wrong_own_conversation_is_refused_by_line(changed, reason, tmp_path):
    with pytest.raises(CorpusError, match=reason):
        read_own(own(tmp_path, study(1), study(2, **changed)))


def test_a_truth_value_in_a_condition_is_no_number(tmp_path):
    odd = study(2)
    odd["user_condition"]["days_left"] = True
    corpus = read_own(own(tmp_path, study(1), odd))
    assert len(corpus.dialogues) == 1
    assert corpus.dropped == {"days_left: true and false are no numbers": ("own.jsonl:2",)}


# whatever is written is valid


@pytest.mark.slow
def test_what_is_imported_of_the_real_corpora_is_valid(tmp_path):
    if not CORPORA.is_dir():
        pytest.skip(f"{CORPORA} is not there; set ENGAGE_CORPORA to the folder that holds esconv/ and p4g/")
    for corpus in (
        read_esconv(CORPORA / "esconv"),
        read_p4g(CORPORA / "p4g"),
        read_p4g(CORPORA / "p4g" / "300_dialog.csv"),
    ):
        save_scenarios(corpus, tmp_path / "out.jsonl")
        assert read_scenarios(tmp_path / "out.jsonl").problems == []


@pytest.mark.parametrize(
    "said",
    [
        ("I want to kill myself, nothing helps any more.", *SAID[1:]),
        ("No puedo dormir desde hace dos semanas.", *SAID[1:]),
        ("I cannot sleep. " * 8000, *SAID[1:]),
        ("User:", "Assistant:", *SAID[2:]),
        ("<br>", "&nbsp;", *SAID[2:]),
        ("\u2028\u2029 Hi there my friend\u3000", *SAID[1:]),
        ('"quotes" and \\u0007 as six characters, a tab\tand a line\nend', *SAID[1:]),
    ],
)
def test_what_is_imported_of_odd_dialogues_is_valid(said, tmp_path):
    corpus = read_esconv(esconv(tmp_path, record(), record(1, said=said)))
    save_scenarios(corpus, tmp_path / "out.jsonl")
    loaded = read_scenarios(tmp_path / "out.jsonl")
    assert loaded.problems == [] and loaded.scenarios == corpus.scenarios()
