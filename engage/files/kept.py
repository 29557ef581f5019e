"""Answers that cost time and are kept by name, one JSON object a line, so that an interrupted or repeated command asks only for the others."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from engage.errors import StoreError
from engage.files.writing import write_whole


@dataclass(frozen=True)
class Kept:
    """The file at `path`, whose lines are `{name: …, value: …}`. `again` says what happens after the file is deleted."""

    path: Path
    name: str
    value: str
    again: str

    def read(self) -> dict[str, Any]:
        """What is kept, by name; StoreError if the file is damaged or cannot be read."""
        try:
            text = self.path.read_text(encoding="utf-8") if self.path.exists() else ""
            # splitlines also cuts at characters that JSON leaves as they are
            rows = map(json.loads, filter(None, text.split("\n")))
            return {row[self.name]: row[self.value] for row in rows}
        except OSError as error:
            raise StoreError(f"{self.path}: cannot be read: {error.strerror}") from error
        except (ValueError, TypeError, LookupError) as error:
            raise StoreError(f"{self.path}: is damaged; delete it, and {self.again}") from error

    def add(self, new: Mapping[str, Any]) -> None:
        """Keep these too, beside what another command has kept meanwhile; StoreError if the file cannot be written."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{self.path}.lock"):
                rows = ({self.name: name, self.value: value} for name, value in {**self.read(), **new}.items())
                write_whole(self.path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        except OSError as error:
            raise StoreError(f"{self.path}: cannot be written: {error.strerror}") from error
