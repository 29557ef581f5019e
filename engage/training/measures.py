"""How far a DPO training moved the policy, on a sample of its own pairs and on pairs that were set aside.

The figures are those of the finished adapter, not of a batch during training: loss, accuracy and margin as DPO defines them, and the
divergence from the policy that the training started from.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from engage.files.digest import digest
from engage.training.losses import pair_losses
from engage.training.pairs import PreferencePair
from engage.training.shared_prompt import reply_logits
from engage.training.trainer import DpoSettings

LEAST_SCENARIOS = 20
"""Pairs of fewer scenarios are all trained on: the figures of one scenario's few pairs would say nothing."""
MEASURED_PAIRS = 32
"""Pairs of either kind that are measured; more would take a noticeable share of the training's time."""


def before(settings: DpoSettings) -> dict[str, float]:
    """The figures before training, where policy and reference are the same: known without a measurement, whatever the labels."""
    loss = math.log(2) if settings.loss == "sigmoid" else 1 / (2 * settings.beta) ** 2
    return {"loss": loss, "accuracy": 0.5, "margin": 0.0, "kl": 0.0}


def set_aside(pairs: Sequence[PreferencePair], share: float) -> tuple[list[PreferencePair], list[PreferencePair]]:
    """The pairs to train on, and those set aside: all pairs of `share` of the scenarios, at least one, in the order of a hash of their ids.

    None is set aside if `share` is 0 or the pairs are of fewer than `LEAST_SCENARIOS` scenarios. A scenario stays on its side when
    others are added, unless it is near the border.
    """
    scenarios = sorted({pair.scenario_id for pair in pairs}, key=lambda name: digest(["set aside", name]))
    count = max(1, round(share * len(scenarios))) if share and len(scenarios) >= LEAST_SCENARIOS else 0
    aside = set(scenarios[:count])
    kept = [pair for pair in pairs if pair.scenario_id not in aside]
    return kept, [pair for pair in pairs if pair.scenario_id in aside]


def trained_weights(model: Any) -> dict[str, Any]:
    """A copy of the weights that a training changes, as they are now, by name."""
    return {name: weight.detach().clone() for name, weight in model.named_parameters() if weight.requires_grad}


def pair_measures(
    trainer: Any, start: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], settings: DpoSettings, shares: bool
) -> dict[str, float]:
    """Measure the trainer's policy on at most `MEASURED_PAIRS` of the tokenised `rows`; empty without rows.

    `start` has the weights before training (`trained_weights`), `shares` is `can_share_prompts`. `loss` is the mean of `pair_losses`; `accuracy`
    the share of pairs whose chosen reply has gained more than the rejected one, ties as half; `margin` the mean difference of the
    implicit rewards, in units of beta; `kl` the mean of KL(policy ‖ start) over the replies' tokens, in nats per token.
    """
    import torch

    model, losses, margins, divergence, tokens = trainer.model, [], [], 0.0, 0
    was_training = model.training
    model.eval()
    with torch.no_grad():
        for batch in _batches(trainer, rows):
            labels = batch["input_ids"].masked_fill(batch["completion_mask"] == 0, -100)
            after = reply_distributions(model, batch, labels, shares)
            with _weights(model, start):
                before = reply_distributions(model, batch, labels, shares)
            gains = [now.logps - then.logps for now, then in zip(after, before, strict=True)]
            lengths = [side.mask.sum(-1) for side in after]
            losses.append(pair_losses(gains, lengths, settings, batch.get("noise")))
            margins.append(settings.beta * (gains[0] - gains[1]))
            for now, then in zip(after, before, strict=True):
                divergence += float((now.logprobs.exp() * (now.logprobs - then.logprobs)).sum(-1)[now.mask].sum())
                tokens += int(now.mask.sum())
    model.train(was_training)
    if not margins:
        return {}
    margin = torch.cat(margins)
    return {
        "loss": float(torch.cat(losses).mean()),
        "accuracy": float(((margin > 0).float() + 0.5 * (margin == 0).float()).mean()),
        "margin": float(margin.mean()),
        "kl": max(0.0, divergence / tokens),
    }


def reply_distributions(model: Any, batch: Mapping[str, Any], labels: Any, shares: bool) -> list[SimpleNamespace]:
    """For the chosen and the rejected replies of a batch: `logprobs` [n, width, vocabulary], `mask` [n, width] of the replies' tokens,
    and `logps` [n], the sums of the tokens' log-probabilities."""
    if shares:
        sides = reply_logits(model, batch["input_ids"], labels)
    else:
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False).logits
        targets = labels[:, 1:].masked_fill(labels[:, 1:] == -100, -1)
        sides = list(zip(logits[:, :-1].chunk(2), targets.chunk(2), strict=True))
    found = []
    for logits, tokens in sides:
        logprobs, mask = logits.float().log_softmax(-1), tokens >= 0
        taken = logprobs.gather(-1, tokens.clamp(min=0).unsqueeze(-1)).squeeze(-1)
        found.append(SimpleNamespace(logprobs=logprobs, mask=mask, logps=(taken * mask).sum(-1)))
    return found


def _batches(trainer: Any, rows: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    size, measured = trainer.args.per_device_train_batch_size, list(rows[:MEASURED_PAIRS])
    for first in range(0, len(measured), size):
        batch = trainer.data_collator(measured[first : first + size])
        yield {name: value.to(trainer.model.device) for name, value in batch.items()}


@contextmanager
def _weights(model: Any, weights: Mapping[str, Any]) -> Iterator[None]:
    """Exchange the weights of these names in the body."""
    own = {name: weight for name, weight in model.named_parameters() if name in weights}
    kept = {name: weight.detach().clone() for name, weight in own.items()}
    for name, weight in own.items():
        weight.data.copy_(weights[name])
    try:
        yield
    finally:
        for name, weight in own.items():
            weight.data.copy_(kept[name])
