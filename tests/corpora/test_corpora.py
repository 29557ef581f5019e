import json
import os
import shutil
from importlib import resources
from pathlib import Path

import pytest

from engage.corpora import (
    HumanDialogue,
    read_corpus,
    read_esconv,
    read_own,
    read_p4g,
    read_shipped,
    report,
    save_scenarios,
)
from engage.domains.rules.cleaning import ESCAPES
from engage.errors import ConfigError, CorpusError
from engage.scenario import NOT_ENGLISH, read_scenarios

FIXTURES = Path(__file__).parents[1] / "fixtures"
ESCONV, P4G = FIXTURES / "esconv", FIXTURES / "p4g"
CORPORA = Path(os.environ.get("ENGAGE_CORPORA", Path(__file__).parents[3] / "shared" / "data"))


def texts(dialogue):
    return [(turn.role.value, turn.text) for turn in dialogue.turns]


def by_situation(corpus, start) -> HumanDialogue:
    return next(d for d in corpus.dialogues if d.user_condition.situation.startswith(start))


def real(name):
    if not (CORPORA / name).is_dir():
        pytest.skip(f"{CORPORA / name} is not there; set ENGAGE_CORPORA to the folder that holds esconv/ and p4g/")
    return CORPORA / name


def test_a_dialogue_keeps_its_words_with_one_turn_a_side():
    cat = by_situation(read_esconv(ESCONV), "My cat")
    assert texts(cat.dialogue) == [
        ("user", "Hello"),
        ("assistant", "Hi there."),
        ("user", "My cat ran away last week. I still put his bowl out."),
        ("assistant", "You keep a place for him. What do you miss most?"),
        ("user", "His noise in the morning."),
        ("assistant", "Mornings must be very quiet now."),
    ]
    # the opening ends with the first user turn of five words; two assistant replies follow
    assert (texts(cat.scenario.opening), cat.exchanges) == (texts(cat.dialogue)[:3], 2)


def test_condition_and_outcome_are_the_survey_of_the_seeker():
    cat = by_situation(read_esconv(ESCONV), "My cat")
    assert cat.user_condition.model_dump(exclude_none=True) == {
        "person": "someone who looks for support online",
        "emotion": "sadness",
        "problem": "loss of a pet",
        "situation": "My cat is gone and the flat is silent.",
        "initial_intensity": 4,
    }
    # (5 - 2) / 4
    assert (cat.outcome, cat.reward) == (2.0, 0.75)


def test_a_supporter_who_opens_is_left_out_and_counted():
    corpus = read_esconv(ESCONV)
    exam = by_situation(corpus, "I failed")
    assert texts(exam.dialogue)[0] == ("user", "Not good, I failed my exam again.")
    assert corpus.remarks["the supporter's first turn left out: the seeker opens"] == 1


def test_every_layout_of_esconv_is_read_and_what_fits_no_scenario_is_counted():
    corpus = read_esconv(ESCONV)
    assert [d.user_condition.situation.split()[0] for d in corpus.dialogues] == ["My", "I", "My", "They"]
    assert corpus.dropped == {
        "no reply after the opening": ("FailedESConv.json[1]",),
        "no initial intensity of 1 to 5": ("FailedESConv.json[2]",),
    }
    failed = by_situation(corpus, "They meet")
    # (5 - 5) / 4; two turns of the listener in a row are one
    assert (failed.reward, texts(failed.dialogue)[3]) == (0.0, ("assistant", "why are you there"))


def test_scores_of_the_supporter_are_kept_at_the_seekers_turn_that_carries_them():
    corpus = read_esconv(ESCONV)
    # the score of the first turn is about nothing: the supporter has not spoken yet
    assert by_situation(corpus, "They meet").scores == ((2, 3.0), (4, 1.0))
    assert by_situation(corpus, "My cat").scores == ()


def test_scores_move_with_their_turns_and_what_is_no_score_is_left_out(tmp_path):
    (record, *_) = json.loads((FIXTURES / "esconv_upstream" / "ESConv.json").read_text())
    said = [
        ("supporter", "Hello.", "5"),  # only the seeker scores
        ("seeker", "My cat ran away last week.", "4"),  # about the supporter's first turn, which is left out
        ("supporter", "Oh no.", None),
        ("seeker", "", "2"),  # an empty turn: scores nothing
        ("supporter", "Tell me.", None),
        ("seeker", "He is gone.", "3"),
        ("seeker", "For ever.", "1"),  # the same turn once they are joined
        ("supporter", "And now?", None),
        ("seeker", "Nothing.", "six"),
    ]
    record["dialog"] = [
        {"speaker": speaker, "content": text, "annotation": {"feedback": score}} for speaker, text, score in said
    ]
    (tmp_path / "ESConv.json").write_text(json.dumps([record]))
    (cat,) = read_esconv(tmp_path).dialogues
    # user, assistant (two joined), user (two joined), assistant, user
    assert [turn.text for turn in cat.dialogue.turns][1:3] == ["Oh no. Tell me.", "He is gone. For ever."]
    assert cat.scores == ((2, 1.0),)


