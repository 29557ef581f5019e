"""The folder for everything that outlives a run, and the rules for a cycle's id."""

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from engage.errors import ConfigError
from engage.search import CHATS

ARTIFACTS = "mlflow-artifacts"
HOME_MODE = "ENGAGE_HOME_MODE"
PRIVATE, SHARED = 0o700, 0o2770
"""Permissions of a new home: for its owner alone, or for the folder's group too, which its files then inherit."""


@dataclass(frozen=True)
class Home:
    """The folder for everything that outlives a run: `ENGAGE_HOME`; if that is unset or empty, `var` in the current folder."""

    path: Path

    @staticmethod
    def from_env() -> "Home":
        """The home of this process; a task on another machine has its own.

        If ENGAGE_HOME_MODE is set, what this process makes from now on is open to those whom it names (umask). ConfigError for a wrong one.
        """
        if os.environ.get(HOME_MODE):
            os.umask(~home_mode() & 0o077)
        try:
            path = Path(os.environ.get("ENGAGE_HOME") or "var").expanduser().resolve()
            (path / "engage.duckdb").exists()  # fails for a path that is too long or in an unreadable folder
        except OSError as error:
            raise ConfigError(f"ENGAGE_HOME cannot be used: {error.strerror}; set it to a folder of yours") from error
        except (RuntimeError, ValueError) as error:
            raise ConfigError(f"ENGAGE_HOME cannot be used: {error}") from error
        for character in "?\\":  # DuckDB, and MLflow's SQLAlchemy, would write into another folder
            if character in str(path):
                raise ConfigError(
                    f"ENGAGE_HOME cannot be used: {path} contains {character}, which DuckDB does not allow in paths; name another folder"
                )
        return Home(path)

    def make(self) -> None:
        """Create the folder; ConfigError if it, or what is in it already, cannot be used."""
        try:
            self.make_folder()
            (self.path / "mlflow.lock").open("a").close()
            for folder in (self.outbox, self.cycle("any").parent, *([self.artifacts] if self.own_tracking else [])):
                check_place(folder, folder=True)
            for file in (self.database, *([self.mlflow_file] if self.own_tracking else [])):
                check_place(file, folder=False)
        except OSError as error:
            raise ConfigError(
                f"{error.filename or self.path}: cannot be written ({error.strerror}); set ENGAGE_HOME to a folder of yours"
            ) from error

    def make_folder(self) -> None:
        """Create the folder itself with the permissions of ENGAGE_HOME_MODE; one that exists stays as it is. Raises OSError."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            self.path.mkdir(mode=PRIVATE)
            self.path.chmod(home_mode())

    @property
    def database(self) -> Path:
        """The DuckDB file."""
        return self.path / "engage.duckdb"

    @property
    def snapshot(self) -> Path:
        """A copy of the DuckDB file for readers, renewed after each night; may be missing."""
        return self.path / "read.duckdb"

    @property
    def outbox(self) -> Path:
        """Finished trees that wait for the database."""
        return self.path / "outbox"

    @property
    def tracking_uri(self) -> str:
        """MLflow's database: `MLFLOW_TRACKING_URI`, by default a SQLite file in the home."""
        return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{self.mlflow_file}"

    @property
    def mlflow_file(self) -> Path:
        """MLflow's SQLite file in the home."""
        return self.path / "mlflow.db"

    @property
    def artifacts(self) -> Path:
        """Where MLflow keeps files, if it uses the home's own database."""
        return self.path / ARTIFACTS

    @property
    def own_tracking(self) -> bool:
        """Whether MLflow uses the home's own file, not a server or another database."""
        return os.environ.get("MLFLOW_TRACKING_URI", "") in ("", f"sqlite:///{self.mlflow_file}")

    def cycle(self, cycle_id: str) -> Path:
        """The folder of one cycle's files: pair set, adapter, report."""
        return self.path / "cycles" / cycle_id

    def find(self, kept: str) -> Path:
        """The present place of a path stored as text: a path in an earlier home's `cycles/` is looked up in this home's, if it exists.

        The home may have been renamed, moved or copied since. A relative path is one in this home.
        """
        parts = Path(kept).parts
        for place in [place for place, name in enumerate(parts) if name == "cycles"]:
            here = self.path.joinpath(*parts[place:])
            if here.is_dir():
                return here
        return self.path / kept


def home_mode() -> int:
    """Permissions for a new home by ENGAGE_HOME_MODE: PRIVATE if it is unset, SHARED for `shared`, else the octal number that it is."""
    text = os.environ.get(HOME_MODE) or f"{PRIVATE:o}"
    if text == "shared":
        return SHARED
    if re.fullmatch(r"0?o?[0-7]?7[0-7]{2}", text):
        return int(text.lower().removeprefix("0o"), 8)
    raise ConfigError(
        f"{HOME_MODE} is {ascii(text)[:40]}; write shared, or an octal number that begins with 7, such as 750"
    )


def check_place(path: Path, *, folder: bool) -> None:
    """ConfigError if something of the other kind, a link to nothing, or what this user cannot write is in this place."""
    if path.is_symlink() and not path.exists():  # a disk that is not mounted, perhaps: nothing new may take its place
        raise ConfigError(
            f"{path}: is a link to {os.readlink(path)}, which is missing; restore that, or remove the link"
        )
    if path.exists() and path.is_dir() is not folder:
        raise ConfigError(f"{path}: is {'no' if folder else 'a'} folder; move it away")
    if path.exists() and not os.access(path, os.R_OK | os.W_OK | (os.X_OK if folder else 0)):
        raise ConfigError(f"{path}: this user may not write it; change its owner or its permissions")


def check_cycle_id(cycle_id: str) -> str:
    """The id itself, if it can be used in folders, tags and commands; otherwise ConfigError."""
    if cycle_id == CHATS:
        raise ConfigError(f"cycle id {CHATS!r} cannot be used: `engage chat --save` keeps conversations under it")
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", cycle_id):
        return cycle_id
    raise ConfigError(
        f"cycle id {ascii(cycle_id)[:80]} cannot be used: write up to 100 letters, digits, '.', '_' and '-', beginning with a "
        "letter or digit"
    )
