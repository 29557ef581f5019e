"""Fine-tuning on human dialogues through the flow: a tiny model, the hand-written corpus of the fixtures."""

from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient

from engage.corpora import read_corpus, read_shipped
from engage.dialogue import Role, Turn
from engage.models import AdapterCard, check_adapter, resolve_model
from engage.simulation import SpeechConfig
from engage.training import training_chats
from engage.training.sft import ChatExample
from flows.cli.profiles import load_config
from flows.simulator import train_simulator

P4G = f"p4g:{Path(__file__).parents[1] / 'fixtures' / 'p4g'}"


@pytest.mark.usefixtures("prefect_server")
def test_an_adapter_is_trained_tracked_and_says_where_its_data_come_from(home, tiny_model, tmp_path):
    settings = ("align.sft.max_length=8192", "align.lora.r=2", f"engine.simulator_model={tiny_model}")
    chats = training_chats(read_corpus(P4G).dialogues, ["simulator"], SpeechConfig(), 8192, None, 0, 0.5)
    assert chats
    result = train_simulator(load_config("laptop", settings), [P4G], ["simulator"], None, str(tmp_path / "out"))
    card: AdapterCard = check_adapter(result.adapter, resolve_model(str(tiny_model)))
    assert [(source.name, source.rows) for source in card.data] == [("p4g", len(chats))]
    assert "Apache-2.0" in card.data[0].licence
    client = MlflowClient(home.tracking_uri)
    (run,) = client.search_runs(["1"], "tags.`engage.stage` = 'sft'")
    assert run.info.status == "FINISHED"
    assert run.data.metrics["train/loss"] == pytest.approx(result.metrics["loss"])


@pytest.mark.slow
def test_a_limit_counts_the_dialogues_of_people_and_not_our_own():
    people, own = read_corpus(P4G).dialogues, read_shipped().dialogues
    chats = training_chats([*people, *own], ["simulator"], SpeechConfig(), 1024, 1, 0, 0.5)
    sources = [chat.source for chat in chats]
    assert (sources.count("p4g"), sources.count("engage")) == (1, len(own))


def test_what_one_training_takes_another_can_leave_out():
    esconv = f"esconv:{Path(__file__).parents[1] / 'fixtures' / 'esconv'}"
    people = [human for corpus in (P4G, esconv) for human in read_corpus(corpus).dialogues]

    def taken(most: int | None, skip: int) -> list[ChatExample]:
        return training_chats(people, ["simulator"], SpeechConfig(), 8192, most, 0, 0.5, skip)

    every, first, rest = taken(None, 0), taken(2, 0), taken(None, 2)
    assert len(every) == 6 and len(first) == 2
    assert rest == [chat for chat in every if chat not in first]
    assert len(taken(1, 2)) == 1 and taken(1, 2)[0] in rest


def test_nothing_is_learnt_from_a_user_in_crisis():
    calm = read_shipped().dialogues[0]
    said = replace(calm.dialogue, turns=(*calm.dialogue.turns, Turn(Role.USER, "I want to kill myself.")))
    given = [calm, replace(calm, dialogue=said)]
    chats = [training_chats(given[:n], ["simulator"], SpeechConfig(), 1024, None, 0, 0.5) for n in (1, 2)]
    assert len(chats[0]) == len(chats[1]) == 1


@pytest.mark.slow
def test_a_policy_learns_from_dialogues_that_went_well_only():
    own = read_shipped().dialogues
    good = [human for human in own if human.reward is not None and human.reward >= 0.5]
    chats = training_chats(own, ["policy"], SpeechConfig(), 1024, None, 0, 0.5)
    assert 0 < len(chats) <= len(good) < len(own)
