import math
from dataclasses import replace

import pytest
from card_dialogues import persuadee
from tiny_models import save_adapter

from engage.experiments.simulator_card.perplexity import (
    Likelihood,
    batches,
    cut_row,
    perplexity,
    perplexity_ratio,
    user_turn_likelihoods,
)
from engage.models import ChatTemplate, resolve_model
from engage.training import IGNORED, simulator_chat, tokenise_chat

X = IGNORED


@pytest.mark.parametrize(("limit", "kept"), [(8, 8), (7, 5), (5, 5), (4, 2), (2, 2), (1, 0)])
def test_a_long_chat_ends_with_its_last_whole_turn(limit, kept):
    # turns of the user end after 2, 5 and 8 tokens
    row = {"input_ids": [9, 1, 9, 2, 3, 9, 4, 5], "labels": [X, 1, X, 2, 3, X, 4, 5]}
    found = cut_row(row, limit)
    assert (len(found["input_ids"]), len(found["labels"])) == (kept, kept)


def test_batches_hold_rows_of_about_one_length():
    assert batches({"a": 3, "b": 10, "c": 4, "d": 5}, tokens=10) == [["b"], ["d", "c"], ["a"]]


def test_perplexity_weighs_dialogues_by_their_tokens():
    told = {"a": Likelihood(3.0, 1), "b": Likelihood(5.0, 3)}
    # 8 nats over 4 tokens
    assert perplexity(told).value == pytest.approx(math.exp(2.0))
    # against 4 nats over 4 tokens; "c" has no counterpart
    others = {"a": Likelihood(1.0, 1), "b": Likelihood(3.0, 3), "c": Likelihood(99.0, 1)}
    assert perplexity_ratio(told, others).value == pytest.approx(math.exp(2.0 - 1.0))
    assert perplexity_ratio(told, {}).value is None


@pytest.fixture(scope="module")
def tiny(tiny_model):
    return resolve_model(str(tiny_model))


def test_likelihoods_are_those_of_the_users_turns_without_the_survey(tiny):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    long, short = persuadee(0, 0.5), persuadee(1, 0.0, ("I know them quite well.", "No."))
    found = user_turn_likelihoods([short, long], tiny, "", 4096)
    tokenizer, model = AutoTokenizer.from_pretrained(tiny.path), AutoModelForCausalLM.from_pretrained(tiny.path)
    for human in (long, short):
        (row,) = tokenise_chat(simulator_chat(replace(human, outcome=None)), ChatTemplate(tokenizer))
        with torch.no_grad():
            logprobs = model(torch.tensor([row["input_ids"]])).logits[0].log_softmax(-1)
        nats = [-logprobs[place - 1, label].item() for place, label in enumerate(row["labels"]) if label != IGNORED]
        assert found[human.scenario_id].tokens == len(nats)
        assert found[human.scenario_id].nats == pytest.approx(sum(nats), rel=1e-4)


def test_an_adapter_changes_the_likelihoods(tiny, tmp_path):
    adapter = save_adapter(tiny.path, tmp_path / "adapter")
    human = persuadee(0, 0.5)
    bare, trained = (user_turn_likelihoods([human], tiny, name, 4096) for name in ("", str(adapter)))
    assert bare[human.scenario_id].tokens == trained[human.scenario_id].tokens
    assert bare[human.scenario_id].nats != pytest.approx(trained[human.scenario_id].nats, rel=1e-3)


def test_a_dialogue_of_which_nothing_fits_is_left_out(tiny):
    assert user_turn_likelihoods([persuadee(0, 0.5)], tiny, "", 16) == {}
