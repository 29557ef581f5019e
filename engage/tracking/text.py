"""Text for MLflow (a page's first sections, a run's name, a version's description) and about it (why it cannot be used)."""

import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from engage.engines.vllm.serving import lora_rank
from engage.errors import ModelError
from engage.masking import mask_urls
from engage.models import AdapterCard

RATE, _SHORT = "align.dpo.learning_rate", {"learning_rate": "lr"}
ROOT = Path(__file__).parents[2]
MODEL_NAME = "engage-policy"


def first_sections(text: str, name: str, length: int) -> str:
    """The first sections that fit into `length` characters, without images, which a description cannot show; `name` is the whole page."""
    first, *others = "\n".join(line for line in text.splitlines() if not line.startswith("![")).split("\n## ")
    told = first
    while others and len(told) + len("\n## ") + len(others[0]) <= length:
        told += f"\n## {others.pop(0)}"
    if not others and len(told) <= length:
        return told
    return f"{told[:length]}\n\nMore in the artifact `{name}`."


def passes(error: BaseException) -> bool:
    """Whether what hinders MLflow ends by itself: its database is locked, or its server is away and has not got the request."""
    signs = ("database is locked", "Connection refused", "error code 502", "error code 503")
    return any(sign in str(error) for sign in signs)


def trouble(error: Exception, uri: str, home: Path) -> str:
    """Why MLflow cannot be used, and what to do: the disk is full or not writable, or there is no such server."""
    reason = mask_urls((str(error).splitlines() or [type(error).__name__])[0][:200])
    uri = mask_urls(uri)
    if isinstance(error, ModuleNotFoundError):
        return f"MLflow at {uri} needs the package {error.name}: .venv/bin/pip install {error.name}"
    if any(sign in str(error) for sign in ("disk is full", "No space left", "disk I/O error")):
        again = "free some space and run the same command again: nothing stored is lost"
        return f"MLflow at {uri}: the disk is full ({reason}); {again}"
    if any(sign in str(error) for sign in ("readonly database", "Read-only file system", "Permission denied")):
        return f"MLflow at {uri} cannot be written ({reason}); make {home} writable"
    if "database is locked" in str(error):
        return f"MLflow at {uri}: another program keeps the database locked; end it, and run the same command again"
    if isinstance(error, OSError) and error.filename:
        return f"MLflow at {uri}: {error.filename} cannot be used ({error.strerror}); move it away, or restore it"
    if uri.startswith("sqlite:"):
        return (
            f"MLflow at {uri} cannot be used ({reason}): the file is damaged, or not a database of MLflow's; restore a copy of "
            "it, or move it away: a new one is made, which knows no earlier run and no champion"
        )
    return f"MLflow at {uri} cannot be used ({reason}); start its server, or correct MLFLOW_TRACKING_URI"


def differences(before: Mapping[str, str], now: Mapping[str, Any]) -> Iterator[str]:
    """The settings of `now` that differ from MLflow's parameters `before`, such as `beta=0.5`, and the learning rate in any case.

    A setting that is not in `before` is left out.
    """
    for name, value in now.items():
        if name == RATE or (name in before and before[name] != str(value)):
            leaf = name.rpartition(".")[2]
            yield f"{_SHORT.get(leaf, leaf)}={_brief(value)}"


def _brief(value: Any) -> str:
    """A number as it is typed: 2e-4, not 0.0002."""
    if not isinstance(value, float):
        return str(value)
    text = f"{value:g}"
    if 1e-3 <= abs(value) < 1e4 or value == 0:
        return text
    digits, _, power = f"{value:e}".partition("e")
    return f"{float(digits):g}e{int(power)}"


@cache
def source() -> dict[str, str]:
    """The program and its commit as MLflow's tags; without the commit outside a clone."""
    tags = {"mlflow.source.name": "engage", "mlflow.source.type": "LOCAL"}
    try:
        done = subprocess.run(
            ["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return tags
    return {**tags, "mlflow.source.git.commit": done.stdout.strip()}


def version_facts(verdict: str, cycle_id: str, adapter: Path, gain: str = "") -> dict[str, str]:
    """What a registry version's description says about an adapter."""
    card = AdapterCard.read(adapter)
    facts = {"verdict": verdict, "gain": gain, "pairs": f"{card.metrics['pairs']:.0f}", "base": card.base}
    return {name: text for name, text in {**facts, "cycle": cycle_id}.items() if text}


def version_text(adapter: str, folder_now: Path, facts: Mapping[str, str]) -> str:
    """The description of a registry version: `facts` as a list, and how to load the adapter and serve it.

    `adapter` is its folder, relative to the home, which is at `folder_now`.
    """
    try:
        base = AdapterCard.read(folder_now).base
        rank = lora_rank(folder_now)
    except ModelError:
        base, rank = "BASE", 16
    listed = "\n".join(f"- {name}: {value}" for name, value in facts.items())
    folder = f"{{os.environ['ENGAGE_HOME']}}/{adapter}" if not adapter.startswith("/") else adapter
    shell = f"$ENGAGE_HOME/{adapter}" if not adapter.startswith("/") else adapter
    return f"""{listed}

Load it (`ENGAGE_HOME` is the home that holds it):

```python
import os
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
from engage.models import resolve_model

base = resolve_model({base!r}).path
adapter = f"{folder}"
model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter)
tokenizer = AutoTokenizer.from_pretrained(base)
```

Serve it with vLLM:

```bash
BASE=$(python -c "from engage.models import resolve_model; print(resolve_model({base!r}).path)")
vllm serve "$BASE" --host 127.0.0.1 --enable-lora --max-lora-rank {rank} \\
    --lora-modules "{MODEL_NAME}={shell}"
```
"""
