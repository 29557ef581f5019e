"""A collect through `engine.kind=openai` on a real vLLM server, adapters loaded into it, and the server's sudden end.

`make integration` sets ENGAGE_VLLM_VENV to the environment that deployments/install_vllm_cpu.sh keeps.
"""

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import httpx
import pyarrow.parquet as pq
import pytest
from tiny_models import save_adapter
from vllm_server import SERVED, VllmServer

from engage.engines import EngineConfig
from engage.engines.base import Message, Prompt, Sampling, Side
from engage.engines.openai.engine import OpenAIEngine

CLONE = Path(__file__).resolve().parents[2]
TREES, SIMULATIONS = 4, 6
PER_TREE = """
    select tree_id, wall_s, count(trajectory_id), withdrawn
    from tree left join trajectory using (tree_id) group by all
"""

pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    venv = os.environ.get("ENGAGE_VLLM_VENV")
    if not venv or not (Path(venv) / "bin" / "python").exists():
        pytest.fail("ENGAGE_VLLM_VENV names no environment with vLLM; run `make integration`")
    server = VllmServer(Path(venv), tmp_path_factory.mktemp("vllm") / "server.log")
    print(f"server up after {server.start():.0f} s")
    yield server
    server.kill()


class Room:
    """A home of its own, and `engage collect` run in it as a user would."""

    def __init__(self, folder: Path, server: VllmServer) -> None:
        self.home, self.server = folder / "home", server
        self.env = {**os.environ, "ENGAGE_HOME": str(self.home), "PREFECT_HOME": str(folder / "prefect")}

    def start(self, *more: str) -> subprocess.Popen[str]:
        settings = (
            "engine.kind=openai",
            "engine.policy_adapter=bare",
            "engine.simulator_adapter=bare",
            f'engine.openai.policy.base_urls=["{self.server.url}"]',
            f"engine.openai.policy.model={SERVED}",
            f"scenarios.per_domain={TREES // 2}",
            f"search.num_simulations={SIMULATIONS}",
            "dialogue.max_exchanges=1",
            *more,
        )
        arguments = [part for setting in settings for part in ("--set", setting)]
        return subprocess.Popen(
            [sys.executable, "-m", "flows.cli", "collect", "--profile", "laptop", "--cycle", "c1", *arguments],
            env=self.env,
            cwd=CLONE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def waiting(self) -> list[Path]:
        return sorted((self.home / "outbox").glob("*.tree.parquet"))

    def row(self, sql: str):
        return self.rows(sql)[0]

    def rows(self, sql: str):
        with duckdb.connect(str(self.home / "engage.duckdb"), read_only=True) as store:
            return store.execute(sql).fetchall()


def finished(process) -> str:
    out, err = process.communicate(timeout=600)
    assert (process.returncode, err) == (0, ""), out
    return out


def walls(files: list[Path]) -> dict[str, float]:
    """Tree id to the seconds it took: a tree that is searched again takes others."""
    tables = [pq.read_table(file).to_pylist()[0] for file in files]
    return {row["tree_id"]: row["wall_s"] for row in tables}


def test_a_collect_fills_the_store_and_the_server_reuses_prefixes(server, tmp_path):
    room = Room(tmp_path, server)
    began = time.monotonic()
    finished(room.start())
    trees, trajectories, unread = room.row(
        "select (select count(*) from tree), count(*), count(*) filter (reward is null) from reaction"
    )
    assert (trees, trajectories) == (TREES, TREES * SIMULATIONS)
    assert unread == 0
    asked, reused, said, measured = room.row(
        "select sum(prompt_tokens), sum(cached_tokens), sum(completion_tokens), "
        "count(*) filter (kind = 'score') from engine_call"
    )
    took = time.monotonic() - began
    print(
        f"{took:.0f} s; {asked} prompt tokens, {reused / asked:.0%} reused; {said} decoded, {said / took:.0f} a second"
    )
    assert reused > 0.3 * asked
    assert measured >= trajectories  # the survey was read from distributions, not sampled


def test_what_the_models_own_configuration_says_of_sampling_does_not_count(server):
    bare = {"policy_adapter": "bare", "simulator_adapter": "bare"}
    config = EngineConfig(kind="openai", openai={"policy": {"base_urls": [server.url], "model": SERVED}}, **bare)
    engine = OpenAIEngine(config, config.openai)
    said = {"role": "user", "content": "Tell me of the sea, and of the sea again."}

    def plainly(**added) -> str:
        body = {"model": SERVED, "messages": [said], "temperature": 0.0, "max_tokens": 32, **added}
        answer = httpx.post(f"{server.url}/chat/completions", json=body, timeout=120).json()
        return answer["choices"][0]["message"]["content"].strip()

    try:
        asked = Prompt("k", Side.POLICY, (Message("user", said["content"]),))
        (reply,) = asyncio.run(engine.complete(asked, Sampling(temperature=0.0, max_tokens=32), [1]))
    finally:
        engine.close()
    assert reply.text == plainly(repetition_penalty=1.0) != plainly()


def test_an_adapter_is_loaded_into_the_running_server_and_changes_its_replies(server, tmp_path):
    adapter = str(save_adapter("embedded", tmp_path / "adapter"))
    served = {"policy": {"base_urls": [server.url], "model": SERVED}}
    config = EngineConfig(kind="openai", policy_adapter="bare", simulator_adapter="bare", openai=served)
    engine = OpenAIEngine(config, config.openai)
    messages = (Message("system", "Be kind."), Message("user", "I am sad."))

    async def replies(sampling: Sampling) -> list[str]:
        asked = [Prompt("k", Side.POLICY, messages, chosen) for chosen in (None, adapter, "", adapter)]
        return [(await engine.complete(one, sampling, (3,)))[0].text for one in asked]

    try:
        for sampling in (Sampling(temperature=0.0, max_tokens=16), Sampling(temperature=1.0, max_tokens=16)):
            own, changed, base, again = asyncio.run(replies(sampling))
            assert own == base != changed == again
    finally:
        engine.close()


def test_a_cycle_goes_on_after_its_server_was_killed(server, tmp_path):
    room = Room(tmp_path, server)
    # one tree after the other, so that some are finished and some are not; a request is given up soon
    one_by_one = ("collect.shard_size=1", "collect.workers=1", "engine.openai.retry_s=3")
    process = room.start(*one_by_one)
    deadline = time.monotonic() + 300
    while len(room.waiting()) < 2:
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.05)
    kept = walls(room.waiting())
    server.kill()
    out, err = process.communicate(timeout=300)
    assert (process.returncode, err) == (0, ""), (out, err)
    assert "To try again, run the same command with --cycle c1" in out

    print(f"server up again after {server.start():.0f} s")
    finished(room.start(*one_by_one))
    stored = {tree: (wall, simulations + withdrawn) for tree, wall, simulations, withdrawn in room.rows(PER_TREE)}
    assert len(stored) == TREES
    assert {tree: stored[tree][0] for tree in kept} == kept
    assert {simulations for _, simulations in stored.values()} == {SIMULATIONS}
    assert room.waiting() == []
