"""The loss of a pair: its values by hand, the policy at which it is least, and trainings that use it."""

import dataclasses
import math
from pathlib import Path
from typing import Any, ClassVar

import pytest
from tiny_models import make_pairs

from engage.models import AdapterCard, ModelRef
from engage.training import AlignConfig, DpoSettings, before, train_dpo
from engage.training.losses import batch_loss, label_noise, pair_losses
from engage.training.trainer import LoraSettings

LORA = LoraSettings(r=4, alpha=8)
DPO = DpoSettings(learning_rate=1e-2, batch_size=2, gradient_accumulation=1, save_steps=1)


def with_dpo(**changes: Any) -> AlignConfig:
    return AlignConfig(lora=LORA, dpo=DPO.model_copy(update=changes))


def sure(p_greater: float | None, weight: float | None = None) -> Any:
    return dataclasses.replace(make_pairs(1)[0], p_greater=p_greater, weight=weight)


def test_the_noise_of_a_label_is_what_is_missing_to_its_p() -> None:
    assert label_noise(sure(0.8)) == pytest.approx(0.2)
    assert label_noise(sure(0.55)) == 0.4  # at most
    assert label_noise(sure(1.0)) == 0.0
    assert label_noise(sure(None)) == 0.0  # a human pair states no P


SOFTPLUS = {0.5: math.log(1 + math.exp(0.5)), -0.5: math.log(1 + math.exp(-0.5))}
# ε = 0.25; sigmoid with β = 0.5: the chosen reply gains 3 nats, the rejected one 2, so β·m = 0.5.
# ipo: 2 and 4 tokens, so m = 3/2 - 2/4 = 1, its target 1/(2β) = 1: losses 0 of m and 4 of -m.
LOSSES = {
    ("sigmoid", "hard"): SOFTPLUS[-0.5],
    ("sigmoid", "conservative"): 0.75 * SOFTPLUS[-0.5] + 0.25 * SOFTPLUS[0.5],
    ("sigmoid", "robust"): (0.75 * SOFTPLUS[-0.5] - 0.25 * SOFTPLUS[0.5]) / 0.5,
    ("ipo", "hard"): 0.0,
    ("ipo", "conservative"): 1.0,
    ("ipo", "robust"): -2.0,
}


@pytest.mark.parametrize(("loss", "labels"), LOSSES)
def test_the_loss_of_a_pair_by_hand(loss: Any, labels: Any) -> None:
    import torch

    settings = DpoSettings(beta=0.5, loss=loss, labels=labels)
    gains, lengths = (torch.tensor([3.0]), torch.tensor([2.0])), (torch.tensor([2]), torch.tensor([4]))
    found = pair_losses(gains, lengths, settings, torch.tensor([0.25]))
    assert found.tolist() == pytest.approx([LOSSES[loss, labels]], abs=1e-6)


def test_the_weighted_loss_of_a_batch_by_hand() -> None:
    import torch

    # two pairs: the chosen replies have gained 1 and 0, the rejected ones 0 and 2; β = 0.5 makes the margins 0.5 and -1
    log_probs = torch.tensor([[-1.0, -1.0], [-3.0, 0.0], [-2.0, 0.0], [-1.0, 0.0]])
    inputs = {
        "ref_chosen_logps": torch.tensor([-3.0, -3.0]),
        "ref_rejected_logps": torch.tensor([-2.0, -3.0]),
        "completion_mask": torch.ones(4, 3),
    }
    expected = (1.5 * math.log(1 + math.exp(-0.5)) + 0.5 * math.log(1 + math.exp(1.0))) / 2
    settings = DpoSettings(beta=0.5)
    assert float(batch_loss(log_probs, inputs, settings, torch.tensor([1.5, 0.5]))) == pytest.approx(expected)


def learnt_margin(settings: DpoSettings, pairs: list[tuple[bool, float, float]]) -> float:
    """log π(a)/π_ref(a) − log π(b)/π_ref(b) of the tabular policy over three replies that has the least loss on pairs of a and b.

    A pair is (a chosen, ε, how often). The reference prefers b to a, and the third reply to both.
    """
    import torch

    reference = torch.tensor([0.1, 0.3, 0.6], dtype=torch.float64).log()
    logits = reference.clone().requires_grad_()
    a_chosen = torch.tensor([chosen for chosen, _, _ in pairs])
    noise, count = (torch.tensor([pair[place] for pair in pairs], dtype=torch.float64) for place in (1, 2))
    one = torch.ones(len(pairs), dtype=torch.float64)
    optimiser = torch.optim.LBFGS(
        [logits], max_iter=200, tolerance_grad=1e-12, tolerance_change=0.0, line_search_fn="strong_wolfe"
    )

    def gain() -> Any:
        return logits.log_softmax(0) - reference

    def loss() -> Any:
        optimiser.zero_grad()
        a, b = gain()[0], gain()[1]
        chosen, rejected = torch.where(a_chosen, a, b), torch.where(a_chosen, b, a)
        total = (count * pair_losses((chosen, rejected), (one, one), settings, noise)).sum()
        total.backward()
        return total

    optimiser.step(loss)
    return float((gain()[0] - gain()[1]).detach())


