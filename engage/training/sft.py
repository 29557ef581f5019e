"""Supervised fine-tuning on selected messages of chats: a user simulator on user turns, a baseline policy on human replies.

The loss covers only the selected messages and their end-of-turn tokens; templates need no generation markers. Each selected message
follows the tokens of the prompt that it would be sampled from.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from engage.engines.base import Message
from engage.errors import ConfigError
from engage.files.digest import digest
from engage.models import ChatTemplate, DataSource, ModelRef, strip_thoughts
from engage.training.processes import OnStep, even_rows, in_processes, is_first, joined
from engage.training.run_folder import RunFolder, TrainResult, make_card, run_folder
from engage.training.starting import chat_tokenizer, start_model, within_context
from engage.training.trainer import (
    PADDING,
    AlignConfig,
    SftSettings,
    batch_order,
    check_training,
    on_one_device,
    quiet,
    run_trainer,
    trainer_arguments,
)

METRICS = ("loss", "grad_norm", "learning_rate")
IGNORED = -100


@dataclass(frozen=True)
class ChatExample:
    """A chat and the indexes of the messages to learn, each of role `assistant` (in a simulator's chat, that is the user).

    `answer` is the index of the message that answers the exit survey, if there is one; its tokens have weight `sft.survey_weight`.
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
    """Train an adapter on `examples` into `out/adapter`; finished and interrupted folders as in `engage.training.dpo.train_dpo`.

    `licences` are for the card, by the examples' `source`. Raises ConfigError without a usable example or with a selected message that is not the assistant's.
    """
    check_training(config, "sft")
    _check(examples)
    ordered = sorted(examples, key=lambda example: digest(example.as_json()))
    folder = run_folder(out, "sft", base, parent, config.recipe("sft"), _hash(ordered))
    work = partial(_train, folder, base, parent, config, ordered, dict(licences or {}))
    return folder.once(partial(in_processes, config.processes, work, on_step))


def _train(
    folder: RunFolder,
    base: ModelRef,
    parent: Path | None,
    config: AlignConfig,
    ordered: Sequence[ChatExample],
    licences: Mapping[str, str],
    on_step: OnStep | None,
) -> None:
    """Train, and write the finished adapter; one of several processes, maybe."""
    settings = config.sft.model_copy(update={"max_length": within_context(config.sft.max_length, base)})
    with quiet():
        tokenizer, template = chat_tokenizer(base)
        rows, found = _fitting(ordered, template, settings)
        model = start_model(base, parent, config.lora, settings.seed)
        trainer = build_trainer(model, tokenizer, rows, folder, settings, config.gradient_checkpointing)
        history = run_trainer(trainer, folder, METRICS, on_step)
    if is_first():
        counts = {name: float(count) for name, count in found.items()}
        data = _sources(ordered, licences)
        card = make_card(folder, "sft", base, parent, config.recipe("sft"), data, {**counts, **history[-1]})
        folder.finish(trainer.model, card, history)


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


def tokenise_chat(
    example: ChatExample, template: ChatTemplate, survey_weight: float = 1.0
) -> list[dict[str, list[Any]]]:
    """`input_ids` of the chat up to its last selected message, `labels`: the same ids there, −100 elsewhere, and `weights`.

    One row, if each prompt continues the previous prompt and its reply. Some templates render earlier turns differently as a chat goes
    on (they drop thoughts, or move the system text). Then a new row begins, so that every message follows its own prompt.
    """
    chat = [{"role": message.role, "content": message.content} for message in example.messages]
    rows: list[dict[str, list[Any]]] = []
    for index in sorted(example.trained):
        if not strip_thoughts(chat[index]["content"])[0]:
            continue  # it was only thought
        prompt, (reply,) = template.encode(chat[:index], chat[index]["content"])
        done = len(rows[-1]["input_ids"]) if rows else 0
        if not rows or prompt[:done] != rows[-1]["input_ids"]:
            rows.append({"input_ids": [], "labels": [], "weights": []})
            done = 0
        weight = survey_weight if index == example.answer else 1.0
        for ids, learnt in ((prompt[done:], False), (reply, True)):
            rows[-1]["input_ids"] += ids
            rows[-1]["labels"] += ids if learnt else [IGNORED] * len(ids)
            rows[-1]["weights"] += [weight] * len(ids)
    return rows


def _fitting(
    examples: Sequence[ChatExample], template: ChatTemplate, settings: SftSettings
) -> tuple[list[dict[str, list[Any]]], dict[str, int]]:
    """The chats as tokens, in training order, and how many they are; left out are those over `max_length` tokens, and those whose selected
    messages are none, or only thoughts (`chats_empty`).
    """
    chats = [tokenise_chat(example, template, settings.survey_weight) for example in examples]
    taught = [rows for rows in chats if rows]
    fitting = [rows for rows in taught if max(len(row["input_ids"]) for row in rows) <= settings.max_length]
    rows = [row for rows in fitting for row in rows]
    if not taught:
        raise ConfigError("no chat to train on: the selected messages hold nothing but thoughts")
    if not rows:
        raise ConfigError(
            f"no chat to train on: all have more than {settings.max_length} tokens; raise sft.max_length, up to the model's context"
        )
    order = batch_order([len(row["input_ids"]) for row in rows], settings.batch_size, settings.seed)
    counts = {
        "chats": len(fitting),
        "chats_too_long": len(taught) - len(fitting),
        "chats_empty": len(chats) - len(taught),
    }
    return [rows[i] for i in order], counts


def build_trainer(
    model: Any,
    tokenizer: Any,
    rows: Sequence[dict[str, list[Any]]],
    folder: RunFolder,
    settings: SftSettings,
    checkpointing: bool = False,
) -> Any:
    """trl's SFTTrainer, ready to train on the labelled tokens."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    if joined() > 1:
        dealt = even_rows(len(rows), settings.batch_size, settings.gradient_accumulation)
        silent = [{**row, "labels": [IGNORED] * len(row["labels"])} for row in rows]
        rows = [rows[index] if weight else silent[index] for index, weight in dealt]

    class ChatTrainer(SFTTrainer):
        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            loss = labelled_loss(model, inputs["input_ids"], inputs["labels"], num_items_in_batch, inputs["weights"])
            # the number of items is that of all processes, over which gradients are averaged
            return loss * joined()

        def _set_signature_columns_if_needed(self) -> None:
            super()._set_signature_columns_if_needed()
            self._signature_columns.append("weights")

    # the rows are ready: trl would drop those that only fill up the last step
    ready = {"dataset_kwargs": {"skip_prepare_dataset": True}}
    arguments = SFTConfig(**trainer_arguments(folder, settings, checkpointing), **ready)
    return ChatTrainer(
        model=model,
        args=on_one_device(arguments),
        train_dataset=Dataset.from_list(list(rows)),
        processing_class=tokenizer,
        data_collator=_chat_collator(),
    )


def _chat_collator() -> Any:
    """trl's collator, which pads tokens and labels, and the weights beside them."""
    import torch
    from torch.nn.utils.rnn import pad_sequence
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    class ChatCollator(DataCollatorForLanguageModeling):
        def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
            weights = [torch.tensor(row["weights"], dtype=torch.float32) for row in examples]
            return {**super().torch_call(examples), "weights": pad_sequence(weights, batch_first=True)}

    return ChatCollator(pad_token_id=PADDING)


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
