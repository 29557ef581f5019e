"""How well a simulator predicts people: the likelihood of real user turns after the simulator's own prompt.

The survey's answer is left out. It uses weights, not an engine, because engines only score short choices.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from engage.corpora import HumanDialogue
from engage.models import ModelRef, open_model, put_adapter
from engage.stats import Estimate, Statistic, divided, estimate
from engage.training import IGNORED, chat_tokenizer, quiet, simulator_chat, tokenise_chat

BATCH_TOKENS = 2048
"""Tokens of one batch, with padding; with a vocabulary of 49,000 tokens its logits take up to 0.4 GB."""


@dataclass(frozen=True)
class Likelihood:
    """One turn, or the turns of one dialogue: the summed negative log-likelihood in nats, and the tokens with ends of turns."""

    nats: float
    tokens: int


def user_turn_likelihoods(
    dialogues: Sequence[HumanDialogue],
    base: ModelRef,
    adapter: str,
    max_length: int,
    on_done: Callable[[int], None] = lambda _: None,
) -> dict[str, Likelihood]:
    """Likelihoods by scenario id. `adapter` is a folder, "" for the base alone; `on_done` gets numbers of finished dialogues.

    A chat of more than `max_length` tokens counts up to its last whole user turn; a dialogue without one is left out.
    """
    with quiet():
        _, template = chat_tokenizer(base)
        model = open_scorer(base, adapter)
        rows: dict[str, dict[str, list[int]]] = {}
        parts: dict[str, list[str]] = {}
        for human in dialogues:
            chat = tokenise_chat(simulator_chat(replace(human, outcome=None)), template)
            cut = [row for row in (cut_row(row, max_length) for row in chat) if row["input_ids"]]
            parts[human.scenario_id] = [f"{human.scenario_id} {number}" for number in range(len(cut))]
            rows.update(zip(parts[human.scenario_id], cut, strict=True))
        by_row: dict[str, list[Likelihood]] = {}
        for names in batches({name: len(row["input_ids"]) for name, row in rows.items()}):
            by_row.update(zip(names, turn_likelihoods(model, [rows[name] for name in names]), strict=True))
            on_done(sum(name.endswith(" 0") for name in names))
    dialogue_parts = {name: [turn for part in of_it for turn in by_row[part]] for name, of_it in parts.items() if of_it}
    return {n: Likelihood(sum(p.nats for p in own), sum(p.tokens for p in own)) for n, own in dialogue_parts.items()}


def cut_row(row: Mapping[str, Any], max_length: int) -> dict[str, list[int]]:
    """A chat's tokens up to the last labelled part that ends within `max_length`; empty if none does."""
    ids, labels = list(row["input_ids"]), list(row["labels"])
    end = max((last for _, last in labelled_runs(labels) if last <= max_length), default=0)
    return {"input_ids": ids[:end], "labels": labels[:end]}


def batches(lengths: Mapping[str, int], tokens: int = BATCH_TOKENS) -> list[list[str]]:
    """Names in batches, by falling length; a batch has as many as fit into `tokens` with its longest, at least one."""
    grouped: list[list[str]] = []
    room = 0
    for name in sorted(lengths, key=lambda name: -lengths[name]):
        if room <= 0:
            grouped.append([])
            room = max(1, tokens // max(1, lengths[name]))
        grouped[-1].append(name)
        room -= 1
    return grouped


def open_scorer(base: ModelRef, adapter: str, exact: bool = False) -> Any:
    """The model that likelihoods are read from; `adapter` is a folder, "" for the base alone.

    With `exact` in float32 on every device, the adapter merged: for the small differences between a policy and its start.
    """
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.float32 if exact or device == "cpu" else torch.bfloat16
    model = open_model(base.path, dtype, "sdpa")
    if adapter:
        model = put_adapter(model, adapter)
        model = model.merge_and_unload() if exact else model
    return model.to(device).eval()


def turn_likelihoods(model: Any, rows: Sequence[Mapping[str, list[int]]]) -> list[list[Likelihood]]:
    """For each row its labelled turns in order; a turn is a run of labels that no unlabelled token interrupts. One pass for all rows.

    Rows are padded on the right, so that a causal model needs no mask.
    """
    import torch
    from torch.nn.functional import cross_entropy

    width = max(len(row["input_ids"]) for row in rows)

    def padded(name: str, filler: int) -> Any:
        return torch.tensor([row[name] + [filler] * (width - len(row[name])) for row in rows], device=model.device)

    input_ids, labels = padded("input_ids", 0), padded("labels", IGNORED)
    columns = (labels[:, 1:] != IGNORED).any(0).nonzero().squeeze(-1)
    nats = torch.zeros(labels.shape, dtype=torch.float32, device=model.device)
    with torch.inference_mode():
        logits = model(input_ids=input_ids, use_cache=False, logits_to_keep=columns).logits
        targets = labels[:, columns + 1]
        flat = logits.float().flatten(0, 1)  # on a CPU the loss over the flat rows is several times faster
        losses = cross_entropy(flat, targets.flatten(), ignore_index=IGNORED, reduction="none").view_as(targets)
        nats[:, columns + 1] = losses
    found = []
    for each, row in zip(nats.cpu().double(), rows, strict=True):
        runs = labelled_runs(row["labels"])
        found.append([Likelihood(float(each[first:last].sum()), last - first) for first, last in runs])
    return found


def labelled_runs(labels: Sequence[int]) -> list[tuple[int, int]]:
    """First place of each run of labels, and the place after its last."""
    edges = [
        place for place in range(len(labels) + 1) if _is_labelled(labels, place) != _is_labelled(labels, place - 1)
    ]
    return list(zip(edges[::2], edges[1::2], strict=True))


def _is_labelled(labels: Sequence[int], place: int) -> bool:
    return 0 <= place < len(labels) and labels[place] != IGNORED


def perplexity(likelihoods: Mapping[str, Likelihood], seed: int = 0) -> Estimate:
    """exp(nats per token) over all of the dialogues."""
    nats, tokens = _sums(likelihoods, sorted(likelihoods))
    return estimate(len(nats), _perplexity(nats, tokens), seed)


def perplexity_ratio(
    likelihoods: Mapping[str, Likelihood], others: Mapping[str, Likelihood], seed: int = 0
) -> Estimate:
    """Perplexity over that of another simulator, on the dialogues that both have."""
    shared = sorted({*likelihoods} & {*others})
    (nats, tokens), (other_nats, other_tokens) = _sums(likelihoods, shared), _sums(others, shared)
    own, other = _perplexity(nats, tokens), _perplexity(other_nats, other_tokens)
    return estimate(len(shared), lambda counts: own(counts) / other(counts), seed)


def _sums(likelihoods: Mapping[str, Likelihood], names: Sequence[str]) -> tuple[Any, Any]:
    own = [likelihoods[name] for name in names]
    return np.array([one.nats for one in own], dtype=float), np.array([one.tokens for one in own], dtype=float)


def _perplexity(nats: Any, tokens: Any) -> Statistic:
    return lambda counts: np.exp(divided(counts @ nats, counts @ tokens))
