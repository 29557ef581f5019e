"""What simulated users tell of people's scores of single turns: the figures, the regressions, the readers, the command."""

import asyncio
import csv
import json
import math
from random import Random

import numpy as np
import pytest
from mlflow import MlflowClient

from engage.corpora.base import Gathering, HumanDialogue
from engage.dialogue import Role
from engage.domains.emotional_support import EMOTIONAL_SUPPORT
from engage.engines.scripted import ScriptedEngine
from engage.errors import ConfigError
from engage.experiments.feedback.agreement import agreement, mean_within
from engage.experiments.feedback.ceiling import cross_fitted, held_out, new_words, on_words
from engage.experiments.feedback.page import feedback_page, figures_csv, turns_csv
from engage.experiments.feedback.plan import CHOICES, FeedbackConfig, Part, read_parts, scored_turns
from engage.experiments.feedback.readers import QUESTIONS, Asking, ask, at_the_end, questions, reading, readings
from engage.experiments.feedback.result import judge, wanted_questions, wanted_states
from engage.home import Home


def talk(number: int, scores, replies=None, outcome: float | None = 3.0) -> HumanDialogue:
    """A dialogue in which the user scores each of the assistant's replies in the next turn."""
    gathering = Gathering("esconv", EMOTIONAL_SUPPORT)
    condition = {"person": "p", "emotion": "sadness", "problem": "loss", "initial_intensity": 4}
    said, given = [(Role.USER, f"My cat number {number} ran away.")], {}
    for place, score in enumerate(scores):
        said.append((Role.ASSISTANT, replies[place] if replies else f"Reply {place}."))
        if score is not None:
            given[len(said)] = score
        said.append((Role.USER, f"Answer {place}."))
    gathering.take("here:1", said, {**condition, "situation": f"Silent {number}."}, outcome, scores=given)
    (human,) = gathering.taken.values()
    return human


def turns_of(*humans):
    return [turn for human in humans for turn in scored_turns(human)]


def test_a_scored_turn_knows_what_came_before_it():
    first, second = turns_of(talk(0, [4.0, None, 2.0]))
    # turns: user 0, assistant 1, user 2 (score 4), assistant 3, user 4, assistant 5, user 6 (score 2)
    assert (first.place, first.number, first.score, first.begin, first.previous) == (2, 1, 4.0, 0, None)
    assert (second.place, second.number, second.score, second.begin, second.previous) == (6, 3, 2.0, 3, 4.0)
    assert new_words(second, "heard") == {"user": "answer 1.", "assistant": "reply 1.\nreply 2."}
    assert new_words(second, "answered")["user"] == "answer 1.\nanswer 2."
    assert (second.heard_length("heard"), second.heard_length("answered")) == (6, 7)


def test_order_counts_within_dialogues_only_and_by_the_number_of_scores():
    turns = turns_of(
        talk(0, [1.0, 2.0, 3.0, 4.0]),  # ordered right: 1
        talk(1, [3.0, 2.0, 1.0]),  # ordered wrong: -1
        talk(2, [1.0, 2.0, 3.0]),  # all predicted alike: 0
        talk(3, [5.0, 5.0, 5.0]),  # nothing to order
        talk(4, [1.0, 5.0]),  # too few
    )
    predicted = np.array([1, 2, 3, 4, 91, 92, 93, 7, 7, 7, 1, 2, 3, 5, 1], dtype=float)
    # (4 * 1 - 3 * 1 + 3 * 0) / 10
    assert agreement(turns, predicted).within.value == pytest.approx(0.1)
    assert (agreement(turns, predicted).within.n, mean_within(turns, predicted)) == (3, pytest.approx(0.1))


def test_ties_share_their_rank():
    turns = turns_of(talk(0, [1.0, 1.0, 2.0]))
    # ranks 1.5, 1.5, 3 and 1, 2, 3: 1.5 / sqrt(1.5 * 2)
    assert agreement(turns, np.array([1.0, 2.0, 3.0])).within.value == pytest.approx(math.sqrt(0.75))


def test_a_turn_without_a_prediction_is_left_out():
    turns = turns_of(talk(0, [1.0, 4.0, 2.0, 3.0]), talk(1, [1.0, 2.0, 3.0]))
    # the first keeps 1, 2, 3; the second has too few left
    found = agreement(turns, np.array([1.0, math.nan, 2.0, 3.0, math.nan, 1.0, 2.0])).within
    assert (found.value, found.n) == (pytest.approx(1.0), 1)


