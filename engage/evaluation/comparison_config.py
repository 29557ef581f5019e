"""What `engage experiment comparison` compares. It is here because a cycle's configuration contains it; a night imports no experiments."""

from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

PolicyName = Literal[
    "base", "strategy", "sft", "best_of_4", "best_of_8", "search", "dpo_search", "dpo_human", "dpo_mixed", "iterated"
]


class ComparisonConfig(BaseModel):
    """Which policies `engage experiment comparison` compares; the scenarios are those of `evaluation`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    policies: tuple[PolicyName, ...] = Field(
        get_args(PolicyName),
        min_length=1,
        description="policies to compare; `base` is always added. Policies trained on human dialogues need human.corpora",
    )
    rollouts: int = Field(2, ge=1, le=1_000, description="rollouts per candidate reply of best-of-n")
    thinking_dialogues: int = Field(
        1,
        ge=1,
        le=100,
        description="dialogues per scenario for best-of-n and search, which take tens of times as long as the others; "
        "limited to evaluation.dialogues",
    )
    adversarial: int = Field(8, ge=0, le=10_000, description="scenarios per domain for each adversarial user")
    divergence_replies: int = Field(
        60, ge=0, le=100_000, description="replies used to estimate each trained policy's divergence from the base"
    )
