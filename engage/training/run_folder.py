"""The folder of a training run: `checkpoints/` during the run, `adapter/` when it is finished, never half of an adapter.

Knows nothing of models or losses.
"""

import json
import logging
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from engage.errors import ConfigError, ModelError, StoreError
from engage.files.digest import digest, key_settings
from engage.models import (
    ADAPTER_WEIGHTS,
    CARD_NAME,
    AdapterCard,
    DataSource,
    ModelRef,
    adapter_fingerprint,
    is_whole,
)

TRAINING_VERSION = 2
"""Raised when the same data and settings train another adapter; unfinished runs of an earlier version are then not resumed."""
HISTORY_NAME = "history.json"
LOCK_NAME = "training.lock"


_log = logging.getLogger("engage")


@dataclass(frozen=True)
class TrainResult:
    """`adapter` is the finished folder; `history` has one record per optimiser step (`step` and the step's metrics).

    `metrics` are the counts of the training data and the last step's values.
    """

    adapter: Path
    metrics: dict[str, float]
    history: list[dict[str, float]]


@dataclass(frozen=True)
class RunFolder:
    """One training run on disk. `key` is the hash of everything the result depends on: a checkpoint of another key is not resumed."""

    out: Path
    key: str

    @property
    def adapter(self) -> Path:
        """The finished adapter."""
        return self.out / "adapter"

    @property
    def checkpoints(self) -> Path:
        """The trainer's own folder; its name includes the training version. It is removed when the run is finished."""
        return self.out / "checkpoints" / f"{self.key[:16]}-v{TRAINING_VERSION}"

    def finished(self) -> TrainResult | None:
        """The result of a finished run of the same key, if there is one; ConfigError if the folder holds another run's adapter, StoreError if half of one."""
        if not self.adapter.is_dir() or not any(self.adapter.iterdir()):
            return None
        try:
            card = AdapterCard.read(self.adapter)
        except ModelError as error:
            raise self._damaged(CARD_NAME) from error
        if card.config.get("run_key") != self.key:
            raise ConfigError(
                f"{self.adapter} holds an adapter of another base, data or settings; choose another folder or delete it"
            )
        try:
            history = json.loads((self.adapter / HISTORY_NAME).read_bytes())
        except (OSError, ValueError) as error:
            raise self._damaged(HISTORY_NAME) from error
        if not (self.adapter / ADAPTER_WEIGHTS).is_file() or not is_whole(self.adapter / ADAPTER_WEIGHTS):
            raise self._damaged(ADAPTER_WEIGHTS)
        return TrainResult(self.adapter, dict(card.metrics), history)

    def _damaged(self, name: str) -> StoreError:
        return StoreError(
            f"{self.adapter}: {name} is missing or damaged; restore a copy of the folder, or delete it and train again"
        )

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Lock the folder for this process; StoreError if another process uses it. The lock ends with the process."""
        from filelock import FileLock, Timeout

        lock = FileLock(self.out / LOCK_NAME, timeout=0)
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout as error:
            raise StoreError(
                f"{self.out}: another process is training there; wait until it has ended, then the same command takes its result"
            ) from error
        except OSError as error:
            raise StoreError(f"{self.out}: cannot be written: {error.strerror}") from error
        try:
            yield
        finally:
            lock.release()

    def last_checkpoint(self) -> str | None:
        """The newest complete checkpoint of this key and version; those of other keys and versions are removed."""
        for stale in self.checkpoints.parent.glob("*"):
            of_engage = stale.is_dir() and not stale.is_symlink()
            if stale == self.checkpoints or not of_engage:
                continue
            if stale.name.partition("-")[0] == self.key[:16]:
                _log.warning(
                    "%s: its checkpoints are of another version of engage, which trained otherwise: the training begins anew",
                    self.out,
                )
            shutil.rmtree(stale)
        whole = {
            int(number[1]): folder
            for folder in self.checkpoints.glob("checkpoint-*")
            if (number := re.fullmatch("checkpoint-([0-9]+)", folder.name)) and _is_whole(folder)
        }
        return str(whole[max(whole)]) if whole else None

    def once(self, work: Callable[[], object]) -> TrainResult:
        """The finished run's result; if there is none, `work` has to finish it, alone in the folder. StoreError if it does not."""
        with self.alone():
            if (done := self.finished()) is not None:
                return done
            work()
            if (done := self.finished()) is None:
                raise StoreError(f"{self.out}: the training ended without a result; the same command resumes it")
            return done

    def finish(self, model: Any, card: AdapterCard, history: list[dict[str, float]]) -> None:
        """Save the `default` adapter of a PeftModel with its card under a temporary name, rename it, drop the checkpoints.

        Raises ConfigError if the last step left weights that are not finite; its loss was computed before.
        """
        if not all(bool(weight.isfinite().all()) for weight in model.parameters() if weight.requires_grad):
            raise ConfigError("training diverged at its last step: the weights are not finite; lower the learning rate")
        partial = self.out / "adapter.partial"
        shutil.rmtree(partial, ignore_errors=True)
        # peft notes the folder that the base was loaded from, which means nothing elsewhere
        model.peft_config["default"].base_model_name_or_path = card.base
        model.save_pretrained(str(partial), selected_adapters=["default"], save_embedding_layers=False)
        (partial / "README.md").unlink(missing_ok=True)
        (partial / HISTORY_NAME).write_text(json.dumps(history), encoding="utf-8")
        card.write(partial)
        partial.rename(self.adapter)
        shutil.rmtree(self.checkpoints.parent, ignore_errors=True)


def _is_whole(checkpoint: Path) -> bool:
    """Whether the trainer finished saving a checkpoint, and its files are not cut off; torch's are zip archives."""
    return (
        (checkpoint / "trainer_state.json").exists()
        and all(map(is_whole, checkpoint.glob("*.safetensors")))
        and all(map(zipfile.is_zipfile, checkpoint.glob("*.pt")))
    )


def run_folder(
    out: Path, method: str, base: ModelRef, parent: Path | None, settings: Mapping[str, BaseModel], data_hash: str
) -> RunFolder:
    """The folder of a run that trains `method` on that data; a parent counts by its weights, not by its path."""
    parent_hash = adapter_fingerprint(parent) if parent else None
    key = {name: key_settings(part) for name, part in settings.items()}
    return RunFolder(out, digest([method, base.fingerprint, parent_hash, key, data_hash]))


def make_card(
    folder: RunFolder,
    method: Literal["sft", "dpo"],
    base: ModelRef,
    parent: Path | None,
    settings: Mapping[str, BaseModel],
    data: Sequence[DataSource],
    metrics: Mapping[str, float],
) -> AdapterCard:
    """The card of a run that has ended; the parent is named by its fingerprint."""
    return AdapterCard(
        base=base.name,
        base_fingerprint=base.fingerprint,
        parent=adapter_fingerprint(parent) if parent else None,
        method=method,
        config={
            "run_key": folder.key,
            "training_version": TRAINING_VERSION,
            **{name: part.model_dump(mode="json") for name, part in settings.items()},
        },
        data=list(data),
        metrics=dict(metrics),
        created_at=datetime.now(UTC),
    )
