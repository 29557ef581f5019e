"""The files of MLflow on this machine: where they lie, and an adapter's, which lie on the disk once."""

import filecmp
import os
import uuid
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname


def share(location: str, adapter: Path) -> None:
    """Let MLflow's copy of an adapter's files be the same files (hard links), if both are on one disk; an adapter is never changed in place.

    `location` is the address of the copy. Files that differ, and a file system without hard links, are left as they are.
    """
    copy = local_folder(location)
    if copy is None:
        return
    for file in sorted(path for path in adapter.iterdir() if path.is_file()):
        kept = copy / file.name
        with suppress(OSError):
            if kept.samefile(file) or not filecmp.cmp(file, kept, shallow=False):
                continue
            link = kept.with_name(f".{uuid.uuid4().hex}.link")
            try:
                os.link(file, link)
                link.replace(kept)
            finally:
                link.unlink(missing_ok=True)


def local_folder(location: str) -> Path | None:
    """The folder of a `file:` address, None for another address."""
    parts = urlsplit(location)
    return Path(url2pathname(parts.path)) if parts.scheme == "file" else None
