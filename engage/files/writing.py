"""Atomic writing: a process that is killed while it writes leaves the earlier file, or none."""

import errno
import os
import uuid
from contextlib import suppress
from pathlib import Path

from engage.files.reading import is_device


def write_whole(path: Path, content: bytes | str) -> None:
    """Write a file (text as UTF-8) under a temporary name beside it, flush it to disk and rename it; raises OSError, which names the file.

    A missing folder is created. A killed process may leave a file `.*.tmp`.
    """
    if is_device(path):  # the rename would replace the device
        raise OSError(errno.EINVAL, "it is a device or a pipe, not a file")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        error.filename, error.filename2 = str(path), None  # the user's, and a write that fails names none
        raise
    finally:
        temporary.unlink(missing_ok=True)
    # The file is there. A folder that may not be read, or one of some network disks, cannot be flushed.
    with suppress(OSError):
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
