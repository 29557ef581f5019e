"""What of a finished night is worth a message to whoever looks after it. A quiet night is worth none."""

from pydantic import BaseModel, ConfigDict, Field

from engage.evaluation.summary import Night


class AlertConfig(BaseModel):
    """When a finished night sends a message; a failed or promoted one always does, where a receiver is configured."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    crisis_share: float = Field(
        0.05,
        ge=0.0,
        le=1.0,
        description="send a message if more than this share of a night's conversations ended in a crisis",
    )
    free_gb: float = Field(
        5.0,
        ge=0.0,
        le=1e6,
        description="send a message if less than this many GB (10⁹ bytes) are free where the home is",
    )


def alerts(night: Night, config: AlertConfig, free_gb: float) -> list[str]:
    """The messages, one sentence each without a full stop; `free_gb` are the GB that are free where the home is."""
    found = []
    if night.judged.verdict.promoted:
        found.append(night.judged.verdict.reason)
    if not night.aligned.pairs.accepted:
        found.append(
            f"no pair was accepted of {night.aligned.pairs.counts.get('candidates', 0)} candidates, nothing was trained"
        )
    found += [f"failed check: {sentence}" for sentence in night.judged.failures]
    conversations = sum(row.simulations for row in night.collected.rewards)
    if conversations and (share := night.collected.crises / conversations) > config.crisis_share:
        found.append(
            f"{night.collected.crises} of {conversations} conversations ended in a crisis ({share:.1%}; limit {config.crisis_share:.1%})"
        )
    if failed := len(night.collected.failed) + len(night.judged.failed):
        found.append(f"{failed} scenarios failed")
    if free_gb < config.free_gb:
        found.append(f"only {free_gb:.1f} GB are free where the home is (limit {config.free_gb:g})")
    return found