def test_what_the_score_before_and_the_number_tell_is_taken_away():
    turns = turns_of(talk(0, [3.0, 1.0, 4.0, 2.0, 5.0]), talk(1, [2.0, 5.0, 1.0, 4.0]))
    scores = np.array([turn.score for turn in turns])
    before = np.array([turn.previous or 0.0 for turn in turns])
    number = np.array([float(turn.number) for turn in turns])
    assert agreement(turns, scores).given.value == pytest.approx(1.0)
    assert agreement(turns, -scores).given.value == pytest.approx(-1.0)
    assert agreement(turns, before).given.value is None and agreement(turns, number).given.value is None


def test_the_partial_correlation_is_that_of_the_residuals():
    turns = turns_of(talk(0, [3.0, 1.0, 4.0, 2.0, 5.0, 1.5]))
    predicted = np.array([0.0, 2.0, 5.0, 1.0, 3.0, 4.0])
    # of the last five turns: ranks of prediction, score, score before, number
    ranks = np.array([[2, 5, 1, 3, 4], [1, 4, 3, 5, 2], [3, 1, 4, 2, 5], [1, 2, 3, 4, 5]], dtype=float)
    # ranks of the scores 1, 4, 2, 5, 1.5 are 1, 4, 3, 5, 2; of those before, 3, 1, 4, 2, 5, as written
    others = np.column_stack([np.ones(5), ranks[2], ranks[3]])
    rest = [column - others @ np.linalg.lstsq(others, column, rcond=None)[0] for column in ranks[:2]]
    assert agreement(turns, predicted).given.value == pytest.approx(np.corrcoef(*rest)[0, 1])


def planted(count: int, shuffled: bool = False, first: int = 0):
    """Dialogues of five replies; a reply with `gladly` scores 4 or 5, one without 1 or 2."""
    random, humans = Random(first), []
    for number in range(first, first + count):
        good = [random.random() < 0.5 for _ in range(5)]
        replies = [f"I will {'gladly' if is_good else 'hardly'} hear more {random.randrange(9)}." for is_good in good]
        scores = [float(random.choice((4, 5) if is_good else (1, 2))) for is_good in good]
        if shuffled:
            random.shuffle(scores)
        humans.append(talk(number, scores, replies))
    return humans


def test_a_word_that_decides_is_found_in_dialogues_that_were_not_seen():
    train, others = turns_of(*planted(30)), turns_of(*planted(20, first=500))
    words = [new_words(turn, "heard") for turn in train]
    found = agreement(others, held_out(on_words, train, words, [new_words(turn, "heard") for turn in others]))
    assert found.within.low > 0.3 and found.given.low > 0.3
    assert agreement(train, cross_fitted(on_words, train, words)).within.low > 0.3


def test_shuffled_scores_have_no_ceiling():
    train = turns_of(*planted(30, shuffled=True))
    found = agreement(train, cross_fitted(on_words, train, [new_words(turn, "heard") for turn in train]))
    assert found.within.low < 0.0 < found.within.high and found.given.low < 0.0 < found.given.high


def answering(values):
    """A scripted user that answers each question with the value which the first matching text of its prompt names."""

    def choose(prompt, choices):
        asked = prompt.messages[-1].content
        value = next(value for text, value in values.items() if text in asked)
        return [float(choice == str(value)) for choice in choices]

    return ScriptedEngine(choose=choose)


def test_each_reader_asks_its_questions_and_higher_is_better():
    human = talk(0, [4.0])
    (turn,) = turns_of(human)
    asked = {QUESTIONS[name]: value for name, value in zip(QUESTIONS, (2, 1, 3, 5, 4), strict=True)}
    # the survey's intensity: 4 before the reply, 2 after it, and the reward is (5 - intensity) / 4
    engine = answering({**asked, "Reply 0.": 2, "Answer 0.": 1, "My cat": 4})
    config = FeedbackConfig(corpora=("esconv:x",), adapters=("bare",))
    wanted = wanted_questions(config, {"train": Part((human,), ()), "validation": Part((), (human,))}, seen=False)
    answers = asyncio.run(ask(Asking(engine, ""), [human], wanted))
    told = {reader: readings(reader, [turn], answers).tolist() for reader in CHOICES}
    assert told["intensity/heard"] == [0.75] and told["intensity/answered"] == [1.0]
    assert told["change/heard"] == [0.5] and told["change/answered"] == [0.75]
    assert told["relief/heard"] == [2.0] and told["helpful/answered"] == [4.0]
    # understood 1, calmer 3, again 5
    assert told["items/heard"] == pytest.approx([3.0])
    assert reading("intensity", at_the_end(human, "intensity"), answers) == 1.0


