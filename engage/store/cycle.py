"""A cycle: the data that its stages share, and its identity, which the store keeps and compares when the cycle is resumed."""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from engage.domains import load_domain
from engage.engines import EngineConfig, engine_identity, speakers_identity
from engage.errors import ConfigError
from engage.models import adapter_fingerprint
from engage.search import METHOD_VERSION

SETTINGS = {"scenarios", "dialogue", "search"}
"""The parts of the configuration that decide what a cycle collects; its identity contains all of their settings."""
SUPERSEDED: Mapping[str, Any] = {}
"""What a cycle counts as having for a setting that it lacks, by dotted name, where that is not the setting's default of today: a
setting of SETTINGS whose default changed since it was added, or one that was taken away. All others need no entry."""


class Cycle(BaseModel):
    """Data that a cycle's stages share: its seed, its method version, and the champion at its start (None: the base model)."""

    model_config = ConfigDict(frozen=True)

    cycle_id: str
    seed: int
    champion_version: str | None
    champion_adapter: str | None
    method_version: int = METHOD_VERSION

    @staticmethod
    def stored(cycle_id: str, seed: int, identity: Mapping[str, Any], find: Callable[[str], Path]) -> "Cycle":
        """The cycle with this identity in the store; `find` maps its champion's folder to its place today.

        ConfigError if a newer engage began it.
        """
        method, champion = identity.get("method_version", 1), identity.get("champion_adapter")
        if method > METHOD_VERSION:
            raise ConfigError(
                f"cycle {cycle_id!r} was begun by a newer engage (method {method}, this one has {METHOD_VERSION}); use that "
                "version or another --cycle"
            )
        return Cycle(
            cycle_id=cycle_id,
            seed=seed,
            champion_version=identity.get("champion_version"),
            champion_adapter=str(find(champion)) if champion else None,
            method_version=method,
        )

    @property
    def is_older(self) -> bool:
        """Whether it was begun with an older method version than the present one."""
        return self.method_version < METHOD_VERSION

    def require_own_method(self, reason: str) -> None:
        """Raise ConfigError if additions to the cycle would use another method version; `reason` says what is impossible and what to do."""
        if self.is_older:
            raise ConfigError(
                f"cycle {self.cycle_id!r} was begun by an older engage, whose searches and simulated users were others "
                f"(method {self.method_version}, now {METHOD_VERSION}): {reason}"
            )

    def tree_id(self, scenario_id: str) -> str:
        """The id under which a scenario's tree is stored."""
        return f"{self.cycle_id}/{scenario_id}"


def identity(
    cycle: Cycle,
    settings: Mapping[str, Any],
    engine: EngineConfig,
    domains: Iterable[str],
    known: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Everything that decides what a cycle collects; pairs, training and evaluation may be repeated with other settings.

    `settings` are SETTINGS of the configuration as JSON; `known` is the identity of a cycle that is resumed.
    """
    allowed = {
        "domain_modules"
    }  # which modules may be imported is a permission: what a domain is stands under `prompts`
    found: dict[str, Any] = {
        "method_version": cycle.method_version,
        **settings,
        "scenarios": {name: value for name, value in settings["scenarios"].items() if name not in allowed},
        "engine": engine.kind,  # where servers listen and how large a cache is may change between two runs
        "seed": cycle.seed,
        "models": engine_identity(engine),
        "champion_version": cycle.champion_version,
        "champion_adapter": cycle.champion_adapter,
        "champion_weights": adapter_fingerprint(cycle.champion_adapter) if cycle.champion_adapter else None,
        "prompts": {name: load_domain(name).fingerprint() for name in sorted(set(domains))},
    }
    if known is not None:  # the home may have been moved since the cycle began: the path is kept as it was at that time
        found["champion_adapter"] = known.get("champion_adapter")
    if known is None or "speakers" in known:  # cycles of an older version do not say it
        found["speakers"] = speakers_identity(engine)
    if known is not None and cycle.is_older:  # its prompts may be others too: that is what an older method means
        found["prompts"] = known.get("prompts")
    return found


def absent(defaults: Mapping[str, Any]) -> dict[str, Any]:
    """What a key of an identity counts as where a cycle of an older engage lacks it, or today's engage does: see SUPERSEDED.

    A setting that was added later counts as its default (`defaults`: SETTINGS of the default configuration, as JSON), so that an
    older cycle is continued while it stands there.
    """
    found: dict[str, Any] = {"method_version": 1, **defaults}
    for name, value in SUPERSEDED.items():
        *parents, leaf = name.split(".")
        table = found
        for parent in parents:
            table = table.setdefault(parent, {})
        table[leaf] = value
    return found


def check_same(cycle_id: str, old: Mapping[str, Any], new: Mapping[str, Any], absent: Mapping[str, Any]) -> None:
    """Raise ConfigError, naming the keys that differ, if two identities of a cycle are not equal.

    `absent` has the values of keys that one of the two lacks, because its version of engage does not know them.
    """
    if changes := _changes(_filled(old, absent), _filled(new, absent)):
        raise ConfigError(
            f"cycle {cycle_id!r} was begun with another configuration: {'; '.join(changes)}; "
            "use the same configuration or another --cycle"
        )


def _changes(old: Any, new: Any, name: str = "") -> list[str]:
    """Dotted names of the differences between two JSON values, with both values."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted(old.keys() | new.keys())
        return [c for key in keys for c in _changes(old.get(key), new.get(key), f"{name}.{key}" if name else key)]
    return [] if old == new else [f"{name} was {json.dumps(old):.60}, is {json.dumps(new):.60}"]


def _filled(config: Mapping[str, Any], absent: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with missing keys filled from `absent`, at every depth."""
    filled = {**absent, **config}
    both = [key for key in absent if isinstance(absent[key], Mapping) and isinstance(config.get(key), Mapping)]
    return {**filled, **{key: _filled(config[key], absent[key]) for key in both}}
