import os
from pathlib import Path

import pytest
from pydantic import BaseModel

from engage.config import CycleConfig, setting_names
from engage.errors import ConfigError
from engage.home import Home, check_cycle_id
from flows.cli.profiles import PROFILES, load_config


def refused(*overrides: str, profile: str = "laptop") -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(profile, overrides)
    return str(caught.value)


@pytest.mark.parametrize("path", sorted(PROFILES.glob("*.toml")), ids=lambda path: path.stem)
def test_every_profile_loads_by_name_and_by_path(path):
    assert load_config(path.stem) == load_config(str(path))


def test_the_laptop_profile_is_there():
    assert load_config("laptop").search != CycleConfig().search


def test_an_unknown_profile_lists_those_that_are_there():
    said = refused(profile="lapptop")
    assert said.startswith("profile 'lapptop' is not there")
    assert all(path.stem in said for path in PROFILES.glob("*.toml"))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"[search\nnum_simulations = 8", "cannot be read: Expected ']'"),
        (b"a = 1\na = 2", "cannot be read: Cannot overwrite a value"),
        (b"seed = '\xff'", "cannot be read: 'utf-8' codec"),
        (b"[search]\nnum_simulation = 8", "mine.toml: search.num_simulation is not a setting"),
        (b"[search]\nnum_simulations = 0", "mine.toml: search.num_simulations: input should be greater than or equal"),
        (b"search = 3", "mine.toml: search: it is a table"),
    ],
)
def test_a_wrong_profile_file_is_one_sentence(tmp_path, content, reason):
    path = tmp_path / "mine.toml"
    path.write_bytes(content)
    said = refused(profile=str(path))
    assert reason in said and "\n" not in said


def test_settings_that_do_not_go_together_are_told_without_the_whole_table():
    advice = "are both set; use one (an empty `{}=` resets it)"
    assert refused("engine.simulators=['bare']") == (
        f"--set: engine: simulator_adapter and simulators {advice.format('engine.simulator_adapter')}"
    )
    assert refused("evaluation.simulators=['embedded']").endswith(advice.format("evaluation.second_simulator"))


def test_a_folder_as_a_profile_is_one_sentence(tmp_path):
    (tmp_path / "p.toml").mkdir()
    assert "cannot be read" in refused(profile=str(tmp_path / "p.toml"))


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("search.num_simulation=8", "search.num_simulation is not a setting; did you mean search.num_simulations?"),
        ("serach.num_simulations=8", "serach is not a setting; did you mean search?"),
        ("evaluation.xyzzy=8", "evaluation.xyzzy is not a setting"),
        (
            "search.num_simulations=0",
            "search.num_simulations: input should be greater than or equal to 1 (got 0)",
        ),
        ("num_simulations=8", "num_simulations is not a setting; did you mean search.num_simulations?"),
        ("search.c_puct=nan", "search.c_puct: input should be less than or equal to 100 (got nan)"),
        ("search.num_simulations=true", "search.num_simulations: true and false are no numbers"),
        ("seed=false", "seed: true and false are no numbers"),
        (
            "evaluation.split=train",
            "evaluation.split: input should be 'validation' or 'test' (got 'train')",
        ),
        ("scenarios.sources=[3]", "scenarios.sources.0: input should be a valid string (got 3)"),
        ("align.lora=3", "align.lora: it is a table; set what is in it, such as align.lora.NAME=VALUE (got 3)"),
        (
            "scenarios.sources=own.jsonl",
            "scenarios.sources: write a list, such as [\"own.jsonl\"] (got 'own.jsonl')",
        ),
        (
            'comparison.policies="a\\nb"',
            "comparison.policies: write a list, such as [\"a\\nb\"] (got 'a\\nb')",
        ),
        (
            "engine.simulators=bare, runs/a",
            'engine.simulators: write a list, such as ["bare", "runs/a"] (got \'bare, runs/a\')',
        ),
        (  # what bash makes of engine.simulators=["bare","runs/a"]
            "engine.simulators=[bare,runs/a]",
            'engine.simulators: write a list, such as ["bare", "runs/a"]; a shell takes its quotation marks away unless the whole '
            "setting stands in '…' (got '[bare,runs/a]')",
        ),
    ],
)
def test_a_wrong_override_names_the_setting_and_the_reason(override, said):
    assert refused(override) == f"--set: {said}"


