"""DPO: a candidate adapter from preference pairs, with trl's trainer and a LoRA adapter (Rafailov et al. 2023).

The candidate starts from the champion and the champion is the reference. Which pairs are worth training on is decided
elsewhere (`engage.training.pairs`).
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from random import Random
from statistics import fmean
from typing import Any

from engage.errors import ConfigError
from engage.files.digest import digest
from engage.models import AdapterCard, ChatTemplate, DataSource, ModelRef
from engage.training.losses import batch_loss, label_noise
from engage.training.measures import before, pair_measures, trained_weights
from engage.training.pairs import PreferencePair, pair_set_hash
from engage.training.processes import OnStep, dataset_of, even_rows, in_processes, is_first, joined
from engage.training.run_folder import RunFolder, TrainResult, make_card, run_folder
from engage.training.shared_prompt import can_share_prompts, reply_logprobs
from engage.training.starting import chat_tokenizer, start_model, within_context
from engage.training.trainer import (
    PADDING,
    AlignConfig,
    DpoSettings,
    batch_order,
    check_training,
    on_one_device,
    quiet,
    run_trainer,
    trainer_arguments,
)

Rows = Sequence[dict[str, Any]]
REFERENCE_PAIRS = 16
"""Least number of pairs in a batch of the pass for the reference on a GPU: a small batch leaves it idle."""
_OWN = ("weight", "noise")
"""Columns of a row that trl does not know."""
_TRAINED = ("prompt_ids", "chosen_ids", "rejected_ids", *_OWN)
METRICS = (
    "loss",
    "rewards/chosen",
    "rewards/rejected",
    "rewards/accuracies",
    "rewards/margins",
    "logps/chosen",
    "logps/rejected",
    "grad_norm",
    "learning_rate",
)


def train_dpo(
    pairs: Sequence[PreferencePair],
    base: ModelRef,
    out: Path,
    config: AlignConfig,
    parent: Path | None = None,
    on_step: OnStep | None = None,
    licences: Mapping[str, str] | None = None,
    held_out: Sequence[PreferencePair] = (),
) -> TrainResult:
    """Train a candidate on `pairs` into `out/adapter`, from `parent` (an adapter of the same base) or from the bare base.

    A finished folder of the same pairs and settings is returned unchanged; an interrupted run resumes from its last checkpoint.
    `on_step(step, metrics)` is called after every optimiser step with trl's metric names. `licences` are for the card, by source:
    `search`, or `human:` and the domain. The finished policy is measured on its pairs and on the `held_out` ones
    (`engage.training.measures`): the result's metrics `train/…` and `held_out/…`, and `loss_before`; with soft labels `label_noise` is the
    mean probability of a wrong label (`engage.training.losses`). Raises ConfigError without a usable pair, ModelError
    if the parent belongs to other base weights.
    """
    settings = config.dpo
    check_training(config, "dpo")
    drawn = drawn_pairs(pairs, settings)
    if not drawn:
        raise ConfigError(
            "no accepted pair to train on: collect more trees, or accept pairs of smaller gap or confidence"
        )
    folder = run_folder(out, "dpo", base, parent, config.recipe("dpo"), data_hash(drawn, settings))
    work = partial(_train, folder, base, parent, config, drawn, held_out, dict(licences or {}))
    return folder.once(partial(in_processes, config.processes, work, on_step))


def _train(
    folder: RunFolder,
    base: ModelRef,
    parent: Path | None,
    config: AlignConfig,
    drawn: Sequence[PreferencePair],
    held_out: Sequence[PreferencePair],
    licences: Mapping[str, str],
    on_step: OnStep | None,
) -> None:
    """Train, and write the finished adapter; one of several processes, maybe."""
    settings = config.dpo.model_copy(update={"max_length": within_context(config.dpo.max_length, base)})
    with quiet():
        tokenizer, _ = chat_tokenizer(base)
        rows = fitting_rows(drawn, tokenizer, settings)
        model = start_model(base, parent, config.lora, settings.seed)
        trainer = build_trainer(model, tokenizer, rows, folder, settings, config.gradient_checkpointing)
        start = trained_weights(trainer.model)
        history = run_trainer(trainer, folder, METRICS, on_step)
        if not is_first():
            return
        aside = tokenised(held_out, tokenizer, settings)
        measured = _measures(trainer, start, {"train": rows, "held_out": aside}, settings)
    counts = {
        "pairs": float(len(rows)),
        "pairs_too_long": float(len(drawn) - len(rows)),
        "pairs_held_out": float(len(aside)),
        "loss_before": before(settings)["loss"],
        **({} if settings.labels == "hard" else {"label_noise": fmean(row["noise"] for row in rows)}),
    }
    data, metrics = _sources(drawn, licences), {**counts, **history[-1], **measured}
    card = make_card(folder, "dpo", base, parent, config.recipe("dpo"), data, metrics)
    folder.finish(trainer.model, card, history)


def _measures(
    trainer: Any, start: Mapping[str, Any], sets: Mapping[str, Sequence[dict[str, Any]]], settings: DpoSettings
) -> dict[str, float]:
    shares = can_share_prompts(trainer.model, settings.max_length)
    return {
        f"{name}/{figure}": value
        for name, rows in sets.items()
        for figure, value in pair_measures(trainer, start, rows, settings, shares).items()
    }


def drawn_pairs(pairs: Sequence[PreferencePair], settings: DpoSettings) -> list[PreferencePair]:
    """At most `max_pairs` pairs, in an order that depends only on their contents."""
    ordered = sorted(pairs, key=lambda pair: digest([pair.prompt, pair.chosen, pair.rejected]))
    if settings.max_pairs is None or len(ordered) <= settings.max_pairs:
        return ordered
    return Random(settings.seed).sample(ordered, settings.max_pairs)


def trained_on(card: AdapterCard, drawn: Sequence[PreferencePair]) -> bool:
    """Whether the card's training had these pairs, as `drawn_pairs` gives them; their P, which soft labels use, is not compared."""
    return {(one.name, one.hash) for one in _sources(drawn, {})} == {(one.name, one.hash) for one in card.data}


