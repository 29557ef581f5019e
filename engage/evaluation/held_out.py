"""Held-out dialogues as the statistics see them."""

from collections.abc import Sequence
from dataclasses import dataclass

from engage.stats import Rewards


@dataclass(frozen=True)
class HeldOutDialogue:
    """One evaluation dialogue as the statistics see it: `value` on the survey's scale, None where it could not be read."""

    scenario_id: str
    seed: int
    exchanges: int
    value: float | None
    reward: float | None


def by_scenario(dialogues: Sequence[HeldOutDialogue]) -> Rewards:
    """Rewards as `paired_comparison` takes them: scenario to its dialogues' rewards in seed order."""
    found: dict[str, list[float | None]] = {}
    for held in sorted(dialogues, key=lambda one: (one.scenario_id, one.seed)):
        found.setdefault(held.scenario_id, []).append(held.reward)
    return found