def test_a_truth_value_in_a_profile_is_no_number_and_is_one_where_it_belongs(tmp_path):
    (tmp_path / "own.toml").write_text("[search]\nround_size = true\n[scenarios]\nskip_invalid = true\n")
    assert refused(profile=str(tmp_path / "own.toml")) == "own.toml: search.round_size: true and false are no numbers"
    assert load_config("laptop", ["scenarios.skip_invalid=true"]).scenarios.skip_invalid is True


@pytest.mark.parametrize("override", ["search.num_simulations", "=8", " =8", ""])
def test_an_override_without_a_name_or_a_value_shows_how_to_write_one(override):
    assert refused(override) == f"--set {override!r}: write key.path=value, such as search.num_simulations=8"


def test_an_override_into_a_value_is_refused():
    said = refused("search.num_simulations=4", "search.num_simulations.x=5")
    assert said == "--set 'search.num_simulations.x=5': num_simulations is a value, not a table"


def test_an_empty_value_takes_the_default_in_the_profiles_place():
    config = load_config("laptop", ["evaluation.second_simulator=", "align.dpo.max_pairs="])
    assert (config.evaluation.second_simulator, config.align.dpo.max_pairs) == (None, None)
    assert refused("evaluation.second_simulato=").startswith("--set: evaluation.second_simulato is not a setting")


def test_overrides_are_read_as_toml_and_otherwise_as_text():
    config = load_config(
        "laptop",
        ["search.c_puct=2.5", "scenarios.skip_invalid=true", 'scenarios.sources=["a.jsonl"]', "engine.kind=scripted"],
    )
    assert (config.search.c_puct, config.scenarios.skip_invalid) == (2.5, True)
    assert (config.scenarios.sources, config.engine.kind) == (("a.jsonl",), "scripted")


def test_the_last_override_of_a_setting_wins():
    assert load_config("laptop", ["seed=1", "seed=2"]).seed == 2


def test_an_override_changes_nothing_else():
    plain, changed = load_config("laptop"), load_config("laptop", ["dialogue.speech.policy.temperature=0.1"])
    assert changed.dialogue.speech.policy.temperature == 0.1
    assert changed.dialogue.speech.policy.max_tokens == plain.dialogue.speech.policy.max_tokens
    assert changed.model_copy(update={"dialogue": plain.dialogue}) == plain


def settings(model: type[BaseModel]) -> dict[str, str | None]:
    """Every setting by dotted name with its description; a table of settings is described by its class."""
    found: dict[str, str | None] = {}
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found |= {f"{name}.{inner}": text for inner, text in settings(field.annotation).items()}
        else:
            found[name] = field.description
    return found


def test_every_setting_has_a_description():
    assert [name for name, description in settings(CycleConfig).items() if not description] == []


def test_the_names_of_settings_are_those_that_can_be_set():
    assert setting_names() == list(settings(CycleConfig))


def test_the_configuration_cannot_be_changed_after_it_is_loaded():
    with pytest.raises(ValueError, match="frozen"):
        load_config("laptop").seed = 3  # type: ignore[misc]


def test_the_home_is_the_environments_or_var_in_the_current_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ENGAGE_HOME", raising=False)
    assert Home.from_env().path == tmp_path / "var"
    monkeypatch.setenv("ENGAGE_HOME", "elsewhere")
    home = Home.from_env()
    assert home.database == tmp_path / "elsewhere" / "engage.duckdb"
    assert home.cycle("c1") == tmp_path / "elsewhere" / "cycles" / "c1"