@pytest.mark.parametrize("p", [0.6, 0.8, 0.95])
def test_the_optimum_of_a_conservative_pair_is_the_logit_of_its_p(p: float) -> None:
    settings = DpoSettings(beta=0.5, labels="conservative")
    assert settings.beta * learnt_margin(settings, [(True, 1 - p, 1.0)]) == pytest.approx(
        math.log(p / (1 - p)), abs=1e-5
    )


# Of 100 people 80 prefer a: logit 0.8 = log 4. Then a tenth of all labels is flipped: 0.8·0.9 + 0.2·0.1 = 74 for a. Robust finds the
# people's log 4; hard stops at logit 0.74; conservative smooths once more: 0.74·0.9 + 0.26·0.1 = 0.692.
FLIPPED = [(True, 0.1, 74.0), (False, 0.1, 26.0)]
OPTIMA = {"robust": math.log(4), "hard": math.log(0.74 / 0.26), "conservative": math.log(0.692 / 0.308)}


@pytest.mark.parametrize("labels", OPTIMA)
def test_robust_undoes_flipped_labels_and_the_others_do_not(labels: Any) -> None:
    settings = DpoSettings(beta=0.5, labels=labels)
    assert settings.beta * learnt_margin(settings, FLIPPED) == pytest.approx(OPTIMA[labels], abs=1e-5)


# ipo with β = 0.5 aims at 1: a share s of labels for a puts the margin at 2s - 1
@pytest.mark.parametrize(("labels", "optimum"), [("hard", 0.48), ("robust", 0.6), ("conservative", 0.384)])
def test_the_optimum_of_ipo_is_twice_the_share_minus_one(labels: Any, optimum: float) -> None:
    assert learnt_margin(DpoSettings(beta=0.5, loss="ipo", labels=labels), FLIPPED) == pytest.approx(optimum, abs=1e-6)


def test_a_robust_pair_alone_has_no_least_loss() -> None:
    import torch

    settings, noise = DpoSettings(beta=1.0, labels="robust"), torch.tensor([0.4])
    one, nothing = torch.ones(1), torch.zeros(1)
    # ℓ(-m) is m larger than ℓ(m): (0.6·ℓ(m) - 0.4·ℓ(m) - 0.4·m) / 0.2 = ℓ(m) - 2·m
    found = [float(pair_losses((torch.tensor([m]), nothing), (one, one), settings, noise)) for m in (10.0, 20.0)]
    assert found == pytest.approx([-20.0, -40.0], abs=1e-3)


def stated(count: int) -> list[Any]:
    """Pairs with a P each, from 0.6 on, every second one with a weight."""
    return [
        dataclasses.replace(pair, p_greater=0.6 + 0.05 * n, weight=0.5 + n if n % 2 else None)
        for n, pair in enumerate(make_pairs(count))
    ]


@pytest.mark.slow
@pytest.mark.usefixtures("own_cache")
@pytest.mark.parametrize("labels", ["conservative", "robust"])
def test_a_soft_training_with_weights_that_is_cut_off_ends_as_if_it_had_not_been(
    labels: str, base: ModelRef, tmp_path: Path
) -> None:
    def interrupt(step: int, metrics: dict[str, float]) -> None:
        if step == 3:
            raise KeyboardInterrupt

    from safetensors.torch import load_file

    config, pairs = with_dpo(labels=labels, epochs=2), stated(6)
    whole = train_dpo(pairs, base, tmp_path / "whole", config)
    with pytest.raises(KeyboardInterrupt):
        train_dpo(pairs, base, tmp_path / "cut", config, on_step=interrupt)
    told: list[int] = []
    cut = train_dpo(pairs, base, tmp_path / "cut", config, on_step=lambda step, _: told.append(step))
    assert told == [3, 4, 5, 6] and cut.history == whole.history
    one, other = (load_file(result.adapter / "adapter_model.safetensors") for result in (whole, cut))
    assert all(float((one[name] - other[name]).abs().max()) < 1e-6 for name in one)
    card = AdapterCard.read(cut.adapter)
    assert (card.config["dpo"]["loss"], card.config["dpo"]["labels"]) == ("sigmoid", labels)
    assert card.metrics["label_noise"] == pytest.approx(0.275)  # P 0.6, 0.65, … 0.85: ε 0.4, 0.35, … 0.15
    assert {"loss", "rewards/margins", "rewards/accuracies", "logps/chosen"} <= cut.history[0].keys()


