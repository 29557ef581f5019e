"""Three nights by hand, for the tests of a night's page: trees, pairs, held-out dialogues of base and candidate, figures, a training."""

import json
from pathlib import Path

from small_stores import filled, hand_tree, reaction_of, support_scenario

from engage.dialogue import Dialogue, Role, Trajectory, Turn
from engage.evaluation import Verdict, policy_label
from engage.evaluation.night_page import keep_verdict
from engage.search import DialogueRecord
from engage.store import PairConfig
from engage.training.candidate import name_candidate

REPLIES = {"Tell me more.": [[1.0], [1.0, 0.5]], "Cheer up.": [[0.0], [0.25], [None]], "I hear you.": [[0.75], [0.5]]}
BEFORE = {"h0": 0.25, "h1": 0.5, "h2": 0.5, "h3": 0.75, "h4": 0.0, "h5": 1.0, "h6": None}
AFTER = {"h0": 1.0, "h1": 0.5, "h2": 0.75, "h3": 0.5, "h4": 0.25, "h5": 1.0, "h6": 0.5}
"""Rewards of base and candidate by held-out scenario, with both simulators."""
REASON = "promoted: +0.167 [+0.010, +0.400] on 6 held-out scenarios"
NIGHTS = ("n1", "n2", "n3")


def three_nights(home: Path, said="You're amazing. Tell me."):
    """A store of three cycles under `home`, the last with a candidate that says `said`; returns it, its folder and the adapter's."""
    scenarios = [support_scenario(f"s{number}") for number in range(2)]
    held_out = [support_scenario(name, "validation", difficulty="guarded") for name in BEFORE]
    trees = [hand_tree(scenario, REPLIES, night) for night in NIGHTS for scenario in scenarios]
    folder = home / "cycles" / "n3"
    adapter = _adapter(folder / "align" / "run" / "adapter")
    label = policy_label("candidate", str(adapter))
    held = [
        _dialogue(scenario, rewards[scenario.scenario_id], policy, simulator, reply)
        for scenario in held_out
        for policy, rewards, reply in (("base", BEFORE, "Tell me."), (label, AFTER, said))
        for simulator in ("search", "held-out bare")
    ]
    store = filled(home, [*scenarios, *held_out], trees, held, NIGHTS)
    for night, gain in zip(NIGHTS, (-0.05, 0.02, 0.167), strict=True):
        store.score_pairs(night, PairConfig(min_q_gap=0.0, confidence=0.5))
        one = {
            "n": 6,
            "mean_base": 0.5,
            "mean_candidate": 0.5 + gain,
            "difference": gain,
            "low": gain - 0.1,
            "high": gain + 0.2,
        }
        figures = {"all": one, "emotional_support": one}
        for simulator in ("search", "held-out bare"):
            store.add_evaluation(night, "validation", label if night == "n3" else "candidate-1", simulator, figures)
    name_candidate(folder, adapter)
    keep_verdict(folder, label, Verdict(True, REASON), [])
    return store, folder, adapter


def _adapter(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    steps = [
        {"step": step, "loss": 0.7 - 0.05 * step, "rewards/accuracies": 0.5 + 0.1 * step, "rewards/margins": 0.1 * step}
        for step in range(1, 5)
    ]
    (folder / "history.json").write_text(json.dumps(steps), encoding="utf-8")
    return folder


def _dialogue(scenario, reward, policy, simulator, reply):
    said = Dialogue((*scenario.opening.turns, Turn(Role.ASSISTANT, reply), Turn(Role.USER, "He was old.")))
    trajectory = Trajectory(scenario.scenario_id, said, reaction_of(reward), reward, 1, "max_exchanges")
    return DialogueRecord("n3", "evaluation", policy, simulator, 1, trajectory, ())
