"""What is measured of a training when it has ended, and the pairs that are set aside for it."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny_models import byte_tokenizer, make_pairs

from engage.models import AdapterCard, ModelRef
from engage.training import (
    AlignConfig,
    DpoSettings,
    RunFolder,
    before,
    build_trainer,
    quiet,
    set_aside,
    start_model,
    train_dpo,
)
from engage.training.dpo import fitting_rows
from engage.training.measures import pair_measures, trained_weights
from engage.training.trainer import LoraSettings

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_cache")]

LORA = LoraSettings(r=4, alpha=8)
DPO = DpoSettings(learning_rate=1e-2, beta=0.5, batch_size=2, gradient_accumulation=1)


def pairs_of(scenarios: int) -> list[Any]:
    """Two pairs of each scenario."""
    return [replace(pair, scenario_id=f"s{n // 2}") for n, pair in enumerate(make_pairs(2 * scenarios))]


def test_whole_scenarios_are_set_aside_once_there_are_enough() -> None:
    kept, aside = set_aside(pairs_of(20), 0.1)
    names = [{pair.scenario_id for pair in part} for part in (kept, aside)]
    assert (len(kept), len(aside), len(names[0] & names[1])) == (36, 4, 0)  # 2 of 20 scenarios, 2 pairs each
    assert set_aside(list(reversed(pairs_of(20))), 0.1)[1] == list(reversed(aside))  # whatever their order
    assert [len(part) for part in set_aside(pairs_of(20), 0.01)] == [38, 2]  # at least one scenario


@pytest.mark.parametrize(("scenarios", "share"), [(19, 0.1), (40, 0.0)])
def test_none_is_set_aside_of_few_scenarios_or_if_none_is_wanted(scenarios: int, share: float) -> None:
    assert [len(part) for part in set_aside(pairs_of(scenarios), share)] == [2 * scenarios, 0]


@pytest.fixture
def moved(base: ModelRef, tmp_path: Path) -> tuple[Any, dict[str, Any], list[dict[str, Any]]]:
    """A trainer whose policy has moved from its start, the weights of the start, and its rows."""
    import torch

    with quiet():
        model, tokenizer = start_model(base, None, LORA, 0), byte_tokenizer()
        rows = fitting_rows(make_pairs(3), tokenizer, DPO)
        trainer = build_trainer(model, tokenizer, rows, RunFolder(tmp_path, "k"), DPO)
        start = trained_weights(trainer.model)
        torch.manual_seed(1)
        for name, weights in trainer.model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weights, std=0.2)
    return trainer, start, rows


def by_hand(trainer: Any, start: dict[str, Any], rows: list[dict[str, Any]]) -> dict[str, float]:
    """The same figures from one reply at a time."""
    import torch

    def distributions() -> list[Any]:
        found = []
        for row in rows:
            for side in ("chosen_ids", "rejected_ids"):
                ids = torch.tensor([row["prompt_ids"] + row[side]])
                logits = trainer.model(input_ids=ids).logits[0, len(row["prompt_ids"]) - 1 : -1]
                found.append(logits.float().log_softmax(-1))
        return found

    with torch.no_grad():
        now, own = distributions(), {name: weight.clone() for name, weight in trainer.model.named_parameters()}
        trainer.model.load_state_dict(start, strict=False)
        then = distributions()
        trainer.model.load_state_dict(own)
    tokens = [row[side] for row in rows for side in ("chosen_ids", "rejected_ids")]
    gains = [
        sum(float(a[k, token] - b[k, token]) for k, token in enumerate(said))
        for a, b, said in zip(now, then, tokens, strict=True)
    ]
    margins = [DPO.beta * (gains[2 * n] - gains[2 * n + 1]) for n in range(len(rows))]
    divergence = sum(float((a.exp() * (a - b)).sum()) for a, b in zip(now, then, strict=True))
    return {
        "loss": sum(math.log1p(math.exp(-margin)) for margin in margins) / len(margins),
        "accuracy": sum(margin > 0 for margin in margins) / len(margins),
        "margin": sum(margins) / len(margins),
        "kl": divergence / sum(len(said) for said in tokens),
    }


@pytest.mark.parametrize("shares", [True, False])
def test_the_figures_are_those_of_single_replies(moved: Any, shares: bool) -> None:
    trainer, start, rows = moved
    expected = by_hand(trainer, start, rows)
    assert expected["kl"] > 0.01
    assert pair_measures(trainer, start, rows, DPO, shares) == pytest.approx(expected, abs=1e-3)
    kept = trained_weights(trainer.model)
    pair_measures(trainer, start, rows, DPO, shares)
    assert all(bool((kept[name] == weight).all()) for name, weight in trained_weights(trainer.model).items())


def test_the_figures_before_a_training_are_known(moved: Any) -> None:
    trainer, _, rows = moved
    assert pair_measures(trainer, trained_weights(trainer.model), rows, DPO, True) == pytest.approx(before(DPO))
    assert pair_measures(trainer, {}, [], DPO, True) == {}


def test_learning_rates_are_told_apart_on_both_kinds_of_pairs(base: ModelRef, tmp_path: Path) -> None:
    found = {}
    for rate in (5e-5, 5e-3):
        config = AlignConfig(lora=LORA, dpo=DPO.model_copy(update={"learning_rate": rate}))
        result = train_dpo(make_pairs(6), base, tmp_path / str(rate), config, held_out=make_pairs(9)[6:])
        found[rate] = AdapterCard.read(result.adapter).metrics
    slow, fast = found[5e-5], found[5e-3]
    assert (slow["pairs"], slow["pairs_held_out"]) == (6, 3)
    for kind in ("train", "held_out"):
        assert 0 <= slow[f"{kind}/kl"] < fast[f"{kind}/kl"]
        assert fast[f"{kind}/loss"] < slow[f"{kind}/loss"] < before(DPO)["loss"] + 1e-3
    assert "held_out/loss" not in train_dpo(make_pairs(4), base, tmp_path / "none", AlignConfig(lora=LORA)).metrics
