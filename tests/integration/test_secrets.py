"""A planted key, token or password is found nowhere afterwards: home, Prefect's database, exports, backup, terminal; in success and in failure."""

import base64
import itertools
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from all_texts import texts
from chat_server import ChatServer, answer

CLONE = Path(__file__).resolve().parents[2]
SECRETS = {
    name: f"Zq7{number}planted{number}xW"
    for number, name in enumerate(
        (
            "OPENAI_API_KEY",
            "OTHER_KEY",
            "HF_TOKEN",
            "MLFLOW_TRACKING_PASSWORD",
            "hook",
            "url_password",
            "query",
            "body",
        )
    )
}
BASIC = base64.b64encode(f"user:{SECRETS['url_password']}".encode()).decode()
NEEDLES = {**SECRETS, "basic": BASIC}
SMALL = (
    "scenarios.per_domain=1",
    "search.num_simulations=4",
    "search.round_size=4",
    "dialogue.max_exchanges=2",
    "engine.kind=openai",
    "engine.policy_adapter=bare",
    "engine.simulator_adapter=bare",
    "engine.openai.retry_s=0.0",
    'engine.openai.simulator.model="m"',
    'engine.openai.simulator.api_key_env="OTHER_KEY"',
    f'engine.openai.policy.extra_body={{api_key="{SECRETS["body"]}", top_k=5}}',
    'engine.openai.policy.model="m"',
)


def found(folder: Path) -> set[tuple[str, str]]:
    """Planted secrets below the folder: file and the secret's name."""
    return {
        (str(path.relative_to(folder)), name)
        for path in folder.rglob("*")
        if path.is_file()
        for text in texts(path)
        for name, secret in NEEDLES.items()
        if secret.encode() in text
    }


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_planted_secret_is_found_nowhere(tmp_path):
    server, words = ChatServer(), itertools.count()
    server.behave = lambda _, body, __: answer(body, f"Tell me more about number {next(words)}, would you?")
    at = server.url.replace("http://", f"http://user:{SECRETS['url_password']}@") + f"?api_key={SECRETS['query']}"
    more = (
        f'engine.openai.policy.base_urls=["{at}"]',
        f'engine.openai.simulator.base_urls=["{server.url}"]',
    )
    settings = [part for setting in (*SMALL, *more) for part in ("--set", setting)]
    env = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("PREFECT", "MLFLOW"))},
        **{name: value for name, value in SECRETS.items() if name.isupper()},
        "ENGAGE_HOME": str(tmp_path / "home"),
        "ENGAGE_NOTIFY_URL": f"http://127.0.0.1:9/services/{SECRETS['hook']}",
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "PYTHONPATH": str(CLONE),
        "OMP_NUM_THREADS": "1",
    }
    said: list[str] = []

    def engage(*arguments: str, **changed: str) -> int:
        done = subprocess.run(
            [sys.executable, "-m", "flows.cli", *arguments],
            env={**env, **changed},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=600,
        )
        said.append(done.stdout + done.stderr)
        assert "Traceback" not in said[-1], said[-1]
        return done.returncode

    assert engage("collect", "--cycle", "whole", *settings) == 0, said
    assert {f"Bearer {SECRETS['OTHER_KEY']}", f"Basic {BASIC}"} <= server.keys  # they were used
    server.takes = lambda _: (
        401,
        {"error": {"message": f"no {' '.join(NEEDLES.values())}"}},
    )  # it echoes what it was sent
    assert engage("collect", "--cycle", "refused", *settings) == 2
    token = f'engine.vllm.engine_args={{hf_token="{SECRETS["body"]}"}}'
    assert engage("collect", "--cycle", "token", *settings, "--set", token) == 2
    assert "engine.vllm.engine_args.hf_token is a secret" in said[-1]
    assert engage("export", "--cycle", "whole", "--out", str(tmp_path / "export")) == 0, said
    assert engage("backup", str(tmp_path / "backup.tar")) == 0, said
    server.stop()

    assert found(tmp_path) == set()
    assert [(line[:2_000], name) for line in said for name, secret in NEEDLES.items() if secret in line] == []
    assert (tmp_path / "prefect" / "prefect.db").stat().st_size > 100_000  # parameters and states of all runs
    with tarfile.open(tmp_path / "backup.tar") as tar:
        assert {"engage.duckdb", "mlflow.db"} <= set(tar.getnames())
