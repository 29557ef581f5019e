import errno
import os

import pytest

from engage.errors import StoreError, engage_error
from engage.files.writing import write_whole


def test_text_and_bytes_are_written_into_folders_that_are_made(tmp_path):
    path = tmp_path / "a" / "b" / "file"
    write_whole(path, "ä\n")
    assert path.read_bytes() == b"\xc3\xa4\n"
    write_whole(path, b"\xff")
    assert path.read_bytes() == b"\xff" and os.listdir(path.parent) == ["file"]


def test_a_write_that_fails_leaves_the_earlier_file_and_nothing_beside_it(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_whole(path, "first")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("engage.files.writing.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_whole(path, "second")
    assert path.read_text() == "first" and os.listdir(tmp_path) == ["file"]


def test_a_folder_that_may_not_be_read_takes_a_file(tmp_path, monkeypatch):
    def refused(path, flags):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr("engage.files.writing.os.open", refused)  # as for a folder of mode 0300; root may read all
    write_whole(tmp_path / "file", "first")
    assert (tmp_path / "file").read_text() == "first"


def test_a_full_disk_names_the_file_and_leaves_the_earlier_one(tmp_path, monkeypatch):
    path = tmp_path / "report.md"
    write_whole(path, "before")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError) as failed:
        write_whole(path, "after")
    assert failed.value.filename == str(path)
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]
    cause = engage_error(failed.value)
    assert isinstance(cause, StoreError)
    assert str(cause) == (
        f"{path} cannot be written: the disk is full; free some space and run the same command again: nothing stored is lost"
    )


def test_a_full_disk_is_one_sentence_whoever_met_it():
    with pytest.raises(OSError) as met, open("/dev/full", "w") as file:
        file.write("x" * 100_000)
    wrapped = RuntimeError("training failed")
    wrapped.__cause__ = RuntimeError("I/O error: No space left on device (os error 28)")  # as safetensors says it
    for error in (met.value, wrapped, ExceptionGroup("both", [met.value])):
        assert str(engage_error(error)).startswith("a file cannot be written: the disk is full; free some space")
    assert engage_error(OSError(errno.EIO, "Input/output error")) is None
    assert str(engage_error(StoreError("of its own: No space left on device"))) == (
        "of its own: No space left on device"
    )
