"""`engage serve`, `merge` and `rollback`, for a home with two promoted versions."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_models import save_adapter

import engage.models
from engage.evaluation.promoting import promote_by_person
from engage.home import Home
from engage.store import Challenges, TrajectoryStore
from engage.tracking import Tracker
from engage.workspace import Workspace


@pytest.fixture
def versions(home, tiny_model, monkeypatch) -> list[Path]:
    """The folders of versions 1 and 2; version 2 is champion."""
    monkeypatch.setenv("LOGNAME", "ada")
    tracker, folders = Tracker(home), []
    TrajectoryStore(home.database).begin_cycle("c1", {})
    for number in ("1", "2"):
        folders.append(save_adapter(tiny_model, home.cycle(f"c{number}") / "adapter"))
        with tracker.stage(f"c{number}", "align") as run:
            run.model(folders[-1], {})
            assert tracker.register(run, folders[-1], {}) == number
        promote_by_person(Workspace(home), number, "tried", unjudged=True)
    return folders


@pytest.fixture
def command(engage, home, monkeypatch):
    """Runs a command line in the home of `versions`."""
    monkeypatch.setenv("ENGAGE_HOME", str(home.path))
    return engage


def words(tiny: Path, adapter: Path, *more: str) -> list[str]:
    lora = ["--enable-lora", "--max-lora-rank", "8", "--lora-modules", f"engage-policy={adapter}"]
    return [str(tiny), *lora, "--host", "127.0.0.1", "--port", *more]


CPU = ["python", "-m", "vllm.entrypoints.openai.api_server", "--model"]
"""The CPU build's own `vllm serve` fails."""


@pytest.mark.slow
def test_serve_prints_the_command_for_the_champion_or_a_version(command, versions, tiny_model, monkeypatch):
    monkeypatch.setattr(engage.models, "has_accelerator", lambda: True)
    code, out, _ = command("serve")
    assert (code, shlex.split(out)) == (0, ["vllm", "serve", *words(tiny_model, versions[1], "8000")])
    monkeypatch.setattr(engage.models, "has_accelerator", lambda: False)
    _, out, _ = command("serve", "1", "--port", "8123")
    cpu = (
        "--block-size",
        "32",
        "--no-enable-chunked-prefill",
        "--enforce-eager",
        "--kv-cache-memory-bytes",
        "2147483648",
    )
    assert shlex.split(out) == [*CPU, *words(tiny_model, versions[0], "8123", *cpu)]


@pytest.mark.slow
def test_serve_runs_vllm_where_it_is_installed(versions, tmp_path):
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("vllm", "python"):  # of one environment
        program = folder / name
        program.write_text('#!/bin/sh\nfor word in "$@"; do echo "$word"; done\n')
        program.chmod(0o755)
    env = {**os.environ, "PATH": f"{folder}:/usr/bin:/bin", "CUDA_VISIBLE_DEVICES": ""}
    run = [sys.executable, "-m", "flows.cli", "serve", "--run"]
    done = subprocess.run(run, env=env, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:5] == [*CPU[1:], done.stdout.split("\n")[3], "--enable-lora"]
    assert f"engage-policy={versions[1]}" in done.stdout.split("\n")


@pytest.mark.slow
def test_without_vllm_or_a_champion_serve_says_what_to_do(command, home, versions, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    code, _, said = command("serve", "--run")
    assert (code, said.splitlines()[-1][:23]) == (2, "vLLM is not installed: ")  # above it, how far weights were loaded
    Tracker(home).demote()
    code, _, said = command("serve")
    assert (code, said) == (2, "there is no champion yet: nothing has been promoted; name a cycle or a version\n")


@pytest.mark.slow
def test_merge_writes_the_champion(command, versions, tmp_path):
    code, out, _ = command("merge", "--out", str(tmp_path / "merged"))
    assert code == 0 and out.startswith("version 2 is merged into its base ")
    assert (tmp_path / "merged" / "model.safetensors").is_file()
    code, _, said = command("merge", "--out", str(tmp_path / "merged"))
    assert (code, said.count("\n")) == (2, 1) and "holds something already" in said


@pytest.mark.slow
def test_rollback_goes_back_a_step_each_time_down_to_the_base_model(command, home, versions):
    code, out, _ = command("rollback", "--why", "users complained")
    assert code == 0 and out.startswith(
        "version 1 is now the champion, instead of version 2 (by ada: users complained)"
    )
    assert Tracker(home).champion().adapter == versions[0]
    code, out, _ = command("rollback", "--why", "still bad")
    assert out == "nights start from the configured policy again, instead of version 1 (by ada: still bad)\n"
    assert Tracker(home).champion() is None
    code, _, said = command("rollback", "--why", "x")
    assert (code, said) == (2, "there is no champion: nights start from the configured policy already\n")
    made = Challenges(TrajectoryStore(Home.from_env().database)).promotions()
    assert [(one.version, one.replaced, one.why) for one in made] == [
        ("1", None, "tried"),
        ("2", "1", "tried"),
        ("1", "2", "users complained"),
        ("base", "1", "still bad"),
    ]
    code, out, _ = command("champions", "--format", "csv")
    assert [line.split(",")[0] for line in out.splitlines()[1:]] == ["base", "1", "2", "1"]


@pytest.mark.slow
def test_a_rollback_passes_over_a_version_whose_folder_is_gone(command, home, versions):
    """An earlier engage pruned it."""
    shutil.rmtree(versions[0])
    code, out, _ = command("rollback", "--why", "harm")
    assert (code, out) == (
        0,
        "nights start from the configured policy again, instead of version 2 (by ada: harm); passed over, because its folder is "
        "gone: version 1\n",
    )
    assert Tracker(home).champion() is None


@pytest.mark.slow
def test_a_rollback_needs_a_reason(command, versions):
    assert command("rollback")[0] == 2
    code, _, said = command("rollback", "--why", " ")
    assert (code, said) == (2, "--why: write the reason, which is recorded with the promotion\n")


@pytest.mark.parametrize(
    "command",
    [("serve",), ("merge", "--out", "m"), ("promote", "1", "--why", "x"), ("rollback", "--why", "x")],
    ids=lambda one: one[0],
)
def test_a_home_that_is_not_there_is_not_made_by_asking_for_its_champion(engage, own_home, command):
    code, _, err = engage(*command)
    assert code == 2 and err == f"{own_home}: no cycle has been run yet; run `engage nightly` first\n"
    assert not own_home.exists()
