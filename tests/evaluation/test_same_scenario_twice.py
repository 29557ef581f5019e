import json
from dataclasses import replace
from io import StringIO

from rich.console import Console

from engage.evaluation.ground import fixed_ground
from engage.scenario import load_scenarios, same_contents, sample_scenarios
from flows.cli.inspecting import validate_file

HELD_OUT = [scenario for scenario in load_scenarios(["persuasion"]) if scenario.split == "validation"][:3]
TWICE = [*HELD_OUT, *(replace(scenario, scenario_id=f"{scenario.scenario_id}-again") for scenario in HELD_OUT)]


def test_scenarios_of_one_content_are_one_in_every_sample():
    assert {one.scenario_id for one in sample_scenarios(TWICE, "validation", 9, 1)} == {
        one.scenario_id for one in HELD_OUT
    }
    assert len(fixed_ground(TWICE, "promotion", 9).scenarios) == 3


def test_the_second_of_two_ids_is_named_and_still_loaded(tmp_path):
    path = tmp_path / "twice.jsonl"
    path.write_text("\n".join(scenario.as_json() for scenario in TWICE))
    loaded = load_scenarios([str(path)])
    first = HELD_OUT[0].scenario_id
    assert len(loaded) == 6 and same_contents(loaded)[0] == f"'{first}-again' has the content of '{first}'"
    console = Console(file=StringIO(), width=400)
    assert validate_file(console, path, any_language=False, domain_modules=())
    assert "scenarios that are used once only: 3" in console.file.getvalue()


def test_another_opening_is_another_scenario(tmp_path):
    record = json.loads(HELD_OUT[0].as_json())
    record["opening"][-1]["text"] += " Why?"
    path = tmp_path / "other.jsonl"
    path.write_text(json.dumps({**record, "id": "other"}))
    assert same_contents([*HELD_OUT, *load_scenarios([str(path)])]) == []
