"""Cycles of an older engage, in its own home, through the real flows: what continues, and what is refused."""

import json

import duckdb
import pytest
from old_homes import old_home
from pydantic import BaseModel, Field
from scripted_engines import Counted, ask, played_by

import engage.engines
import engage.store.cycle
from engage.config import CycleConfig, load_cycle_scenarios
from engage.errors import ConfigError
from engage.evaluation import ComparisonConfig, HeldOutConfig, HeldOutStore
from engage.experiments import ValueCheckConfig
from engage.files.digest import LATER, digest, key_settings
from engage.home import Home
from engage.models import ModelRef
from engage.search import METHOD_VERSION
from engage.store import Cycle, TrajectoryStore
from engage.training import AlignConfig, HumanConfig
from engage.training.run_folder import run_folder
from flows.align import align
from flows.cli.profiles import load_config
from flows.collect import collect
from flows.comparison import comparison
from flows.credit import credit
from flows.evaluation import evaluation
from flows.nightly import nightly
from tasks.cycle import begin_cycle

pytestmark = pytest.mark.usefixtures("prefect_server")

# Those that the home was made with; no pair has such a gap, so that nothing is trained.
SETTINGS = (
    "engine.kind=scripted",
    "engine.policy_adapter=bare",
    "engine.simulator_adapter=bare",
    "scenarios.per_domain=2",
    "search.num_simulations=6",
    "search.round_size=6",
    "dialogue.max_exchanges=2",
    "evaluation={per_domain=2}",
    "pairs.min_q_gap=0.99",
    "seed=3",
)


@pytest.fixture(scope="module")
def world(tmp_path_factory, open_home):
    """The engine and the old home."""
    with open_home(old_home(tmp_path_factory.mktemp("old"))) as home, played_by(Counted()) as engine:
        yield engine, home


def config(*more: str) -> CycleConfig:
    return load_config("laptop", [*SETTINGS, *more])


TREES = "select columns(lambda c: c <> 'stored_at') from tree where cycle_id = 'collected' order by tree_id"


def test_a_collected_cycle_goes_on_to_its_end(world):
    engine, home = world
    trees = ask(home, TREES)
    night = nightly(config("pairs.confidence=0.6"), "collected")  # of pairs, another setting may be chosen
    assert night.text.startswith("# Cycle collected") and night.collected.unsearched == 0
    assert night.aligned.pairs.counts["candidates"] > 0
    assert ask(home, TREES) == trees
    # two dialogues of the evaluation were held by the older engage; today's are simulated in another way, on today's four scenarios
    held = "select count(*), count(distinct seed), count(distinct scenario_id) from trajectory where cycle_id = 'collected' and purpose = 'evaluation'"
    assert ask(home, held) == [(2 + 4, 2, 2 + 4)]
    engine.requests = 0
    assert evaluation(config(), "collected").failed == {}
    assert engine.requests == 0


def test_an_unfinished_cycle_takes_no_more_trees_and_says_what_to_do(world):
    engine, home = world
    engine.requests = 0
    with pytest.raises(ConfigError) as refused:
        collect(config(), "unfinished")
    assert str(refused.value) == (
        "cycle 'unfinished' was begun by an older engage, whose searches and simulated users were others (method 1, now "
        f"{METHOD_VERSION}): no tree can be added to it; align and evaluate the trees it has (`engage align --cycle "
        "unfinished`, `engage evaluate --cycle unfinished`), or start a new cycle"
    )
    # the tree that waited in the outbox is one of its own
    assert ask(home, "select count(*) from tree where cycle_id = 'unfinished'") == [(3,)]
    assert engine.requests == 0
    assert align(config(), "unfinished").pairs.counts["candidates"] > 0


