"""Texts in other languages are noticed in corpora, scenario files and sampled turns."""

import json
import os
from dataclasses import replace
from pathlib import Path

import own_domain
import pytest
from languages import SAID
from own_domain import StudyAdvice

from engage.corpora import CorpusOptions, read_esconv, read_p4g, read_shipped
from engage.dialogue import Dialogue, Role, Turn
from engage.domains import load_domain
from engage.domains.loading import check_complete
from engage.domains.rules.language import foreign, foreign_turn
from engage.errors import ConfigError, CorpusError, ScenarioError
from engage.scenario import SHIPPED, is_read, load_scenarios, read_scenarios
from engage.simulation import DialogueConfig, begin_episode, find_flaw

SUPPORT = load_domain("emotional_support")
CORPORA = Path(os.environ.get("ENGAGE_CORPORA", Path(__file__).parents[3] / "shared" / "data"))


def test_other_languages_are_noticed_in_an_opening():
    said = [texts for group in SAID.values() for texts in group]
    missed = [texts for texts in said if not foreign(texts)]
    assert len(SAID) >= 16 and len(missed) <= 0.05 * len(said), missed


def test_other_languages_are_noticed_in_a_single_turn():
    whole = [turn for name, group in SAID.items() if name != "half in english" for texts in group for turn in texts]
    missed = [turn for turn in whole if not foreign_turn(turn)]
    assert len(missed) <= 0.05 * len(whole), missed


@pytest.mark.parametrize(
    "text",
    [
        "idk im just so tired of everything rn lol",
        "Hola, that's the only word of Spanish I know, my boyfriend taught me.",
        "We ate pierogi in Kraków and crème brûlée in Besançon.",
        "ok 👍🏽 (╯°□°)╯︵ ┻━┻",
        "Have a look at https://www.example.org/quiero/vivir?x=así and tell me.",
        "μ is the mean, σ the spread, that is all I remember from class.",
        "No.",
        "😢",
        "",
    ],
)
def test_what_people_write_in_english_is_read(text):
    assert not foreign([text]) and not foreign_turn(text)


def test_one_line_in_another_language_is_noticed_in_a_long_english_dialogue():
    said = ["I lost my job last month and I cannot sleep.", "That is hard. What worries you most?"] * 20
    assert not foreign(said)
    assert foreign([*said, "我不想活了"]) and foreign([*said, "Ya no quiero seguir viviendo en esta casa."])


@pytest.mark.slow
def test_shipped_scenarios_and_dialogues_are_english():
    assert all(is_read(scenario, load_domain(scenario.domain)) for scenario in load_scenarios(SHIPPED))
    assert not [human for human in read_shipped().dialogues if foreign([turn.text for turn in human.dialogue.turns])]


@pytest.mark.slow
def test_people_who_speak_english_are_read():
    if not CORPORA.is_dir():
        pytest.skip(f"{CORPORA} is not there; set ENGAGE_CORPORA to the folder that holds esconv/ and p4g/")
    everything = CorpusOptions(any_language=True)
    people = [*read_esconv(CORPORA / "esconv", everything).dialogues, *read_p4g(CORPORA / "p4g", everything).dialogues]
    texts = [[turn.text for turn in human.dialogue.turns] for human in people]
    # of about 2,090 dialogues and 45,000 turns
    assert sum(map(foreign, texts)) <= 0.005 * len(texts)
    turns = [turn for dialogue in texts for turn in dialogue]
    assert sum(map(foreign_turn, turns)) <= 0.001 * len(turns)


def esconv_in(folder, *said) -> Path:
    speakers = ("usr", "sys")
    dialog = [{"speaker": speakers[index % 2], "text": text} for index, text in enumerate(said)]
    scores = {"seeker": {"initial_emotion_intensity": "4", "final_emotion_intensity": "2"}}
    described = {"emotion_type": "anxiety", "problem_type": "job", "situation": "I lose my flat."}
    record = {**described, "dialog": dialog, "survey_score": scores}
    (folder / "train.txt").write_text(json.dumps(record), encoding="utf-8")
    return folder / "train.txt"


