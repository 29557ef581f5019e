"""A scheduled night runs elsewhere: its settings do not depend on the current folder, and they contain no secret."""

import importlib.metadata
import json
import os
from pathlib import Path

import pytest
import yaml
from small_stores import hand_tree, support_scenario

from engage.config import CycleConfig
from engage.errors import ConfigError, CorpusError, ScenarioError
from engage.home import Home
from engage.store import Outbox, TrajectoryStore
from engage.tracking import Tracker
from flows.cli import scheduling
from flows.cli.carrying import absolute_address, absolute_config, environment
from flows.cli.profiles import load_config
from flows.cli.schedules import asked_by, changed
from flows.cli.scheduling import (
    CONCURRENCY,
    ENTRYPOINT,
    POOL,
    When,
    clone_version,
    description,
    plan_nightly,
    time_zone,
)

HERE = Path(__file__).parents[1]
OWN_FILE = HERE / "fixtures" / "own_scenarios.jsonl"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder of the user who schedules, with their scenarios, corpus, adapter, model and domain."""
    monkeypatch.chdir(tmp_path)
    for name in (
        "ENGAGE_HOME",
        "ENGAGE_CACHE",
        "XDG_CACHE_HOME",
        "MLFLOW_TRACKING_URI",
        "PYTHONPATH",
        "HF_TOKEN",
        "HF_HUB_CACHE",
        "HF_HUB_OFFLINE",
        "TRANSFORMERS_OFFLINE",
        "HF_HOME",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TZ", "Europe/Berlin")
    for name in ("adapter", "second", "model", "deep/esconv"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "own.jsonl").write_text(OWN_FILE.read_text(encoding="utf-8").replace("own_domain:", "night_domain:"))
    (tmp_path / "night_domain.py").write_text((HERE / "own_domain.py").read_text(encoding="utf-8"))
    (tmp_path / "deep" / "esconv" / "train.txt").write_text(
        (HERE / "fixtures/esconv/train.txt").read_text(encoding="utf-8")
    )
    (tmp_path / "template.jinja").write_text("")
    return tmp_path


SETTINGS = (
    "engine.kind=scripted",
    "scenarios.sources=['own.jsonl', 'persuasion']",
    "scenarios.domain_modules=['night_domain']",
    "human.corpora=['esconv:deep/esconv']",
    "engine.simulator_adapter=./adapter",
    "engine.policy_model=model",
    "evaluation.second_simulator=second",
    "engine.vllm.engine_args.chat_template=template.jinja",
    "engine.vllm.engine_args.dtype=float16",
)


def test_what_is_scheduled_does_not_depend_on_the_current_folder(folder, monkeypatch):
    monkeypatch.setenv("ENGAGE_HOME", "nights")
    monkeypatch.setenv("ENGAGE_CACHE", "cache")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///runs.db")
    plan = plan_nightly(When(at="2:05"), "laptop", SETTINGS)
    assert (plan.name, plan.cron, plan.zone, plan.secret) == ("laptop", "5 2 * * *", "Europe/Berlin", [])
    config = plan.config
    assert config.scenarios.sources == (f"{folder}/own.jsonl", "persuasion")
    assert config.human.corpora == (f"esconv:{folder}/deep/esconv",)
    assert config.engine.simulator_adapter == f"{folder}/adapter"
    several = ("engine.simulator_adapter=", "engine.simulators=['./adapter', 'bare']")
    assert plan_nightly(When(), "laptop", [*SETTINGS, *several]).config.engine.simulators == (
        f"{folder}/adapter",
        "bare",
    )
    assert config.engine.policy_model == f"{folder}/model"
    assert config.engine.simulator_model == "embedded"
    assert config.evaluation.second_simulator == f"{folder}/second"
    assert config.engine.vllm.engine_args == {"chat_template": f"{folder}/template.jinja", "dtype": "float16"}
    assert config.scenarios.domain_modules == ("night_domain",)
    assert plan.environment == {
        "ENGAGE_HOME": f"{folder}/nights",
        "ENGAGE_CACHE": f"{folder}/cache",
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/runs.db",
        "PYTHONPATH": str(folder),
    }


@pytest.mark.parametrize("name", ["embedded", "bare", "policy"])
def test_names_that_are_no_paths_stay_although_a_folder_has_that_name(name, folder):
    (folder / name).mkdir()
    config = load_config("laptop", [f"evaluation.second_simulator={name}"])
    assert absolute_config(config) == config


@pytest.mark.parametrize(
    ("address", "absolute"),
    [
        ("sqlite:///runs.db", "sqlite:///{}/runs.db"),
        ("sqlite:////var/runs.db", "sqlite:////var/runs.db"),
        ("runs", "{}/runs"),
        ("./runs", "{}/runs"),
        ("file:runs", "file://{}/runs"),
        ("file:///runs", "file:///runs"),
        ("http://host:5000", "http://host:5000"),
        ("databricks", "databricks"),
    ],
)
def test_an_address_of_mlflow_is_made_absolute_where_it_is_a_file(address, absolute, folder):
    assert absolute_address(address) == absolute.format(folder)


def test_keys_and_passwords_are_named_and_not_stored(folder):
    config = load_config("laptop", ["engine.kind=openai", "engine.openai.policy.api_key_env=MY_KEY"])
    given = {
        "MY_KEY": "sk-1",
        "HF_TOKEN": "hf_1",
        "MLFLOW_TRACKING_PASSWORD": "p",
        "MLFLOW_TRACKING_URI": "https://me:secret@host",
        "HF_HOME": "hub",
    }
    carried, secret = environment(config, given)
    assert carried == {"ENGAGE_HOME": f"{folder}/var", "HF_HOME": f"{folder}/hub"}
    assert secret == ["HF_TOKEN", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_URI", "MY_KEY"]


@pytest.mark.parametrize(
    ("settings", "error", "reason"),
    [
        (("scenarios.sources=['gone.jsonl']",), ScenarioError, "gone.jsonl: cannot be read"),
        (("scenarios.sources=['own.jsonl']",), ScenarioError, "add --domain-module night_domain"),
        (("human.corpora=['esconv:gone']",), CorpusError, "gone: cannot be read"),
        (("engine.simulator_adapter=gone",), ConfigError, "engine.simulator_adapter: .*gone is not a folder"),
        (
            ("engine.simulator_adapter=", "engine.simulators=['bare', 'gone']"),
            ConfigError,
            "engine.simulators: .*gone is not a folder",
        ),
        (("evaluation.second_simulator=gone",), ConfigError, "evaluation.second_simulator: .*gone is not a folder"),
        (("engine.policy_model=./gone",), ConfigError, "engine.policy_model: .*gone is not a folder"),
        (("engine.kind=openai", "engine.policy_model=model"), ConfigError, "set its absolute path"),
        (("engine.openai.policy.base_urls=['http://me:pw@h/v1']",), ConfigError, "a base_url contains a password"),
        (("engine.openai.policy.extra_body={api_key='k'}",), ConfigError, "extra_body contains a key or a password"),
        (("engine.vllm.engine_args.hf_token=hf_1",), ConfigError, "engine_args.hf_token is a secret"),
        (("scenarios.domain_modules=['no_such_module']",), ConfigError, "there is no module 'no_such_module' here"),
    ],
)
def test_what_the_night_would_miss_is_told_when_it_is_scheduled(settings, error, reason, folder, monkeypatch):
    from engage.domains import loading

    monkeypatch.setattr(loading, "_allowed", set())
    monkeypatch.delitem(__import__("sys").modules, "night_domain", raising=False)
    with pytest.raises(error, match=reason):
        plan_nightly(When(at="02:00"), "laptop", settings)


def test_prefects_own_file_deploys_what_engage_schedule_does(folder, monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    plan = plan_nightly(When(at="02:00"), "laptop", ())
    (deployment,) = yaml.safe_load((HERE.parent / "deployments" / "prefect.yaml").read_text())["deployments"]
    config = CycleConfig.model_validate(deployment.pop("parameters")["config"])
    assert config == plan.config
    assert deployment == {
        "name": plan.name,
        "entrypoint": ENTRYPOINT,
        "work_pool": {"name": POOL},
        "schedules": [{"cron": plan.cron, "timezone": plan.zone}],
        "concurrency_limit": CONCURRENCY,
    }


@pytest.mark.parametrize(
    ("when", "cron", "zone"),
    [
        (When(), "0 2 * * *", "Europe/Berlin"),
        (When(at="2:05", zone="Asia/Tokyo"), "5 2 * * *", "Asia/Tokyo"),
        (When(cron="30 3 * * 1-5"), "30 3 * * 1-5", "Europe/Berlin"),
        (When(cron="@daily"), "@daily", "Europe/Berlin"),
    ],
)
def test_a_night_is_due_at_a_time_of_day_or_by_cron_in_a_time_zone(when, cron, zone, folder):
    plan = plan_nightly(when, "laptop", ())
    assert (plan.cron, plan.zone) == (cron, zone)


@pytest.mark.parametrize(
    ("when", "reason"),
    [
        (When(at="25:00"), "--at '25:00': write a time of day"),
        (When(at="02:00", cron="0 2 * * *"), "--at and --cron: give one of them"),
        (When(cron="99 * * * *"), "--cron '99 .*': write minute, hour, day, month"),
        (When(at=""), "--at '': write a time of day"),
        (When(cron=""), "--cron '': write minute"),
        (When(cron="0 0 2 * * *"), "--cron .*: write minute"),  # the last of six would be seconds: a night every second
        (When(cron="0 2 30 2 *"), "for days that exist"),
        (When(zone="Mars/Olympus"), "--timezone is 'Mars/Olympus', not the IANA name"),
    ],
)
def test_a_time_that_is_none_is_refused(when, reason, folder):
    with pytest.raises(ConfigError, match=reason):
        plan_nightly(when, "laptop", ())


@pytest.mark.parametrize(
    "options",
    [
        ("--list", "--pause"),
        ("--pause", "--remove"),
        ("--list", "--at", "02:00"),
        ("--remove", "--set", "seed=1"),
        ("--resume", "--skip-if-running"),
        ("--list", "--timezone", "UTC"),
    ],
)
def test_looking_and_changing_take_neither_each_other_nor_a_time_nor_settings(options, engage):
    code, _, err = engage("schedule", *options)
    assert code == 2 and err.startswith("--list, --pause, --resume and --remove: give one of them")


def test_a_schedule_is_compared_with_its_profile_of_today(folder):
    (folder / "night.toml").write_text("seed = 1\nscenarios.per_domain = 2\nevaluation.per_domain = 5")
    overrides = ["evaluation={per_domain=3}", "scenarios.domain_modules=[]"]
    then = load_config("night.toml", overrides).model_dump(mode="json")
    said = json.loads(asked_by("night.toml", overrides))
    assert said == {"profile": f"{folder}/night.toml", "set": ["evaluation", "scenarios.domain_modules"]}
    assert changed(said, then) == []
    (folder / "night.toml").write_text("seed = 7\nscenarios.per_domain = 2\nevaluation.per_domain = 8")
    assert changed(said, then) == [
        "seed is 7, was 1"
    ]  # evaluation was overridden: what the profile says of it does not count
    del then["seed"]  # a schedule of an older engage lacks settings
    assert changed(said, then) == []
    (folder / "night.toml").write_text("sed = 7")
    (only,) = changed(said, then)
    assert only.startswith("it cannot be read any more (") and "did you mean seed" in only


def test_the_page_of_a_schedule_says_what_runs_with_what_from_where(folder):
    plan = plan_nightly(When(), "laptop", ["seed=4"])
    text = description(plan, "laptop", ["seed=4"])
    assert "- profile: `laptop`; overrides: `seed=4`" in text and f"- home: `{folder}/var`" in text
    assert f"at commit {clone_version()} when it was scheduled" in text


def test_a_clone_that_git_does_not_know_has_the_version_of_the_package(tmp_path, monkeypatch):
    monkeypatch.setattr(scheduling, "CLONE", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert clone_version() == importlib.metadata.version("engage")
    monkeypatch.setenv("PATH", "")
    assert clone_version() == importlib.metadata.version("engage")


def test_a_home_that_prefect_would_change_is_refused(folder, monkeypatch):
    monkeypatch.setenv("ENGAGE_HOME", "a{{ b }}")
    with pytest.raises(ConfigError, match=r"ENGAGE_HOME is .*Prefect would replace"):
        plan_nightly(When(at="02:00"), "laptop", ())


@pytest.mark.parametrize("name", ["fifty%", "a&b", "a<b"])
def test_a_profile_whose_name_prefect_does_not_take_is_refused(name, folder):
    (folder / f"{name}.toml").write_text("")
    with pytest.raises(ConfigError, match=r"Prefect takes no '[%&<]' in a schedule's name; rename the file"):
        plan_nightly(When(at="02:00"), f"{name}.toml", ())


@pytest.mark.parametrize(
    ("given", "zone"),
    [
        ("Europe/Berlin", "Europe/Berlin"),
        (":America/New_York", "America/New_York"),
        ("/usr/share/zoneinfo/Asia/Tokyo", "Asia/Tokyo"),
        (":/usr/share/zoneinfo/Asia/Tokyo", "Asia/Tokyo"),
        ("", "UTC"),
        (":", "UTC"),
        ("EST5EDT", "EST5EDT"),
    ],
)
def test_the_zone_is_that_of_tz(given, zone, monkeypatch):
    monkeypatch.setenv("TZ", given)
    assert time_zone() == zone


@pytest.mark.parametrize(
    "given", ["EST5EDT,M3.2.0,M11.1.0", "Mars/Olympus", "UTC+2", "../../etc/passwd", "Europe", "a\0b", "x" * 300]
)
def test_a_tz_that_names_no_zone_is_refused(given, monkeypatch):
    monkeypatch.setattr(os, "environ", {"TZ": given})
    with pytest.raises(ConfigError, match=r"^TZ is .*, not the IANA name of a time zone"):
        time_zone()


@pytest.mark.slow
def test_a_home_with_odd_characters_keeps_its_databases_to_itself(tmp_path, monkeypatch):
    name = "a b=1&c#d%20e%3Ff'g\"h[i]*é你;{j}"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ENGAGE_HOME", str(tmp_path / "homes" / name))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    home = Home.from_env()
    store, outbox, scenario = TrajectoryStore(home.database), Outbox(home.outbox), support_scenario("s1")
    store.begin_cycle("c1", {})
    store.add_scenarios([scenario])
    outbox.put_tree(hand_tree(scenario, {"Tell me.": [[1.0], [1.0]], "Oh well.": [[0.0], [0.25]]}))
    assert store.drain(outbox) == 1 and store.select("select count(*) from tree")[1] == [(1,)]
    with Tracker(home).stage("c1", "pairs") as run:
        run.page("# Pairs", "page.md")
    assert [path.name for path in (tmp_path / "homes").iterdir()] == [name]
    assert [path.name for path in tmp_path.iterdir()] == ["homes"]
    assert {"engage.duckdb", "mlflow.db", "mlflow-artifacts"} <= {path.name for path in home.path.iterdir()}
    assert len(list(home.path.rglob("page.md"))) == 1


@pytest.mark.parametrize("name", ["a?b", "a\\b", "?/home"])
def test_a_home_that_duckdb_cannot_use_is_refused_before_anything_is_written(name, tmp_path, monkeypatch):
    """MLflow used to write into a folder whose name ends before the `?`; DuckDB failed at the first commit."""
    monkeypatch.setenv("ENGAGE_HOME", str(tmp_path / name))
    with pytest.raises(
        ConfigError, match=r"ENGAGE_HOME cannot be used: .* which DuckDB does not allow in paths; name another folder"
    ):
        Home.from_env()
    assert list(tmp_path.iterdir()) == []
