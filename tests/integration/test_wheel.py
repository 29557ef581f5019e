"""The wheel in an environment of its own: the method as a library, away from the clone.

The libraries it depends on are this environment's, by path: its own distribution is not seen that way, because the editable
install's hook is a .pth file, and those are not read in a folder that was itself added by one.
"""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

from wheels import ROOT, build_wheel

LIBRARY_USER = """
import asyncio
from pathlib import Path
import engage
from engage import (
    DialogueConfig, Outbox, PairConfig, ScriptedEngine, SearchConfig, Side, TrajectoryStore, load_scenarios, read_pairs,
    sample_scenarios, search_scenarios,
)
from engage.search import Adapters
from engage.store import inspections

replies = ("What was he like?", "That is life.")
lines = ("He slept on my feet.", "Quiet mostly.", "I miss the walks.")
engine = ScriptedEngine(
    lambda prompt, seed: (pick := replies if prompt.side is Side.POLICY else lines)[seed % len(pick)],
    lambda prompt, choices: [1.0 if (c == "1") == any(m.content == replies[0] for m in prompt.messages) else 1e-9 for c in choices],
)
scenarios = sample_scenarios(load_scenarios(["emotional_support"]), "train", 3, seed=1)
store, outbox = TrajectoryStore(Path("engage.duckdb")), Outbox(Path("outbox"))
store.begin_cycle("c1", {})
store.add_scenarios(scenarios)
search = SearchConfig(num_simulations=12, reply_exponent=0.0, min_visits=3)
asyncio.run(search_scenarios(engine, scenarios, DialogueConfig(max_exchanges=1), search, cycle_id="c1", seed=1, adapters=Adapters(), on_tree=outbox.put_tree))
assert store.drain(outbox) == 3
store.score_pairs("c1", PairConfig())
print(Path(engage.__file__).parents[1])
print(store.select("select count(*) from tree")[1][0][0], {pair.chosen for pair in read_pairs(store, "c1")})
print(len([store.named(name) for name in inspections() if name != "transcript"]))
"""


def test_a_library_user_searches_stores_and_selects_with_the_wheel_alone(tmp_path):
    wheel = build_wheel(tmp_path)
    environment = tmp_path / "env"
    venv.create(environment, with_pip=False, symlinks=True)
    python = environment / "bin" / "python"
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "--python",
            str(python),
            "install",
            "--quiet",
            "--no-deps",
            "--no-index",
            str(wheel),
        ],
        check=True,
    )
    (packages,) = environment.glob("lib/python*/site-packages")
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}

    done = subprocess.run(
        [python, "-c", LIBRARY_USER], capture_output=True, text=True, cwd=elsewhere, env=clean, timeout=300
    )
    assert done.returncode == 0, done.stderr
    where, found, asked = done.stdout.splitlines()
    assert Path(where) == packages.resolve() and ROOT not in Path(where).parents
    assert found == "3 {'What was he like?'}"
    assert int(asked) >= 10

    shown = subprocess.run(
        [environment / "bin" / "engage", "scenarios", "list"], capture_output=True, text=True, cwd=elsewhere, env=clean
    )
    assert shown.returncode == 0 and "emotional_support" in shown.stdout, shown.stderr
