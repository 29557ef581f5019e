"""Profiles that extend others: their settings, and the sentences about mistakes in them."""

import json
from pathlib import Path

import pytest

from engage import config
from engage.config import CycleConfig
from engage.errors import ConfigError
from engage.profiles import profile_name
from flows.cli.profiles import PROFILES, load_config
from flows.cli.scheduling import When, plan_nightly

BEFORE = Path(__file__).parents[1] / "fixtures" / "profiles"
PERSUASION = PROFILES.parent / "comparison" / "persuasion.toml"
SHIPPED = [*sorted(PROFILES.glob("*.toml")), PERSUASION]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_profile_says_what_it_said_before_profiles_could_extend_others(path):
    before = (BEFORE / f"{path.stem}.json").read_text(encoding="utf-8")
    known = CycleConfig.model_validate_json(before)
    named = known.model_copy(update={"tracking": known.tracking.model_copy(update={"profile": path.stem})})
    assert load_config(path) == named


@pytest.mark.parametrize("given", ["night.v2", "night.v2.toml", "some/where/night.v2.toml", Path("/x/night.v2.toml")])
def test_a_profile_may_have_a_dot_in_its_name(given):
    assert profile_name(given) == "night.v2"


def test_every_shipped_profile_is_pinned():
    assert sorted(path.stem for path in BEFORE.glob("*.json")) == sorted(path.stem for path in SHIPPED)


@pytest.fixture
def write(tmp_path):
    def written(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return written


def refused(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_profile_replaces_what_it_names_of_the_one_it_extends(write):
    write("base.toml", "seed = 1\n[search]\nnum_simulations = 8\nround_size = 4\n[align.dpo]\nbeta = 0.5")
    night = load_config(
        write("night.toml", 'extends = "base.toml"\n[search]\nnum_simulations = 9\n[align.lora]\nr = 4')
    )
    assert (night.seed, night.search.num_simulations, night.search.round_size) == (1, 9, 4)
    assert (night.align.dpo.beta, night.align.lora.r) == (0.5, 4)


def test_extending_goes_on_through_several_profiles_and_folders(write):
    write("deep/first.toml", "seed = 1\n[search]\nnum_simulations = 8\nround_size = 4")
    write("deep/second.toml", 'extends = "first"\n[search]\nnum_simulations = 9')
    third = load_config(write("third.toml", 'extends = "deep/second.toml"\nseed = 3'))
    assert (third.seed, third.search.num_simulations, third.search.round_size) == (3, 9, 4)


def test_a_list_and_a_setting_that_is_a_table_are_replaced_as_a_whole(write):
    write("base.toml", 'scenarios.sources = ["persuasion"]\nengine.vllm.engine_args = { dtype = "float16", seed = 1 }')
    own = 'extends = "base"\nscenarios.sources = ["a.jsonl"]\nengine.vllm.engine_args = { seed = 2 }'
    night = load_config(write("night.toml", own))
    assert night.scenarios.sources == ("a.jsonl",)
    assert night.engine.vllm.engine_args == {"seed": 2}


def test_a_name_means_the_clones_profile_as_on_the_command_line_and_otherwise_one_beside_it(write):
    write("mine.toml", "seed = 1")
    assert load_config(write("laptop.toml", 'extends = "laptop"\nseed = 5')) == load_config("laptop", ["seed=5"])
    assert load_config(write("night.toml", 'extends = "mine"\nsearch.min_visits = 3')).seed == 1


def test_an_override_counts_more_than_both(write):
    write("base.toml", "seed = 1")
    path = write("night.toml", 'extends = "base"\nseed = 2')
    assert load_config(path, ["seed=3"]).seed == 3
    assert load_config(path, ["seed="]).seed is None


def test_profiles_in_a_circle_are_one_sentence(write):
    write("a.toml", 'extends = "b"')
    write("b.toml", 'extends = "c"')
    path = write("c.toml", 'extends = "a"')
    said = refused(path)
    assert said.endswith(
        "profiles extend each other in a circle: c.toml → a.toml → b.toml → c.toml; remove one `extends`"
    )
    assert "itself.toml → itself.toml" in refused(write("itself.toml", 'extends = "itself"'))


def test_a_profile_that_extends_what_is_not_there_names_both(write):
    said = refused(write("night.toml", 'extends = "gup"'))
    assert said.startswith("night.toml: extends: profile 'gup' is not there")
    assert said.endswith("use cluster or gpu or laptop or laptop-0.5b or the path of a TOML file")


@pytest.mark.parametrize("value", ["3", "[]", '["laptop"]', "true", '""', '"\\u0000"', "{}"])
def test_extends_takes_a_name_or_a_path_only(value, write):
    said = refused(write("night.toml", f"extends = {value}"))
    assert said.startswith("night.toml: extends: write the name of a profile or a path")


def test_a_profile_that_windows_saved_is_read(tmp_path):
    (tmp_path / "night.toml").write_bytes(b"\xef\xbb\xbfseed = 4\r\nsearch.num_simulations = 3\r\n")
    assert load_config(str(tmp_path / "night.toml")).search.num_simulations == 3


def test_a_setting_in_quotation_marks_is_told_apart_from_an_unknown_one(write):
    said = refused(write("night.toml", '"search.num_simulations" = 3'))
    assert said == "night.toml: search.num_simulations stands in quotation marks, as one name; write it without them"


def test_profiles_that_extend_each_other_without_end_are_one_sentence(write):
    path, *_ = [write(f"p{n}.toml", f'extends = "p{n + 1}"') for n in range(60)]
    assert refused(path) == f"profile {path}: it extends more than 50 profiles, one through another"


def test_a_wrong_setting_names_the_file_that_it_stands_in(write):
    write("base.toml", "seed = 1\nsearch.num_simulations = 0")
    right = write("right.toml", "seed = 1")
    assert refused(write("night.toml", 'extends = "base"')).startswith(
        "base.toml: search.num_simulations: input should be"
    )
    own = write("own.toml", f'extends = "{right}"\nserach.x = 1')
    assert refused(own).startswith("own.toml: serach is not a setting")


def test_the_library_takes_a_path_and_a_name_only_with_the_folder_of_the_profiles(write):
    path = write("night.toml", "seed = 4")
    assert config.load_config(path).seed == config.load_config(str(path)).seed == 4
    assert config.load_config("night", profiles=path.parent).seed == 4
    assert config.load_config(PERSUASION) == load_config(PERSUASION)
    with pytest.raises(
        ConfigError, match=r"^profile 'laptop' is not there \(laptop.toml\); use the path of a TOML file$"
    ):
        config.load_config("laptop")


def test_a_schedule_carries_what_an_extended_profile_resolves_to(write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ENGAGE_HOME", str(tmp_path / "home"))
    (tmp_path / "adapter").mkdir()
    write("base.toml", 'extends = "laptop"\nengine.kind = "scripted"\nengine.policy_adapter = "./adapter"')
    plan = plan_nightly(When(at="2:05"), str(write("night.toml", 'extends = "base"\nsearch.num_simulations = 9')), ())
    carried = json.loads(json.dumps(plan.config.model_dump(mode="json")))
    assert (plan.name, carried["search"]["num_simulations"], carried["search"]["round_size"]) == ("night", 9, 6)
    assert carried["engine"]["policy_adapter"] == f"{tmp_path}/adapter"
    assert "extends" not in carried and CycleConfig.model_validate(carried) == plan.config
