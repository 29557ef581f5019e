"""A home with several cycles by hand, for the tests of what keeps it small and safe: rows, adapters, pages, MLflow's runs and conversations."""

import json
from pathlib import Path

from small_stores import filled, hand_dialogue, hand_tree, support_scenario

from engage.evaluation.conversations import Conversation, Exchange
from engage.home import Home
from engage.models import AdapterCard
from engage.store import Outbox, TrajectoryStore
from engage.tracking import Tracker

REPLIES = {"Tell me more.": [[1.0], [0.5]], "Cheer up.": [[0.0], [0.25]]}
"""Four simulations."""


def add_cycle(
    home: Home,
    cycle_id: str,
    scenario_ids: tuple[str, ...] = ("s1", "s2"),
    talk: bool = True,
    tracked: bool = True,
    **identity: str,
) -> Path:
    """A cycle with a tree for each scenario, an evaluation dialogue of the first, and a registered adapter, whose folder is returned.

    Unless `tracked`, MLflow does not know it; with `talk`, it has a conversation about each scenario.
    """
    scenarios = [support_scenario(name) for name in scenario_ids]
    trees = [hand_tree(scenario, REPLIES, cycle_id) for scenario in scenarios]
    store = TrajectoryStore(home.database, wait_s=10.0)
    if home.database.exists():
        store.begin_cycle(cycle_id, {"seed": 7, **identity})
        store.add_scenarios(scenarios)
        outbox = Outbox(home.outbox)
        for tree in trees:
            outbox.put_tree(tree)
        outbox.put_dialogues([hand_dialogue(scenarios[0], 0.5, cycle_id)])
        store.drain(outbox)
    else:
        filled(home.path, scenarios, trees, [hand_dialogue(scenarios[0], 0.5, cycle_id)], (cycle_id,))
    adapter = home.cycle(cycle_id) / "align" / "run" / "adapter"
    _adapter(adapter, cycle_id)
    (home.cycle(cycle_id) / "report.md").write_text(f"# Cycle {cycle_id}\n", encoding="utf-8")
    if not tracked:
        return adapter
    tracker = Tracker(home)
    tracker.cycle_run(cycle_id).page(f"# Cycle {cycle_id}\n", "report.md")
    with tracker.stage(cycle_id, "align") as run:
        run.model(adapter, {})
        tracker.register(run, adapter, {})
    if talk:
        tracker.conversations(cycle_id, "incumbent", "base", [_conversation(cycle_id, name) for name in scenario_ids])
    return adapter


def _adapter(folder: Path, cycle_id: str) -> None:
    folder.mkdir(parents=True)
    (folder / "adapter_model.safetensors").write_bytes(cycle_id.encode() * 50_000)
    (folder / "adapter_config.json").write_text(json.dumps({"r": 4}), encoding="utf-8")
    AdapterCard(
        base="tiny",
        base_fingerprint="f" * 64,
        method="dpo",
        config={},
        data=[],
        metrics={"pairs": 2.0},
        created_at="2026-11-24T00:00:00Z",
    ).write(folder)


def _conversation(cycle_id: str, scenario_id: str) -> Conversation:
    heard = ({"role": "user", "content": f"I am sad, says {scenario_id}."},)
    return Conversation(
        dialogue_id=f"{cycle_id}/evaluation/base/search/{scenario_id}/1",
        simulator="search",
        domain="emotional_support",
        scenario_id=scenario_id,
        goal=f"the situation of {scenario_id}",
        persona="a baker",
        exchanges=(Exchange(heard, "Tell me."),),
        ending="ended: farewell",
        reward=0.5,
        checks=(),
        flaws=(),
    )
