"""Supervised fine-tuning on chosen messages of chats: the user simulator on what users said, a baseline policy on human replies.

The loss sees the selected messages and their end-of-turn tokens, nothing else; templates need no generation markers. Each
selected message is tokenised on its own after its rendered prompt, as it would be sampled.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engage.chat_template import render
from engage.engine import Message
from engage.errors import ConfigError, ModelError
from engage.models import DataSource, ModelRef
from engage.run_folder import RunFolder, TrainResult, digest, make_card, run_folder
from engage.training import (
    AlignConfig,
    OnStep,
    SftSettings,
    batch_order,
    on_one_device,
    quiet,
    run_trainer,
    start_model,
    trainer_arguments,
)

METRICS = ("loss", "grad_norm", "learning_rate")
IGNORED = -100


@dataclass(frozen=True)
class ChatExample:
    """A chat and the indexes of the messages to learn, each of role `assistant` (in a simulator's chat, that is the user).

    `answer` is the index of the one that answers the exit survey, if there is one: its tokens weigh `sft.survey_weight`.
    """

    messages: tuple[Message, ...]
    trained: tuple[int, ...]
    source: str = "own"
    answer: int | None = None

    def as_json(self) -> list[Any]:
        """Content as a JSON value, for hashing."""
        return [[[message.role, message.content] for message in self.messages], list(self.trained), self.answer]


def train_sft(
    examples: Sequence[ChatExample],
    base: ModelRef,
    out: Path,
    config: AlignConfig,
    parent: Path | None = None,
    on_step: OnStep | None = None,
    licences: Mapping[str, str] | None = None,
) -> TrainResult:
    """Train an adapter on `examples` into `out/adapter`; finished and interrupted folders as in `engage.align.train_dpo`.

    `licences` are for the card, by the examples' `source`. Raises ConfigError without a usable example or with a selected message that is not the assistant's.
    """
    settings = config.sft
    _check(examples)
    ordered = sorted(examples, key=lambda example: digest(example.as_json()))
    recipe = {"lora": config.lora, "sft": settings}
    folder = run_folder(out, "sft", base, parent, recipe, _hash(ordered))
    done = folder.finished()
    if done is not None:
        return done
    with quiet():
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(base.path)
        rows = _fitting(ordered, tokenizer, settings)
        model = start_model(base, parent, config.lora, settings.seed)
        trainer = build_trainer(model, tokenizer, rows, folder, settings)
        history = run_trainer(trainer, folder, METRICS, on_step)
    counts = {"chats": float(len(rows)), "chats_too_long": float(len(ordered) - len(rows))}
    data = _sources(ordered, licences or {})
    card = make_card(folder, "sft", base, parent, recipe, data, {**counts, **history[-1]})
    return folder.finish(trainer.model, card, history)


def _check(examples: Sequence[ChatExample]) -> None:
    if not any(example.trained for example in examples):
        raise ConfigError("no chat to train on: give at least one chat with a selected message")
    for number, example in enumerate(examples):
        wrong = [index for index in example.trained if example.messages[index].role != "assistant"]
        if wrong:
            raise ConfigError(f"chat {number}: message {wrong[0]} is not the assistant's and cannot be learnt")


def _hash(examples: Sequence[ChatExample]) -> str:
    return digest(sorted(digest(example.as_json()) for example in examples))


def _sources(examples: Sequence[ChatExample], licences: Mapping[str, str]) -> list[DataSource]:
    groups: dict[str, list[ChatExample]] = {}
    for example in examples:
        groups.setdefault(example.source, []).append(example)
    return [
        DataSource(name=name, hash=_hash(group), rows=len(group), licence=licences.get(name, "not stated"))
        for name, group in sorted(groups.items())
    ]


def tokenise_chat(example: ChatExample, tokenizer: Any, survey_weight: float = 1.0) -> dict[str, list[Any]]:
    """`input_ids` of the chat up to its last selected message, `labels`: the same ids there, −100 elsewhere, and `weights`.

    Raises ModelError if the template renders a chat's beginning differently once more messages follow.
    """
    chat = [{"role": message.role, "content": message.content} for message in example.messages]
    input_ids: list[int] = []
    labels: list[int] = []
    weights: list[float] = []
    done = ""
    for index in sorted(example.trained):
        prompt = render(tokenizer, chat[:index], add_generation_prompt=True)
        told = render(tokenizer, chat[: index + 1])
        if not (prompt.startswith(done) and told.startswith(prompt)):
            raise ModelError(
                "the model's chat template changes earlier messages when a chat goes on; it cannot be learnt"
            )
        end = told.rfind(tokenizer.eos_token)
        spoken = told[: end + len(tokenizer.eos_token)] if end >= len(prompt) else told
        for text, learnt in ((prompt[len(done) :], False), (spoken[len(prompt) :], True)):
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            input_ids += ids
            labels += ids if learnt else [IGNORED] * len(ids)
            weights += [survey_weight if index == example.answer else 1.0] * len(ids)
        done = spoken
    return {"input_ids": input_ids, "labels": labels, "weights": weights}


def _fitting(examples: Sequence[ChatExample], tokenizer: Any, settings: SftSettings) -> list[dict[str, list[Any]]]:
    """The chats as tokens, in training order; those over `max_length` tokens are left out."""
    rows = [tokenise_chat(example, tokenizer, settings.survey_weight) for example in examples if example.trained]
    rows = [row for row in rows if len(row["input_ids"]) <= settings.max_length]
    if not rows:
        raise ConfigError(f"no chat to train on: all have more than {settings.max_length} tokens; raise sft.max_length")
    return [rows[i] for i in batch_order([len(row["input_ids"]) for row in rows], settings.batch_size, settings.seed)]


def build_trainer(
    model: Any, tokenizer: Any, rows: Sequence[dict[str, list[Any]]], folder: RunFolder, settings: SftSettings
) -> Any:
    """trl's SFTTrainer, ready to train on the labelled tokens."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    class ChatTrainer(SFTTrainer):
        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            return labelled_loss(
                model,
                inputs["input_ids"],
                inputs["labels"],
                num_items_in_batch,
                inputs["weights"],
            )

        def _set_signature_columns_if_needed(self) -> None:
            super()._set_signature_columns_if_needed()
            self._signature_columns.append("weights")

    return ChatTrainer(
        model=model,
        args=on_one_device(SFTConfig(**trainer_arguments(folder, settings))),
        train_dataset=Dataset.from_list(list(rows)),
        processing_class=tokenizer,
        data_collator=_chat_collator(tokenizer),
    )


def _chat_collator(tokenizer: Any) -> Any:
    """trl's collator, which pads tokens and labels, and the weights beside them."""
    import torch
    from torch.nn.utils.rnn import pad_sequence
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    class ChatCollator(DataCollatorForLanguageModeling):
        def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
            weights = [torch.tensor(row["weights"], dtype=torch.float32) for row in examples]
            return {**super().torch_call(examples), "weights": pad_sequence(weights, batch_first=True)}

    padding = tokenizer.pad_token_id
    return ChatCollator(pad_token_id=tokenizer.eos_token_id if padding is None else padding)


def labelled_loss(model: Any, input_ids: Any, labels: Any, num_items: Any = None, weights: Any = None) -> Any:
    """Summed cross-entropy of the labelled tokens, each times its weight (1 by default), over `num_items` (their number by default).

    Rows are padded on the right, so that a causal model needs no mask: with one, attention in bfloat16 is several times slower
    on a CPU. The head runs on columns that some row needs; over the whole vocabulary and every position it would take most of the memory.
    """
    from torch.nn.functional import cross_entropy

    columns = (labels[:, 1:] != IGNORED).any(0).nonzero().squeeze(-1)
    logits = model(input_ids=input_ids, use_cache=False, logits_to_keep=columns).logits.float()
    targets = labels[:, columns + 1]
    losses = cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="none")
    if weights is not None:
        losses = losses * weights[:, columns + 1].flatten()
    return losses.sum() / ((targets != IGNORED).sum() if num_items is None else num_items)
