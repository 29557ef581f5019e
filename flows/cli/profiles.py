"""The clone's profiles, by name. The library is not told where they lie."""

from collections.abc import Sequence
from pathlib import Path

from engage import config
from engage.config import CycleConfig

PROFILES = Path(__file__).resolve().parents[2] / "deployments" / "profiles"


def load_config(profile: str | Path, overrides: Sequence[str] = ()) -> CycleConfig:
    """As `engage.config.load_config`, where a profile may be one of the clone's by name."""
    return config.load_config(profile, overrides, PROFILES)
