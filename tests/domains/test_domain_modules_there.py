import pytest

from engage.config import ScenarioConfig, load_cycle_scenarios
from engage.domains.loading import allow_modules
from engage.errors import ConfigError


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        ("no_such_module_at_all", "there is no module 'no_such_module_at_all' here; put its folder on PYTHONPATH"),
        ("my_domain.py", "name the module without `.py`: 'my_domain'"),
        ("folder/my_domain", "is no name of a Python module"),
        ("", "is no name of a Python module"),
    ],
)
def test_a_module_that_cannot_exist_is_refused_before_the_scenarios_are_read(module, reason):
    with pytest.raises(ConfigError, match=reason):
        load_cycle_scenarios(ScenarioConfig(sources=("not-there.jsonl",), domain_modules=(module,)))


def test_a_module_in_the_current_folder_is_there_and_is_not_imported(tmp_path, monkeypatch):
    (tmp_path / "only_looked_for.py").write_text("raise AssertionError('imported')")
    monkeypatch.chdir(tmp_path)
    allow_modules(["only_looked_for", "only_looked_for.part"])