def test_the_tracking_uri_is_the_environments_or_a_file_in_the_home(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert Home(Path("/h")).tracking_uri == "sqlite:////h/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    assert Home(Path("/h")).tracking_uri == "http://mlflow:5000"


@pytest.mark.parametrize("cycle_id", ["2026-11-24-020000", "night_1.b", "a" * 100])
def test_a_cycle_id_is_a_name(cycle_id):
    assert check_cycle_id(cycle_id) == cycle_id


@pytest.mark.parametrize(
    "cycle_id", ["", " ", "../../evil", "/abs", ".", "it's", "a b", "a/b", "-x", "a\n", "a" * 101, "é"]
)
def test_an_id_that_leads_out_of_the_home_or_breaks_a_command_is_refused(cycle_id):
    with pytest.raises(ConfigError, match="cycle id"):
        check_cycle_id(cycle_id)


def test_a_setting_is_one_line():
    assert "search.num_simulations" in refused("search.num_simulations=4\nevil=3")


def test_a_home_that_cannot_be(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("ENGAGE_HOME", str(tmp_path / "file"))
    with pytest.raises(ConfigError, match="set ENGAGE_HOME to a folder of yours"):
        Home.from_env().make()
    monkeypatch.setenv("ENGAGE_HOME", "~nobody-of-this-name/x")
    with pytest.raises(ConfigError, match="ENGAGE_HOME cannot be used"):
        Home.from_env()


@pytest.mark.parametrize(
    ("given", "folder", "file"),
    [(None, 0o700, 0o644), ("shared", 0o2770, 0o660), ("2750", 0o2750, 0o640), ("0o755", 0o755, 0o644)],
)
def test_a_new_home_is_open_to_those_whom_its_mode_names(monkeypatch, tmp_path, given, folder, file):
    # a file of a private home may have any mode: nobody gets as far as it
    before = os.umask(0o022)
    try:
        monkeypatch.setenv("ENGAGE_HOME", str(tmp_path / "a" / "home"))
        monkeypatch.setenv("ENGAGE_HOME_MODE", given or "")
        home = Home.from_env()
        home.make()
        (home.path / "file").touch()
        modes = [path.stat().st_mode & 0o7777 for path in (home.path, home.path / "file")]
        assert modes == [folder, file]
        monkeypatch.setenv("ENGAGE_HOME_MODE", "shared" if given is None else "")
        Home.from_env().make()
        assert home.path.stat().st_mode & 0o7777 == folder  # a home that exists stays as it is
    finally:
        os.umask(before)


@pytest.mark.parametrize("text", ["600", "rwx", "077", "7777777", "everybody"])
def test_a_home_mode_that_cannot_be_is_one_sentence(monkeypatch, tmp_path, text):
    monkeypatch.setenv("ENGAGE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ENGAGE_HOME_MODE", text)
    with pytest.raises(ConfigError) as refused:
        Home.from_env()
    assert str(refused.value) == (
        f"ENGAGE_HOME_MODE is '{text}'; write shared, or an octal number that begins with 7, such as 750"
    )


def test_a_folder_in_the_place_of_the_homes_lock_is_one_sentence(tmp_path):
    (tmp_path / "mlflow.lock").mkdir()
    with pytest.raises(ConfigError, match=r"mlflow\.lock: cannot be written \(Is a directory\); set ENGAGE_HOME"):
        Home(tmp_path).make()


@pytest.mark.parametrize("name", ["outbox", "cycles", "mlflow-artifacts", "engage.duckdb", "mlflow.db"])
def test_what_cannot_be_used_in_a_home_is_found_before_any_work(name, tmp_path):
    place, is_file = tmp_path / name, name.endswith("b")
    place.symlink_to(tmp_path / "missing")
    said = rf"{name}: is a link to {tmp_path}/missing, which is missing; restore that, or remove the link"
    with pytest.raises(ConfigError, match=said):
        Home(tmp_path).make()
    assert place.is_symlink()
    place.unlink()
    place.mkdir() if is_file else place.touch()
    with pytest.raises(ConfigError, match=rf"{name}: is {'a' if is_file else 'no'} folder; move it away"):
        Home(tmp_path).make()
    (place.rmdir if is_file else place.unlink)()
    (tmp_path / "elsewhere").touch() if is_file else (tmp_path / "elsewhere").mkdir()
    place.symlink_to(tmp_path / "elsewhere")
    Home(tmp_path).make()


def test_another_tracking_server_needs_no_files_of_mlflow_in_the_home(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    (tmp_path / "mlflow.db").mkdir()
    (tmp_path / "mlflow-artifacts").touch()
    Home(tmp_path).make()
    assert (tmp_path / "mlflow.db").is_dir() and (tmp_path / "mlflow-artifacts").is_file()  # left as they were


def test_a_home_of_an_impossible_name_is_one_sentence_and_an_empty_one_is_none(monkeypatch, tmp_path):
    monkeypatch.setenv("ENGAGE_HOME", f"/{'x' * 300}")
    with pytest.raises(ConfigError, match="ENGAGE_HOME cannot be used: File name too long"):
        Home.from_env()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ENGAGE_HOME", "")
    assert Home.from_env().path == tmp_path / "var"


ODD_SETTINGS = {
    "a list nested deeply": f"seed={'[' * 20_000}{']' * 20_000}",
    "a table nested as deeply as TOML reads": f"search={'{a=' * 300}1{'}' * 300}",
    "a number nested in lists": f"seed={'[' * 300}{']' * 300}",
    "a name of many tables": f"seed{'.a' * 5_000}=1",
    "a long name": f"{'x' * 10_000}=1",
    "a long value": f"seed={'x' * 10_000}",
    "a seed beyond the store": f"seed={10**30}",
    "a number of thousands of digits": f"collect.budget.max_calls={'9' * 5_000}",
    "hours without end": "collect.budget.max_hours=1e400",
    "infinite hours": "collect.budget.max_hours=inf",
    "no number": "collect.budget.max_hours=nan",
    "a line break in a name": "se\ned=1",
}


@pytest.mark.parametrize("override", ODD_SETTINGS.values(), ids=ODD_SETTINGS)
def test_an_odd_setting_is_one_short_sentence(override):
    with pytest.raises(ConfigError) as refused:
        load_config("laptop", [override])
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 600
    assert str(refused.value).startswith("--set")


@pytest.mark.parametrize("content", [f"seed = {'[' * 20_000}", f"seed = {'9' * 5_000}", "seed = '\x00'", "\ufeff["])
def test_an_odd_profile_is_one_short_sentence_that_names_it(tmp_path, content):
    (tmp_path / "odd.toml").write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError) as refused:
        load_config(str(tmp_path / "odd.toml"))
    assert "odd.toml" in str(refused.value) and "\n" not in str(refused.value) and len(str(refused.value)) < 600


@pytest.mark.parametrize("name", ["a\0b", "x" * 5_000, "x" * 300 + ".toml"])
def test_a_profile_of_an_impossible_name_is_one_short_sentence(name):
    with pytest.raises(ConfigError) as refused:
        load_config(name)
    assert "profile" in str(refused.value) and len(str(refused.value)) < 600


def test_what_was_kept_in_a_home_is_found_where_the_home_lies_now(tmp_path):
    home = Home(tmp_path / "now")
    adapter = home.cycle("c1") / "align" / "abc" / "adapter"
    adapter.mkdir(parents=True)
    assert home.find("/was/cycles/home/cycles/c1/align/abc/adapter") == adapter
    assert home.find("/was/cycles/c2/align/abc/adapter") == Path("/was/cycles/c2/align/abc/adapter")
    assert home.find("/elsewhere/adapter") == Path("/elsewhere/adapter")


def test_a_new_cycle_has_an_id_of_its_own_within_a_second_and_when_the_clock_is_set_back(tmp_path):
    from datetime import datetime

    from flows.cli.running import new_cycle_id

    now, ids = datetime(2026, 5, 4, 2, 0, 0), []
    for moment in (now, now, now.replace(minute=1), now):
        ids.append(new_cycle_id(Home(tmp_path), moment))
    assert ids == ["2026-05-04-020000", "2026-05-04-020000-2", "2026-05-04-020100", "2026-05-04-020000-3"]
