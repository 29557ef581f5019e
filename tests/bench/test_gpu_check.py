"""The GPU check with a fake command line and a fake driver: what it runs, stops, skips and reports."""

import json
import os
import sys
import time
from pathlib import Path

import pytest

from engage.bench import gpu_check
from engage.bench.gpu_check import main, run_step
from engage.bench.gpu_steps import NAMES, Size, Step, read_doctor, read_json, read_night, steps

SWEEP = {
    "single_stream_token_ms": 4.0,
    "prefill_saturated_tok_s": 9000.0,
    "sweep": [{"requests": 1, "decode_tok_s": 100.0}, {"requests": 64, "decode_tok_s": 6000.0}],
}
ENGAGE = f"""#!{sys.executable}
import json, sys, time
words = sys.argv[1:]
sweep = {SWEEP!r}
if words[:2] == ["bench", "engine"] and "--plain" in words:
    print(json.dumps(sweep | {{"sweep": [dict(p, decode_tok_s=p["decode_tok_s"] / 4) for p in sweep["sweep"]]}}))
elif words[:2] == ["bench", "engine"]:
    print(json.dumps(sweep))
elif words[:2] == ["bench", "search"]:
    print("out of memory", file=sys.stderr)
    sys.exit(1)
elif words[:2] == ["bench", "align"]:
    time.sleep(60)
elif words[0] == "nightly":
    print("searching 2 scenarios from p1 (simulations): 3072/3072 in 48 s, 64.12/s")
else:
    print("ok profile laptop: engine transformers on the GPU")
"""
SMI = f"""#!{sys.executable}
import sys, time
asked = sys.argv[1].removeprefix("--query-gpu=")
if asked == "name,memory.total,driver_version":
    print("NVIDIA H200, 143771 MiB, 580.159.03")
    print("NVIDIA H200, 143771 MiB, 580.159.03")
while asked == "utilization.gpu,memory.used":
    print("0, 3", flush=True)
    print("50, 2048", flush=True)
    time.sleep(0.05)
"""


def put(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def engage(tmp_path, monkeypatch) -> str:
    """A command line that answers at once; no driver."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return put(tmp_path, "engage", ENGAGE)


def checked(engage: str, out: Path, *options: str) -> tuple[int, dict[str, dict]]:
    code = main(["--engage", engage, "--out", str(out), *options])
    return code, {step["name"]: step for step in json.loads(out.read_text())["steps"]}


def test_a_check_writes_a_table_and_a_file_and_names_what_failed_or_was_skipped(engage, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(gpu_check, "LEAST_S", 0.0)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    code, found = checked(engage, tmp_path / "out.json", "--only", "doctor,plain,engine,search,night,vllm")
    assert code == 1
    assert {name: step["status"] for name, step in found.items()} == {
        "doctor": "done",
        "plain": "done",
        "engine": "done",
        "search": "failed",
        "night": "done",
        "vllm": "skipped",
    }
    assert found["search"]["reason"] == "exit code 1: out of memory"
    assert found["vllm"]["reason"] == "vLLM is not installed"
    assert found["night"]["figures"] == {"simulations": 3072, "simulations_per_s": 64.12}
    shown = capsys.readouterr().out
    assert "engine transformers on the GPU" in shown
    # 100 and 6,000 tokens/s beside a quarter of each
    assert "decode tokens/s by requests 1: 100 (4.0 × plain), 64: 6,000 (4.0 × plain); alone 4.0 ms a token" in shown
    assert "| search | failed; exit code 1: out of memory |  |  |" in shown
    assert all(line.count("|") == 6 for line in shown.splitlines() if line.startswith("|"))


@pytest.mark.slow
def test_a_step_is_stopped_at_its_limit_and_steps_without_time_are_skipped(engage, tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_check, "LEAST_S", 0.5)
    began = time.monotonic()
    code, found = checked(engage, tmp_path / "out.json", "--only", "align,night", "--seconds", "2")
    assert time.monotonic() - began < 30  # it sleeps for 60
    assert code == 1
    assert (found["align"]["status"], found["align"]["reason"]) == ("stopped", "after its limit of 2 s")
    assert (found["night"]["status"], found["night"]["reason"]) == ("skipped", "no time left of 2 s")


@pytest.mark.slow
def test_the_busiest_card_is_sampled_while_a_step_runs(engage, tmp_path, monkeypatch, capsys):
    put(tmp_path, "nvidia-smi", SMI)
    slow = put(tmp_path, "slow", f"#!{sys.executable}\nimport time\ntime.sleep(1.5)\nprint('{{}}')\n")
    code, found = checked(slow, tmp_path / "out.json", "--only", "engine")
    assert code == 0
    # card 0 idles, card 1 is busy half of the time
    assert (found["engine"]["gpu_percent"], found["engine"]["gpu_memory_mib"]) == (50.0, 2048.0)
    assert "| 50 % (50 %) | 2,048 MiB |" in capsys.readouterr().out
    facts = json.loads((tmp_path / "out.json").read_text())["machine"]
    assert facts["gpus"] == ["NVIDIA H200, 143771 MiB, 580.159.03"] * 2


def test_a_missing_command_fails_with_its_name(engage, tmp_path):
    found = run_step(Step("engine", ("/no/such",), 5, read_json), gpu_check.CardWatch(0), 5, os.environ)
    assert (found.status, found.reason) == ("failed", "/no/such: No such file or directory")


def test_an_unknown_step_is_refused(engage, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--engage", engage, "--only", "engine,serach"])
    assert stop.value.code == 2
    assert "--only serach: choose from doctor, plain" in capsys.readouterr().err


@pytest.mark.parametrize("size", [Size(), Size.quick()])
def test_the_steps_are_commands_that_the_command_line_knows(size):
    """Each option is one of the command's; each setting is one of the configuration's."""
    import typer

    from flows.cli import commands as cli
    from flows.cli.profiles import load_config

    group = typer.main.get_command(cli.app)
    planned = steps(["engage"], size, ["seed=1"], ["engine.vllm.engine_args.enforce_eager=true"])
    assert [step.name for step in planned] == list(NAMES)
    for step in planned:
        words = list(step.command[1:])
        command = group.commands[words.pop(0)]
        if hasattr(command, "commands"):
            command = command.commands[words.pop(0)]
        given = command.make_context("engage", words).params
        config = load_config("laptop", given["set_"])
        assert config.seed == 1
        if step.name in {"agreement", "vllm"}:
            assert config.engine.vllm.engine_args == {"max_model_len": 2048, "enforce_eager": True}


def test_figures_are_read_from_what_is_printed():
    assert read_json('working …\n{"a": 1}\n') == {"a": 1}
    assert read_json("") == read_json("stopped") == read_json("[1]") == {}
    assert read_night("cycle c1") == {}
    told = "ok 2 cores\nok GPU NVIDIA H200: 151 GB\nnote vllm is not installed (optional; GPU serving in process: pip)"
    assert read_doctor(told) == {"lines": ["ok GPU NVIDIA H200: 151 GB"]}
