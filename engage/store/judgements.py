"""A person's judgement as the outbox and the table `judgement` keep it. Knows nothing of how it was asked."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from engage.files.digest import digest

Verdict = Literal["left", "right", "equal", "nonsense", "harmful", "withdrawn"]
DECIDED: tuple[Verdict, ...] = ("left", "right")
FAULTS: tuple[Verdict, ...] = ("nonsense", "harmful")


@dataclass(frozen=True)
class JudgementRecord:
    """One judgement; the columns are explained in sql/schema/16_judgement.sql. `judged_at` is UTC without a zone."""

    cycle_id: str
    kind: Literal["pair", "dialogue"]
    item_id: str
    scenario_id: str
    tree_id: str | None
    left_id: str
    right_id: str
    verdict: Verdict
    reviewer: str
    judged_at: datetime
    seconds: float
    sample: Literal["random", "list"]
    sample_size: int
    sample_seed: int | None
    population: int | None

    @property
    def judgement_id(self) -> str:
        """Its key: the same judgement, put twice, is stored once."""
        return digest([self.reviewer, self.item_id, self.judged_at.isoformat()])
