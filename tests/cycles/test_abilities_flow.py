"""`engage experiment abilities` through the real flow, with scripted policies."""

import pytest
from mlflow import MlflowClient
from scripted_cycles import small
from scripted_engines import played_by
from tiny_models import save_adapter

from engage.engines.scripted import ScriptedEngine
from engage.tracking import Tracker
from flows.abilities import abilities

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_server")]


def reply(prompt, seed):
    """The base knows that bees make honey and that grass is green; training made it forget the latter."""
    text = prompt.messages[-1].content
    return "Green honey." if "bees" in text else "Green." if "grass" in text and not prompt.adapter else "Hm."


def test_the_base_and_the_candidate_are_asked_and_the_loss_is_on_page_and_run(home, tiny_model, tmp_path):
    adapter = save_adapter(tiny_model, tmp_path / "adapter")
    with played_by(ScriptedEngine(reply)):
        found = abilities(small(tiny_model), "c1", str(adapter))
    # bees make honey, whole sentence: "Green honey." has two words and fails it; color of grass: the base only
    assert "right of 200: base 2, candidate 1; candidate − base: -0.005 [" in found.text
    assert "only before 1, only after 0, p = 1" in found.text
    page = found.path.read_text(encoding="utf-8")
    assert "| facts | 20 | 2 | 1 |" in page and "| translation | 20 | 0 | 0 |" in page
    rows = found.path.with_suffix(".csv").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 201 and "facts-10,facts,What color is grass?,/\\b(?:green)\\b/,Green.,1,Hm.,0" in rows
    with Tracker(home).stage("c1", "abilities", found.path.stem.removeprefix("abilities-")) as stage:
        run = MlflowClient(home.tracking_uri).get_run(stage.run_id)
    assert run.data.metrics["abilities/only_before"] == 1 and run.data.metrics["abilities/base/facts"] == 0.1