@pytest.mark.slow
@pytest.mark.usefixtures("own_cache")
def test_a_soft_training_stops_at_the_logit_of_p_and_a_hard_one_goes_on(base: ModelRef, tmp_path: Path) -> None:
    last = {
        labels: train_dpo(
            [sure(0.7)], base, tmp_path / labels, with_dpo(labels=labels, beta=0.5, epochs=60, save_steps=100)
        ).metrics
        for labels in ("hard", "conservative")
    }
    assert last["conservative"]["train/margin"] == pytest.approx(math.log(0.7 / 0.3), abs=0.1)
    # -0.7·log 0.7 - 0.3·log 0.3, the least that P = 0.7 allows
    assert last["conservative"]["train/loss"] == pytest.approx(0.6109, abs=2e-3)
    assert last["hard"]["train/margin"] > 2.0 and "label_noise" not in last["hard"]


@pytest.mark.slow
@pytest.mark.usefixtures("own_cache")
def test_ipo_with_equal_weights_is_trls(base: ModelRef, tmp_path: Path) -> None:
    pairs = make_pairs(4)
    plain = train_dpo(pairs, base, tmp_path / "plain", with_dpo(loss="ipo", beta=0.5, epochs=2))
    same = [dataclasses.replace(pair, weight=1.0) for pair in pairs]
    ours = train_dpo(same, base, tmp_path / "ours", with_dpo(loss="ipo", beta=0.5, epochs=2))
    assert [step["loss"] for step in ours.history] == pytest.approx([step["loss"] for step in plain.history], abs=1e-6)
    assert plain.history[0]["loss"] == pytest.approx(1.0, abs=1e-5) == plain.metrics["loss_before"]  # (0 - 1)²
    assert plain.history[-1]["loss"] < 0.9


@pytest.mark.slow
@pytest.mark.usefixtures("own_cache")
def test_a_soft_folder_of_the_same_replies_with_another_p_is_another_run(base: ModelRef, tmp_path: Path) -> None:
    from engage.errors import ConfigError

    config = with_dpo(labels="conservative")
    train_dpo([sure(0.7)], base, tmp_path / "soft", config)
    with pytest.raises(ConfigError, match="another base, data or settings"):
        train_dpo([sure(0.9)], base, tmp_path / "soft", config)
    first = train_dpo([sure(0.7)], base, tmp_path / "hard", with_dpo())
    assert train_dpo([sure(0.9)], base, tmp_path / "hard", with_dpo()) == first  # hard labels do not look at P


def test_a_curve_begins_at_the_loss_of_its_own_kind() -> None:
    from engage.tracking.training import curve_point

    # a policy that is its reference has the ipo loss (0 - 1/(2β))²: 25 with β = 0.1
    start = before(DpoSettings(loss="ipo"))
    assert curve_point(start, 1, {"loss": 24.0, "rewards/accuracies": 0.0})["train/loss"] == pytest.approx(25.0)
    assert curve_point(start, 2, {"loss": 24.0}) == {"train/loss": 24.0}


@pytest.mark.parametrize(("known", "said"), [({"loss_before": 25.0}, "25.000 before"), ({}, "0.693 before")])
def test_the_summary_compares_with_the_loss_before(known: dict[str, float], said: str, tmp_path: Path) -> None:
    from engage.evaluation.summary import Aligned, stage_lines
    from engage.training import PairSet

    measured = {"train/loss": 20.0, "train/accuracy": 1.0, "train/margin": 0.1, "train/kl": 0.01}

    class Trained:
        metrics: ClassVar = {
            "pairs": 3.0,
            "pairs_held_out": 0.0,
            **measured,
            **known,
        }  # older cards have no loss before

    pairs = PairSet(tmp_path, "h", 3, {}, {"candidates": 3, "accepted": 3})
    text = " ".join(stage_lines("c1", Aligned(pairs, Trained())))  # type: ignore[arg-type]
    assert f"loss 20.000 ({said})" in text


@pytest.mark.parametrize(("aside", "loss", "told"), [(10, 0.705, True), (10, 0.69, False), (7, 0.705, False)])
def test_the_summary_says_if_nothing_was_learnt_beyond_the_own_pairs(
    aside: int, loss: float, told: bool, tmp_path: Path
) -> None:
    from engage.evaluation.summary import Aligned, stage_lines
    from engage.training import PairSet

    class Trained:
        metrics: ClassVar = {
            "pairs": 117.0, "pairs_held_out": float(aside),
            **{f"train/{name}": value for name, value in {"loss": 0.439, "accuracy": 1.0, "margin": 0.6, "kl": 0.06}.items()},
            **{f"held_out/{name}": value for name, value in {"loss": loss, "accuracy": 0.4, "margin": 0.0, "kl": 0.03}.items()},
        }  # fmt: skip

    pairs = PairSet(tmp_path, "h", 127, {}, {"candidates": 668, "accepted": 127})
    text = " ".join(stage_lines("c1", Aligned(pairs, Trained())))  # type: ignore[arg-type]
    assert ("no sign that the training learnt anything that other scenarios share" in text) is told
