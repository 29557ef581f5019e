"""The credit check through the real flow, on a cycle that scripted speakers have searched."""

import pytest
from mlflow import MlflowClient
from scripted_engines import Counted, played_by

from engage.errors import ConfigError, EngineError, NothingSearched
from engage.experiments import ValueCheckConfig
from engage.tracking import Tracker
from flows.cli.profiles import load_config
from flows.collect import collect
from flows.credit import credit

pytestmark = pytest.mark.usefixtures("prefect_server")

SETTINGS = (
    "engine.kind=scripted",
    "scenarios.per_domain=2",
    "search.num_simulations=12",
    "engine.policy_adapter=bare",
    "engine.simulator_adapter=bare",
)
CHECK = ValueCheckConfig(pairs=6, prefixes=2, turns=3, below=2, rollouts=12)


@pytest.fixture(scope="module")
def world(tmp_path_factory, open_home):
    """The engine, the home, the configuration and the first check's result."""
    with open_home(tmp_path_factory.mktemp("credit") / "my home") as home, played_by(Counted()) as engine:
        config = load_config("laptop", SETTINGS)
        collect(config, "c1")
        engine.requests = 0
        yield engine, home, config, credit(config, "c1", CHECK)


def test_a_check_writes_a_page_and_a_plot_and_says_what_it_found(world):
    _, home, _, result = world
    folder = home.cycle("c1")
    page = (folder / "credit.md").read_text(encoding="utf-8")
    assert all(heading in page for heading in ("## Noise floor", "## Stated P", "## Two estimands", "search policy"))
    assert (folder / "credit.png").read_bytes().startswith(b"\x89PNG")
    assert "Expected calibration error" in result.text and str(folder / "credit.md") in result.text
    assert result.figures.reliability.pairs == 6
    assert {floor.domain: floor.prefixes for floor in result.figures.floors} == {
        "emotional_support": 2,
        "persuasion": 2,
    }
    assert result.failed == {}


def test_a_check_is_a_child_run_of_its_cycle(world):
    _, home, _, result = world
    client = MlflowClient(home.tracking_uri)
    with Tracker(home).stage("c1", "credit") as found:
        run = client.get_run(found.run_id)
    assert run.data.metrics["sign/ece"] == pytest.approx(result.figures.reliability.errors["sign"].ece)
    assert run.data.params["credit.rollouts"] == "12"
    assert run.data.tags["mlflow.parentRunId"] == Tracker(home).cycle_run("c1").run_id
    assert {file.path for file in client.list_artifacts(found.run_id)} == {"credit.md", "plots"}


def test_a_second_check_rolls_nothing_out_and_a_larger_one_only_what_is_missing(world):
    engine, _, config, result = world
    assert engine.requests > 0
    engine.requests = 0
    again = credit(config, "c1", CHECK)
    assert (engine.requests, again.text) == (0, result.text)
    larger = credit(config, "c1", CHECK.model_copy(update={"pairs": 8}))
    assert engine.requests > 0
    assert larger.figures.reliability.pairs == 8


@pytest.mark.parametrize("how", ["fails", "mumbles"])
def test_a_check_that_could_measure_nothing_fails_itself(how, world):
    engine, home, config, _ = world
    collect(config, how[:5])

    def failing(prompt, seed):
        raise EngineError("the model is out of order", prompt.key)

    reply, choose = engine._reply, engine._choose
    engine._reply = failing if how == "fails" else lambda prompt, seed: "I would rather not say."
    engine._choose = lambda prompt, choices: [float("nan") for _ in choices]
    reason = "out of order" if how == "fails" else "too few fresh rollouts have a reward"
    try:
        with pytest.raises(NothingSearched, match=f"nothing of cycle '{how[:5]}' could be measured; .*{reason}"):
            credit(config, how[:5], CHECK)
    finally:
        engine._reply, engine._choose = reply, choose
    assert not (home.cycle(how[:5]) / "credit.md").exists()


def test_a_cycle_without_pairs_is_told(world):
    _, _, config, _ = world
    config = config.model_copy(update={"search": config.search.model_copy(update={"num_simulations": 1})})
    collect(config, "c2")
    with pytest.raises(ConfigError, match="cycle 'c2' has no two sibling replies"):
        credit(config, "c2", CHECK)


def test_a_cycle_collected_under_another_configuration_is_refused(world):
    _, _, config, _ = world
    config = config.model_copy(update={"search": config.search.model_copy(update={"num_simulations": 1})})
    with pytest.raises(ConfigError, match="another configuration"):
        credit(config, "c1", CHECK)
