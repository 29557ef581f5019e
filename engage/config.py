"""A cycle's whole configuration: profiles in TOML, and overrides by dotted name.

Each part's settings are defined beside its code; this module combines them. Folders are not configuration, see `Home`.
"""

import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from engage.domains import allow_modules
from engage.engines import EngineConfig
from engage.errors import ConfigError
from engage.evaluation import (
    SEARCH_SIMULATOR,
    AlertConfig,
    ComparisonConfig,
    HeldOutConfig,
    drawn_users,
    simulators,
)
from engage.files.digest import flat
from engage.files.refusal import boolean_taken, first_refusal, list_wanted
from engage.masking import mask_urls
from engage.profiles import DEEPEST, profile_name, read_profile
from engage.progress import tell
from engage.scenario import SHIPPED, Scenario, load_scenarios
from engage.search import Adapters, BudgetConfig, SearchConfig, TalkLimits
from engage.settings import closest
from engage.settings import setting_names as names_of
from engage.simulation import DialogueConfig
from engage.store import PairConfig
from engage.training import AlignConfig, HumanConfig

LARGEST = 2**63 - 1
"""The largest number that fits into the store's columns."""
LONGEST_NAME = 80
"""Most characters of a setting's name in a message."""


class ScenarioConfig(BaseModel):
    """The scenarios of a cycle."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sources: tuple[str, ...] = Field(
        SHIPPED, min_length=1, description="names of shipped domains, or paths of scenario files"
    )
    per_domain: int = Field(6, ge=1, le=100_000, description="training scenarios searched per domain in one cycle")
    skip_invalid: bool = Field(
        False, description="use the valid lines of a scenario file and list the invalid ones, instead of stopping"
    )
    domain_modules: tuple[str, ...] = Field(
        (),
        description="Python modules with your own domains that scenario files may name; importing a module runs its code",
    )
    any_language: bool = Field(
        False,
        description="also accept scenarios that are not in English; the rules for crises, deception and flaws do not work on them",
    )


class CollectConfig(TalkLimits):
    """How the searches are distributed and limited."""

    shard_size: int = Field(32, ge=1, le=10_000, description="scenarios per Prefect task (a shard)")
    workers: int = Field(2, ge=1, le=1_000, description="shards searched at the same time")
    dask_scheduler: str | None = Field(
        None,
        min_length=1,
        description="address of a Dask scheduler, such as tcp://host:8786, whose workers search the shards (ENGAGE_HOME and the models "
        "must have the same paths there), or `local`: `workers` processes of this machine. If unset, threads of this process search",
    )
    dask_resource: str | None = Field(
        None,
        min_length=1,
        max_length=100,
        description="name of a resource, such as GPU: only Dask workers started with `--resources GPU=1` search, one shard at a time "
        "for each unit. If unset, every worker of the scheduler searches",
    )
    budget: BudgetConfig = BudgetConfig()


class TrackingConfig(BaseModel):
    """What MLflow shows of a cycle beside its figures."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    profile: str = Field(
        "", max_length=100, description="name of the profile, shown with the cycle's run; the command line sets it"
    )
    dialogues: int = Field(
        24,
        ge=0,
        le=10_000,
        description="held-out dialogues of incumbent and of candidate, with each simulator, that are also written as conversations "
        "(traces) to MLflow's experiment `engage-dialogues`; if there are more, a sample. 0: none",
    )


