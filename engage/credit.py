"""Statistics of the credit check: how noisy one rollout is, and whether the stated P(Q⁺ > Q⁻) holds. Under way."""

from pydantic import BaseModel, ConfigDict, Field


class CreditConfig(BaseModel):
    """How much is rolled out afresh."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pairs: int = Field(200, ge=1, le=100_000, description="pairs re-rolled, spread evenly over the stated P")
    prefixes: int = Field(12, ge=2, le=100_000, description="dialogue prefixes per domain behind the noise floor")
    cap: int = Field(64, ge=8, le=100_000, description="fresh rollouts of one reply at most")
