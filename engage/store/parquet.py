"""Writing Parquet files whole or not at all."""

import os
from pathlib import Path
from typing import Any

from engage.errors import StoreError


def write_parquet(table: Any, path: Path) -> None:
    """An Arrow table as a file that is there completely or not; StoreError where it cannot be written."""
    import pyarrow.parquet as pq

    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, temporary, compression="zstd")
        temporary.replace(path)
    except OSError as error:
        raise StoreError(f"{path}: cannot be written: {error.strerror}") from error
    finally:
        temporary.unlink(missing_ok=True)
