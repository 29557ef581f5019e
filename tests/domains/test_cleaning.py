"""What an export wrote around people's words: removed and counted on import, refused in a scenario file."""

import json
from collections import Counter

import pytest
from scripted_scenarios import SUPPORT

from engage.corpora.base import Gathering
from engage.dialogue import Role
from engage.domains import load_domain
from engage.domains.rules.cleaning import (
    DECODED,
    ESCAPES,
    HTML,
    INVISIBLE,
    LABEL,
    LOST,
    MAX_TURN,
    NO_WORDS,
    clean_turns,
)
from engage.scenario import read_scenarios

WORDS = "My landlord gave me notice and I cannot sleep."


def cleaned(*texts):
    turns, counts, doubt = clean_turns("here", [(role, text) for text, role in zip(texts, [*Role] * 4, strict=False)])
    return [text for _, text in turns], counts, doubt


@pytest.mark.parametrize(
    ("written", "kind"),
    [
        (f"Agent: {WORDS}", LABEL),
        (f"Assistant 1: {WORDS}", LABEL),
        (f"\u0410ss\u0456st\u0430nt: {WORDS}", LABEL),
        (f"Ｂｏｔ： {WORDS}", LABEL),
        (f"[12:30] {WORDS}", LABEL),
        (f"12:30 PM - Bot: {WORDS}", LABEL),
        (f"2024-01-02 12:30:11 Bot: {WORDS}", LABEL),
        (WORDS.replace("and", "\u061cand\u115f") + "\U000e0069\U000e0067", INVISIBLE),
        (WORDS.replace("I ", "I\u034f "), INVISIBLE),
    ],
)
def test_labels_times_and_invisible_characters_go(written, kind):
    assert cleaned(written) == ([WORDS], {kind: 1}, None)


@pytest.mark.parametrize(
    ("written", "words", "kind"),
    [
        ("I donâ€™t know, itâ€™s my cafÃ©", "I don’t know, it’s my café", DECODED),
        ("I donÃ¢â‚¬â„¢t know", "I don’t know", DECODED),
        ("he said â€œgoâ€\x9d to me", "he said “go” to me", DECODED),
        ("my flat ðŸ˜Š", "my flat 😊", DECODED),
        (r"I don\u2019t know \"him\", I\'m new\n", 'I don’t know "him", I\'m new\n', ESCAPES),
        (r"a smile \ud83d\ude00", "a smile 😀", ESCAPES),
        ("I don&#39t know &amp care", "I don't know & care", HTML),
    ],
)
def test_what_was_written_or_read_in_another_code_is_put_right(written, words, kind):
    assert cleaned(written) == ([words], {kind: 1}, None)


@pytest.mark.parametrize(
    "text",
    [
        r"C:\new is my folder ¯\_(ツ)_/¯",
        "12:30, I woke up at 7:15",
        "My boss: she told me so",
        "„Spaß“ at the CAFÉ”, voilà » she said",
        "flag \U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f and family 👨\u200d👩\u200d👧",
        "None",
    ],
)
def test_speech_stays(text):
    assert cleaned(text) == ([text], {}, None)


@pytest.mark.parametrize("cell", ["nan", "NULL", "[deleted]", " <NA> "])
def test_an_empty_cell_says_nothing(cell):
    assert cleaned(WORDS, cell) == ([WORDS, ""], {NO_WORDS: 1}, None)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("I see my fl\ufffdt.", LOST),
        ("he said â€œgoâ€ to me", LOST),
        ("I cannot sleep. " * 300, f"a turn has more than {MAX_TURN} characters"),
        ("I see.\nCustomer: when?", "a turn holds another speaker's words"),
    ],
)
def test_what_cannot_be_put_right_leaves_the_dialogue_out(text, reason):
    assert cleaned(text) == ([], Counter(), reason)


def test_a_condition_is_cleaned_as_turns_are():
    gathering = Gathering("esconv", load_domain("emotional_support"))
    said = [(Role.USER, WORDS), (Role.ASSISTANT, "When was that?")]
    condition = {**SUPPORT.user_condition.model_dump(exclude_none=True), "situation": "I don&#39;t<br>sleep."}
    gathering.take("f:1", said, condition, None)
    (human,) = gathering.taken.values()
    assert human.user_condition.situation == "I don't sleep."
    assert gathering.remarks == {"no outcome: a scenario, but never a pair": 1, HTML: 1}


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("opening[0].text", f"User: {WORDS}"),
        ("opening[0].text", "I don&#39;t sleep."),
        ("opening[0].text", f"{WORDS[:9]}\u202e{WORDS[9:]}"),
        ("user_condition.situation", "I donâ€™t sleep."),
    ],
)
def test_a_scenario_file_says_which_words_to_write(field, text, tmp_path):
    record = {
        "id": "x",
        "domain": "emotional_support",
        "user_condition": SUPPORT.user_condition.model_dump(exclude_none=True),
        "opening": [{"role": "user", "text": WORDS}],
    }
    if field.startswith("opening"):
        record["opening"][0]["text"] = text
    else:
        record["user_condition"]["situation"] = text
    path = tmp_path / "own.jsonl"
    path.write_text(json.dumps(record))
    (problem,) = read_scenarios(path).problems
    assert problem.startswith(f"{path}:1: {field}: holds HTML, a label, an escape or an invisible character; write ")
