"""A night on imported chats: what `engage scenarios import chats` writes is searched and evaluated without further work."""

import json

import pytest
from scripted_cycles import small

from engage.corpora import read_shipped
from engage.home import Home
from engage.store import TrajectoryStore
from flows.nightly import nightly

pytestmark = [pytest.mark.usefixtures("prefect_server"), pytest.mark.slow]


def test_a_night_runs_on_imported_chats(home, tiny_model, engage, tmp_path, monkeypatch):
    chats = [
        {"messages": [{"role": str(turn.role), "content": turn.text} for turn in human.dialogue.turns]}
        for human in read_shipped().dialogues[-24:]
        if human.dialogue.turns[0].role == "user"
    ]
    (tmp_path / "mine.jsonl").write_text("".join(f"{json.dumps(chat)}\n" for chat in chats))
    out = tmp_path / "chats.jsonl"
    assert engage("scenarios", "import", "chats", str(tmp_path / "mine.jsonl"), "--yes", "--out", str(out))[0] == 0
    monkeypatch.setenv("ENGAGE_HOME", str(home.path))
    nightly(
        small(
            tiny_model,
            f'scenarios.sources=["{out}"]',
            f'human.corpora=["own:{tmp_path / "chats.dialogues.jsonl"}"]',
            "evaluation={per_domain=2}",
        ),
        "c1",
    )
    store = TrajectoryStore(Home.from_env().database)
    sources, purposes = (
        {value for (value,) in store.select(f"select distinct {sql}")[1]}
        for sql in ("source from scenario join tree using (scenario_id)", "purpose from trajectory")
    )
    assert sources == {"own"} and {"search", "evaluation"} <= purposes
