"""Pairs weighted by what people judged: which weight a pair gets, and what weights do to a training."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
from small_stores import filled, hand_judgement, hand_tree, judge, support_scenario
from tiny_models import make_pairs

from engage.models import ModelRef
from engage.store import PairConfig, TrajectoryStore
from engage.training import AlignConfig, DpoSettings, load_pairs, pair_set_hash, read_pairs, save_pairs, train_dpo
from engage.training.trainer import LoraSettings

NAMES = [f"s{number}" for number in range(6)]
SCENARIOS = [support_scenario(name, opening=f"My dog died ({name}).") for name in NAMES]
REPLIES = {"Tell me more.": [[1.0], [0.75]], "Cheer up.": [[0.0], [0.25]]}  # nodes 1, chosen, and 4


@pytest.fixture
def store(tmp_path: Path) -> TrajectoryStore:
    found = filled(tmp_path, SCENARIOS, [hand_tree(one, REPLIES) for one in SCENARIOS])
    found.score_pairs("c1", PairConfig(min_q_gap=0.0, confidence=0.5))
    return found


def said(scenario: str, **by_reviewer: str) -> list[Any]:
    """Judgements: + prefers the chosen side, - the rejected one, anything else is a verdict."""
    words = {"+": "left", "-": "right"}
    return [hand_judgement(words.get(sign, sign), name, scenario) for name, sign in by_reviewer.items()]


def weights_of(store: TrajectoryStore) -> dict[str, float | None]:
    return {pair.scenario_id: pair.weight for pair in read_pairs(store, "c1", review_weights=True)}


@pytest.mark.slow
def test_without_the_setting_or_without_a_judgement_nothing_is_weighted(store: TrajectoryStore) -> None:
    assert set(weights_of(store).values()) == {None}
    judge(store, *said("s0", ann="-"), *said("s1", ann="equal"))
    assert {pair.weight for pair in read_pairs(store, "c1")} == {None}
    assert None not in weights_of(store).values()


@pytest.mark.slow
def test_weights_move_the_right_way(store: TrajectoryStore) -> None:
    # Ann and Bob agree with each other, Eve contradicts them half of the time.
    judge(store, *said("s0", ann="+", bob="+", eve="-"), *said("s1", ann="-", bob="-", eve="+"))
    judge(store, *said("s2", ann="+", bob="+", eve="+"), *said("s3", ann="+", bob="+", eve="+"), *said("s4", eve="-"))
    found = {name: weight or 0.0 for name, weight in weights_of(store).items()}
    # both reliable reviewers for it, nobody, one who is worth little against it, both reliable ones against it
    assert found["s2"] > found["s5"] >= found["s4"] > found["s1"]
    assert found["s2"] == found["s3"] > found["s0"] > 0.8 > 0.4 > found["s1"]
    assert found["s5"] - found["s4"] < 0.2


def test_a_pair_set_keeps_its_weights_and_its_hash_knows_them(tmp_path: Path) -> None:
    plain = make_pairs(3)
    weighted = [dataclasses.replace(pair, weight=0.5 + place) for place, pair in enumerate(plain)]
    save_pairs(weighted, tmp_path / "pairs.parquet")
    assert load_pairs(tmp_path / "pairs.parquet") == weighted
    assert pair_set_hash(weighted) != pair_set_hash(plain)
    # what unweighted pairs had for a hash before there were weights: the digest of their three texts
    from engage.files.digest import digest

    before = digest(sorted(digest([pair.prompt, pair.chosen, pair.rejected]) for pair in plain))
    assert pair_set_hash(plain) == before


@pytest.mark.slow
def test_align_counts_judgements_that_wait_in_the_outbox_and_weights_if_asked_to(home: Any) -> None:
    from engage.store import Cycle, Outbox
    from engage.training import HumanPairs
    from flows.cli.profiles import load_config
    from tasks.training import extract_pairs, score_pairs

    filled(home.path, SCENARIOS, [hand_tree(one, REPLIES) for one in SCENARIOS])
    for record in (*said("s0", ann="harmful"), *said("s1", ann="+"), *said("s2", ann="-")):
        Outbox(home.outbox).put_judgement(record)
    cycle = Cycle(cycle_id="c1", seed=7, champion_version=None, champion_adapter=None)
    plain = load_config("laptop", ["pairs.min_q_gap=0", "pairs.confidence=0.5"])
    counts = score_pairs.fn(plain, cycle)
    assert counts == {"candidates": 6, "accepted": 5, "harmful": 1}
    path = extract_pairs.fn(plain, cycle, counts, HumanPairs()).path
    assert {pair.weight for pair in load_pairs(path)} == {None}
    weighted = plain.model_copy(update={"pairs": plain.pairs.model_copy(update={"review_weights": True})})
    path = extract_pairs.fn(weighted, cycle, counts, HumanPairs()).path
    weights = {pair.scenario_id: pair.weight or 0.0 for pair in load_pairs(path)}
    assert weights["s1"] > weights["s3"] > weights["s2"]


DPO = DpoSettings(learning_rate=1e-2, batch_size=1, gradient_accumulation=1, save_steps=100)


def trained(pairs: list[Any], base: ModelRef, out: Path, **changes: Any) -> list[dict[str, float]]:
    config = AlignConfig(lora=LoraSettings(r=4, alpha=8), dpo=DPO.model_copy(update=changes))
    return list(train_dpo(pairs, base, out, config).history)


@pytest.mark.slow
@pytest.mark.usefixtures("own_cache")
def test_a_pair_counts_in_the_loss_by_its_weight(base: ModelRef, tmp_path: Path) -> None:
    one, other = make_pairs(2)
    pairs = [dataclasses.replace(one, weight=0.9), dataclasses.replace(other, weight=0.3)]
    losses = [step["loss"] for step in trained(pairs, base, tmp_path, learning_rate=1e-9)]
    # policy and reference are the same, so each loss is log 2; the weights' mean is made 1: 1.5 and 0.5
    assert sorted(losses) == pytest.approx([0.5 * math.log(2), 1.5 * math.log(2)], abs=1e-5)


@pytest.mark.slow
@pytest.mark.usefixtures("own_cache")
def test_equal_weights_train_as_none(base: ModelRef, tmp_path: Path) -> None:
    pairs = make_pairs(4)
    plain = trained(pairs, base, tmp_path / "plain", batch_size=2)
    # a pair without a weight among weighted ones counts 1
    same = [dataclasses.replace(pair, weight=1.0 if place else None) for place, pair in enumerate(pairs)]
    weighted = trained(same, base, tmp_path / "same", batch_size=2)
    assert [step["loss"] for step in weighted] == pytest.approx([step["loss"] for step in plain], abs=1e-6)


@pytest.mark.slow
@pytest.mark.usefixtures("own_cache")
def test_of_two_labels_that_contradict_each_other_the_surer_one_is_learnt(base: ModelRef, tmp_path: Path) -> None:
    (pair,) = make_pairs(1)
    sure = dataclasses.replace(pair, weight=0.9)
    against = dataclasses.replace(pair, chosen=pair.rejected, rejected=pair.chosen, weight=0.1)
    last = trained([sure, against], base, tmp_path, batch_size=2, epochs=8)[-1]
    # margins of both add up to 0, so that trl's mean says nothing; the weighted loss falls below log 2 only with the surer one
    assert last["rewards/margins"] == pytest.approx(0.0, abs=1e-4) and last["loss"] < 0.6
