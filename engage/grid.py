"""Combinations of settings that are compared with one another: each is a list of overrides, as `engage.config.load_config` takes them."""

import itertools
import json
import tomllib
from collections.abc import Sequence
from typing import Any

from engage.config import setting_names
from engage.errors import ConfigError
from engage.files.digest import SAME_RESULT
from engage.settings import closest
from engage.training import AlignConfig

COMPARED = ("align.", "pairs.")
"""Settings that may differ between candidates of one cycle: what comes after its trees."""
MOST_COMBINATIONS = 64


def combinations(grid: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """All combinations of `key.path=[value, …]`: what differs, such as `learning_rate=5e-05 beta=0.1`, to the overrides that say it.

    Only settings of training and of its pairs (COMPARED) may differ: what a cycle collected cannot be changed. ConfigError for another
    setting, for one that changes no result, for one that is named twice, for what is no list of different values, and for more than
    MOST_COMBINATIONS.
    """
    axes: dict[str, list[Any]] = {}
    for text in grid:
        key, _, listed = text.partition("=")
        key = key.strip()
        if key in axes:
            raise ConfigError(f"--grid {key}: named twice; write all its values in one list")
        if not key.startswith(COMPARED) or key not in setting_names():
            close = closest(key, [name for name in setting_names() if name.startswith(COMPARED)])
            hint = f"; did you mean {close}?" if close else ""
            raise ConfigError(
                f"--grid {key!r:.80}: only settings of align and pairs can be compared on one cycle{hint}"
            )
        field = AlignConfig.model_fields.get(key.removeprefix("align."))
        if field is not None and field.json_schema_extra == SAME_RESULT:
            raise ConfigError(f"--grid {key}: it changes time and memory, but no result; give one value with --set")
        axes[key] = _listed(key, listed)
    shown = {key: key.rpartition(".")[2] for key in axes}
    if len(set(shown.values())) < len(shown):
        shown = {key: key for key in axes}
    every = list(itertools.product(*axes.values()))
    if not 1 < len(every) <= MOST_COMBINATIONS:
        raise ConfigError(f"--grid: {len(every)} combinations; from 2 to {MOST_COMBINATIONS} can be compared")
    return {
        " ".join(f"{shown[key]}={_plain(value)}" for key, value in zip(axes, values, strict=True)): tuple(
            f"{key}={_plain(value)}" for key, value in zip(axes, values, strict=True)
        )
        for values in every
    }


def _listed(key: str, text: str) -> list[Any]:
    try:
        values = tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, ValueError, RecursionError):
        values = None
    if not isinstance(values, list) or not values or len({_plain(value) for value in values}) < len(values):
        raise ConfigError(f"--grid {key}={text:.80}: write a list of different values, such as {key}=[1, 2]")
    return values


def _plain(value: Any) -> str:
    """A value as TOML writes it; text without quotation marks, as `--set` takes it."""
    return value if isinstance(value, str) else json.dumps(value)
