"""Which bases and adapters can be trained here. vLLM and servers play more of them. Loads no weights."""

import json
from pathlib import Path
from typing import Any

from engage.errors import ConfigError, ModelError
from engage.models import check_plain, open_config

_OTHER = "name another policy model, or play it with `engage collect`, which trains nothing"


def check_base(name: str, folder: Path) -> Any:
    """The model without weights, on torch's device `meta`; ModelError if its family or its weights cannot be trained here."""
    import torch
    from transformers import AutoModelForCausalLM

    config = open_config(folder)
    check_plain(name, config)
    family = getattr(config, "model_type", "unknown")
    if config.get_text_config() is not config:
        raise ModelError(f"{name} ({family}): reads more than text, and cannot be trained here; {_OTHER}")
    try:
        with torch.device("meta"):
            empty = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except Exception as error:  # families raise what they like
        raise ModelError(
            f"{name} ({family}): is no causal language model that can be trained here; {_OTHER}"
        ) from error
    if any(getattr(module, "is_causal", True) is False for module in empty.modules()):
        raise ModelError(
            f"{name} ({family}): its tokens also attend to later ones, which no training on replies fits; {_OTHER}"
        )
    return empty


def check_parent(adapter: Path) -> None:
    """ConfigError if the adapter changes the base's biases: the reference of a DPO would change with it."""
    try:
        bias = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8")).get("bias", "none")
    except (OSError, ValueError, AttributeError):  # refused where it is opened
        return
    if bias != "none":
        raise ConfigError(
            f"{adapter}: trains biases of the base (bias = {bias!r:.20}), and cannot be trained further; start from `bare`, or from an "
            'adapter with bias = "none"'
        )
