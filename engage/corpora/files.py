"""Files of a corpus as text, JSON and CSV; whatever is wrong with one is a CorpusError with file, line, reason and remedy."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from engage.errors import CorpusError
from engage.finite import odd_number

Record = tuple[str, dict[str, Any]]
"""A place (`file:line`, or `file[index]` in a JSON list) and what stands there."""


def read_text(path: Path) -> str:
    """A whole UTF-8 file, without a byte order mark."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise CorpusError(f"{path}: cannot be read: {error.strerror}; give the corpus's file or folder") from error
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise CorpusError(f"{path}:{line}: not UTF-8 (byte {error.start}); save the file as UTF-8") from error
    if not text.strip():
        raise CorpusError(f"{path}: is empty; download the corpus again")
    return text


def find_files(path: Path, names: Sequence[str]) -> list[Path]:
    """The file itself, or all files of these names in the folder and below, by name in the order given."""
    if not path.is_dir():
        return [path]
    found = [file for name in names for file in sorted(path.rglob(name)) if file.is_file()]
    if not found:
        raise CorpusError(
            f"{path}: holds none of {', '.join(names)}; give the folder of the corpus, or one of these files"
        )
    return found


def json_records(path: Path) -> Iterator[Record]:
    """The objects of a JSON list, or of a file with one object a line."""
    text = read_text(path)
    if text.lstrip().startswith("["):
        for index, record in enumerate(_decode(path, text, 1)):
            yield _object(f"{path.name}[{index}]", path, record)
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield _object(f"{path.name}:{number}", path, _decode(path, line, number))


def _decode(path: Path, text: str, line: int) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = f"{path}:{line + error.lineno - 1}"
        raise CorpusError(f"{place}: not JSON at column {error.colno}: {error.msg}; download the file again") from error
    except RecursionError as error:
        raise CorpusError(f"{path}:{line}: not JSON that can be read: nested too deeply") from error


def _object(place: str, path: Path, record: Any) -> Record:
    if not isinstance(record, dict):
        raise CorpusError(f"{path.parent / place}: a dialogue is an object, not a {type(record).__name__}")
    if odd := odd_number(record):
        raise CorpusError(f"{path.parent / place}: {odd}, not a finite number; correct the file")
    return place, record


def csv_rows(path: Path, needed: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number (of the row's end) and row, column names to texts; all `needed` columns are there."""
    reader = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    try:
        header = next(reader)
        for column in needed:
            if column not in header:
                there = ", ".join(filter(None, header))
                raise CorpusError(f"{path}:1: column {column} is missing; there are {there:.200}")
        for row in reader:
            if len(row) != len(header):
                raise CorpusError(
                    f"{path}:{reader.line_num}: {len(row)} fields, but {len(header)} columns; download the file again"
                )
            yield reader.line_num, dict(zip(header, row, strict=True))
    except csv.Error as error:
        raise CorpusError(f"{path}:{reader.line_num}: not CSV: {error}; download the file again") from error
