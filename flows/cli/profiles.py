"""Loads the profiles of this clone by name. The library does not know their folder."""

from collections.abc import Sequence
from pathlib import Path

from engage import config
from engage.config import CycleConfig

PROFILES = Path(__file__).resolve().parents[2] / "deployments" / "profiles"


def load_config(profile: str | Path, overrides: Sequence[str] = ()) -> CycleConfig:
    """Like `engage.config.load_config`; `profile` may also be the name of one of the clone's profiles."""
    return config.load_config(profile, overrides, PROFILES)