def test_dialogues_of_two_methods_are_not_compared_with_each_other(world):
    _, home = world
    evaluation(config(), "done")
    cycle = begin_cycle.fn(config(), "done")
    known = load_cycle_scenarios(config().scenarios)
    scenarios = {scenario.scenario_id: scenario for scenario in known if scenario.split == "validation"}
    today = HeldOutStore(TrajectoryStore(home.database), cycle, scenarios)
    stored = ask(
        home, "select seed, count(*) from trajectory where cycle_id = 'done' and purpose = 'evaluation' group by 1"
    )
    assert [count for _, count in stored] == [4, 4]
    held = [one for part in today.dialogues("base")["search"].values() for one in part]
    assert len(held) == 4 and len({one.seed for one in held}) == 1
    assert sum(len(dialogues) for dialogues in today.replies("base").values()) == 4
    young = Cycle(cycle_id="done", seed=3, champion_version=None, champion_adapter=None)
    both = HeldOutStore(TrajectoryStore(home.database), young, scenarios)
    assert sum(len(part) for part in both.dialogues("base")["search"].values()) == 8


def test_experiments_on_an_older_cycle_are_refused(world):
    for run, said in (
        (lambda: credit(config(), "done", ValueCheckConfig()), "fresh rollouts would not tell of its values"),
        (lambda: comparison(config(), "done"), "its policies' dialogues cannot be compared with new ones"),
    ):
        with pytest.raises(ConfigError, match=rf"cycle 'done' was begun by an older engage.*{said}"):
            run()


def test_an_older_cycle_is_still_bound_to_its_settings(world):
    with pytest.raises(
        ConfigError, match=r"'collected' was begun with another configuration: search\.num_simulations was 6, is 7"
    ):
        align(config("search.num_simulations=7"), "collected")


def test_a_shipped_prompt_that_changed_does_not_bind_an_older_cycle(world, monkeypatch):
    monkeypatch.setattr("engage.domains.base.Domain.fingerprint", lambda _: "of another prompt")
    assert begin_cycle.fn(config(), "collected").method_version == 1
    begin_cycle.fn(config(), "young")
    monkeypatch.undo()
    with pytest.raises(
        ConfigError, match=r"'young' was begun with another configuration: prompts\.emotional_support was "
    ):
        begin_cycle.fn(config(), "young")


def as_stored(home: Home, cycle_id: str, change) -> None:
    """A copy of the cycle `collected` under another id, with its stored identity changed as by another version."""
    with duckdb.connect(str(home.database)) as connection:
        (text,) = connection.execute("select config from cycle where cycle_id = 'collected'").fetchone()
        identity = json.loads(text)
        change(identity)
        row = [cycle_id, json.dumps(identity)]
        connection.execute(
            "insert into cycle (cycle_id, config_hash, config, started_at) values ($1, '', $2, now())", row
        )


def test_a_setting_added_later_leaves_an_older_cycle_as_it_was(world):
    # As if `search.c_puct` (default 1.0) and a setting further in had come after it.
    _, home = world

    def change(identity):
        del identity["search"]["c_puct"], identity["dialogue"]["speech"]["reader"]

    as_stored(home, "before-c-puct", change)
    begin_cycle.fn(config(), "before-c-puct")
    with pytest.raises(ConfigError, match=r"configuration: search\.c_puct was 1\.0, is 2\.0; use the same"):
        begin_cycle.fn(config("search.c_puct=2.0"), "before-c-puct")


def test_a_setting_added_later_whose_default_changed_after_that_counts_as_its_first_default(world, monkeypatch):
    # It came with 2.0; today's default is 1.0.
    _, home = world
    as_stored(home, "before-two-changes", lambda identity: identity["search"].pop("c_puct"))
    monkeypatch.setattr(engage.store.cycle, "SUPERSEDED", {"search.c_puct": 2.0})
    begin_cycle.fn(config("search.c_puct=2.0"), "before-two-changes")
    with pytest.raises(ConfigError, match=r"configuration: search\.c_puct was 2\.0, is 1\.0; use the same"):
        begin_cycle.fn(config(), "before-two-changes")


