from pathlib import Path
from typing import Any

import pytest
from tiny_models import TEMPLATE, byte_tokenizer

from engage.engines.base import Message
from engage.errors import ConfigError, ModelError
from engage.models import AdapterCard, ChatTemplate, ModelRef
from engage.training import AlignConfig, tokenise_chat, train_sft
from engage.training.sft import ChatExample, labelled_loss
from engage.training.trainer import LoraSettings, SftSettings

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_cache")]

SFT = SftSettings(learning_rate=1e-2, batch_size=2, gradient_accumulation=1, save_steps=1)
CONFIG = AlignConfig(lora=LoraSettings(r=4, alpha=8), sft=SFT)
CHAT = ChatExample(
    messages=(
        Message("system", "You are Ann."),
        Message("user", "How are you?"),
        Message("assistant", "Not well."),
        Message("user", "What happened?"),
        Message("assistant", "I lost my job."),
        Message("user", "From 1 to 5?"),
        Message("assistant", "4"),
    ),
    trained=(2, 6),
)


def spoken(labels: list[int]) -> list[str]:
    """Decoded runs of labelled tokens."""
    runs: list[list[int]] = [[]]
    for label in labels:
        if label == -100:
            runs.append([])
        else:
            runs[-1].append(label)
    return [byte_tokenizer().decode(run) for run in runs if run]


def test_labels_are_the_selected_messages_and_their_end_tokens() -> None:
    (row,) = tokenise_chat(CHAT, ChatTemplate(byte_tokenizer()))
    assert spoken(row["labels"]) == ["Not well.<|im_end|>", "4<|im_end|>"]


def test_tokens_are_the_chat_as_the_template_renders_it() -> None:
    tokenizer = byte_tokenizer()
    (row,) = tokenise_chat(CHAT, ChatTemplate(tokenizer))
    chat = [{"role": message.role, "content": message.content} for message in CHAT.messages]
    # the newline that the template writes after the last end token is never sampled
    assert tokenizer.decode(row["input_ids"]) + "\n" == tokenizer.apply_chat_template(chat, tokenize=False)


def test_what_follows_the_last_selected_message_is_left_out() -> None:
    (row,) = tokenise_chat(ChatExample(CHAT.messages, (2,)), ChatTemplate(byte_tokenizer()))
    assert byte_tokenizer().decode(row["input_ids"]).endswith("Not well.<|im_end|>")


def test_a_template_that_rewrites_earlier_messages_is_refused() -> None:
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = "{{ messages|length }}" + tokenizer.chat_template
    with pytest.raises(ModelError, match="changes earlier messages"):
        ChatTemplate(tokenizer)


def test_a_template_that_wants_the_user_first_gets_a_stub() -> None:
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = (
        "{% if messages[0]['role'] != 'user' %}{{ raise_exception('user first') }}{% endif %}" + TEMPLATE
    )
    chat = ChatExample((Message("system", "Be kind."), Message("assistant", "Hello.")), (1,))
    (row,) = tokenise_chat(chat, ChatTemplate(tokenizer))
    assert "user\nBe kind.\n\n(The conversation begins.)<|im_end|>" in tokenizer.decode(row["input_ids"])
    assert spoken(row["labels"]) == ["Hello.<|im_end|>"]


def test_loss_is_the_mean_over_labelled_tokens(base: ModelRef) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base.path)
    input_ids = torch.tensor([[5, 6, 7, 8, 9], [5, 6, 7, 1, 1]])
    attention_mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    labels = torch.tensor([[-100, -100, 7, -100, 9], [-100, 6, -100, -100, -100]])
    logprobs = model(input_ids=input_ids, attention_mask=attention_mask).logits.log_softmax(-1)
    # token 7 follows column 1 and token 9 column 3 of the first row, token 6 column 0 of the second
    expected = -(logprobs[0, 1, 7] + logprobs[0, 3, 9] + logprobs[1, 0, 6]) / 3
    loss = labelled_loss(model, input_ids, labels)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)


