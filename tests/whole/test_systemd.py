"""The systemd units name commands that exist, on loopback, and take secrets from a file of root's."""

import configparser
import importlib
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from prefect.settings.models.server.concurrency import ServerConcurrencySettings

from flows.cli.services import LEASES, LEASES_ON_DISK

UNITS = sorted((Path(__file__).parents[2] / "deployments" / "systemd").glob("*.service"))


def service(path: Path) -> configparser.SectionProxy:
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[method-assign,assignment]
    unit.read(path, encoding="utf-8")
    return unit["Service"]


def test_there_is_a_unit_for_each_service():
    assert [path.stem for path in UNITS] == ["engage-mlflow", "engage-prefect", "engage-worker"]


@pytest.mark.slow
@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_a_unit_starts_a_command_of_the_clone_with_options_that_it_has(path):
    program, *arguments = shlex.split(service(path)["ExecStart"])
    folder, _, name = program.rpartition("/")
    assert folder == f"{service(path)['WorkingDirectory']}/.venv/bin"
    options = [argument for argument in arguments if argument.startswith("--")]
    command = arguments[: next(place for place, argument in enumerate(arguments) if argument.startswith("--"))]
    help_text = subprocess.run(
        [sys.executable, "-m", name, *command, "--help"], capture_output=True, text=True, check=True, timeout=200
    ).stdout
    assert [option for option in options if option not in help_text] == []


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_a_unit_listens_on_loopback_only_and_keeps_its_files_to_itself(path):
    found = service(path)
    assert "--host" not in found["ExecStart"] or "--host 127.0.0.1" in found["ExecStart"]
    assert (found["UMask"], found["EnvironmentFile"], found["User"]) == ("0077", "/etc/engage.env", "engage")


def test_prefects_server_keeps_the_places_of_runs_on_disk(monkeypatch):
    unit = next(path for path in UNITS if path.stem == "engage-prefect").read_text(encoding="utf-8")
    assert f"\nEnvironment={LEASES}={LEASES_ON_DISK}\n" in unit
    monkeypatch.setenv(LEASES, LEASES_ON_DISK)
    assert ServerConcurrencySettings().lease_storage == LEASES_ON_DISK  # Prefect reads a variable of this name
    assert importlib.import_module(LEASES_ON_DISK).ConcurrencyLeaseStorage  # and finds a storage there
