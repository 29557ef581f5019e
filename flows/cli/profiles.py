"""The configuration that a command line asks for: a profile of this clone, or the stored settings of a cycle, with overrides."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from engage import config
from engage.config import CycleConfig
from engage.home import Home

if TYPE_CHECKING:
    from engage.store import TrajectoryStore

PROFILES = Path(__file__).resolve().parents[2] / "deployments" / "profiles"
DEFAULT = "laptop"


def load_config(profile: str | Path, overrides: Sequence[str] = ()) -> CycleConfig:
    """Like `engage.config.load_config`; `profile` may also be the name of one of the clone's profiles."""
    return config.load_config(profile, overrides, PROFILES)


@dataclass(frozen=True)
class Asked:
    """What a command line says about a cycle's settings: a profile or none, overrides, and modules with domains of one's own."""

    profile: str | None
    overrides: tuple[str, ...]
    modules: tuple[str, ...] = ()

    @staticmethod
    def by(profile: str | None, overrides: Sequence[str] | None, modules: Sequence[str] | None = None) -> "Asked":
        """From the values of the options, None where one was not given."""
        return Asked(profile, tuple(overrides or ()), tuple(modules or ()))

    def config(self, cycle_id: str | None = None, store: "TrajectoryStore | None" = None) -> CycleConfig:
        """The profile with the overrides; without a profile, the settings that the store keeps for the cycle, else those of laptop.

        `store` is the home's own, or the copy that is being read: the home's own may be in use for hours.
        """
        loaded = self._load(cycle_id, self.overrides, store)
        if not self.modules:
            return loaded
        allowed = dict.fromkeys((*loaded.scenarios.domain_modules, *self.modules))
        return self._load(cycle_id, (*self.overrides, f"scenarios.domain_modules={json.dumps(list(allowed))}"), store)

    def with_more(self, overrides: Sequence[str]) -> "Asked":
        """The same with more overrides, above the others."""
        return replace(self, overrides=(*self.overrides, *overrides))

    def _load(self, cycle_id: str | None, overrides: Sequence[str], store: "TrajectoryStore | None") -> CycleConfig:
        if self.profile is None and cycle_id is not None:
            from engage.store import TrajectoryStore

            stored = (store or TrajectoryStore(Home.from_env().database)).cycle_settings(cycle_id)
            if stored is not None:
                return config.continued_config(cycle_id, stored, overrides)
        return load_config(DEFAULT if self.profile is None else self.profile, overrides)

    @property
    def options(self) -> list[str]:
        """The options that say the same on another command line."""
        profile = ["--profile", self.profile] if self.profile is not None else []
        settings = [part for override in self.overrides for part in ("--set", override)]
        return [*profile, *settings, *(part for module in self.modules for part in ("--domain-module", module))]
