"""Nights with several simulators, through the real flows: a panel of two that judges, and trees that draw their users. Speakers are scripted."""

from collections import Counter

import pytest
from scripted_cycles import small
from scripted_engines import Counted, Thankful, ask, played_by
from tiny_models import save_adapter, save_tiny_model

import engage.engines
from engage.config import load_cycle_scenarios
from engage.errors import ConfigError
from engage.evaluation import Places, stage_text
from engage.models import adapter_fingerprint
from engage.workspace import Workspace
from flows.align import align
from flows.collect import collect
from flows.compare import compare_adapters
from flows.evaluation import evaluation
from tasks.cycle import begin_cycle
from tasks.dialogues import hold_held_out_dialogues

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


def test_a_member_whose_adapter_belongs_to_another_model_is_asked_on_that_model(night, home, tmp_path, monkeypatch):
    settings, _, _, one = night
    model = str(save_tiny_model(tmp_path / "model", seed=7))
    judge = str(save_adapter(model, tmp_path / "judge", seed=8))
    panel = {"simulators": (str(one), judge), "per_domain": 2}
    settings = settings.model_copy(update={"evaluation": settings.evaluation.model_copy(update=panel)})
    opened: list[str] = []
    with played_by(Divided()) as engine:
        monkeypatch.setattr(engage.engines, "_create", lambda wanted: opened.append(wanted.simulator_model) or engine)
        cycle = begin_cycle(settings, "night")
        for label in settings.simulators():
            hold_held_out_dialogues.fn(settings, cycle, "base", settings.adapters(None, label), label, "selection")
    assert opened == [settings.engine.simulator_model, model]  # the search's and the first judge share theirs
    rows = "select count(*) from trajectory where simulator = $judge and purpose = 'evaluation'"
    assert ask(home, rows, judge=f"held-out {adapter_fingerprint(judge)[:8]}") == [(4,)]


def test_a_comparison_of_finished_nights_has_a_transfer_matrix(night, home):
    settings, _, candidate, _ = night
    with played_by(Divided()):
        page = compare_adapters(settings, "night", {"night": candidate.adapter, "again": candidate.adapter}).page
    assert "## Transfer between simulators" in page
    assert "| again | bare |" in page
    assert Workspace(home).store.cycle_settings("night")["evaluation"]["second_simulator"] is None


def test_trees_draw_the_same_users_after_an_interruption_and_with_other_workers(home, tiny_model, tmp_path):
    users = [
        save_adapter(str(tiny_model), tmp_path / name, seed=seed) for seed, name in enumerate(("three", "four"), 3)
    ]
    labels = [adapter_fingerprint(str(user))[:8] for user in users]

    def settings(*more, names=users):
        drawn = "engine.simulators=[" + ", ".join(f"'{name}'" for name in names) + "]"
        models = ("engine.kind=transformers", f"engine.simulator_model={tiny_model}", "engine.simulator_adapter=")
        return small(tiny_model, *models, drawn, "scenarios.per_domain=4", "seed=5", *more)

    def drawn(cycle):
        return dict(
            ask(home, "select distinct scenario_id, simulator from search_outcome where cycle_id = $c", c=cycle)
        )

    with played_by(Counted()) as engine:
        known = load_cycle_scenarios(settings().scenarios)
        engine.failing = {one.scenario_id for one in known if one.domain == "persuasion"}
        assert sum(collect(settings("collect.shard_size=1", "collect.workers=1"), "broken").drawn.values()) == 4
        engine.failing = set()
        found = collect(settings("collect.shard_size=3"), "broken")
    trees = dict(ask(home, "select distinct scenario_id, simulator from search_outcome where cycle_id = 'broken'"))
    assert len(trees) == 8
    assert trees == {name: settings().adapters(None).user(5, name)[0] for name in trees}
    assert found.drawn == Counter(trees.values()) and set(found.drawn) == set(labels)
    first, second = (f"{label} {found.drawn[label]} tree" for label in sorted(labels))
    assert (
        f"Each tree drew its user: {first}" in (text := stage_text("broken", found, Places(None, "sqlite:///x")))
        and second in text
    )
    with played_by(Counted()), pytest.raises(ConfigError, match=r"speakers.drawn was \["):
        collect(settings(names=users[:1]), "broken")
