"""Settings of an evaluation."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

MOST_DIALOGUES = 100


class HeldOutConfig(BaseModel):
    """On what champion and candidate are compared."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    per_domain: int = Field(12, ge=2, le=100_000, description="held-out scenarios per domain")
    split: Literal["validation", "test"] = Field("validation", description="nights are judged on validation")
    dialogues: int = Field(
        1, ge=1, le=MOST_DIALOGUES, description="dialogues per scenario and policy, each with its own seed"
    )
    second_simulator: str | None = Field(
        None,
        description="adapter of a simulator that the search never sees (`bare`: the simulator's model without one, `embedded`, "
        "a folder, or `policy`: the policy's model without one, another base model where the two differ); without it, or where it is "
        "the search's own, nothing is promoted",
    )
    alpha: float = Field(
        0.05, gt=0.0, lt=0.5, description="chance at most that an incumbent is replaced by one no better"
    )
