"""Reads a corpus's files as text, JSON and CSV; every problem is a CorpusError with file, line, reason and remedy."""

import csv
import io
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from engage.errors import CorpusError
from engage.files.reading import Unreadable, check_kind, decode, strict_json
from engage.stats import odd_number

Record = tuple[str, dict[str, Any]]
"""A place (`file:line`, or `file[index]` in a JSON list) and the object there."""

_LINE_END = re.compile(r"\r\n|\r|\n")
_DELIMITERS = (",", ";", "\t")
ROUNDED = re.compile(r"\d(?:[.,]\d+)?E\+\d+", re.IGNORECASE)
"""A number as a spreadsheet rounds it: different ones look the same."""
MAX_LINE = 10_000_000
"""Bytes of a line that `text_lines` reads, and characters of a CSV field."""


def read_text(path: Path) -> str:
    """The text of a file in UTF-8, or in UTF-16 with a byte order mark; the mark is removed."""
    try:
        if path.exists() and not path.is_file():
            raise CorpusError(f"{path}: is not a file; give the corpus's file or folder")
        raw = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CorpusError(f"{path}: cannot be read: {reason}; give the corpus's file or folder") from error
    try:
        text = decode(raw)
    except Unreadable as error:
        raise CorpusError(f"{path}: {error}") from error
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise CorpusError(f"{path}:{line}: not UTF-8 (byte {error.start}); save the file as UTF-8") from error
    if not text.strip():
        raise CorpusError(f"{path}: is empty; download the corpus again")
    return text


def text_lines(path: Path) -> Iterator[tuple[int, str | None]]:
    """The lines of a file of any size with their numbers, None for a line of more than MAX_LINE bytes; encodings as in `read_text`."""
    number = 0
    try:
        if path.exists() and not path.is_file():
            raise CorpusError(f"{path}: is not a file; give a file with conversations")
        with path.open("rb") as file:
            start = file.read(4096)
            if start.startswith((b"\xff\xfe", b"\xfe\xff")):
                yield from enumerate(_LINE_END.split(read_text(path)), start=1)
                return
            check_kind(start)
            if b"\x00" in start:
                raise Unreadable("holds the character NUL: no text, or text in UTF-16 or UTF-32; save it as UTF-8")
            file.seek(3 if start.startswith(b"\xef\xbb\xbf") else 0)
            while raw := file.readline(MAX_LINE):
                number += 1
                long = not raw.endswith(b"\n") and len(raw) == MAX_LINE
                while long and (more := file.readline(MAX_LINE)) and not more.endswith(b"\n"):
                    pass
                yield number, None if long else raw.decode()
    except Unreadable as error:
        raise CorpusError(f"{path}: {error}") from error
    except UnicodeDecodeError as error:
        raise CorpusError(f"{path}:{number}: not UTF-8 (byte {error.start}); save the file as UTF-8") from error
    except OSError as error:
        raise CorpusError(f"{path}: cannot be read: {error.strerror}; give a file with conversations") from error


def find_files(path: Path, names: Sequence[str]) -> list[Path]:
    """The file itself, or all files of these names in the folder and below, by name in the order given."""
    if not path.is_dir():
        return [path]
    files = [file for name in names for file in sorted(path.rglob(name)) if file.is_file()]
    if not files:
        raise CorpusError(
            f"{path}: holds none of {', '.join(names)}; give the folder of the corpus, or one of these files"
        )
    return files


def json_records(path: Path, record_key: str) -> Iterator[Record]:
    """The objects of a JSON list, of a file with one object per line, of an object of lists (by split), or a single object.

    `record_key` is a field of every record; it distinguishes a record from an object of lists.
    """
    text = read_text(path)
    if text.lstrip().startswith("["):
        yield from _listed(path, path.name, _decode(path, text, 1))
        return
    whole = _whole_object(path, text)
    if (
        whole is not None
        and record_key not in whole
        and whole
        and all(isinstance(part, list) for part in whole.values())
    ):
        for split, part in whole.items():
            yield from _listed(path, f"{path.name}[{split!a}]", part)
    elif whole is not None:
        first = len(_LINE_END.findall(text[: len(text) - len(text.lstrip())])) + 1
        yield _object(f"{path.name}:{first}", path, whole)
    else:
        for number, line in enumerate(_LINE_END.split(text), start=1):
            if line.strip():
                yield _object(f"{path.name}:{number}", path, _decode(path, line, number))


