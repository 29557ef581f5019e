"""Settings of an evaluation."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from engage.files.digest import LATER

MOST_DIALOGUES = 100


class HeldOutConfig(BaseModel):
    """How champion and candidate are compared: scenarios, dialogues, held-out simulator, error rate."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    per_domain: int = Field(
        12,
        ge=2,
        le=100_000,
        description="held-out scenarios per domain: nights use the same ones every time, from the promotion half of the validation split",
    )
    split: Literal["validation", "test"] = Field(
        "validation", description="split of the held-out scenarios; nightly cycles use validation"
    )
    dialogues: int = Field(
        1, ge=1, le=MOST_DIALOGUES, description="dialogues per scenario and policy, each with its own seed"
    )
    second_simulator: str | None = Field(
        None,
        description="held-out simulator, which decides promotion: an adapter folder, `embedded`, `bare` (the simulator's model "
        "without an adapter) or `policy` (the policy's base model, if it differs from the simulator's). An adapter of another model "
        "plays on that model. Nothing is promoted if this and `simulators` are unset, or if it names the simulator used in search",
    )
    simulators: tuple[str, ...] = Field(
        (),
        description="a panel of held-out simulators in place of `second_simulator`, each named as there. A candidate is promoted if it "
        "gains on the mean over them, and if its gain with each of them is surely more than -0.02",
        json_schema_extra=LATER,
    )
    alpha: float = Field(
        0.05,
        gt=0.0,
        lt=0.5,
        description="largest expected share of promotions that are no gain, among all promotions; 1 − alpha is the confidence of intervals",
    )
    promotion: Literal["auto", "manual"] = Field(
        "auto",
        description="`auto`: a candidate that meets the rule becomes champion; `manual`: it waits until a person runs `engage promote`",
        json_schema_extra=LATER,
    )

    @model_validator(mode="after")
    def _one_way_to_name_them(self) -> Self:
        if self.simulators and self.second_simulator:
            raise ValueError(
                "second_simulator and simulators are both set; use one (an empty `evaluation.second_simulator=` resets it)"
            )
        return self

    @property
    def held_out_simulators(self) -> tuple[str, ...]:
        """The held-out simulators by name; empty without one. An empty `second_simulator` counts as unset: TOML has no null."""
        return self.simulators or ((self.second_simulator,) if self.second_simulator else ())
