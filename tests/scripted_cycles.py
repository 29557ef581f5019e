"""Settings of cycles that take seconds: scripted speakers, and a tiny model that is really trained."""

from pathlib import Path

from engage.config import CycleConfig
from flows.cli.profiles import load_config

SMALL = (
    "engine.kind=scripted",
    "scenarios.per_domain=2",
    "search.num_simulations=8",
    "search.round_size=8",
    "align.dpo.max_length=4096",
    "align.dpo.max_pairs=4",
    "align.dpo.batch_size=2",
    "align.dpo.gradient_accumulation=1",
    "engine.policy_adapter=bare",
    "engine.simulator_adapter=bare",
    "evaluation={per_domain=3}",
)


def small(tiny: Path, *more: str) -> CycleConfig:
    """The laptop profile with SMALL and more overrides, for the model in `tiny`."""
    return load_config("laptop", [*SMALL, f"engine.policy_model={tiny}", *more])