class NightlyConfig(BaseModel):
    """What a night does beside its own cycle."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    finish_interrupted: bool = Field(
        False,
        description="first finish earlier nights that were interrupted or failed (of the last seven; each is tried at most five times in all); they "
        "keep their own settings, and tonight's cycle follows in any case",
    )


class CycleConfig(BaseModel):
    """One cycle: collect, align, evaluate. Prefect builds its form from this."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int | None = Field(
        None, ge=0, le=LARGEST, description="seed of the cycle; if unset, it is derived from the cycle's id"
    )
    scenarios: ScenarioConfig = ScenarioConfig()
    engine: EngineConfig = EngineConfig()
    dialogue: DialogueConfig = DialogueConfig()
    search: SearchConfig = SearchConfig()
    collect: CollectConfig = CollectConfig()
    pairs: PairConfig = PairConfig()
    human: HumanConfig = HumanConfig()
    align: AlignConfig = AlignConfig()
    evaluation: HeldOutConfig = HeldOutConfig()
    comparison: ComparisonConfig = ComparisonConfig()
    tracking: TrackingConfig = TrackingConfig()
    alerts: AlertConfig = AlertConfig()
    nightly: NightlyConfig = NightlyConfig()

    def simulators(self) -> dict[str, str | None]:
        """Simulators used in evaluation: label → adapter, see `engage.evaluation.simulators.simulators`."""
        return simulators(self.engine, self.evaluation.held_out_simulators)

    def adapters(self, policy: str | None, simulator: str = SEARCH_SIMULATOR) -> Adapters:
        """Who talks with whom: a policy's adapter (None: as configured) and the simulator of this label; the search's may be drawn."""
        if simulator == SEARCH_SIMULATOR:
            return Adapters(policy, drawn=drawn_users(self.engine))
        return Adapters(policy, self.simulators()[simulator])

    def recorded(self, experiment: bool = False) -> dict[str, Any]:
        """The settings that a run records, by dotted name: without sections that it does not use.

        Those are the other engines', human pairs' without corpora, and, unless it is an `experiment`, the comparison's and SFT's.
        """
        found = self.model_dump(mode="json", exclude={"tracking": True, "nightly": True})
        for kind in {"transformers", "vllm", "openai"} - {self.engine.kind}:
            del found["engine"][kind]
        if not self.human.corpora:
            del found["human"]
        if not experiment:
            del found["comparison"], found["align"]["sft"]
        return flat(found)

    def unused(self) -> list[str]:
        """Settings that are set but have no effect on a cycle, one sentence each."""
        if self.human.corpora and not self.pairs.human_ratio:
            return ["human.corpora is set, but pairs.human_ratio is 0: no pair will be made from them"]
        return []


def load_config(profile: str | Path, overrides: Sequence[str] = (), profiles: Path | None = None) -> CycleConfig:
    """A profile with `key.path=value` overrides; ConfigError names the key that is wrong, and why.

    `profile` is the path of a TOML file, or a name in the folder `profiles`. `key.path=` resets the key to its default,
    whatever the profile says.
    """
    if isinstance(overrides, str):
        overrides = (overrides,)
    read = read_profile(profile, profiles)
    values = read.values(setting_names())
    if isinstance(tracking := values.setdefault("tracking", {}), dict):
        tracking.setdefault("profile", profile_name(profile)[:100])
    return _configured(values, overrides, lambda name: read.source(name).name)


def continued_config(cycle_id: str, stored: Mapping[str, Any], overrides: Sequence[str] = ()) -> CycleConfig:
    """The configuration that the store keeps for a cycle, with `key.path=value` overrides; ConfigError as `load_config`.

    Settings that were taken away since the cycle began are left out.
    """
    return _configured(_known(stored), overrides, lambda _: f"the stored settings of cycle {cycle_id}")


def night_to_finish(cycle_id: str, stored: Mapping[str, Any] | None) -> CycleConfig | None:
    """The configuration to finish a night with; None if it stored none, and, told, if this version refuses it."""
    try:
        return continued_config(cycle_id, {**stored, "nightly": {}}) if stored else None
    except ConfigError as error:
        tell(f"cycle {cycle_id} cannot be finished: {error}")
        return None


