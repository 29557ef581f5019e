"""Merges an adapter into its base: one model folder with tokenizer and chat template, which vLLM or transformers loads."""

import shutil
from pathlib import Path
from typing import Any

from engage.errors import ConfigError
from engage.models.opening import merge_adapter, open_config, open_model
from engage.models.weights import CARD_NAME, ModelRef, check_adapter

_BESIDE = ("*.json", "*.jinja", "*.txt", "tokenizer.model")
"""What of a model's folder is not weights: tokenizer, chat template, generation settings."""


def merge(base: ModelRef, adapter: Path, out: Path) -> None:
    """Write the base with the adapter added to its weights to the folder `out`, whole or not at all, with the adapter's card beside it.

    The sum is computed in float32 and written in the base's type. ConfigError if `out` holds something already, or cannot be written;
    ModelError if the adapter does not fit the base.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"--out {out}: holds something already; name a folder that does not exist")
    if out.exists() and out.samefile(Path.cwd()):
        raise ConfigError(
            f"--out {out}: is the current folder, which would be replaced; name a folder that does not exist"
        )
    check_adapter(adapter, base)
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        _merged(base, adapter).save_pretrained(partial)
        for path in (found for pattern in _BESIDE for found in base.path.glob(pattern)):
            if not (partial / path.name).exists() and not path.name.endswith((".index.json", "_manifest.json")):
                shutil.copyfile(path, partial / path.name)
        shutil.copyfile(adapter / CARD_NAME, partial / CARD_NAME)
        if out.exists():
            out.rmdir()
        partial.rename(out)
    except OSError as error:
        raise ConfigError(f"--out {out}: cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _merged(base: ModelRef, adapter: Path) -> Any:
    """The merged model, in the type in which the base is stored."""
    import torch

    stored = getattr(open_config(base.path), "dtype", None)
    merged = merge_adapter(open_model(base.path, torch.float32, "eager"), adapter)
    return merged.to(stored or torch.float32)
