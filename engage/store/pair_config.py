"""The conditions for a pair to be accepted for training. The computation is SQL (sql/score/, sql/pairs/)."""

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from engage.domains import load_domain
from engage.domains.rules.deception_check import find_deceiving
from engage.domains.rules.patterns import matches_any
from engage.files.digest import LATER

DECEPTIVE_CHECKS = ("false_identity", "invented_fact", "promise")


def _cycles(text: str) -> str:
    if not re.fullmatch(r"this|last [1-9][0-9]{0,2}", text):
        raise ValueError('write "this", or "last N" with N from 1 to 999')
    return text


class PairConfig(BaseModel):
    """Which sibling replies become preference pairs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_q_gap: float = Field(
        0.02, ge=0.0, le=1.0, description="minimum difference between the shrunk values of the two replies, in reward"
    )
    confidence: float = Field(
        0.8, ge=0.5, lt=1.0, description="minimum probability that the chosen reply is better than the rejected one"
    )
    min_groups: int = Field(
        2, ge=2, le=1_000, description="minimum number of sampled user turns with a reward below each reply"
    )
    max_pairs_per_prefix: int = Field(1, ge=1, le=1_000, description="maximum number of pairs per dialogue prefix")
    human_ratio: float = Field(
        0.0,
        ge=0.0,
        le=10.0,
        description="pairs from human dialogues per pair from search; counts as 0 if human.corpora is empty",
    )
    review_weights: bool = Field(
        False,
        description="weight each pair in training by the probability that its label is right, estimated from the judgements of "
        "`engage review`; without a judgement all pairs count alike",
        json_schema_extra=LATER,
    )
    cycles: Annotated[str, AfterValidator(_cycles)] = Field(
        "this",
        description='whose pairs align trains on: "this" cycle\'s, or "last N": those of the last N cycles, this one included, as far as '
        "their domain, models and dialogue settings are the same",
        json_schema_extra=LATER,
    )

    @property
    def earlier(self) -> int:
        """The number of cycles before this one whose pairs are trained on, too."""
        return int(self.cycles.removeprefix("last ")) - 1 if self.cycles != "this" else 0


def deceptive_patterns(domain: str) -> list[str]:
    """The domain's regular expressions (case ignored) for replies that must not be trained on: lies and promises."""
    signs = load_domain(domain).signs
    return [pattern for check in DECEPTIVE_CHECKS for pattern in signs.get(check, ())]


def deceives(domain: str, reply: str) -> bool:
    """Whether a rule of the domain matches the reply, or the deception check finds it where the domain takes it: it must not be trained on."""
    if matches_any(deceptive_patterns(domain), reply):
        return True
    return load_domain(domain).deception_check and find_deceiving([reply])[0]
