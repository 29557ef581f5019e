import os

import pytest

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
