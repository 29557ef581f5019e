"""A panel of held-out simulators: its label, its mean rewards, and what the promotion rule asks of each member."""

import shutil
from dataclasses import replace

import pytest
from tiny_models import save_adapter, save_tiny_model

from engage.bench.panels import gate
from engage.engines import EngineConfig, engine_identity, speakers_identity
from engage.errors import ConfigError, ModelError
from engage.evaluation import (
    HeldOutDialogue,
    check_adapters,
    deciding,
    drawn_users,
    engine_for_adapter,
    engine_for_label,
    members,
    nobody_held_out,
    other_model_notices,
    paired,
    player,
    prompted_users,
    simulators,
    users_identity,
    with_panel,
)
from engage.evaluation.challenge import averaged
from engage.evaluation.held_out_config import HeldOutConfig
from engage.evaluation.promotion import ALL, WORST, Evidence, decide
from engage.models import AdapterCard, adapter_fingerprint, resolve_model
from engage.stats import paired_comparison
from engage.store.challenges import BatchReward

A, B = "held-out bare", "held-out 12345678"
PANEL = f"{B} + {A}"


def test_a_panel_has_a_label_of_its_own_and_decides():
    assert with_panel(["search", A]) == ["search", A]
    assert with_panel(["search", A, B]) == ["search", A, B, PANEL]
    assert with_panel(["search", B, A]) == [
        "search",
        B,
        A,
        PANEL,
    ]  # else a challenge of one order would not go on in the other
    assert members(PANEL) == [B, A] and members(A) == [A]
    assert deciding(["search", A, B, PANEL]) == PANEL
    assert deciding(["search", B]) == B and deciding(["search"]) == "search" and deciding([]) is None


def test_the_panel_is_an_alternative_to_the_second_simulator():
    assert HeldOutConfig().held_out_simulators == ()
    assert HeldOutConfig(second_simulator="bare").held_out_simulators == ("bare",)
    assert HeldOutConfig(simulators=("bare", "x")).held_out_simulators == ("bare", "x")
    # a profile that extends one with a second_simulator can only write ""
    assert HeldOutConfig(second_simulator="", simulators=("bare",)).held_out_simulators == ("bare",)
    assert HeldOutConfig(second_simulator="").held_out_simulators == ()
    with pytest.raises(ValueError, match="second_simulator and simulators are both set; use one"):
        HeldOutConfig(second_simulator="bare", simulators=("embedded",))


def test_nobody_sits_in_the_panel_twice_or_played_in_the_search(tiny_model, tmp_path):
    other = str(save_adapter(str(tiny_model), tmp_path / "other"))
    engine = EngineConfig(kind="transformers", policy_model=str(tiny_model), simulator_model=str(tiny_model))
    assert list(simulators(engine, [other])) == ["search", f"held-out {list(simulators(engine, [other]))[1][9:]}"]
    assert list(simulators(engine, ["bare"])) == ["search"]  # alone it is left out, and nothing is promoted
    with pytest.raises(ConfigError, match="simulators: bare has the weights of the search simulator; name each once"):
        check_adapters(engine, [other, "bare"], None)
    with pytest.raises(ConfigError, match=r"has the weights of the held-out [0-9a-f]{8} simulator; name each once"):
        simulators(engine, [other, other])


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    """Another model, and an adapter that was trained for it."""
    folder = tmp_path_factory.mktemp("foreign")
    model = save_tiny_model(folder / "model", seed=7)
    return str(model), str(save_adapter(model, folder / "adapter"))


def test_an_adapter_of_another_model_plays_on_that_one(tiny_model, foreign, tmp_path):
    model, judge = foreign
    own = str(save_adapter(str(tiny_model), tmp_path / "own", seed=4))
    engine = EngineConfig(policy_model=str(tiny_model), simulator_model=str(tiny_model))
    label = f"held-out {adapter_fingerprint(judge)[:8]}"
    seat = engine_for_label(engine, [own, judge], label)
    assert (seat.simulator_model, seat.simulator_adapter, seat.policy_model) == (model, judge, str(tiny_model))
    for other in ("search", f"held-out {adapter_fingerprint(own)[:8]}", "adversary x"):
        assert engine_for_label(engine, [own, judge], other) is engine
    check_adapters(engine, [own, judge], None)
    assert other_model_notices(engine, [own, judge]) == [
        f"The held-out simulator {judge} plays on the model {model}, which its adapter was trained for."
    ]
    users = users_identity(engine, [own, judge])
    assert users[label] == [model, resolve_model(model).fingerprint, adapter_fingerprint(judge)]
    assert users["search"][1] == resolve_model(str(tiny_model)).fingerprint
    with pytest.raises(ModelError, match="trained on"):  # the search's own user has to fit
        check_adapters(several_of(tiny_model, judge, "bare"), (), None)