def _whole_object(path: Path, text: str) -> dict[str, Any] | None:
    """The file's only JSON object; None if it has one object per line."""
    try:
        whole = strict_json(text)
    except json.JSONDecodeError:
        return None
    except Unreadable as error:
        if len(list(filter(str.strip, _LINE_END.split(text)))) > 1:
            return None  # reading line by line then reports the line
        raise CorpusError(f"{path}:1: {error}") from error
    return whole if isinstance(whole, dict) else None


def _listed(path: Path, name: str, records: Sequence[Any]) -> Iterator[Record]:
    for index, record in enumerate(records):
        yield _object(f"{name}[{index}]", path, record)


def _decode(path: Path, text: str, line: int) -> Any:
    try:
        return strict_json(text)
    except json.JSONDecodeError as error:
        place = f"{path}:{line + error.lineno - 1}"
        raise CorpusError(
            f"{place}: not JSON at column {error.colno}: {error.msg}; correct the file, or download it again"
        ) from error
    except Unreadable as error:
        raise CorpusError(f"{path}:{line}: {error}") from error


def _object(place: str, path: Path, record: Any) -> Record:
    if not isinstance(record, dict):
        raise CorpusError(f"{path.parent / place}: a dialogue is an object, not a {type(record).__name__}")
    if odd := odd_number(record):
        raise CorpusError(f"{path.parent / place}: {odd}, not a finite number; correct the file")
    return place, record


def csv_rows(path: Path, needed: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows as (line number of the row's end, texts by column); all `needed` columns exist once.

    The header decides between commas, semicolons and tabs; empty rows are skipped.
    """
    text = read_text(path)
    start = 1
    if re.match(r"sep=.\r?\n", text):  # written by a spreadsheet
        text, start = text.partition("\n")[2], 2
    csv.field_size_limit(MAX_LINE)  # of this process; the caller says what is too long
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text, needed), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        for column in needed:
            if header.count(column) != 1:
                wrong = "is there twice" if column in header else "is missing"
                there = ", ".join(filter(None, header))
                raise CorpusError(f"{path}:{start}: column {column} {wrong}; there are {there:.200}")
        for row in reader:
            if not any(field.strip() for field in row):
                continue
            line = start - 1 + reader.line_num
            if len(row) != len(header):
                raise CorpusError(
                    f"{path}:{line}: {len(row)} fields, but {len(header)} columns; download the file again"
                )
            yield line, dict(zip(header, row, strict=True))
    except csv.Error as error:
        raise CorpusError(
            f"{path}:{start - 1 + reader.line_num}: not CSV: {error}; correct the file, or download it again"
        ) from error


def column_named(path: Path, names: Sequence[str]) -> str:
    """The first of these column names (case ignored) in a CSV file's header, as it is written there; CorpusError if there is none."""
    lines = (line for _, line in text_lines(path) if line and line.strip() and not re.match(r"sep=.\r?\n", line))
    header = [part.strip().strip('"') for part in re.split("[,;\t]", _LINE_END.split(next(lines, "").strip())[0])]
    there = {part.lower(): part for part in reversed(header)}
    found = next((there[name] for name in names if name in there), None)
    if found is None:
        raise CorpusError(
            f"{path}:1: is neither JSON Lines nor CSV with a column {' or '.join(names)}; there are {', '.join(header):.200}"
        )
    return found


def _delimiter(text: str, needed: Sequence[str]) -> str:
    """The delimiter that finds most of the needed columns in the first line; in doubt, the comma."""
    line = _LINE_END.split(text, maxsplit=1)[0]

    def columns(delimiter: str) -> int:
        return sum(name in {part.strip().strip('"') for part in line.split(delimiter)} for name in needed)

    return max(_DELIMITERS, key=columns)
