"""Later stages of a cycle take the settings that the store keeps for it."""

import pytest

from engage.config import CycleConfig, continued_config
from engage.errors import ConfigError
from engage.store import SETTINGS, Cycle, TrajectoryStore, identity
from engage.store.cycle import check_same
from flows.cli.profiles import Asked, load_config

NIGHT = ("search.num_simulations=7", "evaluation.per_domain=3", "align.dpo.learning_rate=1e-3")


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("ENGAGE_HOME", str(tmp_path))
    return TrajectoryStore(tmp_path / "engage.duckdb")


def begin(store, cycle_id, *overrides):
    store.begin_cycle(cycle_id, {"seed": 1}, {}, load_config("laptop", overrides).model_dump(mode="json"))


def test_without_a_profile_a_cycles_own_settings_count_and_overrides_stand_above_them(store):
    begin(store, "night", *NIGHT)
    config = Asked.by(None, ["align.dpo.learning_rate=2e-4"]).config("night")
    assert config == load_config("laptop", [*NIGHT, "align.dpo.learning_rate=2e-4"])
    assert (
        Asked.by(None, ["evaluation.per_domain="]).config("night").evaluation.per_domain == 12
    )  # the default, not laptop's


def test_a_profile_that_is_named_counts_instead(store):
    begin(store, "night", *NIGHT)
    assert Asked.by("laptop", []).config("night") == load_config("laptop")


def test_a_new_cycle_and_one_of_an_older_engage_have_those_of_laptop(store):
    assert Asked.by(None, []).config("none") == load_config("laptop")
    store.begin_cycle("old", {"seed": 1})
    assert store.cycle_settings("old") is None
    assert Asked.by(None, []).config("old") == load_config("laptop")


def test_a_resumed_cycle_keeps_its_settings_unless_they_are_given(store):
    begin(store, "first", *NIGHT)
    begin(store, "second")
    store.begin_cycle("first", {"seed": 1})
    assert store.cycle_settings("first")["search"]["num_simulations"] == 7
    begin(store, "first", "search.num_simulations=8")
    assert store.cycle_settings("first")["search"]["num_simulations"] == 8
    assert store.cycle_ids() == ["second", "first"]


def test_a_refused_resumption_changes_nothing(store):
    begin(store, "night", *NIGHT)
    with pytest.raises(ConfigError, match="seed was 1, is 2"):
        store.begin_cycle("night", {"seed": 2}, {}, {"seed": 2})
    assert store.cycle_settings("night")["search"]["num_simulations"] == 7


def test_a_setting_that_was_taken_away_is_left_out():
    stored = CycleConfig().model_dump(mode="json")
    stored["search"]["gone"] = stored["gone"] = {"deep": 1}
    stored["seed"] = 5
    assert continued_config("night", stored) == CycleConfig(seed=5)


def test_a_stored_value_that_counts_no_longer_is_refused_with_its_place():
    stored = CycleConfig().model_dump(mode="json")
    stored["search"]["num_simulations"] = 0
    with pytest.raises(ConfigError, match=r"the stored settings of cycle night: search\.num_simulations"):
        continued_config("night", stored)
    assert continued_config("night", stored, ["search.num_simulations=4"]).search.num_simulations == 4


def test_a_password_is_not_stored_and_a_later_stage_asks_for_it(store):
    url = "engine.openai.policy.base_urls=['http://user:secret-word@127.0.0.1:8000/v1']"
    begin(store, "night", "engine.kind=openai", url)
    assert b"secret-word" not in store.path.read_bytes()
    with pytest.raises(
        ConfigError, match=r"stored settings of cycle night: engine.openai.policy.base_urls.*password is masked"
    ):
        Asked.by(None, []).config("night")
    assert Asked.by(None, [url]).config("night").engine.openai.policy.base_urls


def test_a_cycle_is_bound_to_who_plays_its_users():
    cycle = Cycle(cycle_id="c", seed=1, champion_version=None, champion_adapter=None)

    def found(known=None, *more):
        given = load_config("laptop", more)
        return identity(cycle, given.model_dump(mode="json", include=SETTINGS), given.engine, [], known)

    begun, bare = found(), "engine.simulator_adapter=bare"
    assert begun["models"] == found(begun, bare)["models"]  # the policy still has the shipped adapter
    with pytest.raises(ConfigError, match=r"'c' was begun with another configuration: speakers\.simulator was "):
        check_same("c", begun, found(begun, bare), {})
    check_same("c", begun, found(begun), {})
    older = {name: value for name, value in begun.items() if name != "speakers"}
    check_same("c", older, found(older, bare), {})  # cannot be known
