"""A night with a panel of two held-out simulators, through the real flow: scripted speakers, and a tiny model that is really trained."""

import pytest
from scripted_cycles import small
from scripted_engines import Counted, Thankful, ask, played_by
from tiny_models import save_adapter

from engage.models import adapter_fingerprint
from engage.workspace import Workspace
from flows.align import align
from flows.collect import collect
from flows.compare import compare_adapters
from flows.evaluation import evaluation

pytestmark = pytest.mark.usefixtures("prefect_server")


class Divided(Thankful):
    """Users of `pleased` who were thanked are as well off as can be, all others as badly."""

    pleased = ""

    def _weigh(self, prompt, choices):
        thanked = any(message.content.endswith(" Thank you.") for message in prompt.messages)
        good, bad = (0, len(choices) - 1) if len(choices) == 5 else (len(choices) - 1, 0)
        wanted = good if thanked and prompt.adapter == self.pleased else bad
        other = 1e-9 if thanked else 0.05
        return [1.0 if place == wanted else other for place in range(len(choices))]


@pytest.fixture(scope="module")
def home(tmp_path_factory, open_home):
    with open_home(tmp_path_factory.mktemp("panel") / "home") as opened:
        yield opened


@pytest.fixture(scope="module")
def night(home, tiny_model, tmp_path_factory):
    """One night, judged by a panel that is divided."""
    folder = tmp_path_factory.mktemp("users")
    users = [save_adapter(str(tiny_model), folder / name, seed=seed) for seed, name in enumerate(("one", "two"))]
    panel = f"evaluation={{per_domain=8, simulators=['{users[0]}', '{users[1]}']}}"
    settings = small(tiny_model, "engine.kind=transformers", f"engine.simulator_model={tiny_model}", panel)
    with played_by(Counted()):
        collect(settings, "night")
    with played_by(Divided()) as engine:
        engine.pleased = str(users[0])
        candidate = align(settings, "night").candidate
        judged = evaluation(settings, "night")
    return settings, judged, candidate, users[0]


def test_a_member_that_sees_a_loss_holds_the_candidate_back(night, home):
    _, judged, _, pleased = night
    labels = [
        row[0] for row in ask(home, "select distinct simulator from trajectory where purpose = 'evaluation' order by 1")
    ]
    assert len(labels) == 3 and labels[-1] == "search"
    panel = next(name for name in judged.comparisons if " + " in name)
    assert sorted(panel.split(" + ")) == labels[:-1]
    means = {name: found["all"].difference for name, found in judged.comparisons.items()}
    (first,) = [name for name in panel.split(" + ") if name.endswith(adapter_fingerprint(str(pleased))[:8])]
    (second,) = set(panel.split(" + ")) - {first}
    assert means[panel] == pytest.approx((means[first] + means[second]) / 2)
    assert means[first] > 0.5 and -0.3 < means[second] < -0.02  # 0.05 · (1 + 2 + 3 + 4) / 4 / 1.2 = 0.10 is lost
    assert not judged.verdict.promoted
    assert judged.verdict.reason.startswith(f"not promoted: with the {second} simulator alone it is -0.")
    assert ask(home, "select simulator, state from challenge") == [(panel, "dropped")]
    assert panel in judged.page


def test_a_comparison_of_finished_nights_has_a_transfer_matrix(night, home):
    settings, _, candidate, _ = night
    with played_by(Divided()):
        page = compare_adapters(settings, "night", {"night": candidate.adapter, "again": candidate.adapter}).page
    assert "## Transfer between simulators" in page
    assert "| again | bare |" in page
    assert Workspace(home).store.cycle_settings("night")["evaluation"]["second_simulator"] is None