def test_without_a_final_intensity_there_is_no_outcome():
    corpus = read_esconv(ESCONV / "valid.txt")
    assert [(d.outcome, d.reward) for d in corpus.dialogues] == [(None, None)]


def test_the_same_dialogue_has_one_id_in_every_layout_and_is_refused_in_two_files(tmp_path):
    line = by_situation(read_esconv(ESCONV / "train.txt"), "My cat")
    listed = by_situation(read_esconv(FIXTURES / "esconv_upstream"), "My cat")
    assert line.scenario_id == listed.scenario_id and line.scenario_id.startswith("esconv-")
    shutil.copy(ESCONV / "train.txt", tmp_path)
    shutil.copy(FIXTURES / "esconv_upstream" / "ESConv.json", tmp_path)
    with pytest.raises(
        CorpusError, match=r"train.txt:1: the same dialogue as .*ESConv.json\[0\]; take one of the two out"
    ):
        read_esconv(tmp_path)


def test_a_persuadee_is_described_plainly_and_the_donation_is_the_outcome():
    giver = read_p4g(P4G).dialogues[0]
    assert giver.user_condition.person == (
        "a 30-year-old man, unmarried, employed for wages, less than four-year college, liberal, atheist"
    )
    # leans from the middle, in half widths: care (2*6-7)/5 = 1.0, neurotic (2*1.2-6)/4 = -0.9, extrovert (2*4.6-6)/4 = 0.8
    assert giver.user_condition.situation == (
        "I am doing a paid task online. I cannot bear to see someone suffer. I hardly ever worry. I am outgoing."
    )
    # 30 cents of two dollars
    assert (giver.outcome, giver.reward) == (0.3, 0.15)
    assert texts(giver.scenario.opening)[-1] == ("user", "I may have heard of it, what do they do?")


def test_persuadees_of_whom_nothing_is_known_are_taken_and_counted():
    corpus = read_p4g(P4G)
    assert corpus.dialogues[1].user_condition.model_dump(exclude_none=True) == {
        "person": "someone who does paid tasks online",
        "situation": "I am doing a paid task online.",
    }
    assert corpus.remarks["who the persuadee is, is not known"] == 1


def test_an_impossible_age_is_omitted_and_an_empty_donation_is_no_outcome():
    last = read_p4g(P4G).dialogues[2]
    assert last.user_condition.person == "a person, married, postgraduate, conservative" and last.outcome is None


def test_donations_over_two_dollars_are_dropped_and_counted():
    assert read_p4g(P4G).dropped == {"a donation over 2 dollars": ("full_dialog.csv d3_live",)}


def test_sentences_of_the_smaller_layout_are_joined_to_turns():
    (only,) = read_p4g(FIXTURES / "p4g_300" / "300_dialog.csv").dialogues
    assert texts(only.dialogue) == [
        ("assistant", "Hello. How are you?"),
        ("user", "I am well and a little tired."),
        ("assistant", "Do you know Save the Children?"),
        ("user", "No. Tell me more."),
    ]
    assert only.outcome == 0.5


@pytest.mark.parametrize("corpus", [read_esconv(ESCONV), read_p4g(P4G)], ids=["esconv", "p4g"])
def test_saved_scenarios_are_a_valid_file_with_the_same_contents(corpus, tmp_path):
    save_scenarios(corpus, tmp_path / "new" / "out.jsonl")
    loaded = read_scenarios(tmp_path / "new" / "out.jsonl")
    assert loaded.problems == [] and loaded.scenarios == corpus.scenarios()


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").touch()
    for out in (tmp_path / "file" / "out.jsonl", tmp_path):
        with pytest.raises(CorpusError, match="cannot be written"):
            save_scenarios(read_p4g(P4G), out)


def test_the_report_names_counts_reasons_and_the_licence():
    told = report(read_esconv(ESCONV))
    assert "6 dialogues found, 4 taken, 2 left out" in told
    assert "left out, 1: no reply after the opening (FailedESConv.json[1])" in told
    assert "CC BY-NC 4.0" in told and "non-commercial use" in told


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b'{"dialog": [}\n', r"train.txt:1: not JSON at column 13"),
        (b'\n{"dialog": []}\n', r"train.txt:2: survey_score is missing"),
        (b"[1]", r"train.txt\[0\]: a dialogue is an object"),
        ("\nüber".encode("latin-1"), r"train.txt:2: not UTF-8 \(byte 1\)"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[]", "it holds none"),
    ],
)
def test_a_bad_file_of_esconv_is_refused_with_place_and_reason(content, reason, tmp_path):
    (tmp_path / "train.txt").write_bytes(content)
    with pytest.raises(CorpusError, match=reason):
        read_esconv(tmp_path)