def test_the_policys_model_under_another_name_is_the_searchs_own_user(tiny_model, tmp_path):
    copy = shutil.copytree(tiny_model, tmp_path / "copy")
    for name in (f"{tiny_model}/", str(copy)):
        engine = EngineConfig(policy_model=str(tiny_model), simulator_model=name, simulator_adapter="bare")
        assert list(simulators(engine, ["policy"])) == ["search"]


def test_the_same_weights_elsewhere_and_the_policys_model_are_found_by_their_content(tiny_model, foreign, tmp_path):
    model, judge = foreign
    moved = str(shutil.copytree(model, tmp_path / "moved"))
    here = EngineConfig(policy_model=str(tiny_model), simulator_model=moved)
    assert engine_for_adapter(here, judge) is here
    gone = shutil.copytree(judge, tmp_path / "gone")
    write_card(gone, base="a model of elsewhere, described in words")
    policys = EngineConfig(policy_model=moved, simulator_model=str(tiny_model))
    assert engine_for_adapter(policys, str(gone)).simulator_model == moved
    nowhere = EngineConfig(policy_model=str(tiny_model), simulator_model=str(tiny_model))
    assert engine_for_adapter(nowhere, str(gone)) is nowhere
    with pytest.raises(ModelError, match="trained on a model of elsewhere"):
        check_adapters(nowhere, [str(gone)], None)
    for server in ("openai", "scripted"):
        other = EngineConfig(kind=server, policy_model=str(tiny_model), simulator_model=str(tiny_model))
        assert engine_for_adapter(other, judge) is other


def test_a_models_name_on_the_card_is_as_good_as_its_base(tiny_model, foreign, tmp_path):
    judge = shutil.copytree(foreign[1], tmp_path / "judge")
    engine = EngineConfig(policy_model=str(tiny_model), simulator_model=str(tiny_model))
    write_card(judge, base="a model, dequantised", also_for=["somebody/model"])
    assert engine_for_adapter(engine, str(judge)).simulator_model == "somebody/model"  # downloaded when it is needed
    write_card(judge, base="a model, dequantised", also_for=[str(tiny_model)])
    assert engine_for_adapter(engine, str(judge)) is engine


def write_card(folder, **changed):
    AdapterCard.read(folder).model_copy(update=changed).write(folder)


@pytest.fixture(scope="module")
def several(tiny_model, tmp_path_factory):
    """Two adapters, and an engine whose trees draw the first or nobody's."""
    folder = tmp_path_factory.mktemp("several")
    one, two = (str(save_adapter(str(tiny_model), folder / str(seed), seed=seed)) for seed in (1, 2))
    return one, two, several_of(tiny_model, one, "bare")


def several_of(model, *names: str, **changed: str) -> EngineConfig:
    given = {"kind": "transformers", "policy_model": str(model), "simulator_model": str(model), **changed}
    return EngineConfig(simulators=names, **given)


def test_the_search_has_one_simulator_or_draws_from_several():
    with pytest.raises(ValueError, match="simulator_adapter and simulators are both set; use one"):
        EngineConfig(simulator_adapter="embedded", simulators=("bare",))
    assert EngineConfig(simulator_adapter="", simulators=("bare",)).simulators == ("bare",)


def test_drawn_users_have_labels_that_do_not_depend_on_their_folders(several):
    one, _, engine = several
    assert drawn_users(engine) == {adapter_fingerprint(one)[:8]: one, "bare": ""}
    with pytest.raises(
        ConfigError, match=r"engine.simulators: policy has the weights of the bare simulator; name each once"
    ):
        drawn_users(several_of(engine.policy_model, "bare", "policy"))
    with pytest.raises(ModelError, match="cannot be read"):
        check_adapters(several_of(engine.policy_model, one, "gone"), (), None)


def test_who_is_drawn_in_the_search_is_not_held_out(several):
    one, two, engine = several
    label = adapter_fingerprint(one)[:8]
    assert list(simulators(engine, [two])) == ["search", f"held-out {adapter_fingerprint(two)[:8]}"]
    assert nobody_held_out(engine, [two]) == "" and nobody_held_out(engine, []) == ""
    for name in (one, "bare"):  # alone it is left out, and nothing is promoted
        assert list(simulators(engine, [name])) == ["search"]
        assert f"The held-out simulator {name} is one of those" in nobody_held_out(engine, [name])
    with pytest.raises(
        ConfigError, match=f"evaluation.simulators: {one} has the weights of the search's {label} simulator"
    ):
        simulators(engine, [two, one])