def test_a_setting_that_was_taken_away_binds_unless_it_stood_where_today_stands(world, monkeypatch):
    _, home = world
    as_stored(home, "with-luck", lambda identity: identity["search"].update(luck=3))
    with pytest.raises(ConfigError, match=r"configuration: search\.luck was 3, is null; use the same"):
        begin_cycle.fn(config(), "with-luck")
    monkeypatch.setattr(engage.store.cycle, "SUPERSEDED", {"search.luck": 3})
    begin_cycle.fn(config(), "with-luck")
    monkeypatch.setattr(engage.store.cycle, "SUPERSEDED", {"search.luck": 2})
    with pytest.raises(ConfigError, match=r"configuration: search\.luck was 3, is 2; use the same"):
        begin_cycle.fn(config(), "with-luck")


def test_a_cycle_of_a_newer_engage_is_refused(world):
    _, home = world
    as_stored(home, "from-tomorrow", lambda identity: identity.update(method_version=METHOD_VERSION + 1))
    with pytest.raises(
        ConfigError, match=rf"'from-tomorrow' was begun by a newer engage \(method {METHOD_VERSION + 1}, "
    ):
        align(config(), "from-tomorrow")


def test_a_new_cycle_notes_its_method_and_every_setting_that_decides_what_it_collects(world):
    _, home = world
    cycle = begin_cycle.fn(config(), "new")
    stored = TrajectoryStore(home.database).cycle_config("new")
    assert (cycle.method_version, stored["method_version"]) == (METHOD_VERSION, METHOD_VERSION)
    decided = config().model_dump(mode="json", include={"scenarios", "dialogue", "search"})
    del decided["scenarios"]["domain_modules"]  # a permission
    assert {part: stored[part] for part in decided} == decided
    assert begin_cycle.fn(config(), "new") == cycle


class Inner(BaseModel):
    old: int = 1
    new: int = Field(2, json_schema_extra=LATER)


class Outer(BaseModel):
    inner: Inner = Inner()
    also_new: tuple[str, ...] = Field((), json_schema_extra=LATER)


def test_a_setting_added_later_changes_no_key_at_its_default():
    assert key_settings(Outer()) == {"inner": {"old": 1}}
    assert key_settings(Outer(inner=Inner(old=5, new=3), also_new=("x",))) == {
        "inner": {"old": 5, "new": 3},
        "also_new": ["x"],
    }
    assert key_settings(Outer(), exclude={"inner"}) == {}


# Of the default settings, as 1bcfb22 hashed them. Where one differs after a setting was added: mark the setting LATER.
KEYS = {
    "cce8d891fb4afe8082db77b4eef1ca9bf21298737314a08650d28ad17b7c91ea": AlignConfig(),
    "efcad9fdf1b525efadd6031342fa423e383af2c64051201a068fd85de7c8ce21": HumanConfig(),
    "24f2878d61e27c01ef43c841952bdbca2087f30baf8dbebd29de1971f3699c46": ValueCheckConfig(),
}


@pytest.mark.parametrize("key", KEYS, ids=lambda key: type(KEYS[key]).__name__)
def test_the_keys_of_the_first_version_are_those_of_today(key):
    assert digest(key_settings(KEYS[key])) == key


def test_the_keys_of_evaluation_and_comparison_are_those_of_the_first_version():
    looked = digest(key_settings(HeldOutConfig(), exclude={"alpha"}))
    assert looked == "c376cbf235327c55c29c5d656c6ca35f36ce371f4d02ae2cf0e322672f58d12e"
    both = {"evaluation": key_settings(HeldOutConfig()), "comparison": key_settings(ComparisonConfig())}
    assert digest(both) == "518e348469c0727a77e664e83dd08d081e88277c70b36cee7289437be766ac50"


@pytest.mark.parametrize(
    ("method", "key"),
    [
        ("dpo", "bdadf1efd5ef5979d7d09c509c5c7893231780bda941209a0fc5812573ddd90b"),
        ("sft", "bc6e6f9b53eada45a47af2d233e8fa880c60a4b2493792aa07c90b06a6bec743"),
    ],
)
def test_a_training_of_the_first_version_is_found_again(tmp_path, method, key):
    settings = AlignConfig()
    base = ModelRef("m", tmp_path, "f" * 64)
    parts = {"lora": settings.lora, method: getattr(settings, method)}
    assert run_folder(tmp_path, method, base, None, parts, "d").key == key
