"""Writes Parquet files atomically."""

import io
from pathlib import Path
from typing import Any

from engage.errors import StoreError
from engage.files.writing import write_whole


def write_parquet(table: Any, path: Path) -> None:
    """Write an Arrow table to a file atomically; StoreError if it cannot be written."""
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    try:
        write_whole(path, buffer.getvalue())
    except OSError as error:
        raise StoreError(f"{path}: cannot be written: {error.strerror}") from error