def test_a_cycle_is_bound_to_the_simulators_its_trees_draw_from(several):
    one, two, engine = several
    swapped = several_of(engine.policy_model, "bare", one)
    assert (
        speakers_identity(engine)
        == speakers_identity(swapped)
        != speakers_identity(several_of(engine.policy_model, one, two))
    )
    assert speakers_identity(engine)["drawn"] == sorted(["bare", adapter_fingerprint(one)[:8]])
    assert engine_identity(engine)[f"adapter {one}"] == adapter_fingerprint(one)
    assert speakers_identity(several_of(engine.policy_model, "bare", kind="scripted")) == {"drawn": ["bare"]}
    assert "drawn" not in speakers_identity(several_of(engine.policy_model))
    # the ground of an evaluation, whose dialogues with the label `search` draw their users too
    assert (
        users_identity(engine, []) == users_identity(swapped, []) != users_identity(several_of(engine.policy_model), [])
    )


def test_only_the_prompted_ones_of_several_are_named(several):
    one, two, engine = several
    assert prompted_users(engine).startswith(
        f"The users of the trees that draw bare are played by the model {engine.policy_model} "
    )
    assert prompted_users(several_of(engine.policy_model, one, two)) == ""
    assert prompted_users(several_of(engine.policy_model, "bare")).startswith("The users are played by the model ")


def test_a_transfer_matrix_names_all_that_were_searched_with(several):
    one, _, engine = several
    assert player(engine.model_dump()) == f"{adapter_fingerprint(one)[:8]} + bare"
    assert player({"simulators": ["/gone", "bare"]}) == "bare + gone"
    assert player({"simulator_adapter": None}) == "bare"


def held(scenario: str, reward: float | None, seed: int = 1) -> HeldOutDialogue:
    return HeldOutDialogue(scenario, seed, 2, reward, reward)


def test_a_reward_with_the_panel_is_the_mean_over_members_that_all_have_it():
    talks = {
        A: {"support": [held("s1", 0.2), held("s2", 0.4), held("s3", 1.0)]},
        B: {"support": [held("s2", None), held("s1", 0.8)]},
    }
    (rewards,) = paired([talks], PANEL)
    assert rewards == {"s1": [pytest.approx(0.5)], "s2": [None]}  # B never talked on s3
    assert paired([talks], A) == [{"s1": [0.2], "s2": [0.4], "s3": [1.0]}]


def test_a_batch_of_a_challenge_is_averaged_over_the_panel():
    def one(simulator, reward, candidate=True, scenario="s1"):
        return BatchReward(7, candidate, scenario, "support", reward, simulator)

    batch = [one(A, 0.2), one(B, 0.6), one(A, 0.5, False), one(B, None, False), one(A, 0.9, scenario="s2")]
    found = {(row.is_candidate, row.scenario_id): row.reward for row in averaged(batch, 2)}
    assert found == {(True, "s1"): pytest.approx(0.4), (False, "s1"): None, (True, "s2"): None}
    assert averaged(batch, 1) == batch


def compared(gain: float):
    """Twelve scenarios that all gain the same: the interval is as narrow as can be."""
    base = {f"s{number}": [0.5] for number in range(12)}
    return paired_comparison(base, {name: [0.5 + gain] for name in base}, 0.95, 0)


def test_each_member_must_surely_show_more_than_the_margin():
    overall, plenty = {ALL: compared(0.2)}, Evidence(1, 0, 20.0, 1)
    assert decide(overall, (), plenty, 12).promoted
    assert decide(overall, (), plenty, 12, {A: compared(0.4), B: compared(0.0)}).promoted
    loses = decide(overall, (), plenty, 12, {A: compared(0.45), B: compared(WORST - 0.03)})
    assert not loses.promoted and not loses.goes_on
    assert loses.reason.startswith(
        f"not promoted: with the {B} simulator alone it is -0.050 [-0.050, -0.050], and must be surely more than -0.02: +0.200"
    )
    unsure = replace(compared(0.03), low=-0.021)
    waits = decide(overall, (), plenty, 12, {A: compared(0.3), B: unsure})
    assert not waits.promoted and waits.goes_on and waits.reason.startswith("not promoted yet: with the ")
    assert decide(overall, (), plenty, 12, {A: compared(0.3), B: replace(unsure, low=-0.019)}).promoted


def test_a_member_whose_answers_cannot_be_read_is_named():
    silent = paired_comparison({"s1": [None]}, {"s1": [None]}, 0.95, 0)
    verdict = decide({ALL: silent}, (), Evidence(1, 0, 0.0, 1), 1, {A: compared(0.1), B: silent})
    found = "not promoted: only 0 held-out scenarios could be compared; with the held-out 12345678 simulator no answer could be read"
    assert verdict.reason == found and not verdict.goes_on


def test_the_gate_lets_a_harmless_candidate_pass_and_holds_a_harmful_one():
    harmless, harmful = gate(3, 0.05, 0.05, candidates=60), gate(3, 0.08, -0.05, candidates=60)
    assert harmless.held_back < 0.1 and harmless.promoted > 0.9
    assert harmful.held_back > 0.9 and harmful.promoted < 0.1