def test_a_simulator_that_saw_the_train_split_is_asked_nothing_of_it():
    human, other = talk(0, [4.0]), talk(1, [2.0])
    config = FeedbackConfig(corpora=("esconv:x",), adapters=("bare",), reader="relief/heard")
    parts = {"train": Part((human,), (human,)), "validation": Part((other,), ())}
    assert wanted_questions(config, parts, seen=True) == questions(turns_of(other)[0], "relief/heard")
    assert len(wanted_questions(config, parts, seen=False)) == 2


def test_states_are_those_of_the_dialogue_so_far(tiny_model):
    from engage.experiments.feedback.states import read_states
    from engage.models import resolve_model

    base = resolve_model(str(tiny_model))
    long, short = talk(0, [4.0, None]), talk(0, [4.0])
    whole = read_states([(long, [2, 4]), (short, [2])], base)
    # both begin alike up to the first reply, after which the user is to speak
    assert set(whole) == {(long.scenario_id, 2), (long.scenario_id, 4), (short.scenario_id, 2)}
    first, second, alone = whole.values()
    # two layers of 32 numbers: at the end, and the mean over the turn
    assert first.shape == (128,) and first == pytest.approx(alone, abs=1e-5) and not np.allclose(first, second)


def test_a_reader_is_judged_beside_the_ceiling_and_the_page_has_nobodys_words():
    parts = {"train": Part(tuple(planted(20)), ()), "validation": Part(tuple(planted(12, first=500)), ())}
    config = FeedbackConfig(corpora=("esconv:x",), adapters=("bare",), reader="helpful/heard")
    humans = [human for part in parts.values() for human in part.scored]

    def choose(prompt, choices):
        (said,) = [text for text in prompt.messages[-1].content.split("\n\n") if "hear more" in text]
        return [float(choice == ("4" if "gladly" in said else "2")) for choice in choices]

    wanted = wanted_questions(config, parts, seen=False)
    answers = asyncio.run(ask(Asking(ScriptedEngine(choose=choose), ""), humans, wanted))
    result = judge(config, parts, {}, {"bare": answers})
    (reader,) = [one for one in result.predicted if one.simulator and one.split == "validation"]
    ceiling = result.ceiling("heard", "validation", "within")
    assert reader.agreement.within.low > 0.7 and ceiling is not None and ceiling.low > 0.3
    page = feedback_page(result, "tiny")
    share = f"{reader.agreement.within.value / ceiling.value:.0%}"
    assert "| helpful | heard | bare |" in page and f"| {share}, " in page and "cat" not in page
    rows = list(csv.DictReader(turns_csv(result).splitlines()))
    assert len(rows) == 160 and {row["helpful/heard/bare"] for row in rows} == {"2.0000", "4.0000"}
    figures = list(csv.DictReader(figures_csv(result).splitlines()))
    assert {row["method"] for row in figures} == {"turn's number", "score before", "regression on words", "helpful"}
    # words only: no state is wanted of a model that is elsewhere, yet all places are named
    assert all(lengths for _, lengths in wanted_states(config, parts))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"reader": "mood/heard"}, "--reader 'mood/heard' is not known; use one of intensity/heard"),
        ({"split": "test"}, "give one --reader and one --adapter"),
        ({"split": "test", "reader": "relief/heard", "adapters": ("bare", "embedded")}, "give one --reader"),
    ],
)
def test_the_test_split_opens_for_one_reader_only(settings, sentence):
    config = FeedbackConfig.model_validate({"corpora": ("esconv:x",), "adapters": ("bare",), **settings})
    with pytest.raises(ConfigError, match=sentence):
        config.check()


