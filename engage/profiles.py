"""Profiles: TOML files with settings. A profile may extend another one: `extends = "gpu"`, by its name or a path beside it.

A profile's own settings replace those of the profile that it extends, one by one. A setting that is itself a table, such as
`engine.vllm.engine_args`, is replaced as a whole, so that `engine_args = {}` empties it. Knows no setting's meaning.
"""

import os
import tomllib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engage.errors import ConfigError
from engage.files.reading import is_device

EXTENDS = "extends"
DEEPEST = 12
"""Most nested tables in a setting's name; three are in use."""
LONGEST_CHAIN = 50


@dataclass(frozen=True)
class Profile:
    """A profile's file with its tables, followed by those of the profile that it extends, and so on."""

    files: tuple[tuple[Path, dict[str, Any]], ...]

    def values(self, settings: Collection[str]) -> dict[str, Any]:
        """All settings merged, as nested tables; those named in `settings` are replaced as a whole."""
        merged: dict[str, Any] = {}
        for _, values in reversed(self.files):
            merged = _merge(merged, values, settings)
        return merged

    def source(self, name: str) -> Path:
        """The file that gives a setting its value; the profile's own file if no file names the setting."""
        return next((path for path, values in self.files if _names(values, name)), self.files[0][0])


def read_profile(profile: str | Path, folder: Path | None = None) -> Profile:
    """A profile and those that it extends; `folder` contains the profiles that are known by name.

    ConfigError if a file is missing or unreadable, or if profiles extend each other in a circle.
    """
    name: Any = str(profile)
    files: list[tuple[Path, dict[str, Any]]] = []
    seen: list[Path] = []
    while name is not None:
        above = files[-1][0] if files else None
        path = _find(name, folder, above)
        values = _read(path, name, folder, above)
        if path.resolve() in seen:
            circle = " → ".join(file.name for file in [*seen[seen.index(path.resolve()) :], path])
            raise ConfigError(
                f"profile {files[0][0]}: profiles extend each other in a circle: {circle}; remove one `extends`"
            )
        name = values.pop(EXTENDS, None)
        seen.append(path.resolve())
        files.append((path, values))
        if len(files) > LONGEST_CHAIN:
            raise ConfigError(
                f"profile {files[0][0]}: it extends more than {LONGEST_CHAIN} profiles, one through another"
            )
        if name is not None and not (isinstance(name, str) and name and "\0" not in name):
            raise ConfigError(
                f'{path.name}: extends: write the name of a profile or a path, such as extends = "laptop"'
            )
    return Profile(tuple(files))


def is_path(profile: str) -> bool:
    """Whether a profile is given by its file rather than by its name."""
    return profile.endswith(".toml") or os.sep in profile


def _find(name: str, folder: Path | None, above: Path | None) -> Path:
    """The file of a profile; `above` is the file that extends it. A name means the same there as on the command line."""
    if is_path(name):
        return above.parent / name if above else Path(name)
    file = f"{name}.toml"
    if folder is None or (above and not _is_file(folder / file)):
        return (above.parent if above else Path()) / file
    return folder / file


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that is too long, or with a null byte
        return False


def profile_name(profile: Path | str) -> str:
    """The name of a profile that is given by its name or its file's path: `night.v2` for `profiles/night.v2.toml`."""
    return Path(profile).name.removesuffix(".toml")


def _read(path: Path, name: str, folder: Path | None, above: Path | None) -> dict[str, Any]:
    try:
        if is_device(path):
            raise ConfigError(f"profile {path} is not a file")
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        shipped = sorted(file.stem for file in folder.glob("*.toml")) if folder else []
        known = " or ".join([*shipped, "the path of a TOML file"])
        where = f"{above.name}: extends: " if above else ""
        raise ConfigError(f"{where}profile {name!r} is not there ({path}); use {known}") from error
    except RecursionError as error:
        raise ConfigError(f"profile {path} cannot be read: it is nested too deeply") from error
    except OSError as error:
        raise ConfigError(f"profile {str(path)!r:.200} cannot be read: {error.strerror}") from error
    except ValueError as error:  # TOML errors, text that is not UTF-8, too long numbers, names with a null byte
        raise ConfigError(f"profile {str(path)!r:.200} cannot be read: {ascii(str(error))[1:-1]:.200}") from error


def _merge(base: dict[str, Any], over: dict[str, Any], settings: Collection[str], prefix: str = "") -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        name, old = f"{prefix}{key}", merged.get(key)
        if isinstance(old, dict) and isinstance(value, dict) and name not in settings and name.count(".") < DEEPEST:
            value = _merge(old, value, settings, f"{name}.")
        merged[key] = value
    return merged


def _names(values: Any, name: str) -> bool:
    for part in name.split("."):
        if not isinstance(values, dict) or part not in values:
            return isinstance(values, list)  # the list gives its items their values
        values = values[part]
    return True
