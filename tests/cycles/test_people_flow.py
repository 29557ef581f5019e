"""`engage experiment people` through the real flow: a tiny model that is really trained, and a corpus written by hand."""

import json

import pytest
from mlflow import MlflowClient
from people_corpus import write_people
from scripted_cycles import small
from tiny_models import save_adapter

from engage.errors import ConfigError
from engage.evaluation import Contender
from engage.experiments.people import scores
from engage.experiments.people.plan import PeopleConfig
from engage.models import AdapterCard, resolve_model
from engage.tracking import Tracker
from engage.training import PreferencePair, save_pairs, train_dpo
from flows.people import people

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_server")]


def night_pairs():
    prompt = ({"role": "system", "content": "Ask."}, {"role": "user", "content": "I never heard of them, sorry."})
    return [
        PreferencePair(prompt, f"Would you give {n} cents?", "They are far away.", "persuasion", f"s{n}", "search")
        for n in range(6)
    ]


class World:
    """A home with a night's pairs and policy; `first` is the result of an experiment that broke off in the middle and was run again."""

    def __init__(self, home, tiny_model, corpus):
        self.home, self.corpus = home, corpus
        self.config = small(tiny_model, "align.sft.max_length=4096")
        self.folder = home.cycle("c1")
        save_pairs(night_pairs(), self.folder / "pairs.parquet")
        base = resolve_model(str(tiny_model))
        self.adapter = train_dpo(night_pairs()[:4], base, self.folder / "align" / "x", self.config.align).adapter

    def run(self, adapter=None, **settings):
        asked = PeopleConfig(**{"corpus": self.corpus, "nulls": 2, "max_dialogues": 12, **settings})
        return people(self.config, "c1", str(adapter or self.adapter), asked)

    def kept(self):
        return {
            path: path.read_bytes() for path in self.folder.glob("people/*/null-*/adapter/adapter_model.safetensors")
        }


@pytest.fixture(scope="module")
def world(tmp_path_factory, open_home, tiny_model):
    with open_home(tmp_path_factory.mktemp("people") / "my home") as home, pytest.MonkeyPatch.context() as patch:
        found = World(home, tiny_model, write_people(tmp_path_factory.mktemp("p4g")))
        save_pairs(night_pairs()[:4], found.folder / "pairs.parquet")
        batches = iter(range(100))
        score = scores.turn_likelihoods

        def breaks_off(model, rows):
            if next(batches) == 5:
                raise ConfigError("the lights went out")
            return score(model, rows)

        patch.setattr(scores, "turn_likelihoods", breaks_off)
        with pytest.raises(ConfigError, match="the lights went out"):
            found.run()
        found.before = {path: path.stat().st_mtime_ns for path in found.kept()}
        found.scored = {path: path.read_text() for path in found.folder.glob("people/scores/*.jsonl")}
        found.result = found.run()
        yield found


def test_what_was_done_before_a_break_is_not_done_again(world):
    assert len(world.before) == 2
    assert {path: path.stat().st_mtime_ns for path in world.kept()} == world.before
    assert world.scored and all(path.read_text().startswith(text) for path, text in world.scored.items())
    kept = [len(path.read_text().splitlines()) for path in world.folder.glob("people/scores/*.jsonl")]
    assert kept == [12] * 4  # the start, the policy, two nulls


def test_the_nulls_are_other_policies_than_the_one_that_is_measured(world):
    own = (world.adapter / "adapter_model.safetensors").read_bytes()
    assert len({own, *world.kept().values()}) == 3


def test_page_table_and_line_say_the_same(world):
    assert world.result.path.read_text() == world.result.page
    (line,) = world.result.path.with_suffix(".jsonl").read_text().splitlines()
    told = json.loads(line)
    assert (told["dialogues"], told["replies"], len(told["nulls"])) == (12, 36, 2)
    assert f"people: {world.result.line}" in world.result.page and "12 dialogues of p4g" in world.result.line


def test_the_result_is_on_the_adapters_card_on_a_comparisons_page_and_in_mlflow(world):
    assert AdapterCard.read(world.adapter).people == world.result.line
    assert Contender.trained("mine", world.adapter).people == world.result.line
    with Tracker(world.home).stage("c1", "people") as found:
        run = MlflowClient(world.home.tracking_uri).get_run(found.run_id)
    assert run.data.metrics["people/dialogues"] == 12 and run.data.params["people.nulls"] == "2"


def test_the_test_split_is_opened_and_counted(world):
    result = world.run(split="test")
    assert "opened 1 time(s)" in result.page
    assert result.path.name == "people-p4g-test.md" and world.result.path.exists()


def test_a_cycle_without_pairs_and_another_policy_are_refused(world, tiny_model, tmp_path):
    with pytest.raises(ConfigError, match="was not trained on the 4 pairs"):
        adapter = save_adapter(tiny_model, tmp_path / "other")
        config = AdapterCard.read(world.adapter).config
        AdapterCard.read(adapter).model_copy(update={"config": config}).write(adapter)
        world.run(adapter)
    asked = PeopleConfig(corpus=world.corpus)
    with pytest.raises(ConfigError, match="cycle 'c2' has no pairs"):
        people(world.config, "c2", str(world.adapter), asked)