def write_scored(folder, per_split: int) -> str:
    """A file in ESConv's layout with that many dialogues of each split; returns `esconv:FILE`."""
    found: dict[str, list[dict]] = {"train": [], "validation": [], "test": []}
    number = 0
    while min(map(len, found.values())) < per_split:
        replies = ["Go on.", "Yes?", "Oh."]
        dialog = [{"speaker": "seeker", "annotation": {}, "content": f"My cat number {number} ran away."}]
        for place, reply in enumerate(replies):
            score = str(1 + (place + number) % 5)
            dialog += [
                {"speaker": "supporter", "annotation": {"strategy": "Others"}, "content": reply},
                {"speaker": "seeker", "annotation": {"feedback": score}, "content": f"Well {place}."},
            ]
        record = {
            "emotion_type": "fear",
            "problem_type": "loss",
            "situation": f"Sad {number}.",
            "survey_score": {"seeker": {"initial_emotion_intensity": "4", "final_emotion_intensity": "3"}},
            "dialog": dialog,
        }
        file = folder / "one.json"
        file.write_text(json.dumps([record]))
        own = found[_split(file)]
        own.extend([record] if len(own) < per_split else [])
        number += 1
    (folder / "one.json").unlink()
    (folder / "ESConv.json").write_text(json.dumps([record for own in found.values() for record in own]))
    return f"esconv:{folder / 'ESConv.json'}"


def _split(file):
    from engage.corpora import read_corpus

    return read_corpus(f"esconv:{file}").dialogues[0].split


def test_a_corpus_without_scores_is_refused(tmp_path):
    name = write_scored(tmp_path, 5)
    text = (tmp_path / "ESConv.json").read_text()
    found = {split: len(part.scored) for split, part in read_parts(_config(name)).items()}
    assert found == {"train": 5, "validation": 5, "test": 5}
    (tmp_path / "ESConv.json").write_text(text.replace("feedback", "nothing"))
    with pytest.raises(ConfigError, match="no dialogue of the train split has scores of single turns"):
        read_parts(_config(name))


def test_too_few_dialogues_for_the_regressions_are_refused_and_the_fewest_give_figures(tmp_path):
    name = write_scored(tmp_path, 5)
    with pytest.raises(
        ConfigError, match="4 dialogues of the train split have scores of single turns; the regressions need 5"
    ):
        read_parts(_config(name, max_dialogues=4))
    config = _config(name, max_dialogues=5, reader="relief/heard")
    words = [one for one in judge(config, read_parts(config), {}, {}).predicted if one.name == "regression on words"]
    assert [one.split for one in words] == ["train", "validation"] and not any(
        np.isnan(one.values).any() for one in words
    )


def _config(name, **settings):
    return FeedbackConfig(corpora=(name,), adapters=("bare",), **settings)


@pytest.mark.usefixtures("prefect_server")
def test_the_command_writes_a_page_and_two_tables_and_a_test_is_counted(engage, tiny_model, tmp_path):
    name, out = write_scored(tmp_path, 5), tmp_path / "out"
    common = ("experiment", "feedback", "--corpus", name, "--adapter", "bare", "--out", str(out))
    model = ("--set", f"engine.simulator_model={tiny_model}")
    code, _, err = engage(*common, *model, "--split", "test")
    assert code == 2 and "chosen on validation before" in err and "Traceback" not in err
    code, text, err = engage(*common, *model)
    assert code == 0 and "best reader" in text and str(out / "feedback.md") in text, err
    page = (out / "feedback.md").read_text()
    assert "| validation | 5 | 15 | 5 |" in page and "| regression on states | heard |" in page
    assert "| relief | answered | bare |" in page and "cat" not in page
    assert "## Outcomes of whole dialogues (5 dialogues, validation)" in page
    assert len((out / "turns.csv").read_text().splitlines()) == 31
    code, _, err = engage(*common, *model, "--split", "test", "--reader", "relief/heard")
    page = (out / "feedback.md").read_text()
    assert code == 0 and "The test split was opened 1 time." in page, err
    assert "train: within" not in page and "## Outcomes" not in page
    client = MlflowClient(Home.from_env().tracking_uri)
    runs = client.search_runs(["1"], "tags.`engage.stage` = 'simulator-feedback'")
    assert len(runs) == 2 and {run.info.status for run in runs} == {"FINISHED"}
    assert len(client.search_runs(["1"], "tags.`engage.opening` = 'test'")) == 1