def data_hash(pairs: Sequence[PreferencePair], settings: DpoSettings) -> str:
    """Hash of all that a training takes from its pairs: with soft labels their P too."""
    known = pair_set_hash(pairs)
    return known if settings.labels == "hard" else digest([known, [label_noise(pair) for pair in pairs]])


def _sources(pairs: Sequence[PreferencePair], licences: Mapping[str, str]) -> list[DataSource]:
    groups: dict[str, list[PreferencePair]] = {}
    for pair in pairs:
        groups.setdefault(pair.source_name, []).append(pair)
    return [
        DataSource(name=name, hash=pair_set_hash(group), rows=len(group), licence=licences.get(name, "not stated"))
        for name, group in sorted(groups.items())
    ]


def fitting_rows(pairs: Sequence[PreferencePair], tokenizer: Any, settings: DpoSettings) -> list[dict[str, Any]]:
    """The pairs as trl's conversational preference rows, in training order; those over `max_length` tokens are left out.

    Each row also has `prompt_ids`, `chosen_ids` and `rejected_ids`, the tokens that are trained on; and, if a pair has a weight, `weight`,
    whose mean over the rows is 1; and with soft labels `noise`, each label's probability of being wrong.
    """
    rows = tokenised(pairs, tokenizer, settings)
    if not rows:
        raise ConfigError(
            f"no accepted pair to train on: all {len(pairs)} have more than {settings.max_length} tokens; raise dpo.max_length, up to the model's context"
        )
    if any("weight" in row for row in rows):
        mean = fmean(row.setdefault("weight", 1.0) for row in rows)
        rows = [{**row, "weight": row["weight"] / mean} for row in rows]
    lengths = [len(row["prompt_ids"]) + max(len(row["chosen_ids"]), len(row["rejected_ids"])) for row in rows]
    return [rows[index] for index in batch_order(lengths, settings.batch_size, settings.seed)]


def tokenised(pairs: Sequence[PreferencePair], tokenizer: Any, settings: DpoSettings) -> list[dict[str, Any]]:
    """The rows of `fitting_rows` in the pairs' order; none is no error."""
    template = ChatTemplate(tokenizer)
    rows = []
    for pair in pairs:
        messages = list(pair.prompt)
        prompt, (chosen, rejected) = template.encode(messages, pair.chosen, pair.rejected)
        length = len(prompt) + max(len(chosen), len(rejected))
        if length <= settings.max_length:
            said = {"chosen": pair.chosen, "rejected": pair.rejected}
            replies = {side: [{"role": "assistant", "content": text}] for side, text in said.items()}
            tokens = {"prompt_ids": prompt, "chosen_ids": chosen, "rejected_ids": rejected}
            weight = {} if pair.weight is None else {"weight": pair.weight}
            noise = {} if settings.labels == "hard" else {"noise": label_noise(pair)}
            rows.append({"prompt": messages, **replies, **tokens, **weight, **noise})
    return rows


