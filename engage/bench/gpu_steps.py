"""The steps of a GPU check: for each, its command, its time limit, and how its figures are read and written."""

import importlib.util
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engage.scenario import SHIPPED

NAMES = ("doctor", "plain", "engine", "search", "align", "night", "agreement", "vllm")
_RATE = re.compile(r"\(simulations\): (\d+)/\d+ in \S+ s, ([\d.]+)/s")


@dataclass(frozen=True)
class Size:
    """How much is measured: the defaults suit a graphics card, `quick` only shows that everything works."""

    requests: str = "1,64,512"
    prompt_tokens: int = 256
    tokens: int = 64
    scenarios: int = 256
    seconds: float = 5.0
    steps: int = 12
    per_domain: int = 128
    simulations: int = 12
    held_out: int = 16

    @staticmethod
    def quick() -> "Size":
        """Sizes for a minute or two on two cores."""
        return Size("1,2", 64, 4, 1, 1.0, 1, 2, 4, 2)


@dataclass(frozen=True)
class Step:
    """One command. `missing` says why it cannot run here, if so; `read` extracts the figures from its output."""

    name: str
    command: tuple[str, ...]
    limit_s: float
    read: Callable[[str], dict[str, Any]]
    missing: str = ""


def steps(engage: Sequence[str], size: Size, settings: Sequence[str], vllm: Sequence[str]) -> list[Step]:
    """All steps in order. Every command gets `settings`; the vLLM steps get `vllm` as well."""
    own = _set(settings)
    served = (*own, *_set(["engine.kind=vllm", "engine.vllm.engine_args.max_model_len=2048", *vllm]))
    sweep = ("--requests", size.requests, "--prompt-tokens", str(size.prompt_tokens), "--tokens", str(size.tokens))
    night = _set(
        [
            f'scenarios.sources=["{SHIPPED[-1]}"]',
            f"scenarios.per_domain={size.per_domain}",
            f"search.num_simulations={size.simulations}",
            f"evaluation.per_domain={size.held_out}",
            "collect.shard_size=1000",
        ]
    )
    search = ("--scenarios", str(size.scenarios), "--seconds", str(size.seconds))
    absent = "" if importlib.util.find_spec("vllm") else "vLLM is not installed"

    def step(name: str, words: Sequence[str], limit_s: float, given: Sequence[str] = own, missing: str = "") -> Step:
        return Step(name, (*engage, *words, *given), limit_s, _READ.get(name, read_json), missing)

    return [
        step("doctor", ["doctor"], 60),
        step("plain", ["bench", "engine", "--plain", "--json", *sweep], 100),
        step("engine", ["bench", "engine", "--json", *sweep], 100),
        step("search", ["bench", "search", "--json", *search], 120),
        step("align", ["bench", "align", "--json", "--steps", str(size.steps)], 100),
        step("night", ["nightly", *night], 180),
        step("agreement", ["bench", "agreement", "--json"], 240, served, absent),
        step("vllm", ["bench", "engine", "--json", *sweep], 180, served, absent),
    ]


def _set(settings: Sequence[str]) -> tuple[str, ...]:
    return tuple(part for setting in settings for part in ("--set", setting))


def read_json(printed: str) -> dict[str, Any]:
    """The JSON object on the last line; empty if there is none (the step was stopped, say)."""
    lines = printed.strip().splitlines()
    try:
        figures = json.loads(lines[-1]) if lines else {}
    except ValueError:
        return {}
    return figures if isinstance(figures, dict) else {}


def read_doctor(printed: str) -> dict[str, Any]:
    """The lines of `engage doctor` about cards, engine and speed."""
    lines = [line for line in printed.splitlines() if re.search(r"\bGPU |: engine |allows at most|^missing", line)]
    return {"lines": [line for line in lines if "serving in process" not in line]}


def read_night(printed: str) -> dict[str, Any]:
    """Simulations and their rate, from the progress line; empty if the night did not get that far."""
    match = _RATE.search(printed)
    return {"simulations": int(match[1]), "simulations_per_s": float(match[2])} if match else {}


_READ: dict[str, Callable[[str], dict[str, Any]]] = {"doctor": read_doctor, "night": read_night}


def say(name: str, known: Mapping[str, Mapping[str, Any]]) -> str:
    """One step's figures in a few words; `known` holds the figures of all steps by name."""
    figures = known[name]
    if name == "doctor":
        return "; ".join(figures["lines"])
    if name in {"plain", "engine", "vllm"}:
        return _swept(figures, known.get("plain", {}) if name != "plain" else {})
    if name == "search":
        return (
            f"{figures['simulations_per_s']:.1f} simulations/s, {figures['utilisation']:.2f} of the engine's best, "
            f"decode {figures['decode_saturated_tok_s']:,.0f} tokens/s"
        )
    if name == "align":
        return (
            f"DPO {figures['tok_s']:,.0f} tokens/s, {figures['gpu_peak_mb']:,.0f} MB at most; a plain TRL script "
            f"{figures['plain_tok_s']:,.0f} ({figures['speedup']:.2f} ×), {figures['plain_gpu_peak_mb']:,.0f} MB; "
            f"losses differ by {figures['largest_loss_difference']:.4f} at most"
        )
    if name == "night":
        return f"{figures['simulations']:,} simulations, {figures['simulations_per_s']:.1f}/s"
    verdict = "; ".join(figures["faults"]) or "agrees within rounding"
    return (
        f"{verdict}: {figures['equal_replies']} of {figures['replies']} greedy replies equal, "
        f"survey within {figures['survey_difference']:.4f}"
    )


def _swept(figures: Mapping[str, Any], plain: Mapping[str, Any]) -> str:
    beside = {point["requests"]: point["decode_tok_s"] for point in plain.get("sweep", [])}
    parts = []
    for point in figures["sweep"]:
        rate, other = point["decode_tok_s"], beside.get(point["requests"])
        times = f" ({rate / other:.1f} × plain)" if other else ""
        parts.append(f"{point['requests']}: {rate:,.0f}{times}")
    return (
        f"decode tokens/s by requests {', '.join(parts)}; alone {figures['single_stream_token_ms']:.1f} ms a token; "
        f"prefill {figures['prefill_saturated_tok_s']:,.0f} tokens/s"
    )