def test_an_unknown_speaker_is_refused_by_place(tmp_path):
    record = json.loads((ESCONV / "train.txt").read_text().splitlines()[0])
    record["dialog"][1]["speaker"] = "bot"
    (tmp_path / "train.txt").write_text(json.dumps(record))
    with pytest.raises(CorpusError, match=r"train.txt:1: dialog\[1\].speaker: 'bot'"):
        read_esconv(tmp_path)


@pytest.mark.parametrize(
    ("name", "old", "new", "reason"),
    [
        ("full_info.csv", "B6", "B66", "full_info.csv:1: column B6 is missing"),
        ("full_info.csv", ",1,0.3,", ",1,some,", "full_info.csv:3: B6 is 'some', not a number"),
        ("full_dialog.csv", "0,1,d1_live", "0,7,d1_live", "full_dialog.csv:3: B4 is '7'"),
        ("full_dialog.csv", "1,Fine.,", "1,Fine.,,", "full_dialog.csv:3: 6 fields, but 5 columns"),
        ("full_dialog.csv", '"Hello,', '"Hello" x,', "full_dialog.csv:.*not CSV"),
    ],
)
def test_a_bad_table_of_p4g_is_refused_with_place_and_reason(name, old, new, reason, tmp_path):
    for file in (P4G / "data" / "FullData").iterdir():
        text = file.read_text()
        (tmp_path / file.name).write_text(text.replace(old, new, 1) if file.name == name else text)
    with pytest.raises(CorpusError, match=reason):
        read_p4g(tmp_path)


def test_missing_files_are_refused_with_what_to_give(tmp_path):
    shutil.copy(P4G / "data" / "FullData" / "full_dialog.csv", tmp_path)
    with pytest.raises(CorpusError, match="the table of participants is missing beside it"):
        read_p4g(tmp_path)
    with pytest.raises(CorpusError, match="holds none of ESConv"):
        read_esconv(tmp_path)
    with pytest.raises(CorpusError, match="cannot be read: No such file"):
        read_esconv(tmp_path / "nothing.json")


def test_a_corpus_is_named_by_kind_and_path():
    assert read_corpus(f"p4g:{P4G}").dialogues == read_p4g(P4G).dialogues
    for wrong in ("p4g", "p4g:", "daily:x", str(P4G)):
        with pytest.raises(ConfigError, match="write esconv:PATH, p4g:PATH or own:PATH"):
            read_corpus(wrong)


@pytest.mark.slow
def test_esconv_as_published():
    corpus = read_esconv(real("esconv"))
    # 910 + 195 + 196 dialogues; three failed ones end where their opening does; 110 + 21 + 54 lack a final intensity, 2 of them dropped
    # three openings speak of self-harm; four dialogues are no English: three of keys hit at random, one in romanised Tamil
    harm = "opening: speaks of self-harm, where a dialogue ends with a referral"
    assert {reason: len(places) for reason, places in corpus.dropped.items()} == {
        "no reply after the opening": 3,
        harm: 3,
        NOT_ENGLISH: 4,
    }
    assert len(corpus.dialogues) == 1291 and sum(d.outcome is None for d in corpus.dialogues) == 182
    assert len({d.scenario_id for d in corpus.dialogues}) == 1291


@pytest.mark.slow
def test_p4g_as_published():
    corpus = read_p4g(real("p4g"))
    # 829 dialogues, 33 donations over $2 (the largest is 700); 7 persuadees left out who they are, 2 of those gave over $2
    assert {reason: len(places) for reason, places in corpus.dropped.items()} == {"a donation over 2 dollars": 33}
    assert len(corpus.dialogues) == 796 and all(d.outcome is not None for d in corpus.dialogues)
    assert corpus.remarks == {"who the persuadee is, is not known": 5, ESCAPES: 76}
    # the smaller layout tells the same outcomes: 250 dialogues, 10 over $2; it is sentences, and three dialogues begin some turn twice
    smaller = read_p4g(real("p4g") / "300_dialog.csv")
    assert len(smaller.dialogues) == 240
    assert smaller.remarks["a speaker has one turn's number in two places: in the file's order"] == 3


def test_own_dialogues_are_read_with_their_outcome():
    corpus = read_shipped()
    assert (len(corpus.dialogues), corpus.dropped) == (390, {})  # 250 of support, 140 of persuasion
    first = next(dialogue for dialogue in corpus.dialogues if dialogue.domain == "emotional_support")
    # value 2: (5 - 2) / 4
    assert (first.outcome, first.reward, first.scenario.source) == (2.0, 0.75, "engage")


def test_own_dialogues_without_an_id_may_say_so(tmp_path):
    lines = (resources.files("engage") / "data" / "support_dialogues.jsonl").read_text().splitlines()[:2]
    records = [{**json.loads(line), "id": None} for line in lines]
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    assert [human.corpus_id for human in read_own(tmp_path / "own.jsonl").dialogues] == ["", ""]
