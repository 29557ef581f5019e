"""Strict reading of users' files as text and JSON: anything ambiguous is refused with a reason.

Raises Unreadable; its text completes a sentence that begins with file and line.
"""

import json
import unicodedata
from pathlib import Path
from typing import Any

_BINARY = {
    b"\x1f\x8b": "is compressed (gzip); unpack it first",
    b"PK\x03\x04": "is a zip archive or an Excel workbook; unpack it, or export the sheet as CSV",
    b"\xd0\xcf\x11\xe0": "is an Excel workbook; export the sheet as CSV",
    b"PAR1": "is a Parquet file; export it as JSON Lines or CSV",
    b"BZh": "is compressed (bzip2); unpack it first",
    b"\xfd7zXZ": "is compressed (xz); unpack it first",
    b"\x28\xb5\x2f\xfd": "is compressed (zstd); unpack it first",
    b"%PDF": "is a PDF; give the data itself",
}
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


def is_device(path: Path) -> bool:
    """Whether the path exists and is neither a file nor a folder: a device, a pipe, a socket."""
    return path.exists() and not path.is_file() and not path.is_dir()


class Unreadable(ValueError):
    """A file or a line cannot be read; the text says why and what to do."""


def decode(raw: bytes) -> str:
    """The text of a whole file: UTF-8 with or without a byte order mark, or UTF-16 with one. UnicodeDecodeError for other bytes."""
    check_kind(raw)
    if raw.startswith(_UTF_16):
        try:
            text = raw.decode("utf-16")
        except UnicodeDecodeError as error:
            raise Unreadable("is UTF-16, but damaged; save it as UTF-8") from error
    else:
        text = raw.decode("utf-8-sig")
    if "\x00" in text:
        raise Unreadable("holds the character NUL: no text, or text in UTF-16 or UTF-32; save it as UTF-8")
    return text


def check_kind(raw: bytes) -> None:
    """Raise Unreadable for a well-known kind of file that is no text."""
    for magic, what in _BINARY.items():
        if raw.startswith(magic):
            raise Unreadable(what)


def strict_json(text: str) -> Any:
    """One JSON value. JSONDecodeError if it is not JSON; Unreadable for a repeated key, a too long number or too deep nesting.

    Numbers that are not finite are accepted, because `finite.odd_number` later reports their place.
    """
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except RecursionError as error:
        raise Unreadable("not JSON that can be read: nested too deeply") from error
    except (json.JSONDecodeError, Unreadable):
        raise
    except ValueError as error:
        raise Unreadable("holds a number that is too long to read") from error


def unprintable(text: str) -> str | None:
    """The problem of a text with a lone surrogate or a control character other than tab and line end; None if there is none."""
    for character in text:
        kind = unicodedata.category(character)
        if kind == "Cs":
            return "holds half a character (a lone \\ud800..\\udfff escape); write the whole one"
        if kind == "Cc" and character not in "\t\n\r":
            return f"holds the control character \\x{ord(character):02x}; take it out"
    return None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise Unreadable(f"the key {ascii(twice)[:60]} is there twice in one object; keep one")
    return table