def test_self_harm_in_another_language_is_no_success(tmp_path):
    """Such a dialogue once had a reward of 0.75 and was trained on, because no rule reads the language."""
    path = esconv_in(
        tmp_path, "你好，我最近失眠，很焦虑。", "什么时候开始的？", "我不想活了，想自杀。", "谢谢你告诉我。"
    )
    with pytest.raises(
        CorpusError, match=r"not in English, which the rules .* read; to take it anyway: --any-language .*\(1, first at"
    ):
        read_esconv(path)
    (taken,) = read_esconv(path, CorpusOptions(any_language=True)).dialogues
    assert taken.reward == 0.75
    corpus = read_esconv(path, CorpusOptions(any_language=True))
    assert corpus.remarks == {"not in English, which the rules for crises, deception and flaws read": 1}


def test_a_scenario_in_another_language_is_refused_by_line_and_taken_when_asked(tmp_path):
    (scenario,) = [s for s in load_scenarios(["emotional_support"]) if s.scenario_id == "support-0001"]
    record = json.loads(scenario.as_json())
    record["opening"] = [{"role": "user", "text": "No puedo dormir desde hace dos semanas y tengo miedo."}]
    path = tmp_path / "s.jsonl"
    path.write_text(f"{scenario.as_json()}\n{json.dumps({**record, 'id': 'other'})}\n", encoding="utf-8")
    assert [p.partition("; ")[0] for p in read_scenarios(path).problems] == [
        f"{path}:2: not in English, which the rules for crises, deception and flaws read"
    ]
    with pytest.raises(ScenarioError, match="--any-language"):
        load_scenarios([str(path)])
    assert [s.scenario_id for s in load_scenarios([str(path)], any_language=True)] == ["support-0001", "other"]


def test_a_sampled_turn_in_another_language_is_drawn_again():
    english = Dialogue((Turn(Role.USER, "I lost my job and I cannot sleep."),))
    spanish = Dialogue((Turn(Role.USER, "Perdí mi trabajo y no puedo dormir por las noches."),))
    assert find_flaw(SUPPORT, english, Role.ASSISTANT, "Lo siento mucho, ¿quieres hablar de ello?") == "language"
    assert find_flaw(SUPPORT, english, Role.USER, "我不知道怎么办。") == "language"
    assert find_flaw(SUPPORT, spanish, Role.ASSISTANT, "Lo siento mucho, ¿quieres hablar de ello?") is None


def test_a_turn_of_an_emoji_or_a_smiley_says_something_and_dots_do_not():
    english = Dialogue((Turn(Role.USER, "I lost my job and I cannot sleep."),))
    assert [find_flaw(SUPPORT, english, Role.USER, text) for text in ("😢", "❤️", ":)", "…", "?!", "—")] == [
        None, None, None, "empty", "empty", "empty",
    ]  # fmt: skip


class Consejo(StudyAdvice):
    """A domain in Spanish with its own crisis rule."""

    language = "es"
    crisis = (r"\bno quiero (?:seguir )?viv(?:ir|iendo)\b",)


def test_a_domain_in_another_language_brings_its_own_rule_for_crises(monkeypatch):
    domain = Consejo()
    said = "Perdí mi trabajo y no puedo dormir. Ya no quiero vivir."
    assert domain.reads([said])
    assert find_flaw(domain, Dialogue(), Role.USER, said) is None
    monkeypatch.setattr(own_domain, "CONSEJO", domain, raising=False)
    (first, *_) = load_scenarios([str(Path(__file__).parents[1] / "fixtures" / "own_scenarios.jsonl")])
    stage = begin_episode(None, replace(first, domain="own_domain:CONSEJO"), DialogueConfig(), 1, None, None)  # type: ignore[arg-type]
    assert stage.end_reason(Dialogue((Turn(Role.USER, said),)), 1) == "crisis"


def test_a_domain_in_another_language_without_rules_for_crises_is_refused():
    kind = type("Silent", (StudyAdvice,), {"language": "es"})
    with pytest.raises(ConfigError, match="language is 'es', but crisis is empty"):
        check_complete("silent", kind())