def _configured(values: dict[str, Any], overrides: Sequence[str], source: Callable[[str], str]) -> CycleConfig:
    """`values` with the overrides; `source` says where a setting that was not overridden comes from."""
    for override in overrides:
        _apply_override(values, override)
    try:
        config = CycleConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_explain(error, source, overrides)) from error
    if config.collect.budget.max_usd is not None and not config.engine.prices.known:
        where = _place("collect.budget.max_usd", source, overrides)
        raise ConfigError(
            f"{where}: collect.budget.max_usd needs prices: set engine.prices.policy.prompt and .completion"
        )
    if name := boolean_taken(values, config):
        raise ConfigError(f"{_place(name, source, overrides)}: {name}: true and false are no numbers")
    return config


def _known(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables without the settings that this version does not have."""
    names = setting_names()
    kept = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if name in names:
            kept[key] = value
        elif isinstance(value, Mapping) and any(known.startswith(f"{name}.") for known in names):
            kept[key] = _known(value, f"{name}.")
    return kept


def _apply_override(values: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key.strip():
        raise ConfigError(f"--set {override!r:.80}: write key.path=value, such as search.num_simulations=8")
    if key.count(".") > DEEPEST:
        raise ConfigError(f"--set: {key!r:.80} is not a setting")
    try:
        (value,) = tomllib.loads(f"value = {text}").values()
    except RecursionError as error:
        raise ConfigError(f"--set {override!r:.80}: the value is nested too deep") from error
    except (tomllib.TOMLDecodeError, ValueError):  # no TOML, or more than one line of it
        value = text
    *parents, leaf = key.strip().split(".")
    table = values
    for name in parents:
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            raise ConfigError(f"--set {override!r:.80}: {ascii(name)[1:-1]:.80} is a value, not a table")
    if not text.strip() and key.strip() in setting_names():
        table.pop(leaf, None)  # TOML has no word for nothing: the setting's default counts
    else:
        table[leaf] = value


def _explain(error: ValidationError, source: Callable[[str], str], overrides: Sequence[str]) -> str:
    refused = first_refusal(error)
    name = ".".join(refused.path)
    where = _place(name, source, overrides)
    name = ascii(name)[1:-1]
    name = name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}…"
    if refused.kind == "extra_forbidden":
        if any("." in part for part in refused.path) and name in setting_names():
            return f"{where}: {name} stands in quotation marks, as one name; write it without them"
        close = closest(name, setting_names())
        return f"{where}: {name} is not a setting" + (f"; did you mean {close}?" if close else "")
    reason = refused.reason
    if refused.kind == "tuple_type" and isinstance(refused.value, str):
        reason = list_wanted(refused.value)
    if refused.kind in ("model_type", "dict_type"):
        reason = f"it is a table; set what is in it, such as {name}.NAME=VALUE"
    if refused.kind == "value_error" and isinstance(refused.value, Mapping):  # settings that do not go together
        return mask_urls(f"{where}: {name}: {reason:.300}")
    return mask_urls(f"{where}: {name}: {reason:.300} (got {refused.shown})")


def _place(name: str, source: Callable[[str], str], overrides: Sequence[str]) -> str:
    """Where a setting gets its value: `--set`, or the name of a profile's file."""
    given = [override.partition("=")[0].strip() for override in overrides]
    return "--set" if any(_touches(name, key) for key in given) else source(name)


def _touches(name: str, key: str) -> bool:
    """Whether two dotted names are equal, or one contains the other."""
    return f"{name}.".startswith(f"{key}.") or f"{key}.".startswith(f"{name}.")


def setting_names() -> list[str]:
    """All settings of a cycle by dotted name."""
    return names_of(CycleConfig)


def load_cycle_scenarios(
    config: ScenarioConfig, on_left: Callable[[list[str]], None] = lambda _: None
) -> list[Scenario]:
    """All scenarios of the sources; ScenarioError if a file is invalid and skipping is not allowed. See `load_scenarios`.

    This also allows the configured domain modules to be imported in this process.
    """
    allow_modules(config.domain_modules)
    return load_scenarios(config.sources, config.skip_invalid, on_left, config.any_language)
