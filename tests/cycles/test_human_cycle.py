"""The tasks for human dialogues in a cycle, without Prefect: a tree made by hand, a scripted policy, two fixture dialogues."""

from pathlib import Path

import pytest
from mlflow import MlflowClient
from small_stores import hand_tree, support_scenario

from engage.config import CycleConfig
from engage.errors import CorpusError
from engage.evaluation import Aligned, Places, stage_text
from engage.home import Home
from engage.store import Cycle, Outbox, TrajectoryStore
from engage.training import load_pairs
from tasks import training
from tasks.cycle import begin_cycle
from tasks.human import draw_human_pairs

HERE = Places(None, "sqlite:///mlflow.db")
pytestmark = pytest.mark.slow

ESCONV = Path(__file__).parents[1] / "fixtures" / "esconv"
CYCLE = Cycle(cycle_id="c1", seed=7, champion_version=None, champion_adapter=None)


def config(ratio, *corpora) -> CycleConfig:
    pairs = {"min_q_gap": 0.0, "confidence": 0.5, "human_ratio": ratio}
    return CycleConfig.model_validate(
        {"engine": {"kind": "scripted"}, "pairs": pairs, "human": {"corpora": corpora}, "seed": 7}
    )


@pytest.fixture
def store(tmp_path, monkeypatch) -> TrajectoryStore:
    """A cycle with one tree whose two replies differ: one accepted pair."""
    monkeypatch.setenv("ENGAGE_HOME", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    home = Home.from_env()
    store, outbox = TrajectoryStore(home.database), Outbox(home.outbox)
    scenario = support_scenario("s1")
    store.begin_cycle("c1", {})
    store.add_scenarios([scenario])
    outbox.put_tree(hand_tree(scenario, {"Tell me.": [[1.0], [1.0], [0.75]], "Oh well.": [[0.0], [0.25], [0.0]]}))
    store.drain(outbox)
    return store


def test_human_pairs_go_with_the_searchs_by_ratio_and_are_told(store):
    settings = config(2.0, f"esconv:{ESCONV}")
    scored = training.score_pairs.fn(settings, CYCLE)
    assert scored["accepted"] == 1
    human = draw_human_pairs.fn(settings, CYCLE, scored["accepted"])
    kept = training.extract_pairs.fn(settings, CYCLE, scored, human)
    # the two fixture dialogues that went well have 2 + 1 replies; twice one pair is wanted
    assert kept.human == {"dialogues": 2, "places": 3, "sampled": 2, "accepted": 2}
    assert sorted(pair.source for pair in load_pairs(kept.path)) == ["human", "human", "search"]
    # the tree's scenario is no file's: nobody stated its licence
    assert kept.licences == {
        "search": "not stated",
        "human:emotional_support": "CC BY-NC 4.0, non-commercial (ESConv, Liu et al. 2021)",
    }
    assert {purpose for (purpose,) in store.select("select purpose from trajectory")[1]} == {"search", "human"}
    (stage,) = MlflowClient(Home.from_env().tracking_uri).search_runs(["1"], "tags.`engage.stage` = 'pairs'")
    assert stage.data.metrics["pairs/human/accepted"] == 2
    told = stage_text("c1", Aligned(kept, None), HERE)
    assert "1 candidate pairs, 1 accepted" in told
    assert "2 more pairs come from 2 successful human dialogues: the policy replied at 2 of 3 places" in told


@pytest.mark.parametrize("settings", [config(1.0), config(0.0, f"esconv:{ESCONV}")], ids=["no corpus", "no ratio"])
def test_without_a_corpus_or_a_ratio_there_is_no_human_pair_and_nothing_is_told_of_it(settings, store):
    scored = training.score_pairs.fn(settings, CYCLE)
    human = draw_human_pairs.fn(settings, CYCLE, scored["accepted"])
    kept = training.extract_pairs.fn(settings, CYCLE, scored, human)
    assert [pair.source for pair in load_pairs(kept.path)] == ["search"]
    assert "human" not in stage_text("c1", Aligned(kept, None), HERE)


def test_a_wrong_corpus_is_refused_when_the_cycle_begins(store):
    with pytest.raises(CorpusError, match="nowhere: cannot be read"):
        begin_cycle.fn(config(1.0, "esconv:nowhere"), "c2")
    with pytest.raises(
        CorpusError, match=r"train.txt:1 of esconv:.*train.txt: the same dialogue as train.txt:1 of esconv:"
    ):
        begin_cycle.fn(config(1.0, f"esconv:{ESCONV}", f"esconv:{ESCONV / 'train.txt'}"), "c2")
    assert store.cycle_ids() == ["c1"]