def build_trainer(
    model: Any, tokenizer: Any, rows: Rows, folder: RunFolder, settings: DpoSettings, checkpointing: bool = False
) -> Any:
    """trl's DPOTrainer, ready to train on `fitting_rows`. The reference's log-probabilities are computed once, from the model's present weights.

    With weights the loss of a batch is the mean of weight times loss: over an epoch, the weighted mean; with soft labels it is that of
    `engage.training.losses`. trl's own metrics know neither weights nor soft labels.
    """
    from trl import DPOConfig, DPOTrainer

    shares = can_share_prompts(model, settings.max_length)

    class PairTrainer(DPOTrainer):
        def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
            """The rows are already tokens: trl would render a reply with its prompt, and some templates then change the prompt."""
            return dataset

        def _set_signature_columns_if_needed(self) -> None:
            super()._set_signature_columns_if_needed()
            self._signature_columns = list(dict.fromkeys([*vars(self)["_signature_columns"], *_OWN]))

        def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            speak, said = partial(reply_logprobs, model) if shares else model, []
            own = _take_own(inputs)

            def heard(**given: Any) -> Any:
                said.append(speak(**given))
                return said[-1]

            loss = super().compute_loss(heard if own else speak, inputs, *args, **kwargs)
            return batch_loss(said[-1].log_probs, inputs, settings, **own) if own else loss

        def compute_ref_log_probs(self, model: Any, inputs: Any) -> Any:
            _take_own(inputs)
            return super().compute_ref_log_probs(partial(reply_logprobs, model) if shares else model, inputs)

    arguments = DPOConfig(**trainer_arguments(folder, settings, checkpointing), **_dpo_arguments(settings))
    trainer = PairTrainer(
        model=model,
        args=on_one_device(arguments),
        train_dataset=dataset_of(_trained_rows(rows, settings), folder.checkpoints / "rows"),
        processing_class=tokenizer,
        data_collator=pair_collator(settings.max_length),
    )
    # trl's frozen copy of the starting adapter has answered; a checkpoint would carry it along.
    trainer.model.delete_adapter("ref")
    return trainer


def _trained_rows(rows: Rows, settings: DpoSettings) -> list[dict[str, Any]]:
    """The columns that are trained on; for several processes with a full last step."""
    if joined() > 1:
        dealt = even_rows(len(rows), settings.batch_size, settings.gradient_accumulation)
        rows = [{**rows[index], "weight": rows[index].get("weight", 1.0) * weight} for index, weight in dealt]
    return [{name: row[name] for name in _TRAINED if name in row} for row in rows]


def _dpo_arguments(settings: DpoSettings) -> dict[str, Any]:
    """What only DPO's trainer takes. On a GPU the reference is asked for many pairs at a time: no gradients need memory."""
    import torch

    together = max(settings.batch_size, REFERENCE_PAIRS) if torch.cuda.is_available() else settings.batch_size
    return {
        "beta": settings.beta,
        "loss_type": [settings.loss],
        "precompute_ref_log_probs": True,
        "precompute_ref_batch_size": together,
    }


def _take_own(inputs: dict[str, Any]) -> dict[str, Any]:
    """Remove from a batch what trl does not know, and return it."""
    return {name: inputs.pop(name) for name in _OWN if name in inputs}


def pair_collator(max_length: int) -> Any:
    """trl's collator for pairs, and their weights and label noise if they have some; the rows are already tokens."""
    from trl.trainer.dpo_trainer import DataCollatorForPreference

    collate = DataCollatorForPreference(pad_token_id=PADDING, max_length=max_length)

    def collate_own(rows: Any) -> Any:
        import torch

        own = {name: torch.tensor([row[name] for row in rows]) for name in _OWN if name in rows[0]}
        return {**collate(rows), **own}

    return collate_own