def test_an_answer_weighs_more_in_the_loss(base: ModelRef) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base.path)
    input_ids, labels = torch.tensor([[5, 6, 7, 8, 9]]), torch.tensor([[-100, -100, 7, -100, 9]])
    logprobs = model(input_ids=input_ids).logits.log_softmax(-1)
    weights = torch.tensor([[1.0, 1.0, 1.0, 1.0, 10.0]])
    expected = -(logprobs[0, 1, 7] + 10 * logprobs[0, 3, 9]) / 2
    assert labelled_loss(model, input_ids, labels, None, weights).item() == pytest.approx(expected.item(), abs=1e-5)


def test_only_the_surveys_answer_has_the_surveys_weight() -> None:
    answered = ChatExample(CHAT.messages, CHAT.trained, answer=6)
    (row,) = tokenise_chat(answered, ChatTemplate(byte_tokenizer()), 20.0)
    heavy = [label for label, weight in zip(row["labels"], row["weights"], strict=True) if weight == 20.0]
    assert spoken(heavy) == ["4<|im_end|>"]


def test_loss_falls_and_the_card_is_written(base: ModelRef, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"sft": SFT.model_copy(update={"epochs": 8})})
    result = train_sft([CHAT, ChatExample(CHAT.messages, (4,), "human")], base, tmp_path, config)
    assert result.history[-1]["loss"] < result.history[0]["loss"] - 0.1
    card = AdapterCard.read(result.adapter)
    assert (card.method, card.base_fingerprint, card.metrics["chats"]) == ("sft", "tiny-1", 2)
    assert [(source.name, source.rows) for source in card.data] == [("human", 1), ("own", 1)]


def test_training_goes_on_from_a_parent(base: ModelRef, tmp_path: Path) -> None:
    first = train_sft([CHAT], base, tmp_path / "first", CONFIG)
    slow = CONFIG.model_copy(update={"sft": SFT.model_copy(update={"learning_rate": 1e-9})})
    second = train_sft([CHAT], base, tmp_path / "second", slow, parent=first.adapter)

    def b_factors(folder: Path) -> list[Any]:
        from safetensors.torch import load_file

        return [v for name, v in load_file(folder / "adapter_model.safetensors").items() if "lora_B" in name]

    pairs = zip(b_factors(first.adapter), b_factors(second.adapter), strict=True)
    assert all(float((one - other).abs().max()) < 1e-6 for one, other in pairs)
    assert second.history[0]["loss"] < first.history[0]["loss"]


def test_chats_over_the_length_limit_are_left_out_and_counted(base: ModelRef, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"sft": SFT.model_copy(update={"max_length": 120})})
    result = train_sft([CHAT, ChatExample(CHAT.messages, (2,))], base, tmp_path, config)
    assert (result.metrics["chats"], result.metrics["chats_too_long"]) == (1, 1)


def test_chats_with_nothing_to_learn_are_counted_apart(base: ModelRef, tmp_path: Path) -> None:
    thought = ChatExample((*CHAT.messages[:2], Message("assistant", "<think>She lies.</think>")), (2,))
    result = train_sft([CHAT, ChatExample(CHAT.messages, ()), thought], base, tmp_path, CONFIG)
    assert [result.metrics[name] for name in ("chats", "chats_too_long", "chats_empty")] == [1, 0, 2]
    with pytest.raises(ConfigError, match="the selected messages hold nothing but thoughts"):
        train_sft([thought], base, tmp_path / "thought", CONFIG)


def test_nothing_to_learn_is_an_error_of_the_user(base: ModelRef, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no chat to train on"):
        train_sft([ChatExample(CHAT.messages, ())], base, tmp_path, CONFIG)
    with pytest.raises(ConfigError, match="chat 0: message 1 is not the assistant's"):
        train_sft([ChatExample(CHAT.messages, (1,))], base, tmp_path, CONFIG)
