"""A user's module is imported only if the user allowed it; a scenario file that names it runs no code."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from engage.config import load_cycle_scenarios
from engage.domains import allow_modules, load_domain, loading
from engage.errors import ConfigError, ScenarioError
from engage.scenario import load_scenarios
from flows.cli.profiles import Asked, load_config

HERE = Path(__file__).parents[1]
OWN_FILE = HERE / "fixtures" / "own_scenarios.jsonl"
SOURCE = (HERE / "own_domain.py").read_text(encoding="utf-8")
TRACE = "open('ran', 'w').close()\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with no module allowed yet; imports of a test are undone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(loading, "_allowed", set())
    monkeypatch.setattr(sys, "path", [*sys.path])
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        del sys.modules[name]


def module(folder, name, source) -> str:
    """A module, and a scenario file that names its domain."""
    (folder / f"{name}.py").write_text(source, encoding="utf-8")
    path = folder / f"{name}.jsonl"
    path.write_text(OWN_FILE.read_text(encoding="utf-8").replace("own_domain:", f"{name}:"), encoding="utf-8")
    return str(path)


def test_a_data_file_imports_nothing_and_the_sentence_prints_the_flag(folder):
    path = module(folder, "mine", TRACE + SOURCE)
    with pytest.raises(
        ScenarioError, match=r"mine.jsonl:1: domain: 'mine:STUDY_ADVICE' would run .* add --domain-module mine \("
    ):
        load_scenarios([path])
    assert not (folder / "ran").exists() and "mine" not in sys.modules and str(folder) not in sys.path


def test_an_allowed_module_is_imported_from_the_current_folder(folder):
    path = module(folder, "mine", TRACE + SOURCE)
    config = load_config("laptop", [f"scenarios.sources=['{path}']", "scenarios.domain_modules=['mine']"])
    assert len(load_cycle_scenarios(config.scenarios)) == 12 and (folder / "ran").exists()


def test_allowing_one_module_allows_no_other(folder):
    (folder / "other.py").touch()
    allow_modules(["other"])
    with pytest.raises(ScenarioError, match="add --domain-module mine"):
        load_scenarios([module(folder, "mine", SOURCE)])


def test_the_flag_adds_to_what_the_profile_allows():
    asked = Asked.by("laptop", ["scenarios.domain_modules=['a']"], ["b", "a.b"])
    assert asked.config().scenarios.domain_modules == ("a", "b", "a.b")
    assert Asked.by("laptop", None, None).config() == load_config("laptop")


def test_what_is_allowed_is_not_part_of_a_cycles_identity():
    from engage.store import SETTINGS, Cycle, identity

    cycle = Cycle(cycle_id="c", seed=1, champion_version=None, champion_adapter=None)
    plain, allowing = (
        identity(cycle, given.model_dump(mode="json", include=SETTINGS), given.engine, [], None)
        for more in ([], ["scenarios.domain_modules=['mine']"])
        for given in [load_config("laptop", ["engine.kind=scripted", *more])]
    )
    assert plain == allowing


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import sys\nsys.exit(0)", "m0 calls sys.exit while it is imported"),
        ("raise SystemExit('bye')", "m1 calls sys.exit while it is imported"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("def (:", "SyntaxError"),
        ("import no_such_library", "No module named 'no_such_library'"),
        ("STUDY_ADVICE = 7", "is a int, not an engage.domains.Domain instance"),
        ("X = 7", "m7 has no STUDY_ADVICE"),
        ("import time\nwhile True:\n    time.sleep(0.01)", "importing m8 did not end in 0.3 s"),
    ],
)  # fmt: skip
def test_a_module_that_is_no_domain_is_one_sentence(source, reason, folder, monkeypatch, request):
    name = f"m{request.node.callspec.indices['source']}"
    monkeypatch.setattr(loading, "IMPORT_LIMIT_S", 0.3 if "while True" in source else 60.0)
    module(folder, name, source)
    allow_modules([name])
    with pytest.raises(ConfigError, match=reason) as caught:
        load_domain(f"{name}:STUDY_ADVICE")
    assert "\n" not in str(caught.value)


def test_what_a_module_prints_stays_out_of_the_output(folder, capsys):
    module(folder, "loud", "print('hello')\n" + SOURCE)
    allow_modules(["loud"])
    load_domain("loud:STUDY_ADVICE")
    assert capsys.readouterr() == ("", "hello\n")


@pytest.mark.parametrize(
    ("name", "part"), [("a b:X", "a b:X"), ("../evil:X", "evil"), ("mine:X.y", "X.y"), (":X", ":X"), ("mine:", "mine:")]
)
def test_what_names_no_module_is_not_known(name, part, folder):
    with pytest.raises(
        ConfigError, match=r"is not known; use emotional_support, persuasion or package.module:OBJECT"
    ) as caught:
        load_domain(name)
    assert part in str(caught.value)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("raise SystemExit(0)", r"domain 'used:STUDY_ADVICE': policy_prompt calls sys.exit$"),
        ("return {}['x']", r"policy_prompt fails \(line \d+\): KeyError: 'x'$"),
    ],
)
def test_what_a_domain_does_later_is_one_sentence_too(body, reason, folder):
    old = 'return (\n            "You are an AI adviser.'
    assert old in SOURCE
    module(folder, "used", SOURCE.replace(old, f"{body}\n        {old}"))
    allow_modules(["used"])
    domain = load_domain("used:STUDY_ADVICE")
    with pytest.raises(ConfigError, match=reason):
        domain.policy_prompt()
    assert load_domain("used:STUDY_ADVICE") is domain


@pytest.mark.parametrize("call", ["raise SystemExit(0)", "1 / 0"])
def test_a_check_of_the_users_own_that_fails_names_the_line_of_the_file(call, folder):
    check = f'\n\n    @field_validator("subject")\n    @classmethod\n    def refuse(cls, value):\n        {call}\n'
    source = SOURCE.replace("from pydantic import Field", "from pydantic import Field, field_validator")
    days = '    days_left: int = Field(ge=0, le=365, description="days until the exam")\n'
    assert days in source
    path = module(folder, "checked", source.replace(days, days + check))
    allow_modules(["checked"])
    with pytest.raises(ScenarioError, match=r"checked.jsonl:1: user_condition: the domain's check fails"):
        load_scenarios([path])


def test_guarding_a_domain_leaves_its_fingerprint(folder):
    module(folder, "mine", SOURCE)
    allow_modules(["mine"])
    import own_domain

    assert load_domain("mine:STUDY_ADVICE").fingerprint() == own_domain.STUDY_ADVICE.fingerprint()


@pytest.mark.slow
def test_the_command_refuses_and_takes_by_the_flag_that_it_printed(folder):
    path = module(folder, "mine", TRACE + SOURCE)
    environment = os.environ | {"PYTHONSAFEPATH": "1"}

    def engage(*arguments):
        command = [
            sys.executable,
            "-c",
            "from flows.cli import main; main()",
            "scenarios",
            "validate",
            path,
            *arguments,
        ]
        return subprocess.run(command, capture_output=True, text=True, env=environment)

    refused = engage()
    assert (refused.returncode, (folder / "ran").exists()) == (2, False)
    assert "add --domain-module mine " in refused.stdout and "problems: 12" in refused.stdout
    done = engage("--domain-module", "mine")
    assert (done.returncode, done.stdout) == (0, "good scenarios: 12, problems: 0\n")


@pytest.mark.slow
def test_a_module_that_leaves_python_ends_no_command_as_a_success(folder):
    """sys.exit(0) in an imported module used to end the command silently with success."""
    (folder / "run.py").write_text(
        "import sys\nfrom flows import cli\nfrom flows.cli import inspecting\n"
        "inspecting.show_scenarios = lambda *_: sys.exit(0)\nsys.argv = ['engage', 'scenarios', 'list']\ncli.main()\n"
    )
    done = subprocess.run([sys.executable, "run.py"], capture_output=True, text=True)
    assert done.returncode == 1 and "ended the program (sys.exit(0))" in done.stderr


def test_a_scenario_is_json_before_it_is_anything_else(folder):
    path = module(folder, "mine", TRACE + SOURCE)
    lines = Path(path).read_text().splitlines()
    Path(path).write_text(json.dumps(json.loads(lines[0]) | {"domain": "os:system"}))
    with pytest.raises(
        ScenarioError, match=r"'os:system' is a builtin_function_or_method, not an engage.domains.Domain"
    ):
        load_scenarios([path])
